"""Random calls on the tree of a machine, as programs make them, and recordings of these."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any

from scullvfs.daemon.build import build
from scullvfs.daemon.replaying import report
from scullvfs.fs.tree import Tree
from scullvfs.fs.vfs import Attributes, Vfs
from scullvfs.fs.waiting import WouldWait
from scullvfs.mm import Machine
from scullvfs.mm.sched import IDLE, Task
from scullvfs.mm.workqueue import Steps
from scullvfs.options.table import format_options, parse_options
from scullvfs.recording.lines import Lines, read_lines
from scullvfs.recording.replay import Replay, Replayed
from scullvfs.recording.stream import Recordings, Stream

OPTIONS = "mem=16M,order=1,qset=8,devs=2,seed=5,drivers=scullv:scullp:scullc:scull,uid=0,gid=0"

CALLERS = [Task(os.getpid(), 0, 0), Task(os.getpid(), 1000, 1000), Task(1 << 22, 7, 8)]
"""One is alive, one is no root, one is gone."""

KNOBS = [
    ("sys/module/scullv/parameters/scullv_order", ["0", "1", "2", "nonsense"]),
    ("sys/module/scullc/parameters/scullc_quantum", ["100", "4000"]),
    ("sys/kernel/tracing/set_event", ["vmalloc", "scull", "kmem", "!kmem"]),
    ("sys/kernel/tracing/trace_marker", ["a mark", "\xff\x00"]),
    ("sys/kernel/debug/mm/command", ["vmalloc a 65536", "vfree a", "kmalloc b 100", "kfree b"]),
    ("sys/kernel/debug/validate", ["1"]),
    ("sys/kernel/debug/failslab/probability", ["0", "10"]),
    ("sys/kernel/debug/failslab/times", ["3"]),
    ("sys/kernel/debug/scull/scullv1/short_write", ["0", "100", "random"]),
    ("sys/kernel/debug/scull/scullv0/delay_us", ["0", "0", "1"]),
]
"""Files that are written to, and what."""

TEXTS = [
    *("proc/scullvmem", "proc/vmallocinfo", "proc/buddyinfo", "proc/meminfo", "proc/slabinfo"),
    *("proc/kmsg", "proc/iomem", "proc/kpageflags", "proc/scullcmem", "sys/kernel/tracing/trace"),
    *("sys/class/scullv/scullv0/size", "sys/kernel/debug/page_tables/kernel", "proc/self/fail-nth"),
]
"""Files that are read."""


class World:
    """A machine with a tree, and the door to it."""

    def __init__(self, options: str, undo: ExitStack) -> None:
        parsed = parse_options([options])
        self.machine: Machine
        self.machine, self.modules, self.tree = build(parsed, undo)
        self.vfs = Vfs(self.tree, self.machine)
        self.recordings = Recordings(
            self.vfs, self.tree, self.machine, format_options(parsed.as_dict())
        )
        self.machine.running.current = CALLERS[0]

    def walk(self, path: str) -> int:
        """The inode number of a path, looked up name by name."""
        ino = 1
        for name in path.split("/"):
            ino = self.vfs.lookup(ino, name.encode()).ino
            if path.startswith("proc/self") and name == "self":
                target = self.vfs.readlink(ino)
                ino = self.vfs.lookup(self.vfs.lookup(1, b"proc").ino, target).ino
        return ino

    def record(self, whole: bool = False) -> Stream:
        """Begin a recording, as an open of the file does."""
        name = "record_data" if whole else "record"
        ino = self.walk(f"sys/kernel/debug/{name}")
        self.vfs.open(ino, os.O_RDONLY)
        stream = self.recordings.current
        assert stream is not None
        return stream


@contextmanager
def world(options: str = OPTIONS) -> Iterator[World]:
    """A world for a moment."""
    with ExitStack() as undo:
        yield World(options, undo)


class Player:
    """Makes random calls, the same ones for the same seed; `log` has what each has given.

    Args:
        between: called before each call, and between the steps of one.
        mixed: whether others may come between the steps of a call.
        timed: whether it shows who has done what, and when: in events, and in delays.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        between: Callable[[], None],
        mixed: bool = False,
        timed: bool = True,
    ) -> None:
        self.vfs, self.world = world.vfs, world
        self.rng = Random(seed)
        self.between = between
        self.mixed = mixed
        self.knobs = [knob for knob in KNOBS if timed or not re.search("tracing|delay", knob[0])]
        self.log: list[Any] = []
        self.fhs: list[int] = []
        self.works: list[Steps[Any]] = []
        self.busy: dict[Steps[Any], int] = {}
        """Work -> the file that it changes, in which nobody else changes anything meanwhile."""
        self.held: list[Callable[[], Any]] = []

    def play(self, count: int) -> None:
        """Make so many calls, and all that is left of them."""
        for _ in range(count):
            self.between()
            self.world.machine.running.current = self.rng.choice(CALLERS)
            self.log.append(self._made(self._one))
        while self.works:
            self._step(self.works[-1])

    def _made(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except WouldWait as wait:
            self.held.append(wait.again)
            return "waits"
        except OSError as error:
            return error.errno

    def _one(self) -> Any:
        rng, vfs = self.rng, self.vfs
        if self.works and rng.random() < 0.5:
            return self._step(rng.choice(self.works))
        if self.held and rng.random() < 0.5:
            return self._result(self.held.pop()())
        pos, size = rng.randrange(400_000), rng.choice([1, 100, 4096, 8192, 30_000])
        what = rng.randrange(17)
        if what < 3 or not self.fhs:
            return self._open()
        fh = rng.choice(self.fhs)
        ino = vfs.file(fh).ino
        if ino in self.busy.values() and what in (3, 4, 5, 6, 9, 12):
            what = 7
        match what:
            case 3 | 4 | 5 | 6:
                data = bytes([rng.randrange(256)]) * size
                return vfs.write(
                    fh, pos, data, rng.choice([None, os.O_RDWR, os.O_RDWR | os.O_APPEND])
                )
            case 7 | 8:
                return bytes(vfs.read(fh, pos, size, rng.random() < 0.1))
            case 9:
                return self._result(vfs.truncate(ino, pos), ino)
            case 10:
                return vfs.ioctl(fh, 0x4B00 + rng.randrange(14), rng.randrange(4), b"")
            case 11:
                return self._result(vfs.lseek(fh, pos, rng.choice([os.SEEK_DATA, os.SEEK_HOLE])))
            case 12:
                mode = rng.choice([0, 1, 3, 16])
                return self._result(vfs.fallocate(fh, mode, pos, size), ino)
            case 13:
                self.fhs.remove(fh)
                return vfs.release(fh)
            case 14:
                mode = 0o100600 | rng.randrange(0o100)
                return vfs.notify_change(ino, Attributes(mode=mode)).mode
            case 15:
                return self._write_knob()
            case _:
                return self._text(rng.choice(TEXTS))

    def _open(self) -> Any:
        rng = self.rng
        device = rng.choice(["scullv0", "scullv1", "scullp0", "scullc0", "scull0"])
        flags = rng.choice([os.O_RDWR, os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_TRUNC, os.O_RDONLY])
        return self._result(self.vfs.open(self.world.walk(device), flags))

    def _result(self, result: Any, ino: int = 0) -> Any:
        """Of what comes in steps some, or all; they change a file, if it is given."""
        if type(result) is tuple and not isinstance(result[1], bytes):  # as an ioctl has them
            fh, left = result
            self.fhs.append(fh)
            return fh, None if left is None else self._work(left)
        return self._work(result, ino) if hasattr(result, "throw") else result

    def _work(self, steps: Steps[Any], ino: int = 0) -> Any:
        if self.mixed:
            self.works.append(steps)
            self.busy[steps] = ino
            return "later"
        while True:
            self.between()
            try:
                next(steps)
            except StopIteration as end:
                return None if end.value is None else self._result(end.value)
            except OSError as error:
                return error.errno

    def _step(self, steps: Steps[Any]) -> Any:
        try:
            if self.rng.random() < 0.1:
                steps.throw(InterruptedError(4, "interrupted"))
            for _ in range(self.rng.randrange(1, 5)):
                next(steps)
        except StopIteration as end:
            self._done(steps)
            return None if end.value is None else self._result(end.value)
        except OSError as error:
            self._done(steps)
            return error.errno
        return "a step"

    def _done(self, steps: Steps[Any]) -> None:
        self.works.remove(steps)
        del self.busy[steps]

    def _write_knob(self) -> Any:
        path, values = self.rng.choice(self.knobs)
        value = self.rng.choice(values)
        fh, _ = self.vfs.open(self.world.walk(path), os.O_WRONLY)
        try:
            return self.vfs.write(fh, 0, value.encode("latin-1"), None)
        finally:
            self.vfs.release(fh)

    def text(self, path: str) -> bytes:
        """What a file says."""
        self.world.machine.running.current = CALLERS[0]
        return self._text(path)

    def _text(self, path: str) -> bytes:
        fh, _ = self.vfs.open(self.world.walk(path), os.O_RDONLY)
        try:
            return bytes(self.vfs.read(fh, 0, 1 << 16, False))
        finally:
            self.vfs.release(fh)


def taken(stream: Stream) -> bytes:
    """All lines of a recording."""
    parts = []
    while part := stream.take(1 << 20):
        parts.append(part)
    return b"".join(parts)


def idling(machine: Machine, seed: int) -> Callable[[], None]:
    """Does idle work now and then."""
    rng = Random(seed)

    def idle() -> None:
        if rng.random() < 0.3:
            current, machine.running.current = machine.running.current, IDLE
            for _ in range(rng.choice((1, 2, 1000))):
                if not machine.idle_work():
                    break
            machine.running.current = current

    return idle


def recorded(
    options: str = OPTIONS, seed: int = 1, count: int = 150, whole: bool = False, mixed: bool = True
) -> bytes:
    """A recording of random calls, mixed with each other and with idle work."""
    with world(options) as made:
        stream = made.record(whole)
        idle, parts = idling(made.machine, seed), []

        def between() -> None:
            """Take the lines, too: while none are taken calls wait, and their files are closed."""
            idle()
            parts.append(taken(stream))

        Player(made, seed, between, mixed).play(count)
        stream.stop()
        return b"".join(parts) + taken(stream)


def lines_of(recording: bytes) -> Lines:
    """A recording, to be read."""
    return read_lines("run.scull", io.BytesIO(recording))


def replayed(recording: bytes, to: int | None = None) -> Replayed:
    """What comes of making its calls again."""
    lines = lines_of(recording)
    with ExitStack() as undo:

        def make() -> tuple[Machine, Tree, Vfs]:
            made = World(lines.header.options, undo)
            return made.machine, made.tree, made.vfs

        replay = Replay(lines, make)
        try:
            done = replay.run(to)
            if done.difference is not None:  # which can be told, whatever the recording says
                assert all(map(str.isprintable, report(replay, done.difference)))
            return done
        finally:
            replay.close()
