"""The loop, in a real trio; the extension's part and pyfuse3's are stand-ins that keep a record."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pyfuse3
import pytest
import trio
import trio.testing

from scullvfs.fuse import lowlevel, polling
from scullvfs.fuse.cpu_latency import CpuLatency
from scullvfs.fuse.lowlevel import Served
from scullvfs.fuse.polling import Poller, install


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A descriptor to wait on in the place of FUSE's, and the one that makes it readable."""
    receiver, sender = os.pipe()
    yield receiver, sender
    os.close(receiver)
    os.close(sender)


class Extension:
    """`lowlevel.serve`: answers what it was told to, one after the other; keeps its arguments."""

    def __init__(self, *answers: Served) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[int, int, int]] = []

    def __call__(self, end: int, spin_ns: int, sleep_ms: int) -> Served:
        self.calls.append((end, spin_ns, sleep_ms))
        return self.answers.pop(0)


def test_a_request_for_pyfuse3_ends_the_wait() -> None:
    """Nothing else is done then."""
    extension = Extension(Served.OTHER)
    trio.run(Poller(0, extension).wait_readable, -1)
    assert not extension.answers


def test_idle_waits_in_trio(pipe: tuple[int, int]) -> None:
    """When nothing comes it waits for the descriptor, and looks again when that is readable."""
    receiver, sender = pipe
    extension = Extension(Served.IDLE, Served.IDLE, Served.OTHER)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Poller(0, extension).wait_readable, receiver)
            await trio.testing.wait_all_tasks_blocked()
            assert len(extension.calls) == 1
            os.write(sender, b"x")

    trio.run(main)
    assert not extension.answers


def test_closed_ends_the_session() -> None:
    """pyfuse3 ends its loop at that error, as at the one that trio raises itself."""
    with pytest.raises(trio.ClosedResourceError):
        trio.run(Poller(0, Extension(Served.CLOSED)).wait_readable, -1)


def test_after_a_turn_others_have_theirs() -> None:
    """Though there always is more to do, every turn lets the other tasks run once."""
    turns: list[int] = []
    extension = Extension(*[Served.TURN] * 20, Served.OTHER)

    async def other() -> None:
        while True:
            turns.append(len(extension.calls))
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            await Poller(0, extension).wait_readable(-1)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert len(turns) >= 10
    assert max(b - a for a, b in itertools.pairwise(turns)) <= 2


def test_a_turn_has_an_end_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests for pyfuse3 do not make it longer: the end stays where it was set."""
    now = 1_000
    monkeypatch.setattr(polling, "monotonic_ns", lambda: now)
    extension = Extension(Served.TURN, *[Served.OTHER] * 3, Served.TURN, Served.OTHER)
    poller = Poller(0, extension)

    async def main() -> None:
        nonlocal now
        for _ in range(4):
            await poller.wait_readable(-1)
            now += 10

    trio.run(main)
    first_turn = 1_000 + polling.TURN
    assert [end for end, _, _ in extension.calls] == [0, *[first_turn] * 4, 1_030 + polling.TURN]


@pytest.mark.parametrize(("cpus", "spin"), [({0}, 0), ({0, 1}, 50_000)])
def test_spins_only_where_the_client_has_another_cpu(
    monkeypatch: pytest.MonkeyPatch, cpus: set[int], spin: int
) -> None:
    """`busy_poll` is in microseconds."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cpus)
    extension = Extension(Served.TURN, Served.OTHER)
    trio.run(Poller(50, extension).wait_readable, -1)
    assert extension.calls[1][1:] == (spin, polling.SLEEP_MS)


class Latency(CpuLatency):
    """Keeps what is asked of it, and asks nothing of the kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def hold(self) -> None:
        self.asked.append("hold")

    def release(self) -> None:
        self.asked.append("release")


def asked_for(
    monkeypatch: pytest.MonkeyPatch, busy_poll: int, *turns: tuple[Served, int], cpus: int = 2
) -> list[str]:
    """What is asked for in turns that end so and have so many requests, after a first one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cpus)))
    receiver, sender = os.pipe()
    os.write(sender, b"x")  # trio never waits
    extension = Extension(Served.TURN, *(served for served, _ in turns), Served.OTHER)
    counts = itertools.accumulate([0, 0, *(count for _, count in turns)])
    totals = [next(counts)]

    def serve(end: int, spin_ns: int, sleep_ms: int) -> Served:
        totals.append(next(counts, totals[-1]))
        return extension(end, spin_ns, sleep_ms)

    latency = Latency()
    poller = Poller(busy_poll, serve, requests=lambda: totals[-1], latency=latency)
    trio.run(poller.wait_readable, receiver)
    os.close(receiver)
    os.close(sender)
    assert latency.asked.pop(0) == "release"
    return latency.asked


