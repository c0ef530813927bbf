"""What the records of a trace read like: lines, the heading above them, and pointers.

    cat-1234    [000] .....   123.456789: kfree: call_site=vfree ptr=00000000cbc2d59a
    `comm-pid`                `when`      `name` `show`, by the event

Linux: kernel/trace/trace_output.c, kernel/trace/trace.c
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from .layout import Layout
from .ring_buffer import TraceRecord
from .trace_events import PRINT, Printer

__all__ = ["HashedPointers", "Pointers", "heading", "line"]

HASHED: Final = 4096
"""So many hashed pointers are kept: the same ones come again and again."""


class Pointers:
    """Shows pointers as they are (%px)."""

    def __init__(self, layout: Layout) -> None:
        self._layout: Final = layout

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def pointer(self, address: int) -> str:
        """An address."""
        return self._layout.pointer(address)

    def page(self, pfn: int) -> str:
        """The address of a frame's struct page, likewise."""
        return self.pointer(self._layout.vmemmap + pfn * self._layout.page_struct_size)


class HashedPointers(Pointers):
    """Shows pointers by numbers that stand for them and tell nothing of them (%p).

    The same ones each time, on each machine with the same seed.
    Linux: lib/vsprintf.c:ptr_to_id()
    """

    def __init__(self, layout: Layout, seed: int) -> None:
        super().__init__(layout)
        self._key: Final = seed.to_bytes(8, "little", signed=seed < 0)
        self._hashed: dict[int, str] = {}
        """Address -> what is shown for it, of some that were shown."""

    def pointer(self, address: int) -> str:
        """What stands for an address; NULL stands for itself."""
        if not address:
            return super().pointer(address)
        shown = self._hashed.get(address)
        if shown is None:
            if len(self._hashed) >= HASHED:
                self._hashed.clear()
            data = address.to_bytes(8, "little", signed=address < 0)
            number = int.from_bytes(blake2b(data, digest_size=4, key=self._key).digest()) or 1
            shown = self._hashed[address] = super().pointer(number)
        return shown


def heading(entries: int, written: int, cpus: int) -> str:
    """What stands above all records: how many there are, and how many have come.

    Linux: kernel/trace/trace.c:print_func_help_header_irq()
    """
    return (
        "# tracer: nop\n#\n# entries-in-buffer/entries-written: "
        f"{entries}/{written}   #P:{cpus}\n{_COLUMNS}"
    )


def line(record: TraceRecord, printer: Printer, *, counted: bool) -> str:
    """A record as the kernel shows it.

    Args:
        counted: its time is a number, and no nanoseconds.

    Linux: kernel/trace/trace.c:print_trace_line(),
    kernel/trace/trace_output.c:trace_print_context()
    """
    when, pid, comm, event, values = record
    if counted:
        time = f" {when:12d}"
    else:
        seconds, rest = divmod(when, 1_000_000_000)
        time = f" {seconds:5d}.{rest // 1000:06d}"
    text = event.show(values, printer)
    if event is PRINT:
        text = text.partition("\0")[0]
    else:
        text += "\n"
    return f"{comm:>16}-{pid:<7} [000] .....{time}: {event.name}: {text}"


_COLUMNS: Final = """\
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""
