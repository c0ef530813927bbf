"""The versions of what scullvfs stands on.

Looks at what is installed without importing it, so it also answers where pyfuse3 is
broken or missing. Used by `scullvfs --version`, and by `cli.checks`.
"""

import os
import platform
import re
import sys

import scullvfs

__all__ = ["kernel", "libfuse", "libfuse_soname", "package", "version_by_name", "version_line"]


def version_line() -> str:
    """`scullvfs 1.0 (Python 3.11.2, Linux 6.1.0, pyfuse3 3.5.0, trio 0.35.0, libfuse 3.14.0)`

    In one line, everything that a bug report should name.
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
    found = version_by_name(name)
    if found is not None:
        return found
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def version_by_name(name: str) -> str | None:
    """The version of a Python package as the directory of its metadata has it in its name.

    To read what is in there, as `importlib.metadata` does, takes longer than all else of
    `scullvfs --version`. None where no directory has that name.
    """
    directory_of = re.compile(rf"{name}-([^-]+)(?:-py[0-9.]+)?\.(?:dist|egg)-info", re.IGNORECASE)
    for path in sys.path:
        try:
            names = os.listdir(path or ".")
        except OSError:  # a zip file, or nothing
            continue
        for found in filter(None, map(directory_of.fullmatch, names)):
            return found[1]
    return None


def libfuse_soname() -> str | None:
    """The libfuse that pyfuse3 loads, `libfuse3.so.4`; None where pyfuse3 is not installed.

    The number is not that of libfuse's version, and has changed between two of them.
    """
    from importlib.util import find_spec

    found = find_spec("pyfuse3")
    if found is None or found.origin is None:
        return None
    # In the table of strings that its list of libraries points to.
    with open(found.origin, "rb") as library:
        name = re.search(rb"\0(libfuse3\.so\.[0-9]+)\0", library.read())
    return None if name is None else name[1].decode()


def libfuse() -> str:
    """What libfuse says of itself; `missing` or `unusable` if it cannot.

    libfuse: lib/fuse.c:fuse_pkgversion()
    """
    import ctypes

    name = libfuse_soname() or _find_libfuse()
    if name is None:
        return "missing"
    try:
        pkgversion = ctypes.CDLL(name).fuse_pkgversion
    except OSError as error:
        return "missing" if "No such file" in str(error) else "unusable"
    except AttributeError:
        return "unusable"
    pkgversion.restype = ctypes.c_char_p
    return str(pkgversion().decode())


def _find_libfuse() -> str | None:
    """Any libfuse. This starts ldconfig, which takes as long as all else."""
    from ctypes.util import find_library

    return find_library("fuse3")
