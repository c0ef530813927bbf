"""`scullvfs top`: a mount as it is now, again and again, in a terminal.

    title                     the mount, since when, its daemon
    gauges                    RAM, addresses, free blocks, slabs, calls
    trouble                   when the mount is gone, or does not answer
    the table of devices      as high as it has to be, and may be
    log, events               the last lines; side by side where there is room

The screen waits for nothing: the mount is asked by another process (`asker`), and while no answer
comes the screen says since when.  What was seen last stays until there is a mount again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from typing import Final, TypeVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.events import Resize
from textual.widgets import DataTable, Footer, Static

from scullvfs.errors import ExitStatus, ScullvfsError
from scullvfs.inherited import heeded
from scullvfs.text import shown

from .asker import DEVICE, LONGEST, MOMENT, Asker, answer_of
from .device import Device
from .gauges import gauges, title
from .marks import Marks
from .moment import Moment
from .rates import Rates, Sample, compare, cpu_share, total
from .screens import FaultsScreen, HelpScreen, PictureScreen
from .table import WIDTH, DeviceTable
from .tails import TailView

__all__ = ["LOWEST", "NARROWEST", "TopApp"]

T = TypeVar("T")

NARROWEST: Final = WIDTH
LOWEST: Final = 12
"""Columns and lines of a terminal that has room for it."""
SIDE_BY_SIDE: Final = 120
"""Columns from which on log and events are beside each other."""
PANEL: Final = 4
"""Lines that each of them has at least, its heading among them."""
FEWEST: Final = 4
"""Lines that the table has at least, if there are so many devices."""
FRAME: Final = 7
"""Lines of title, gauges and keys."""
PATIENCE: Final = 3.0
"""Seconds after which a mount that does not answer is said not to."""
LONG_AGO: Final = 10.0
"""Seconds over which the daemon's share of a CPU is told."""
CURVE: Final = 500
"""Looks that the curve of calls remembers."""
NO_EVENTS: Final = "nothing is recorded; 'scullvfs trace', or a line in set_event, begins it"


