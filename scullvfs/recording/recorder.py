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

from collections.abc import Callable
from functools import partial
from json import dumps
from time import monotonic_ns
from typing import Any, Final

from scullvfs.fs.vfs import METHODS, Vfs
from scullvfs.fs.waiting import Waiters, WouldWait, wake_all
from scullvfs.mm import Machine, outside
from scullvfs.mm.access import View
from scullvfs.mm.sched import Task
from scullvfs.mm.touched import Touched, note_touched
from scullvfs.mm.workqueue import Steps

from .calls import ARGUMENTS
from .lines import Entry, sum_of, text_of
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
MOST: Final = 64
"""Lines that are made together."""
LONG: Final = 1 << 9
"""Characters of a line from which on it waits for no others."""
FEW: Final = 16
"""Questions that one may have that waits."""

GIVES: Final = '"gives":%d'
READ: Final = '{"n":%d,"at":%d,%s,"call":"read","fh":%d,"off":%d,"size":%d,"page_cache":%s,'
READ_GIVES: Final = READ + GIVES
READ_SUMMED: Final = READ_GIVES + ',"sum_of_data":"%08x"'
WRITE: Final = '{"n":%%d,"at":%%d,%%s,"call":"%s","fh":%%d,"off":%%d,"size":%%d,"flags":%%s,"%s,'
WHAT: Final = ('text":%s', 'data":"%s"', 'crc":"%08x"')
ASKS: Final = ',"asks":[%s]'
TOUCHED: Final = ',"touched":["%s"]'


