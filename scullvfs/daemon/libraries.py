"""trio and pyfuse3, imported without what no mount uses of them: TLS, host names, subprocesses.

That is a third of the time that a daemon takes to start, and some of its memory. Used by `serving`,
before `server` is imported.
"""

from importlib import import_module
from typing import Any, Final

from scullvfs.host.versions import version_by_name
from scullvfs.stand_ins import left_out

__all__ = ["import_libraries"]

UNUSED: Final = ("ssl", "hmac", "idna", "subprocess", "tempfile", "shutil")


def import_libraries() -> None:
    """Import both, pyfuse3 by way of the room `fuse`.

    Raises:
        ImportError: one of them, or what it needs, is missing or broken.
    """
    modules: dict[str, dict[str, Any]] = {name: {} for name in UNUSED}
    # trio names its threads by a function of pthreads', which are part of libc (glibc 2.34). To
    # look for them starts ldconfig.
    modules["ctypes.util"] = {"find_library": {"pthread": "libc.so.6"}.get}
    # pyfuse3 asks for its own version, which `fuse.polling` goes by.
    version = version_by_name("pyfuse3")
    if version is not None:
        modules["importlib.metadata"] = {
            "PackageNotFoundError": ModuleNotFoundError,
            "version": {"pyfuse3": version}.__getitem__,
        }
    with left_out(modules):
        import_module("trio")
        import_module("scullvfs.fuse")  # puts itself between pyfuse3 and libfuse, so it is first
        import_module("pyfuse3")
