"""`scullvfs --version`: everything that a report of a bug should name, in one line.

Looks at what is installed without importing it, so it also answers where pyfuse3 is
broken or missing.
"""

import ctypes
import ctypes.util
import platform
from importlib.metadata import PackageNotFoundError, version

import scullvfs

__all__ = ["version_line"]


def version_line() -> str:
    """`scullvfs 1.0 (Python 3.11.2, Linux 6.1.0, pyfuse3 3.5.0, trio 0.35.0, libfuse 3.14.0)`"""
    parts = [
        f"Python {platform.python_version()}",
        f"{platform.system()} {platform.release()}",
        *(f"{name} {_package(name)}" for name in ("pyfuse3", "trio")),
        f"libfuse {_libfuse()}",
    ]
    return f"scullvfs {scullvfs.__version__} ({', '.join(parts)})"


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _libfuse() -> str:
    """What libfuse says of itself; libfuse: lib/fuse.c:fuse_pkgversion()"""
    name = ctypes.util.find_library("fuse3")
    if name is None:
        return "missing"
    try:
        pkgversion = ctypes.CDLL(name).fuse_pkgversion
    except (OSError, AttributeError):
        return "unusable"
    pkgversion.restype = ctypes.c_char_p
    return str(pkgversion().decode())
