"""What module.c defines; __init__.py has the documentation."""

from collections.abc import Callable

from scullvfs.fuse.lowlevel import Handlers
from scullvfs.mm.scatterlist import Buffer, Scatterlist

def hooked() -> bool: ...
def requests() -> int: ...
def serve_with(
    handlers: Handlers,
    errno_of: Callable[[BaseException], int],
    max_write: int,
    copy_file_range_errno: int,
    auto_inval_data: bool,
    /,
) -> None: ...
def serve(end: int, spin_ns: int, sleep_ms: int, /) -> int: ...
def sg_copy_from_buffer(sg: Scatterlist, data: Buffer, /) -> None: ...
