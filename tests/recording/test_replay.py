"""The same calls again come to the same; what is another is found, and where."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from scullvfs.daemon.replaying import replaying, report
from scullvfs.mm import Machine, outside
from scullvfs.mm.commands import Commands
from scullvfs.mm.page_alloc import PageAllocator
from scullvfs.mm.sched import Task
from scullvfs.options.table import parse_options
from scullvfs.recording.recorder import Recorder
from scullvfs.recording.replay import Replay
from scullvfs.snapshot.options import of_machine
from scullvfs.snapshot.picture import write

from ..thorough import rounds
from .play import OPTIONS, Player, idling, lines_of, recorded, replayed, taken, world
from .test_lines import bodies, summed

VARIETY = [
    "semantics=device",
    "semantics=file",
    "semantics=file,init_on_alloc=0",
    "arch=i386,fragment=50",
    "arch=arm64,cpus=4,page_owner=on",
    "shuffle=0,failslab=40:60:0:20",
    "quirks=ldd3",
    "hardened_usercopy=1,atime",
]

HOUR = 3_600_000_000_000
"""In nanoseconds."""


@pytest.mark.parametrize("more", VARIETY)
def test_random_calls_come_to_the_same(more: str) -> None:
    """Calls of all kinds, held ones, interrupted ones, mixed with each other and idle work."""
    for seed in range(rounds(20, 3)):
        whole = seed % 2 == 0 or "ldd3" in more or "init_on_alloc" in more
        recording = recorded(f"{OPTIONS},{more}", seed, rounds(300, 100), whole)
        done = replayed(recording)
        assert done.difference is None, seed
        assert done.whole
        assert not done.lost
        assert done.calls == json.loads(recording.splitlines()[-1])["end"]


def test_every_kind_of_line_is_tried() -> None:
    """The test above is about all of them."""
    lines = [
        line
        for seed in range(4)
        for semantics in ("device", "file")
        for line in lines_of(recorded(f"{OPTIONS},semantics={semantics}", seed))
    ]
    fields = {name for line in lines for name in line}
    assert fields >= {"idle", "steps", "thrown", "errno", "touched", "asks", "later", "left"}
    calls = {line["call"] for line in lines if "call" in line}
    assert calls >= {"lookup", "open", "read", "write", "ioctl", "truncate", "fallocate", "lseek"}
    assert calls >= {"notify_change", "release", "readlink"}


def test_held_call_goes_on() -> None:
    """A read of trace_pipe waits for what comes, and so it does again."""
    with world() as made:
        stream = made.record()
        vfs, machine = made.vfs, made.machine
        pipe, _ = vfs.open(made.walk("sys/kernel/tracing/trace_pipe"), os.O_RDONLY)
        player = Player(made, 1, lambda: None)
        assert player._made(lambda: vfs.read(pipe, 0, 4096, False)) == "waits"
        mark, _ = vfs.open(made.walk("sys/kernel/tracing/trace_marker"), os.O_WRONLY)
        machine.running.current = Task(os.getpid(), 5, 5)
        vfs.write(mark, 0, b"a mark", None)
        assert b"a mark" in player.held.pop()()
        stream.stop()
        recording = taken(stream)
    assert b'"waits":true' in recording
    assert b'"again":true' in recording
    assert replayed(recording).difference is None


@pytest.mark.long
def test_machine_that_does_it_otherwise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame more that somebody takes shows at the first call that gets another one for it."""
    recording = recorded(seed=2, count=60, whole=True)
    alloc, calls = PageAllocator.alloc_pages_bulk, []

    def other(pages: PageAllocator, gfp: int, nr_pages: int, whole: bool = False) -> Any:
        calls.append(nr_pages)
        if len(calls) == 4:
            PageAllocator.alloc_pages(pages, gfp, 0)
        return alloc(pages, gfp, nr_pages, whole)

    monkeypatch.setattr(PageAllocator, "alloc_pages_bulk", other)
    done = replayed(recording)
    assert done.difference is not None
    assert not done.whole
    recorded_line, (got,) = done.difference
    passing = {"at", "asks", "sum", "touched"}
    same = {name: value for name, value in recorded_line.items() if name not in passing}
    assert {name: value for name, value in got.items() if name not in passing} == same
    assert got["touched"] != recorded_line["touched"]
    before = [line for line in lines_of(recording) if line.get("n", 0) < recorded_line["n"]]
    noted = [word for line in before for word in line.get("touched", []) if word[:6] == "frames"]
    assert len(noted) == 3


