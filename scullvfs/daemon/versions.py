"""The versions of what scullvfs stands on.

Looks at what is installed without importing it, so it also answers where pyfuse3 is
broken or missing. Used by `scullvfs --version`, and by `doctor`.
"""

import ctypes
import ctypes.util
import platform
from importlib.metadata import PackageNotFoundError, version

import scullvfs

__all__ = ["kernel", "libfuse", "package", "version_line"]


def version_line() -> str:
    """`scullvfs 1.0 (Python 3.11.2, Linux 6.1.0, pyfuse3 3.5.0, trio 0.35.0, libfuse 3.14.0)`

    In one line, everything that a report of a bug should name.
    """
    parts = [
        f"Python {platform.python_version()}",
        kernel(),
        *(f"{name} {package(name) or 'missing'}" for name in ("pyfuse3", "trio")),
        f"libfuse {libfuse()}",
    ]
    return f"scullvfs {scullvfs.__version__} ({', '.join(parts)})"


def kernel() -> str:
    """`Linux 6.1.0`"""
    return f"{platform.system()} {platform.release()}"


def package(name: str) -> str | None:
    """The version of a Python package, None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def libfuse() -> str:
    """What libfuse says of itself; `missing` or `unusable` if it cannot.

    libfuse: lib/fuse.c:fuse_pkgversion()
    """
    name = ctypes.util.find_library("fuse3")
    if name is None:
        return "missing"
    try:
        pkgversion = ctypes.CDLL(name).fuse_pkgversion
    except (OSError, AttributeError):
        return "unusable"
    pkgversion.restype = ctypes.c_char_p
    return str(pkgversion().decode())
