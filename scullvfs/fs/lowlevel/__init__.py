"""The low-level operations that pyfuse3 leaves out: ioctl, lseek, fallocate, copy_file_range.

    python ----> pyfuse3 ----> fuse_session_new() in _interpose ----> the one in libfuse
                                  |
                                  + puts ioctl ... into the table of operations, and a look
                                    at each read and write that notes what pyfuse3 drops

The dynamic linker resolves pyfuse3's call to the first library that has the name, so
`_interpose` (interpose.c, built with cffi) has to be loaded before pyfuse3, and globally.
Importing this package does that; `scullvfs.fs` does it before anything else.

While pyfuse3 processes a request it holds the GIL, so the operations call straight into
Python, and answer at once.

Where `_interpose` is missing or the call went by it, `hooked()` is false, and the mount
works without: ioctl(2) gives ENOTTY, SEEK_DATA and fallocate(2) what the kernel makes of
it, and files cannot be copied within the mount in the kernel (sendfile, splice and
copy_file_range stop at the end of a quantum).
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any, Final, Protocol

from scullvfs.fs.errors import errno_of

__all__ = ["MISSING", "Handlers", "hooked", "serve_with"]


MISSING: Final = (
    "the low-level operations are not available: no ioctl, SEEK_DATA or fallocate, and cp within "
    "the mount is cut at the end of a quantum; install scullvfs with gcc, pkg-config and "
    "libfuse3-dev present"
)
"""What to say when they are not hooked in."""


class Handlers(Protocol):
    """What serves the operations.  Each raises an OSError with the errno to answer."""

    def ioctl(self, fh: int, cmd: int, arg: int, data: bytes) -> tuple[int, bytes]:
        """ioctl(2): `data` is what the kernel fetched as `cmd` says.  Result, and what to store."""

    def lseek(self, fh: int, off: int, whence: int) -> int:
        """lseek(2) with SEEK_DATA or SEEK_HOLE; the kernel does the others."""

    def fallocate(self, fh: int, mode: int, off: int, length: int) -> None:
        """fallocate(2)."""


class _Request:
    """Stands in for what `_interpose` notes of a request, where it is missing."""

    flags = -1
    page_cache = False


def _load() -> ModuleType | None:
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
    try:
        from . import _interpose
    except ImportError:
        return None
    finally:
        sys.setdlopenflags(flags)
    extension: ModuleType = _interpose
    return extension


_extension = _load()

request: Any = _Request
"""The read or write that is being served: `flags` of its open file (with O_APPEND as it is
now; -1 if not hooked in), and `page_cache`, whether it comes from the page cache and not from
a system call."""

_handlers: Handlers | None = None


def hooked() -> bool:
    """Whether the operations are in place.  Known once pyfuse3.init() has returned."""
    return _extension is not None and bool(_extension.lib.scullvfs_hooked)


def serve_with(handlers: Handlers, max_write: int, copy_file_range_errno: int) -> None:
    """Let `handlers` serve the operations from now on.

    Args:
        max_write: bytes that the kernel puts into one request, of reads and of writes, in whole
            pages; up to 1 MiB.
        copy_file_range_errno: what copy_file_range(2) within the mount gives; with
            EOPNOTSUPP the kernel copies by itself.
    """
    global _handlers
    _handlers = handlers
    if _extension is not None:
        _extension.lib.scullvfs_max_write = max_write
        _extension.lib.scullvfs_copy_file_range_errno = copy_file_range_errno


if _extension is not None:
    _ffi, _lib = _extension.ffi, _extension.lib
    request = _ffi.addressof(_lib, "scullvfs_request")

    @_ffi.def_extern()  # type: ignore[untyped-decorator]
    def scullvfs_ioctl(req: Any, fh: int, cmd: int, arg: Any, data: Any, size: int) -> None:
        """ioctl(2)."""
        assert _handlers is not None
        try:
            result, out = _handlers.ioctl(fh, cmd, arg, bytes(_ffi.buffer(data, size)))
        except Exception as error:
            _lib.fuse_reply_err(req, errno_of(error))
        else:
            _lib.fuse_reply_ioctl(req, result, out, len(out))

    @_ffi.def_extern()  # type: ignore[untyped-decorator]
    def scullvfs_lseek(req: Any, fh: int, off: int, whence: int) -> None:
        """lseek(2)."""
        assert _handlers is not None
        try:
            off = _handlers.lseek(fh, off, whence)
        except Exception as error:
            _lib.fuse_reply_err(req, errno_of(error))
        else:
            _lib.fuse_reply_lseek(req, off)

    @_ffi.def_extern()  # type: ignore[untyped-decorator]
    def scullvfs_fallocate(req: Any, fh: int, mode: int, off: int, length: int) -> None:
        """fallocate(2)."""
        assert _handlers is not None
        try:
            _handlers.fallocate(fh, mode, off, length)
        except Exception as error:
            _lib.fuse_reply_err(req, errno_of(error))
        else:
            _lib.fuse_reply_err(req, 0)
