"""Stands in the door, `fs.vfs`, and has a line of each call that goes through.

    off   ---> Vfs.write()
    on    ---> Recorder: begin --> Vfs.write() --> line: who, when, what, and what came of it

What came of it is what it gives or its errno, what the machine has given for it and taken back
(`mm.touched`), and the answers of the world around that it has had (`mm.outside`).  While nobody
records nothing of this is there.

A call need not be over when it returns.  What comes later is a line of its own, `of` that call:

    again    it was held, and went on
    steps    so many steps of its work were done, one after the other, with nothing in between
    idle     the same of what waits in the workqueue, in idle time

So the order of the lines is the order in which everything was done, and no line is written before
something else begins.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from functools import partial
from json import dumps
from time import monotonic_ns
from typing import Any, Final
from zlib import crc32

from scullvfs.fs.vfs import METHODS, Vfs
from scullvfs.fs.waiting import Waiters, WouldWait, wake_all
from scullvfs.mm import Machine, outside
from scullvfs.mm.sched import Task
from scullvfs.mm.touched import Touched, note_touched
from scullvfs.mm.workqueue import Steps

from .calls import ARGUMENTS
from .words import GIVEN, WRITTEN, errno_of, name_of, nothing, text

__all__ = ["Recorder"]

_STEPS: Final = frozenset(("truncate", "lseek", "fallocate"))
"""Calls whose work comes in steps."""
_LATER: Final = _STEPS | {"open"}
"""Those that may have some left to do."""
_WAIT: Final = _LATER | {"ioctl"}
"""Those that can wait, with reads and writes."""


MANY: Final = 1 << 12
"""Questions after which a line of steps ends, so that no line becomes too long."""


class Recorder:
    """Records all calls from `attach()` to `detach()`.

    Args:
        emit: takes each line, without the last brace.
        whole: whether what is written to devices is in the lines, and a sum of what is read.
        clock: says when a call was made; what the machine itself asks is another matter.
    """

    def __init__(
        self,
        vfs: Vfs,
        machine: Machine,
        emit: Callable[[str], None],
        whole: bool,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._clock: Final = clock
        self._vfs: Final = vfs
        self._machine: Final = machine
        self._start: Final = machine.log.start
        self._running: Final = machine.running
        self._emit: Final = emit
        self._whole: Final = whole
        self._touched: Final = Touched()
        self._asks: Final[list[str]] = []
        """Questions and answers of the call that is made."""
        self._undo: Final[list[Callable[[], None]]] = []
        self._doing: int | str | None = None
        """Whose steps are being done: the number of a call, or "idle"."""
        self._head = ""
        """The line of these, up to their number."""
        self._steps = 0
        self._task: Task | None = None
        self._by = ""
        """The task of the last line, as JSON."""
        self.calls = 0
        """How many there were."""
        self.is_full = False
        """Whether calls that can wait are to wait, as nobody reads the lines."""
        self.room: Final[Waiters] = {}
        """Those who do."""

    # -- on and off --------------------------------------------------------------------------

    def attach(self) -> None:
        """Record from now on."""
        vfs, machine = self._vfs, self._machine
        note_touched(machine, self._touched)
        self._undo.append(partial(note_touched, machine, None))
        for question in outside.QUESTIONS:
            plain = getattr(outside, question)
            self._put(outside, question, self._asking(question, plain), plain)
        for name in METHODS:
            plain = getattr(vfs, name)
            make = {"read": self._read, "write": self._write, "write_pages": self._write}.get(name)
            recorded = make(name, plain) if make else self._any(name, plain)
            setattr(vfs, name, recorded)
            self._undo.append(partial(delattr, vfs, name))
        self._put_idle_work()
        vfs.on_switch()

    def _put(self, where: Any, name: str, function: Any, plain: Any) -> None:
        setattr(where, name, function)
        self._undo.append(partial(setattr, where, name, plain))

    def _put_idle_work(self) -> None:
        machine, plain = self._machine, self._machine.idle_work

        def idle_work() -> bool:
            if machine.workqueue:
                self._step("idle")
            return plain()

        setattr(machine, "idle_work", idle_work)  # noqa: B010  (mypy takes it for a mistake)
        self._undo.append(partial(delattr, machine, "idle_work"))

    def detach(self) -> None:
        """Record no more."""
        self.flush()
        while self._undo:
            self._undo.pop()()
        self._vfs.on_switch()
        wake_all(self.room)

    # -- what goes into a line ---------------------------------------------------------------

    def _asking(self, question: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        asks, start = self._asks, self._start

        def time_ns() -> int:
            answer: int = plain()
            asks.append(f'"time_ns",{answer}')
            return answer

        def since_start() -> int:
            answer: int = plain()
            asks.append(f'"monotonic_ns",{answer - start}')
            return answer

        def ask(pid: int) -> Any:
            answer = plain(pid)
            asks.append(f'"{question}",{dumps(answer)}')
            return answer

        return {"time_ns": time_ns, "monotonic_ns": since_start}.get(question, ask)

    def _begin(self) -> str:
        """Something begins that is to have a line; returns when it is, and who does it."""
        if self._doing is not None:
            self.flush()
        if self._asks:
            self._asks.clear()  # of nobody's
        task = self._running.current
        if task is not self._task:
            self._task = task
            self._by = f'"by":[{task.pid},{task.uid},{task.gid}]'
        return f'"at":{self._clock() - self._start},{self._by}'

    def _end(self, line: str) -> None:
        """It is over."""
        if self._asks:
            line += f',"asks":[{",".join(self._asks)}]'
            self._asks.clear()
        if self._touched.any:
            line += ',"touched":["' + '","'.join(self._touched.take()) + '"]'
        self._emit(line)

    def _step(self, whose: int | str, thrown: str = "") -> None:
        """A step of some work begins, maybe with an error that is thrown into it."""
        if whose != self._doing or thrown or len(self._asks) >= MANY:
            self.flush()
            self._asks.clear()
            at = f'{{"at":{self._clock() - self._start}'
            idle = whose == "idle"
            self._head = f'{at},"idle":' if idle else f'{at},"of":{whose}{thrown},"steps":'
            self._doing, self._steps = whose, 0
        self._steps += 1

    def flush(self, more: str = "") -> None:
        """Have a line of the steps that were done, before something else begins."""
        if self._doing is not None:
            self._doing = None
            self._end(f"{self._head}{self._steps}{more}")

    # -- the calls ---------------------------------------------------------------------------

    def _any(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        arguments, given = WRITTEN[name], GIVEN.get(name, nothing)
        vfs, end = self._vfs, self._end
        of_handle = "fh" in ARGUMENTS[name]

        def call(*args: Any) -> Any:
            if of_handle and not vfs.file(args[0]).recorded:
                return plain(*args)
            if name in _WAIT and self.is_full:
                raise self._full(name, args)
            head = self._head_of(name, arguments(*args))
            try:
                result = plain(*args)
            except Exception as error:
                self._raised(self.calls, name, head, error)
                raise
            if name in _LATER:
                return self._shown(self.calls, name, head, result)
            end(head + given(result))
            return result

        return call

    def _read(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        vfs, end, whole = self._vfs, self._end, self._whole

        def read(fh: int, off: int, size: int, page_cache: bool) -> Any:
            file = vfs.file(fh)
            if not file.recorded:
                return plain(fh, off, size, page_cache)
            if self.is_full:
                raise self._full(name, (fh, off, size, page_cache))
            of_cache = "true" if page_cache else "false"
            head = self._head_of(
                name, f'"fh":{fh},"off":{off},"size":{size},"page_cache":{of_cache},'
            )
            kind = "read_summed" if whole or not file.shows_data else name
            try:
                result = plain(fh, off, size, page_cache)
            except Exception as error:
                self._raised(self.calls, kind, head, error)
                raise
            end(head + GIVEN[kind](result))
            return result

        return read

    def _write(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        vfs, end, whole = self._vfs, self._end, self._whole

        def write(fh: int, off: int, data: Any, flags: int | None) -> Any:
            file = vfs.file(fh)
            if not file.recorded:
                return plain(fh, off, data, flags)
            if self.is_full:
                raise self._full(name, (fh, off, bytes(data), flags))
            if not file.shows_data:
                what = f'"text":{text(data)}'
            elif whole:
                what = f'"data":"{b64encode(data).decode()}"'
            else:
                what = f'"crc":"{crc32(data):08x}"'
            mode = "null" if flags is None else flags
            begin = self._begin()
            self.calls = number = self.calls + 1
            head = (
                f'{{"n":{number},{begin},"call":"{name}",'
                f'"fh":{fh},"off":{off},"size":{len(data)},"flags":{mode},{what},'
            )
            try:
                count = plain(fh, off, data, flags)
            except Exception as error:
                self._raised(self.calls, name, head, error)
                raise
            end(f'{head}"gives":{count}')
            return count

        return write

    def _full(self, name: str, args: tuple[Any, ...]) -> WouldWait:
        """A call is to wait, as nobody takes the lines; it has not begun."""
        wait = WouldWait(self.room, lambda: getattr(self._vfs, name)(*args))
        wait.nonblock = False
        return wait

    def _head_of(self, name: str, arguments: str) -> str:
        """A call begins; the line of it up to what comes of it."""
        begin = self._begin()
        self.calls += 1
        return f'{{"n":{self.calls},{begin},"call":"{name}",{arguments}'

    def _raised(self, number: int, name: str, head: str, error: Exception) -> None:
        """A call has raised an error, or is to wait."""
        if isinstance(error, WouldWait):
            error.again = partial(self._again, number, error.again, name)
            self._end(f'{head}"waits":true')
        else:
            self._end(head + errno_of(error))

    def _again(self, number: int, again: Callable[[], Any], name: str) -> Any:
        """Go on with a call that was held."""
        head = f'{{"of":{number},{self._begin()},"again":true,'
        try:
            result = again()
        except Exception as error:
            self._raised(number, name, head, error)
            raise
        return self._shown(number, name, head, result)

    def _shown(self, number: int, name: str, head: str, result: Any) -> Any:
        """A call has returned; returns what its caller gets."""
        if name in _STEPS:
            self._end(f'{head}"later":true')
            return self._work(number, name, result)
        if name != "open":
            self._end(head + GIVEN.get(name, nothing)(result))
            return result
        fh, left = result
        self._end(f'{head}"gives":{fh}' + ("" if left is None else ',"left":true'))
        return fh, None if left is None else self._work(number, "", left)

    def _work(self, number: int, name: str, steps: Steps[Any]) -> Steps[Any]:
        """The work of a call, and a line of the steps that are done of it in one go."""
        go_on: Callable[[], None] = partial(next, steps)
        thrown = ""
        while True:
            self._step(number, thrown)
            try:
                go_on()
            except StopIteration as end:
                result = end.value
                self.flush(f',"gives":{result if name == "lseek" else "null"}')
                if name == "truncate" and result is not None:
                    result = self._work(number, "", result)
                return result
            except Exception as error:
                self.flush(f",{errno_of(error)}")
                raise
            go_on, thrown = partial(next, steps), ""
            try:
                yield
            except Exception as error:  # that the caller was interrupted
                go_on, thrown = partial(steps.throw, error), f',"thrown":{name_of(error)}'