def test_idle_cpus_are_kept_awake_while_it_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first turn on that has many requests to the first one that has few."""
    busy, slow = polling.BUSY, polling.BUSY - 1
    turns = [(Served.TURN, count) for count in (slow, busy, 10 * busy, slow)]
    assert asked_for(monkeypatch, 50, *turns) == ["release", "hold", "hold", "release"]


def test_idle_cpus_may_halt_when_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy it was before."""
    assert asked_for(monkeypatch, 50, (Served.TURN, 1000), (Served.IDLE, 1000)) == [
        "hold",
        "release",
    ]


@pytest.mark.parametrize(("busy_poll", "cpus"), [(0, 2), (50, 1)])
def test_idle_cpus_may_halt_where_it_does_not_spin(
    monkeypatch: pytest.MonkeyPatch, busy_poll: int, cpus: int
) -> None:
    """Told not to spin it takes no power in other ways either, and its own CPU is not idle."""
    assert asked_for(monkeypatch, busy_poll, (Served.TURN, 1000), cpus=cpus) == ["release"]


def test_idle_cpus_may_halt_once_it_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it stays busy: its only CPU is the client's, too, and no other one matters."""
    cpus = [{0, 1}, {0, 1}, {0}, {0}, {0}]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cpus.pop(0))
    latency = Latency()
    requests = itertools.count(step=polling.BUSY)
    extension = Extension(*[Served.TURN] * 5, Served.OTHER)
    trio.run(Poller(50, extension, lambda: next(requests), latency).wait_readable, -1)
    assert latency.asked == ["release", "hold", "hold", "release", "release"]


def test_idle_cpus_may_halt_after_the_end() -> None:
    """The process may live on for a moment."""
    latency = Latency()
    with pytest.raises(trio.ClosedResourceError):
        trio.run(Poller(0, Extension(Served.CLOSED), latency=latency).wait_readable, -1)
    assert latency.asked == ["release"]


# -- handlers that wait ----------------------------------------------------------------------------


class Pyfuse3:
    """pyfuse3's workers: each waits for a request, runs a handler, and goes on or ends."""

    def __init__(self, poller: Poller, handlers: list[Callable[[], Any]]) -> None:
        self.poller = poller
        self.handlers = handlers
        self.readers = 0
        self.workers = 0

    async def worker(self, nursery: Any) -> None:
        self.workers += 1
        while self.handlers and not self.readers:
            self.readers += 1
            await self.poller.wait_readable(-1)
            self.readers -= 1
            await self.handlers.pop(0)()
        self.workers -= 1

    async def main(self) -> None:
        with trio.fail_after(10):
            async with self.poller.open_nursery() as nursery:
                nursery.start_soon(self.worker, nursery, name="worker-0")


def test_breathe_lets_other_requests_go_first() -> None:
    """While one handler breathes, another worker serves requests; at the end there is one left."""
    order: list[str] = []
    poller = Poller(0, lambda *_: Served.OTHER)

    async def long() -> None:
        for number in range(3):
            await poller.breathe()
            order.append(f"long {number}")

    async def short() -> None:
        order.append("short")

    pyfuse3 = Pyfuse3(poller, [short, long, short, short, long, short])
    trio.run(pyfuse3.main)
    assert pyfuse3.workers == 0
    assert order[0] == "short"
    assert order.index("long 2") > 3, order
    assert sorted(order) == sorted(["short"] * 4 + [f"long {n}" for n in range(3)] * 2)


def test_of_those_that_breathe_one_goes_on() -> None:
    """However many they are, others have a turn between any two of them."""
    order: list[str] = []
    poller = Poller(0)

    async def long() -> None:
        for _ in range(10):
            await poller.breathe()
            order.append("long")

    async def other() -> None:
        while True:
            order.append("turn")
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as everything:
            everything.start_soon(other)
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(long)
            everything.cancel_scope.cancel()

    trio.run(main)
    assert order.count("long") == 50
    assert ("long", "long") not in itertools.pairwise(order)