class TopApp(App[None]):
    """The screen.

    Args:
        path: of the mount, absolute.
        first: how it was at the first look.
        moments, devices: who asks it for moments, and for pictures.
        interval: seconds between two looks.
    """

    CSS = """
    * { scrollbar-size: 0 0; }
    #title { height: 1; text-style: reverse; }
    #gauges { height: 5; }
    #trouble { height: auto; display: none; text-style: bold; color: ansi_red; }
    DeviceTable { background: ansi_default; }
    DeviceTable > .datatable--header { text-style: bold; background: ansi_default; }
    DeviceTable > .datatable--header-hover { text-style: bold; background: ansi_default; }
    DeviceTable > .datatable--cursor {
        text-style: reverse; background: ansi_default; color: ansi_default;
    }
    DeviceTable > .datatable--hover { background: ansi_default; }
    #tails { height: 1fr; layout: vertical; }
    #tails.wide { layout: horizontal; }
    #log, #events { height: 1fr; width: 1fr; }
    .wide #log { margin-right: 1; }
    .gone #gauges, .gone DeviceTable, .gone #tails { text-style: dim; }
    """
    BINDINGS = [
        Binding("f,F", "faults", "Faults", key_display="F"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q,Q", "quit", "Quit", key_display="Q"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self,
        path: str,
        first: Moment,
        moments: Asker,
        devices: Asker,
        interval: float,
        marks: Marks,
    ) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self._path = path
        self._first = first
        self._moments = moments
        self._devices = devices
        self._interval = interval
        self._marks = marks
        self._now: Sample | None = None
        """As it was seen last."""
        self._curve: deque[float] = deque(maxlen=CURVE)
        self._asked_at: float | None = None
        """Since when an answer is waited for."""
        self._past: deque[Sample] = deque()
        """The last LONG_AGO seconds."""
        self._rates: Rates | None = None
        self._wrong = ""
        """What is; "", nothing."""
        self._small_view = Static(id="small")
        self._all_view = Container()
        self._title_view, self._gauges_view = Static(id="title"), Static(id="gauges")
        self._trouble_view = Static(id="trouble")
        self._table_view = DeviceTable(marks)
        self._tails_view = Container(id="tails")
        self._log_view = TailView("kernel log", "nothing", marks, id="log")
        self._events_view = TailView("events", NO_EVENTS, marks, id="events")
        self._lines: dict[Asker, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        self._drawing = asyncio.Lock()
        self.looks = 0
        """How often it was seen."""
        self.interrupted = False
        """Whether a signal has ended it."""

    def compose(self) -> ComposeResult:
        """From the top down."""
        yield self._small_view
        with self._all_view:
            yield self._title_view
            yield self._gauges_view
            yield self._trouble_view
            yield self._table_view
            with self._tails_view:
                yield self._log_view
                yield self._events_view
            yield Footer(compact=True)

    async def on_mount(self) -> None:
        """Show the first look, and begin to look again and again."""
        for signum in heeded():
            asyncio.get_running_loop().add_signal_handler(signum, self._interrupt)
        self._lines = {
            asker: await asyncio.open_unix_connection(sock=asker.socket, limit=LONGEST)
            for asker in (self._moments, self._devices)
        }
        self._see(self._first)
        self.set_interval(self._interval, self._look)
        self.set_interval(1.0, self._watch)

    async def on_unmount(self) -> None:
        """Wait for no answer any more."""
        for _, questions in self._lines.values():
            questions.transport.abort()

    def _interrupt(self) -> None:
        self._end_without_terminal()
        self.interrupted = True
        self.exit()

    def _end_without_terminal(self) -> None:
        """End here and now if the terminal is gone: to take the screen down waits for it for ever.

        Its thread that writes has ended with the error, and nobody empties its queue any more.
        """
        if not self.is_headless:
            try:
                os.tcgetpgrp(0)
            except OSError:
                os._exit(ExitStatus.INTERRUPTED)

    # -- the mount ---------------------------------------------------------------------------

    async def _answer(self, asker: Asker, kind: type[T], question: str) -> T:
        """Ask, without anybody waiting.

        Raises:
            ScullvfsError: as `Asker.ask`.
        """
        answers, questions = self._lines[asker]
        questions.write(f"{question}\n".encode())
        try:
            return answer_of(kind, await answers.readline())
        except (OSError, ValueError) as error:
            raise ScullvfsError(f"no answer: {error}") from None

    def _look(self) -> None:
        """Ask for another moment, unless one is asked for."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._ask()

    @work
    async def _ask(self) -> None:
        try:
            moment = await self._answer(self._moments, Moment, MOMENT)
            if self._table_view.is_attached:  # else it is being taken down
                self._see(moment)
        except (ScullvfsError, ValueError) as error:
            self._say_trouble(f"{error}; looking for it again")
        finally:
            self._asked_at = None

    def _watch(self) -> None:
        """Say since when there is no answer."""
        self._end_without_terminal()
        waited = 0.0 if self._asked_at is None else time.monotonic() - self._asked_at
        if waited >= PATIENCE:
            self._say_trouble(f"no answer for {waited:.0f} s from {shown(self._path)}")

    def _see(self, moment: Moment) -> None:
        """Show how it is now.

        Raises:
            ValueError: what it says makes no sense.
        """
        now, before = Sample.of(moment), self._now
        rows = compare(now, before)
        known = before is not None and now.seconds_since(before) > 0
        rates = total(rows) if known else None
        if not known:
            self._curve.clear()
            self._past.clear()
            self._table_view.forget()
        if rates is not None:
            self._curve.append(rates.calls)
        self._now, self._rates = now, rates
        self._past.append(now)
        while len(self._past) > 2 and now.seconds_since(self._past[1]) >= LONG_AGO:
            self._past.popleft()
        self.looks += 1
        self._say_trouble("")
        self._table_view.show(rows)
        self._log_view.show(moment.log)
        self._events_view.show(moment.events)
        self._draw()
        for screen in self.screen_stack:
            if isinstance(screen, FaultsScreen):
                screen.show(now.report["faults"])

    # -- the screen --------------------------------------------------------------------------

    def _say_trouble(self, words: str) -> None:
        """Say what is wrong; "", nothing is."""
        if words != self._wrong and self._all_view.is_attached:
            self._wrong = words
            self._all_view.set_class(bool(words), "gone")
            self._draw()

    def on_resize(self, event: Resize) -> None:
        """Make the best of the room, once it is known."""
        self.call_later(self._draw)

    def _draw(self) -> None:
        """All that depends on the room."""
        now = self._now
        width, height = self.size
        small = width < NARROWEST or height < LOWEST
        self._small_view.display, self._all_view.display = small, not small
        if small or now is None:
            words = f"top takes {NARROWEST}x{LOWEST}, and the terminal has {width}x{height}"
            self._small_view.update(words)
            return
        share = cpu_share(now, self._past[0])
        line = title(self._path, now.report, share, width)
        self._title_view.update(line, layout=False)
        above = gauges(now.moment, now.report, self._rates, self._curve, width, self._marks)
        self._gauges_view.update(Text("\n").join(above), layout=False)
        wide = width >= SIDE_BY_SIDE
        self._tails_view.set_class(wide, "wide")
        lines = [*Text(self._wrong).wrap(self.console, width)] if self._wrong else []
        self._trouble_view.display = bool(lines)
        if lines:
            self._trouble_view.update(Text("\n").join(lines))
        room = height - FRAME - len(lines)
        table = self._table_view
        fewest = min(table.row_count + 1, FEWEST)
        panels = min((room - fewest) // PANEL, 1 if wide else 2)
        self._tails_view.display = panels > 0
        self._events_view.display = wide or panels > 1
        table.fit(width)
        if not table.has_focus and table.screen.is_current:
            table.focus()
        lines_of_table = min(table.row_count + 1, room - panels * PANEL)
        if table.size.height != lines_of_table:
            table.styles.height = lines_of_table

    # -- the keys ----------------------------------------------------------------------------

    def action_help(self) -> None:
        """What there is."""
        self.push_screen(HelpScreen())

    def action_faults(self) -> None:
        """What is made to fail."""
        screen = FaultsScreen()
        self.push_screen(screen)
        if self._now is not None:
            self.call_after_refresh(screen.show, self._now.report["faults"])

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """The picture of that device."""
        name = event.row_key.value
        assert name is not None
        screen = PictureScreen(name, self._path, self._marks, lambda: self._picture(screen))
        self.push_screen(screen)

    @work
    async def _picture(self, screen: PictureScreen) -> None:
        """One after the other, as each question has its answer."""
        async with self._drawing:
            if not screen.is_attached:
                return
            question = f"{DEVICE} {screen.device}"
            try:
                screen.show(await self._answer(self._devices, Device, question))
            except ScullvfsError as error:
                screen.fail(str(error))
