"""What a test has changed on its mount, and how it is put back."""

import errno
from types import TracebackType
from typing import Self

__all__ = ["Undo", "is_gone"]


class Undo:
    """Something that was done to a mount; as a context manager it is undone at the end.

    When the daemon has died meanwhile, nothing is left to be undone, and that is no error.
    """

    holds_open = False
    """Whether it keeps a file of the mount open, so that it has to be undone before an unmount."""

    def undo(self) -> None:
        """Put everything back; a second time does nothing.

        Raises:
            BusyError: the daemon is `stalled()`, and cannot.
        """
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.undo()


def is_gone(error: OSError) -> bool:
    """Whether a mount that has failed so is no more, by a death or an unmount."""
    return error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT, errno.ENODEV)
