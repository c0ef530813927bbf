"""The files of `proc/`: the machine's state in the kernel's text formats.

The short ones are functions from a machine to text, and `shown` says when they are called; the
long ones are listings, which `seq_file` reads line by line, two have numbers (`page`), and one has
RAM (`kcore`).  Addresses are shown as they are, as to root under kptr_restrict=1.  What is set of
single tasks is in `tasks`.  `fs/scullvfs/` has what the daemon says of itself, where Linux has what
a file system says of a mount.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from scullvfs.mm import Machine
from scullvfs.scull import Module, ScullProcmem

from .kcore import Kcore
from .meminfo import meminfo
from .node import Directory, Node
from .page import FrameFile, kpagecount, kpageflags
from .seq_file import Listing, Place, ScannedListing, SeqFile
from .shown import ShownFile, TextFile
from .slabinfo import slabinfo
from .tasks import ProcDirectory
from .vmallocinfo import Vmallocinfo
from .vmstat import buddyinfo, pagetypeinfo, zoneinfo

__all__ = [
    "TEXTS",
    "IomemFile",
    "Kmsg",
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


class DaemonFile(TextFile):
    """A file of the daemon's own words, which is no part of the machine."""

    recorded = False


class Kmsg(ScannedListing):
    """/proc/kmsg: the kernel log, oldest line first; reading it takes nothing away.

    A place is (0, number of a record or less), counted from the first one ever.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._log = machine.log

    def state(self) -> object:
        """How many records there have been."""
        return self._log.nr_records

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


def listings(machine: Machine, modules: Sequence[Module]) -> dict[str, tuple[int, Listing]]:
    """Name -> permissions, and the listing."""
    found: dict[str, tuple[int, Listing]] = {
        "kmsg": (0o400, Kmsg(machine)),
        "vmallocinfo": (0o400, Vmallocinfo(machine)),
    }
    for module in modules:
        found |= {name: (0o444, ScullProcmem(module)) for name in module.driver.listings}
    return found


def procfs(
    machine: Machine,
    modules: Sequence[Module],
    uid: int,
    gid: int,
    daemon: Mapping[str, Callable[[], str]] = {},
) -> ProcDirectory:
    """The directory `proc` of a machine with some modules loaded.

    Args:
        daemon: the files of `fs/scullvfs`: name -> what makes the text.
    """
    files: dict[str, Node] = {
        name: TextFile(partial(show, machine), permissions, uid, gid)
        for name, (permissions, show) in TEXTS.items()
    }
    files["iomem"] = IomemFile(machine, 0o444, uid, gid)
    files["kcore"] = Kcore(machine, 0o400, uid, gid)
    for name, frames in (("kpagecount", kpagecount), ("kpageflags", kpageflags)):
        files[name] = FrameFile(frames, machine, 0o400, uid, gid)
    for name, (permissions, listing) in listings(machine, modules).items():
        files[name] = SeqFile(listing, permissions, uid, gid)
    own = {name: DaemonFile(show, 0o444, uid, gid) for name, show in daemon.items()}
    files["fs"] = Directory.of({"scullvfs": Directory.of(own, uid, gid)}, uid, gid)
    directory = ProcDirectory(machine.faults.tasks, machine.running, uid, gid)
    for name, node in sorted(files.items()):
        directory.add(name, node)
    return directory