def test_a_handler_that_waits_holds_nobody_up() -> None:
    """Others are served meanwhile, some of them waiting, too, and each is served once."""
    order: list[str] = []
    poller = Poller(0, lambda *_: Served.OTHER)
    done = trio.Event()

    async def long() -> None:
        order.append("long begins")
        await done.wait()
        order.append("long ends")

    async def short() -> None:
        order.append("short")

    async def last() -> None:
        order.append("last")
        done.set()

    pyfuse3 = Pyfuse3(poller, [short, long, short, long, short, last])
    trio.run(pyfuse3.main)
    assert pyfuse3.workers == 0
    assert order[:6] == ["short", "long begins", "short", "long begins", "short", "last"]
    assert order[6:] == ["long ends"] * 2


def test_handlers_that_wait_for_nothing_need_one_worker() -> None:
    """A hundred of them with other tasks in between, and no second worker is started."""
    poller = Poller(0, lambda *_: next(answers))
    answers = itertools.cycle([Served.TURN, Served.OTHER])

    async def short() -> None:
        assert pyfuse3.workers == 1

    pyfuse3 = Pyfuse3(poller, [short] * 100)
    trio.run(pyfuse3.main)
    assert not pyfuse3.handlers


def test_breathe_makes_turns_short() -> None:
    """The worker that serves meanwhile neither spins nor sleeps."""
    extension = Extension(Served.OTHER, Served.OTHER)
    poller = Poller(50, extension)

    async def long() -> None:
        await poller.breathe()

    async def short() -> None:
        pass

    trio.run(Pyfuse3(poller, [long, short]).main)
    assert extension.calls[1][1:] == (0, 0)


# -- pyfuse3 ---------------------------------------------------------------------------------------


@pytest.fixture
def hooked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extension says that it is in place."""
    monkeypatch.setattr(lowlevel, "hooked", lambda: True)


@pytest.mark.usefixtures("hooked")
def test_install_leaves_another_pyfuse3_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `trio` is not what it should be, nothing is replaced and the answer is False."""
    other = SimpleNamespace()
    monkeypatch.setattr(pyfuse3, "trio", other, raising=False)

    assert not install(Poller(0))
    assert pyfuse3.trio is other  # type: ignore[attr-defined]


@pytest.mark.usefixtures("hooked")
@pytest.mark.parametrize("version", ["3.4.0", "3.6.0", "3.50.0", "4.0", "3", "unknown", None])
def test_install_leaves_another_version_alone(
    monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    """A version that nobody has looked at is not known, though it looks the same outside."""
    monkeypatch.setattr(pyfuse3, "trio", trio, raising=False)
    monkeypatch.setattr(pyfuse3, "__version__", version)

    assert not install(Poller(0))
    assert pyfuse3.trio is trio  # type: ignore[attr-defined]


@pytest.mark.usefixtures("hooked")
@pytest.mark.parametrize("name", ["trio", "__version__", *polling.LOOP])
def test_install_needs_every_part(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Neither is one that lacks a part of what the poller takes the place of."""
    monkeypatch.delattr(pyfuse3, name)

    assert not install(Poller(0))
    assert getattr(pyfuse3, "trio", trio) is trio


def test_install_needs_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it nothing is replaced."""
    monkeypatch.setattr(pyfuse3, "trio", trio, raising=False)
    monkeypatch.setattr(lowlevel, "hooked", lambda: False)

    assert not install(Poller(0))
    assert pyfuse3.trio is trio  # type: ignore[attr-defined]


@pytest.mark.usefixtures("hooked")
@pytest.mark.parametrize("version", [pyfuse3.__version__, "3.5.9", "3.5"])
def test_install_puts_the_poller_in(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """pyfuse3 finds everything that it asks trio for, and the poller's way of waiting."""
    monkeypatch.setattr(pyfuse3, "trio", trio, raising=False)
    monkeypatch.setattr(pyfuse3, "__version__", version)
    poller = Poller(0)

    assert install(poller)
    stand_in = pyfuse3.trio  # type: ignore[attr-defined]
    assert stand_in.lowlevel.wait_readable == poller.wait_readable
    assert stand_in.open_nursery == poller.open_nursery
    assert stand_in.lowlevel.notify_closing is trio.lowlevel.notify_closing
    assert stand_in.ClosedResourceError is trio.ClosedResourceError
