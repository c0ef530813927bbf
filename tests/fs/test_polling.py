"""How the daemon waits: on a pipe in the place of the FUSE descriptor, in a real trio."""

import itertools
import os
from collections.abc import Iterator
from types import SimpleNamespace

import pyfuse3
import pytest
import trio
import trio.testing

from scullvfs.fs.polling import REQUESTS_A_TURN, Poller, install


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A descriptor to wait on, and the one that makes it readable."""
    receiver, sender = os.pipe()
    yield receiver, sender
    os.close(receiver)
    os.close(sender)


@pytest.mark.parametrize("busy_poll", [0, 50])
def test_wait_readable_returns_when_there_is_something(
    pipe: tuple[int, int], busy_poll: int
) -> None:
    """What comes while it waits in trio ends the wait, and what is there ends it at once."""
    receiver, sender = pipe

    async def main() -> None:
        poller = Poller(busy_poll)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.wait_readable, receiver)
            await trio.testing.wait_all_tasks_blocked()
            os.write(sender, b"x")
        with trio.fail_after(5):
            await poller.wait_readable(receiver)

    trio.run(main)


def test_wait_readable_gives_other_tasks_their_turn(pipe: tuple[int, int]) -> None:
    """Though there always is a request, another task runs every other turn at least."""
    receiver, sender = pipe
    os.write(sender, b"x")  # and nobody reads it: readable for ever
    requests = 0
    turns: list[int] = []

    async def other() -> None:
        while True:
            turns.append(requests)
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        nonlocal requests
        poller = Poller(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            while requests < 20 * REQUESTS_A_TURN:
                await poller.wait_readable(receiver)
                requests += 1
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert len(turns) >= 10
    assert max(b - a for a, b in itertools.pairwise(turns)) <= 2 * (REQUESTS_A_TURN + 1)


def test_install_leaves_another_pyfuse3_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `trio` is not what it should be, nothing is replaced and the answer is False."""
    other = SimpleNamespace()
    monkeypatch.setattr(pyfuse3, "trio", other, raising=False)

    assert not install(Poller(0))
    assert pyfuse3.trio is other  # type: ignore[attr-defined]


def test_install_puts_the_poller_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyfuse3 finds everything that it asks trio for, and the poller's way of waiting."""
    monkeypatch.setattr(pyfuse3, "trio", trio, raising=False)
    poller = Poller(0)

    assert install(poller)
    stand_in = pyfuse3.trio  # type: ignore[attr-defined]
    assert stand_in.lowlevel.wait_readable == poller.wait_readable
    assert stand_in.lowlevel.notify_closing is trio.lowlevel.notify_closing
    assert stand_in.ClosedResourceError is trio.ClosedResourceError
