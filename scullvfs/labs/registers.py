"""Lab 6: ioremap() gives addresses and takes no memory (LDD3, chapters 9 and 15)."""

from __future__ import annotations

import re

from scullvfs.mm.layout import PAGE_MASK, PAGE_SIZE

from .answers import number
from .lab import Lab, Task
from .numbers import Numbers
from .sight import Sight

__all__ = ["LAB"]

DEVICE = 0xFE00_0000
"""Where the registers of scull-demo are."""
PEEK = re.compile(r"([0-9a-f]{8,16}): ((?:[0-9a-f]{2} ){11}[0-9a-f]{2})")


def _options(numbers: Numbers) -> str:
    return "drivers=scullv:scull,mem=64M"


def _prepare(mnt: str, numbers: Numbers) -> None:
    """Nothing is mapped."""


def _tasks(numbers: Numbers) -> tuple[Task, ...]:
    value, count = numbers.pick("value", 1 << 28, (1 << 32) - 1), numbers.pick("count", 2, 6)
    phys = 0xD000_0000 + PAGE_SIZE * numbers.pick("page", 0, 4000) + numbers.pick("in", 3000, 4095)
    size = numbers.pick("size", 20_000, 900_000)
    entries = -(-(phys % PAGE_SIZE + size) // PAGE_SIZE)
    registers = b"SCUL" + value.to_bytes(4, "little") + count.to_bytes(4, "little")

    def mapped(sight: Sight) -> str:
        handle = sight.handles().get("regs")
        if handle is None:
            return "there is no handle 'regs'"
        if (handle.kind, handle.phys) != ("ioremap", DEVICE):
            return "'regs' maps something else"
        return ""

    def peeked(sight: Sight) -> str:
        handle = sight.handles().get("regs")
        found = PEEK.fullmatch(sight.text("sys/kernel/debug/mm/command").strip())
        if handle is None or found is None or int(found[1], 16) != handle.address:
            return "the last command was no peek of 12 bytes at the start of 'regs'"
        there = bytes.fromhex(found[2])
        if there == registers:
            return ""
        return f"SCRATCH was {there[7:3:-1].hex()}, COUNT {int.from_bytes(there[8:], 'little')}"

    def odd(sight: Sight) -> str:
        handle = sight.handles().get("odd")
        if handle is None:
            return "there is no handle 'odd'"
        behind = None if handle.phys is None else handle.phys + handle.size
        whole = (phys & PAGE_MASK) + entries * PAGE_SIZE
        if (handle.kind, handle.phys, behind) != ("ioremap", phys, whole):
            return "'odd' maps something else"
        return ""

    return (
        Task(f"Map the registers at {DEVICE:#x} as the handle regs.", mapped),
        Task(f"Map {size} bytes at the physical address {phys:#x} as the handle odd.", odd),
        number("scull1", "how many page-table entries map odd", lambda sight: entries),
        Task(
            f"Have SCRATCH be {value:#x} and COUNT be {count}, and peek at the 12 bytes of ID, "
            "SCRATCH and COUNT; that is to be the last command.",
            peeked,
        ),
    )


LAB = Lab(_options, _prepare, _tasks)