@pytest.mark.parametrize(
    ("field", "value"), [("gives", 123456), ("errno", "EXDEV"), ("touched", ["frames 1"])]
)
def test_difference_of_each_field(field: str, value: Any) -> None:
    """Whatever of a call is another, that call is told."""
    lines = [json.loads(body + b"}") for body in bodies(recorded(seed=5, count=40))]
    writes = [line for line in lines if line.get("call") == "write" and "touched" in line]
    wrong = writes[len(writes) // 2]
    wrong[field] = value
    if field == "errno":
        del wrong["gives"]
    texts = [json.dumps(line, separators=(",", ":"))[:-1].encode() for line in lines]
    done = replayed(summed(texts))
    assert done.difference is not None
    assert done.difference.recorded["n"] == wrong["n"] == done.calls


def test_to_a_call() -> None:
    """It stops after a call, before the next one."""
    recording = recorded(seed=3, count=50)
    end = json.loads(recording.splitlines()[-1])["end"]
    for to in (0, 1, 17, end - 1, end):
        done = replayed(recording, to)
        assert (done.calls, done.difference, done.whole) == (to, None, True)
    assert replayed(recording, end + 1).calls == end
    cut = recording[: len(recording) // 2]
    assert replayed(cut, 5).whole
    assert not replayed(cut).whole


def test_report(tmp_path: Path) -> None:
    """Which call it is, on which file, by whom and when, and what has come in its place."""
    with world() as made:
        stream = made.record()
        fh, _ = made.vfs.open(made.walk("scullv1"), os.O_RDWR)
        made.vfs.write(fh, 8192, b"x" * 100, None)
        stream.stop()
        lines = [json.loads(body + b"}") for body in bodies(taken(stream))]
    write = next(line for line in lines if line.get("call") == "write")
    right = write["touched"][3]
    write["touched"][3] = "vmap ffffc90000123000+3000"
    texts = [json.dumps(line, separators=(",", ":"))[:-1].encode() for line in lines]
    recording = summed(texts)
    file = lines_of(recording)
    with replaying(file) as replay:
        done = replay.run()
        assert done.difference is not None
        first, *rest = report(replay, done.difference)
    pid = os.getpid()
    assert first == (
        f"call {write['n']}, at {write['at'] / 1e9:.6f} s, by pid {pid}: "
        f"write(fh={write['fh']}, off=8192, size=100) of scullv1"
    )
    assert rest == [
        "  touched[3]: recorded  vmap ffffc90000123000+3000",
        f"                   got  {right}",
    ]


def test_nothing_is_left_in_place() -> None:
    """After recordings and replays, and one that fails, all methods are plain again."""
    before = {name: getattr(outside, name) for name in outside.QUESTIONS}
    with world() as made:
        stream = made.record()
        assert "write" in vars(made.vfs)
        stream.stop()
        assert not {"write", "open", "lookup"} & vars(made.vfs).keys()
        assert "idle_work" not in vars(made.machine)
        assert "kmalloc" not in vars(made.machine.slab)
    replayed(taken(stream))
    with ExitStack() as undo, pytest.raises(RuntimeError):
        undo.enter_context(_failing_replay())
    assert {name: getattr(outside, name) for name in outside.QUESTIONS} == before


def _failing_replay() -> Any:
    def make() -> Any:
        raise RuntimeError

    return Replay(lines_of(recorded(count=1)), make)


def test_machine_goes_on_where_a_replay_has_stopped() -> None:
    """Its state is what the recorded one's was, and its time goes on from there."""
    _goes_on(OPTIONS)


@pytest.mark.long
def test_restored_machine_goes_on(tmp_path: Path) -> None:
    """The same of one that goes on from a snapshot, and whose time does, too."""
    _goes_on(f"{OPTIONS},restore={saved(OPTIONS, tmp_path)}", HOUR)


def saved(options: str, directory: Path) -> Path:
    """A snapshot of a machine that was on for an hour, and used."""
    path = directory / "machine.snap"
    with world(options) as made:
        made.machine.log.go_on_from(HOUR)
        Player(made, 3, lambda: None).play(60)
        data, of = bytearray(), of_machine(parse_options([options]))
        write(data.extend, of, made.machine, made.modules, Commands(made.machine))
        path.write_bytes(data)
    return path


def _goes_on(options: str, began: int = 0) -> None:
    states: list[Any] = []
    with world(options) as made:
        stream = made.record(whole=True)
        Player(made, 7, idling(made.machine, 7)).play(60)
        stream.stop()
        recording = taken(stream)
        for fh in made.vfs.inos():
            made.vfs.release(fh)
        states.append(state_of(made.machine))
    with replaying(lines_of(recording)) as replay:
        assert replay.run().difference is None
        replay.close()
        states.append(state_of(replay.machine))
        last = [line["at"] for line in lines_of(recording)][-1]
        assert began <= last <= replay.machine.log.local_clock() < last + 60e9
    assert states[0] == states[1]


@pytest.mark.parametrize("before", ["", "restore"])
def test_boot_was_when_it_was(before: str, tmp_path: Path) -> None:
    """The records of who holds frames say so, as the lines of the log do."""
    options = f"{OPTIONS},page_owner=on"
    if before:
        options += f",restore={saved(options, tmp_path)}"
    with world(options) as made:
        stream = made.record(whole=True)
        player = Player(made, 1, lambda: None)
        texts = player.text("sys/kernel/debug/page_owner"), player.text("proc/kmsg")
        stream.stop()
        recording = taken(stream)
    assert b" ns\n" in texts[0]
    assert texts[1]
    assert replayed(recording).difference is None


def test_of_a_machine_that_is_there_already() -> None:
    """What is mounted then was made in the host's time, and has the recorded one's meanwhile."""
    recording = recorded(seed=3, count=60, whole=True)
    with world() as made:
        replay = Replay(lines_of(recording), lambda: (made.machine, made.tree, made.vfs))
        try:
            assert replay.run().difference is None
        finally:
            replay.close()
        made.machine.check()
        assert made.machine.log.local_clock() >= made.machine.log.records()[-1].nanoseconds >= 0


def state_of(machine: Machine) -> Any:
    """All of it, with the log and its times, and what is in RAM."""
    return machine.state(), hash(bytes(machine.ram.bytes))


def test_recorder_is_off_by_itself() -> None:
    """A recorder that was never attached changes nothing."""
    with world() as made:
        Recorder(made.vfs, made.machine, [], lambda: None, whole=False)
        assert "write" not in vars(made.vfs)
