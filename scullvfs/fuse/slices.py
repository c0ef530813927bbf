"""Requests that take long: in slices, between which others are served.

    fallocate(2)   |-- slice --|          |-- slice --|          |-- slice --| answer
    the others                 |-- turn --|           |-- turn --|

The work comes as steps (`mm.workqueue`), and a slice is as many of them as go into a millisecond.
Of several that take long one has a slice at a time (`polling.Poller.breathe()`), so others
wait for one slice, however many there are.

What is done within the first slice is answered at once.  A caller that is interrupted or killed
meanwhile ends the work: it hears of it as an `InterruptedError`, and what it has to undo then,
it does in slices, too.  Linux lets nobody else truncate, write to or allocate in the same inode
meanwhile, as the driver does by its semaphore (Linux: fs/fuse/file.c:fuse_file_fallocate(),
inode_lock()); where it does not (before 6.1, FALLOC_FL_KEEP_SIZE), `lock()` does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from time import monotonic_ns
from typing import Any, Final, TypeVar

import trio

from scullvfs.mm.workqueue import Steps, finish

from .lowlevel import Request

__all__ = ["SLICE", "Slices"]

T = TypeVar("T")

SLICE: Final = 1_000_000
"""Nanoseconds of work after which others are served."""


class Slices:
    """Does what takes long."""

    def __init__(self) -> None:
        self.breathe: Callable[[], Awaitable[None]] = partial(trio.sleep, 0)
        """Lets others go first."""
        self.start_soon: Callable[..., None] | None = None
        """Starts a task; without it all is done in one go."""
        self._busy: set[object] = set()

    def are_due(self) -> bool:
        """Whether something long is being done with some file."""
        return bool(self._busy)

    @asynccontextmanager
    async def lock(self, what: object, request: Request) -> AsyncIterator[None]:
        """Be the only one who does something long with a file.

        Raises:
            InterruptedError: the caller was interrupted first.
        """
        while what in self._busy:
            await self.breathe()
            if request.interrupted():
                raise _interrupt()
        self._busy.add(what)
        try:
            yield
        finally:
            self._busy.remove(what)

    def answer(self, request: Request, what: object, steps: Steps[Any]) -> None:
        """Answer a request with the result of some work on a file, at once or later.

        Raises:
            Exception: the first slice of the work did, and the request is not answered.
        """
        if self.start_soon is None:
            request.reply(finish(steps))
        elif what in self._busy:
            self.start_soon(self._answer_later, request, what, steps)
        elif (end := _slice(steps)) is not None:
            request.reply(end.value)
        else:
            self._busy.add(what)
            self.start_soon(self._answer_locked, request, what, steps)

    async def _answer_later(self, request: Request, what: object, steps: Steps[Any]) -> None:
        with _answering(request):
            async with self.lock(what, request):
                request.reply(await self.run(steps, request))

    async def _answer_locked(self, request: Request, what: object, steps: Steps[Any]) -> None:
        with _answering(request):
            try:
                request.reply(await self.run(steps, request))
            finally:
                self._busy.remove(what)

    async def run(self, steps: Steps[T], request: Request | None = None) -> T:
        """Do some work; returns its result.

        With `request` an interrupt of that is raised in the work, once.
        """
        while True:
            end = _slice(steps)
            if end is not None:
                result: T = end.value
                return result
            await self.breathe()
            if request is not None and request.interrupted():
                request = None
                steps.throw(_interrupt())


def _slice(steps: Steps[Any]) -> StopIteration | None:
    """Do a slice of some work; returns its end, if it comes to that."""
    over = monotonic_ns() + SLICE
    try:
        while monotonic_ns() < over:
            next(steps)
    except StopIteration as end:
        return end
    return None


def _interrupt() -> InterruptedError:
    return InterruptedError(errno.EINTR, os.strerror(errno.EINTR))


@contextmanager
def _answering(request: Request) -> Iterator[None]:
    """Whatever happens, the request is answered; nothing but the end of the session gets out."""
    try:
        yield
    except Exception as error:
        request.fail(error)
    except trio.Cancelled:
        request.fail(_interrupt())
        raise
