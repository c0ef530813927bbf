"""Requests that are held, in a real trio; who calls is a stand-in."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import pytest
import trio
import trio.testing

from scullvfs.fs.waiting import Delayed, Waiters, WouldWait
from scullvfs.fuse.held import Held
from scullvfs.mm.sched import Running, Task

CALLER, OTHER = Task(7, 0, 0), Task(8, 0, 0)


class Request:
    """Keeps what it is answered with."""

    def __init__(self) -> None:
        self.answers: list[object] = []
        self._interrupted = self.over = False
        self._wake: Callable[[], object] = lambda: None

    def interrupted(self) -> bool:
        """Whether `interrupt()` was called, or the session is over."""
        return self._interrupted or self.over

    def on_interrupt(self, wake: Callable[[], object]) -> None:
        """As the extension's: at once where it was already."""
        self._wake = wake
        if self._interrupted:
            wake()

    def interrupt(self) -> None:
        """The caller has had a signal."""
        self._interrupted = True
        self._wake()

    def reply(self, result: object) -> None:
        """Keep it."""
        self.answers.append(result)

    def fail(self, error: BaseException) -> None:
        """Keep the errno, if it has one."""
        self.answers.append(error.errno if isinstance(error, OSError) else type(error))


def in_trio(test: Callable[[Held, Running], Awaitable[None]]) -> None:
    """Run something with what holds requests in a nursery, which is cancelled at the end."""
    running = Running()
    running.current = CALLER
    held = Held(running)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            held.start_soon = nursery.start_soon
            await test(held, running)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert not held._all


def later(seconds: float) -> float:
    """Some seconds from now on."""
    return monotonic() + seconds


def test_woken() -> None:
    """It goes on for its own caller, and is answered with what that gives; nothing is left."""
    waiting: Waiters = {}

    async def test(held: Held, running: Running) -> None:
        request = Request()
        held.hold(request, WouldWait(waiting, lambda: running.current.pid), 0)
        await trio.testing.wait_all_tasks_blocked()
        assert (request.answers, len(waiting), len(held._all)) == ([], 1, 1)
        running.current = OTHER
        for wake in [*waiting]:
            wake()
        await trio.testing.wait_all_tasks_blocked()
        assert (request.answers, len(waiting), len(held._all)) == ([CALLER.pid], 0, 0)

    in_trio(test)


def test_time_comes() -> None:
    """A delay is over by itself, not before its time; one that has become longer goes on."""
    ends = [later(0.05), later(0.1)]
    over: list[float] = []

    def again() -> str:
        over.append(monotonic())
        if ends:
            raise Delayed({}, again, ends.pop(0))
        return "done"

    async def test(held: Held, running: Running) -> None:
        request = Request()
        held.hold(request, Delayed({}, again, end := ends.pop(0)), 0)
        with trio.fail_after(10):
            while not request.answers:
                await trio.sleep(0.01)
        assert request.answers == ["done"]
        assert len(over) == 2
        assert over[0] >= end

    in_trio(test)


@pytest.mark.parametrize("earlier", [False, True])
def test_interrupt(earlier: bool) -> None:
    """EINTR, and the call does not go on; also where he was interrupted before it is held."""

    def never() -> None:
        raise AssertionError

    async def test(held: Held, running: Running) -> None:
        request = Request()
        if earlier:
            request.interrupt()
        held.hold(request, Delayed({}, never, later(3600)), 0)
        if not earlier:
            await trio.testing.wait_all_tasks_blocked()
            request.interrupt()
        await trio.testing.wait_all_tasks_blocked()
        assert request.answers == [errno.EINTR]

    in_trio(test)


def test_nonblock() -> None:
    """One that would wait for data is refused then; a slow device is as slow as ever."""

    async def test(held: Held, running: Running) -> None:
        wait = WouldWait({}, lambda: b"")
        with pytest.raises(BlockingIOError) as caught:
            held.hold(Request(), wait, os.O_NONBLOCK)
        assert caught.value is wait
        request = Request()
        held.hold(request, Delayed({}, lambda: 5, later(0)), os.O_NONBLOCK)
        await trio.testing.wait_all_tasks_blocked()
        assert request.answers == [5]

    in_trio(test)


def test_fails_afterwards() -> None:
    """What the call raises then is its answer."""

    def fails() -> None:
        raise OSError(errno.EIO, "")

    async def test(held: Held, running: Running) -> None:
        request = Request()
        held.hold(request, Delayed({}, fails, later(0)), 0)
        await trio.testing.wait_all_tasks_blocked()
        assert request.answers == [errno.EIO]

    in_trio(test)


def test_answer() -> None:
    """The result may go elsewhere; what that raises is the request's answer."""

    async def test(held: Held, running: Running) -> None:
        got: list[object] = []
        request = Request()
        held.hold(request, Delayed({}, lambda: 1, later(0)), 0, got.append)
        held.hold(request, Delayed({}, lambda: 2, later(0)), 0, lambda result: got[result])
        await trio.testing.wait_all_tasks_blocked()
        assert (got, request.answers) == ([1], [IndexError])

    in_trio(test)


ENDS = {"read": (WouldWait({}, bytes), b""), "delay": (Delayed({}, bytes, later(3600)), 19)}


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("end", ["over", "cancel", "unmounted"])
def test_end(kind: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for data gets the end of the file, and who is delayed ENODEV."""
    monkeypatch.setattr("scullvfs.fuse.held.LOOK", 0.01)
    wait, answer = ENDS[kind]
    request = Request()

    async def test(held: Held, running: Running) -> None:
        held.hold(request, wait, 0)
        await trio.testing.wait_all_tasks_blocked()
        if end == "over":
            held.look()
            assert not request.answers
            request.over = True
            held.look()
        elif end == "unmounted":
            held.mounted = lambda: False
        if end != "cancel":
            with trio.fail_after(10):
                while not request.answers:
                    await trio.sleep(0.01)

    in_trio(test)
    assert request.answers == [answer]


def test_wait_in_a_handler() -> None:
    """pyfuse3's: it gets the result, or the interrupt, and answers by itself."""

    async def test(held: Held, running: Running) -> None:
        request: Any = Request()
        assert await held.wait(request, Delayed({}, lambda: "open", later(0))) == "open"
        request.interrupt()
        with pytest.raises(InterruptedError):
            await held.wait(request, Delayed({}, lambda: "open", later(3600)))
        assert request.answers == []

    in_trio(test)