class Recorder:
    """Records all calls from `attach()` to `detach()`.

    Args:
        tape: what lines are made of is put there, in its order.
        turn: called when MOST are there, or something long is: it is to take all of them out.
        whole: whether what is written to devices is in the lines, and a sum of what is read.
        sum_of: has the sum of data.
        clock: says when a call was made; what the machine itself asks is another matter.
    """

    def __init__(
        self,
        vfs: Vfs,
        machine: Machine,
        tape: list[Entry],
        turn: Callable[[], None],
        whole: bool,
        sum_of: Callable[[View], int] = sum_of,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._clock: Final = clock
        self._vfs: Final = vfs
        self._node_of: Final = vfs.getattr  # which is not recorded
        self._machine: Final = machine
        self._start: Final = machine.log.start
        self._running: Final = machine.running
        self._tape: Final = tape
        self._turn: Final = turn
        self._sum_of: Final = sum_of
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
        self.most = MOST
        """How many lines are made together: one, where somebody waits for it."""
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

    def _begin(self) -> int:
        """Something begins that is to have a line, of who is `_by`; returns when that is."""
        if self._doing is not None:
            self.flush()
        if self._asks:
            self._asks.clear()  # of nobody's
        task = self._running.current
        if task is not self._task:
            self._task = task
            self._by = f'"by":[{task.pid},{task.uid},{task.gid}]'
        return self._clock() - self._start

    def _end(self, form: str, *values: Any) -> None:
        """It is over; a line of it is made later."""
        asks, tape, is_long = self._asks, self._tape, False
        if asks:
            form, values = form + ASKS, (*values, ",".join(asks))
            is_long = len(asks) > FEW
            asks.clear()
        if self._touched.any:
            form, values = form + TOUCHED, (*values, '","'.join(self._touched.take()))
        tape.append((form, *values))
        if is_long or len(tape) >= self.most:
            self._turn()

    def _say(self, line: str) -> None:
        """The same of a line that is made already."""
        self._end("%s", line)
        if len(line) > LONG:
            self._turn()

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
            self._say(f"{self._head}{self._steps}{more}")

    # -- the calls ---------------------------------------------------------------------------

    def _any(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        arguments, given = WRITTEN[name], GIVEN.get(name, nothing)
        vfs, say = self._vfs, self._say
        of_handle = "fh" in ARGUMENTS[name]

        def call(*args: Any) -> Any:
            if of_handle and not vfs.file(args[0]).recorded:
                return plain(*args)
            if self.is_full and self._can_wait(name, args):
                raise self._full(name, args)
            head = self._head_of(name, arguments(*args))
            try:
                result = plain(*args)
            except Exception as error:
                self._raised(self.calls, name, head, error)
                raise
            if name in _LATER:
                return self._shown(self.calls, name, head, result)
            say(head + given(result))
            return result

        return call

    def _read(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        vfs, begin, end = self._vfs, self._begin, self._end
        whole, sum_of = self._whole, self._sum_of

        def read(fh: int, off: int, size: int, page_cache: bool) -> Any:
            file = vfs.file(fh)
            if not file.recorded:
                return plain(fh, off, size, page_cache)
            if self.is_full:
                raise self._full(name, (fh, off, size, page_cache))
            at = begin()
            self.calls = number = self.calls + 1
            of_cache = "true" if page_cache else "false"
            by, shows = self._by, whole or not file.shows_data
            try:
                result = plain(fh, off, size, page_cache)
            except Exception as error:
                head = text_of((READ, number, at, by, fh, off, size, of_cache))
                self._raised(number, "read_summed" if shows else name, head, error)
                raise
            if shows:
                summed = sum_of(result)
                end(READ_SUMMED, number, at, by, fh, off, size, of_cache, len(result), summed)
            else:
                end(READ_GIVES, number, at, by, fh, off, size, of_cache, len(result))
            return result

        return read

    def _write(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        vfs, begin, end = self._vfs, self._begin, self._end
        whole, sum_of = self._whole, self._sum_of
        as_text, as_data, as_sum = (WRITE % (name, what) for what in WHAT)

        def write(fh: int, off: int, data: Any, flags: int | None) -> Any:
            file = vfs.file(fh)
            if not file.recorded:
                return plain(fh, off, data, flags)
            if self.is_full:
                raise self._full(name, (fh, off, bytes(data), flags))
            what: Any
            if not file.shows_data:
                form, what = as_text, text(data)
            elif whole:
                form, what = as_data, bytes(data)
            else:
                form, what = as_sum, sum_of(data)
            mode = "null" if flags is None else flags
            at = begin()
            self.calls = number = self.calls + 1
            by, size = self._by, len(data)
            try:
                count = plain(fh, off, data, flags)
            except Exception as error:
                head = text_of((form, number, at, by, fh, off, size, mode, what))
                self._raised(number, name, head, error)
                raise
            end(form + GIVES, number, at, by, fh, off, size, mode, what, count)
            if form is not as_sum and size > LONG:
                self._turn()
            return count

        return write

    def _can_wait(self, name: str, args: tuple[Any, ...]) -> bool:
        """Not who opens what is not recorded: to ask for the status, or to end the recording."""
        return name in _WAIT and (name != "open" or self._node_of(args[0]).recorded)

    def _full(self, name: str, args: tuple[Any, ...]) -> WouldWait:
        """A call is to wait, as nobody takes the lines; it has not begun."""
        wait = WouldWait(self.room, lambda: getattr(self._vfs, name)(*args))
        wait.nonblock = False
        return wait

    def _head_of(self, name: str, arguments: str) -> str:
        """A call begins; the line of it up to what comes of it."""
        at = self._begin()
        self.calls += 1
        return f'{{"n":{self.calls},"at":{at},{self._by},"call":"{name}",{arguments}'

    def _raised(self, number: int, name: str, head: str, error: Exception) -> None:
        """A call has raised an error, or is to wait."""
        if isinstance(error, WouldWait):
            error.again = partial(self._again, number, error.again, name)
            self._say(f'{head}"waits":true')
        else:
            self._say(head + errno_of(error))

    def _again(self, number: int, again: Callable[[], Any], name: str) -> Any:
        """Go on with a call that was held."""
        at = self._begin()
        head = f'{{"of":{number},"at":{at},{self._by},"again":true,'
        try:
            result = again()
        except Exception as error:
            self._raised(number, name, head, error)
            raise
        return self._shown(number, name, head, result)

    def _shown(self, number: int, name: str, head: str, result: Any) -> Any:
        """A call has returned; returns what its caller gets."""
        if name in _STEPS:
            self._say(f'{head}"later":true')
            return self._work(number, name, result)
        if name != "open":
            self._say(head + GIVEN.get(name, nothing)(result))
            return result
        fh, left = result
        self._say(f'{head}"gives":{fh}' + ("" if left is None else ',"left":true'))
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
