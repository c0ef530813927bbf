"""The files of `proc/`: the machine's state in the kernel's text formats.

The short ones are functions from a machine to text, and `shown` says when they are called; the
long ones are listings, which `seq_file` reads line by line.
Addresses are shown as they are, as to root under kptr_restrict=1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from scullvfs.mm import Machine
from scullvfs.scull import Module, ScullvProcmem

from .meminfo import meminfo
from .seq_file import START, Listing, Place, SeqFile
from .shown import ShownFile
from .slabinfo import slabinfo
from .tree import Directory, Node
from .vmallocinfo import Vmallocinfo
from .vmstat import buddyinfo, pagetypeinfo, zoneinfo

__all__ = [
    "TEXTS",
    "IomemFile",
    "Kmsg",
    "TextFile",
    "Vmallocinfo",
    "buddyinfo",
    "iomem",
    "listings",
    "meminfo",
    "pagetypeinfo",
    "procfs",
    "slabinfo",
    "zoneinfo",
]


class TextFile(ShownFile):
    """A read-only file like those of procfs."""

    def __init__(self, show: Callable[[], str], permissions: int, uid: int, gid: int) -> None:
        super().__init__(permissions, uid, gid)
        self._show = show

    def text(self) -> str:
        """What there is to show now."""
        return self._show()


def iomem(machine: Machine, privileged: bool = True) -> str:
    """/proc/iomem: the physical address space; who may not know it sees zeros for addresses.

    Linux: kernel/resource.c:r_show()
    """
    resources = [tuple(resource) for resource in machine.iomem.resources]
    if not privileged:
        resources = [(0, 0, name) for _, _, name in resources]
    return "".join(f"{start:08x}-{end:08x} : {name}\n" for start, end, name in resources)


class IomemFile(ShownFile):
    """proc/iomem, which says more to its owner and to root than to others."""

    def __init__(self, machine: Machine, permissions: int, uid: int, gid: int) -> None:
        super().__init__(permissions, uid, gid)
        self._machine = machine

    def text(self) -> str:
        """What there is to show to who is looking."""
        return iomem(self._machine, self._machine.current.uid in (0, self.uid))


class Kmsg:
    """/proc/kmsg: the kernel log, oldest line first; reading it takes nothing away.

    A place is (0, number of a record or less), counted from the first one ever.
    """

    def __init__(self, machine: Machine) -> None:
        self._log = machine.log
        self._sized = (0, 0)
        """How many records there had been when the size was asked for last, and the size."""

    def size(self) -> int:
        """Of the lines that have not fallen out."""
        if self._log.nr_records != self._sized[0]:
            size = sum(len(line) for line, _ in self.lines(START))
            self._sized = (self._log.nr_records, size)
        return self._sized[1]

    def seek(self, pos: int) -> tuple[Place, int]:
        """From the oldest line on."""
        at, place = 0, START
        for line, behind in self.lines(START):
            if at + len(line) > pos:
                break
            at, place = at + len(line), behind
        return place, at

    def lines(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """Each with the place behind it."""
        for number, record in self._log.records_from(place[1]):
            yield f"{record}\n".encode("utf-8", "surrogateescape"), (0, number + 1)


TEXTS: Final[dict[str, tuple[int, Callable[[Machine], str]]]] = {
    "buddyinfo": (0o444, buddyinfo),
    "meminfo": (0o444, meminfo),
    "pagetypeinfo": (0o400, pagetypeinfo),
    "slabinfo": (0o400, slabinfo),
    "zoneinfo": (0o444, zoneinfo),
}
"""Name -> permissions, and what makes the text."""


def listings(module: Module) -> dict[str, tuple[int, Listing]]:
    """Name -> permissions, and the listing."""
    return {
        "kmsg": (0o400, Kmsg(module.machine)),
        "scullvmem": (0o444, ScullvProcmem(module)),
        "vmallocinfo": (0o400, Vmallocinfo(module.machine)),
    }


def procfs(module: Module, uid: int, gid: int) -> Directory:
    """The directory `proc` of a loaded module."""
    files: dict[str, Node] = {
        name: TextFile(partial(show, module.machine), permissions, uid, gid)
        for name, (permissions, show) in TEXTS.items()
    }
    files["iomem"] = IomemFile(module.machine, 0o444, uid, gid)
    for name, (permissions, listing) in listings(module).items():
        files[name] = SeqFile(listing, permissions, uid, gid)
    return Directory.of(dict(sorted(files.items())), uid, gid)
