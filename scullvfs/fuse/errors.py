"""From an exception to the errno that a request is answered with: the one translation."""

from __future__ import annotations

import errno
import logging
from typing import Final

from scullvfs.mm import PageFault

__all__ = ["errno_of"]

_ERRNOS: Final = range(1, 1000)
"""What libfuse passes on: it makes ERANGE of others, and a success of 0."""

log = logging.getLogger(__name__)


def errno_of(error: BaseException) -> int:
    """The errno that stands for `error`; one that nobody expects is EIO and a traceback."""
    if isinstance(error, OSError) and error.errno is not None and error.errno in _ERRNOS:
        return error.errno
    if isinstance(error, PageFault):
        return errno.EFAULT
    if isinstance(error, MemoryError):
        log.error("the host gives no more memory; a request gets ENOMEM")
        return errno.ENOMEM
    log.error("unexpected error in a request; its caller gets EIO", exc_info=error)
    return errno.EIO
