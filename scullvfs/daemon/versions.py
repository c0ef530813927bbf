"""The versions of what scullvfs stands on.

Looks at what is installed without importing it, so it also answers where pyfuse3 is
broken or missing. Used by `scullvfs --version`, and by `doctor`.
"""

import ctypes
import os
import platform
import re
import sys
from typing import Final

import scullvfs

__all__ = ["kernel", "libfuse", "package", "version_line"]

SONAMES: Final = ("libfuse3.so.4", "libfuse3.so.3")
"""libfuse's names, the newest first."""


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
    """The version of a Python package, None if it is not installed.

    The directory of its metadata has both in its name. To read what is in there, as
    `importlib.metadata` does, takes longer than all else of `scullvfs --version`; it is
    asked where no directory has that name.
    """
    directory_of = re.compile(rf"{name}-([^-]+)(?:-py[0-9.]+)?\.(?:dist|egg)-info", re.IGNORECASE)
    for path in sys.path:
        try:
            names = os.listdir(path or ".")
        except OSError:  # a zip file, or nothing
            continue
        for found in filter(None, map(directory_of.fullmatch, names)):
            return found[1]
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def libfuse() -> str:
    """What libfuse says of itself; `missing` or `unusable` if it cannot.

    libfuse: lib/fuse.c:fuse_pkgversion()
    """
    try:
        library = _load_libfuse()
        if library is None:
            return "missing"
        pkgversion = library.fuse_pkgversion
    except (OSError, AttributeError):
        return "unusable"
    pkgversion.restype = ctypes.c_char_p
    return str(pkgversion().decode())


def _load_libfuse() -> ctypes.CDLL | None:
    """The library, None if there is none; an OSError if it cannot be loaded."""
    for name in SONAMES:
        try:
            return ctypes.CDLL(name)
        except OSError:  # perhaps it has another name
            pass
    # Starts ldconfig, which takes as long as all else, but knows what is there and broken, too.
    from ctypes.util import find_library

    found = find_library("fuse3")
    return None if found is None else ctypes.CDLL(found)
