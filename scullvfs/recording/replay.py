"""The calls of a recording, made again on a machine of its own; the first that is another is found.

    line of the file ---> the call, by who made it then ---> Vfs, with a Recorder in the door
             |                                                    |
             +---------------------- compared <------------- its own line

What is compared is what a call gives or its errno, and what the machine has given for it and taken
back: addresses and frames.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

from scullvfs.fs.node import LateDirectory
from scullvfs.fs.record_file import RecordFile, Recording
from scullvfs.fs.snapshot import SnapshotFile
from scullvfs.fs.tree import Tree
from scullvfs.fs.vfs import Vfs
from scullvfs.fs.waiting import WouldWait
from scullvfs.mm import Machine
from scullvfs.mm.sched import IDLE
from scullvfs.mm.workqueue import Steps

from .answers import Answers, are_answers
from .calls import TEXT, U64, Shape, arguments, is_given, list_of, matches, task_of
from .lines import Entry, Line, Lines, text_of
from .recorder import Recorder

__all__ = ["COMPARED", "Difference", "Replay", "Replayed", "compared"]

COMPARED: Final[dict[str, Shape]] = {
    "gives": is_given,
    "sum_of_data": TEXT,
    "errno": TEXT,
    "left": bool,
    "waits": bool,
    "later": bool,
    "again": bool,
    "steps": U64,
    "idle": U64,
    "touched": list_of(TEXT),
}
"""The fields of a line that have to be the same, and what each may be."""


class Difference(NamedTuple):
    """The first line of which something else has come."""

    recorded: Line
    got: list[Line]
    """What has come in its place: one line, none or several."""


class Replayed(NamedTuple):
    """How a replay has ended."""

    calls: int
    """How many were made again."""
    difference: Difference | None
    whole: bool
    """Whether the recording was read to its end mark, or as far as was asked for."""
    lost: bool
    """Whether it ends where its reader was too slow."""


class Replay:
    """Makes the calls of a recording.

    Args:
        make: makes tree, machine and door of what the mount's options were; it is called with the
            world's answers in place.
        lines: the recording; its header has been used for `make`.
    """

    def __init__(self, lines: Lines, make: Callable[[], tuple[Machine, Tree, Vfs]]) -> None:
        self._lines: Final = lines
        self._answers: Final = Answers()
        self._stack: Final = ExitStack()
        self._stack.enter_context(self._answers.in_place())
        try:
            self.machine, self.tree, self.vfs = make()
            self._as_it_began()
        except BaseException:
            self._stack.close()
            raise
        self._got: Final[list[Entry]] = []
        self._recorder: Final = Recorder(
            self.vfs, self.machine, self._got, lambda: None, lines.header.whole, clock=lambda: 0
        )
        self._recorder.attach()
        self._stack.callback(self._recorder.detach)
        self._works: Final[dict[int, Steps[Any]]] = {}
        """Number of a call -> its work that is not done."""
        self._held: Final[dict[int, Callable[[], Any]]] = {}
        """Number of a call -> what goes on with it."""
        self.calls = 0

    def _as_it_began(self) -> None:
        header = self._lines.header
        # Answers are times since it was switched on, whichever clock it was made or restored by.
        self.machine.log.go_on_from(self._answers.now)
        self.machine.set_times(header.times)
        for ino in header.made:
            node = self.tree.nodes.get(ino)
            if isinstance(node, LateDirectory):
                node.make_names()
        self.vfs.opened = header.opened
        for node in self.tree.nodes.values():
            if isinstance(node, RecordFile | SnapshotFile):
                self._stack.callback(setattr, node, "begin", node.begin)  # for who goes on
                node.begin = _busy if isinstance(node, RecordFile) else _nothing

    def run(self, to: int | None = None) -> Replayed:
        """Make the calls up to the one of that number, or all.

        Raises:
            BadFileError: the recording is damaged, or has what cannot be a call.
        """
        difference, lost, reached = None, False, to == 0
        for line in () if reached else self._lines:
            if line.get("lost") is True:
                lost = True
                break
            if to is not None and line.get("n") == to + 1:
                reached = True
                break
            self._got.clear()
            self._play(line)
            difference = self._compare(line)
            if difference is not None:
                break
        reached = reached or self.calls == to
        return Replayed(self.calls, difference, self._lines.whole or reached, lost)

    def close(self) -> None:
        """Have done with it: all that was opened is closed, and the world answers again.

        The machine goes on from there, and so does its time.
        """
        self._recorder.detach()
        for fh in self.vfs.inos():
            self.vfs.release(fh)
        self._works.clear()
        now = self._answers.now
        self._stack.close()
        self.machine.log.go_on_from(now)

    def _play(self, line: Line) -> None:
        asks = line.get("asks", [])
        shapes = {name: shape for name, shape in COMPARED.items() if name in line}
        if not matches(line, {"at": U64, **shapes}) or not are_answers(asks):
            raise self._lines.wrong()
        self._answers.begin(line["at"], asks)
        if "idle" in line:
            self._idle(line)
        elif "of" in line:
            self._go_on(line)
        else:
            self._call(line)
        self._recorder.flush()

    def _call(self, line: Line) -> None:
        task = task_of(line)
        args = arguments(line) if matches(line, {"n": U64, "call": TEXT}) else None
        if task is None or args is None or line["n"] != self.calls + 1:
            raise self._lines.wrong()
        self.calls += 1
        self.machine.running.current = task
        self._do(self.calls, lambda: getattr(self.vfs, line["call"])(*args))

    def _do(self, number: int, call: Callable[[], Any]) -> None:
        """Make a call, and keep what is left of it; what it raises is in the recorder's line."""
        try:
            result = call()
        except WouldWait as wait:
            self._held[number] = wait.again
            return
        except Exception:
            return
        work = result[1] if type(result) is tuple and len(result) == 2 else result
        if hasattr(work, "throw"):
            self._works[number] = work

    def _go_on(self, line: Line) -> None:
        """Go on with a call that was held, or with its work."""
        if not matches(line, {"of": U64}):
            raise self._lines.wrong()
        number = line["of"]
        if "again" in line:
            task, again = task_of(line), self._held.pop(number, None)
            if task is None or again is None:
                raise self._lines.wrong()
            self.machine.running.current = task
            self._do(number, again)
            return
        work = self._works.get(number)
        if work is None or not matches(line, {"steps": U64}):
            raise self._lines.wrong()
        thrown = line.get("thrown")
        try:
            for _ in range(line["steps"]):
                if thrown is not None:
                    thrown = None
                    work.throw(InterruptedError(errno.EINTR, os.strerror(errno.EINTR)))
                else:
                    next(work)
        except StopIteration as end:
            del self._works[number]
            if end.value is not None and hasattr(end.value, "throw"):
                self._works[number] = end.value
        except Exception:
            del self._works[number]

    def _idle(self, line: Line) -> None:
        if not matches(line, {"idle": U64}):
            raise self._lines.wrong()
        self.machine.running.current = IDLE
        for _ in range(line["idle"]):
            if not self.machine.workqueue:
                break  # which is a difference
            self.machine.idle_work()

    def _compare(self, recorded: Line) -> Difference | None:
        got = [json.loads(text_of(entry) + "}") for entry in self._got]
        if len(got) == 1 and compared(got[0]) == compared(recorded):
            return None
        return Difference(recorded, got)


def _nothing() -> tuple[int, int]:
    """What is read of a snapshot is in no recording, so no process need write one."""
    return 0, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def _busy() -> Recording:
    """Nobody could begin another recording."""
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def compared(line: Mapping[str, Any]) -> dict[str, Any]:
    """What of a line has to be the same."""
    return {name: line[name] for name in COMPARED if name in line}
