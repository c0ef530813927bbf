"""What a daemon says of itself: one JSON object, a file of its mount.

    jq . /mnt/scullv/proc/fs/scullvfs/status

The daemon makes it anew at every open; `status` reads it, from another process. Sizes are
in bytes, times in seconds. Imports neither pyfuse3 nor trio.
"""

import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any

import scullvfs
from scullvfs.fs.calls import Statistics
from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.fault_inject import FaultStatistics
from scullvfs.mm.page_alloc import PageStatistics
from scullvfs.mm.vmap import VmapStatistics
from scullvfs.mounts.answers import MOST_DEVICES, MOST_FAULTS
from scullvfs.options.table import MountOptions
from scullvfs.scull import Module
from scullvfs.text import unicode

__all__ = ["Report"]


class Report:
    """The report of one mount, made whenever it is called.

    Args:
        requests: how many requests came until now; None if nobody counts them.
        calls: name of each device -> kind of call -> its counters.
        lowlevel: whether the operations that pyfuse3 leaves out are in place.
    """

    def __init__(
        self,
        options: MountOptions,
        machine: Machine,
        modules: Sequence[Module],
        requests: Callable[[], int | None],
        calls: Callable[[], dict[str, Statistics]],
        lowlevel: Callable[[], bool],
    ) -> None:
        self._options = options
        self._machine = machine
        self._modules = modules
        self._requests = requests
        self._calls = calls
        self._lowlevel = lowlevel
        self._started = time.monotonic()

    def __call__(self) -> str:
        """The JSON, and a newline."""
        cpu, books = os.times(), self._machine.statistics()
        report = {
            "pid": os.getpid(),
            "version": scullvfs.__version__,
            "uptime": round(time.monotonic() - self._started, 3),
            "options": self._options_in_effect(),
            "ram": _ram(books.pages),
            "vmalloc": _vmalloc(books.vmap),
            "devices": sum(len(module.devices) for module in self._modules),
            "requests": self._requests(),
            "calls": _busiest(self._calls()),
            "faults": _faults(books.faults),
            "lowlevel": self._lowlevel(),
            "rss": _rss(),
            "cpu": round(cpu.user + cpu.system, 2),
        }
        return json.dumps(report) + "\n"

    def _options_in_effect(self) -> dict[str, Any]:
        """Those of the mount; parameters may have been changed since."""
        parameters: dict[str, int] = {}
        for module in self._modules:
            parameters |= module.statistics()
        return self._options.as_dict() | parameters | {"fsname": unicode(self._options.fsname)}


def _faults(books: FaultStatistics) -> dict[str, dict[str, int]]:
    """What has been made to fail, or may be; of very many those that come first."""
    shown = sorted(books.items(), key=lambda item: not item[1].armed)[:MOST_FAULTS]
    return {name: state._asdict() for name, state in shown}


def _busiest(calls: dict[str, Statistics]) -> dict[str, Statistics]:
    """The kinds of call that there were, of the devices that were called most, in their order.

    A mount may have a thousand of each driver.
    """
    made = {
        device: {kind: counters for kind, counters in kinds.items() if counters["calls"]}
        for device, kinds in calls.items()
    }
    number = {
        device: sum(each["calls"] for each in kinds.values()) for device, kinds in made.items()
    }
    most = sorted((device for device in made if number[device]), key=lambda device: -number[device])
    shown = {*most[:MOST_DEVICES]}
    return {device: kinds for device, kinds in made.items() if device in shown}


def _rss() -> int:
    """Not by our pid: /proc may be another pid namespace's, where that is somebody else's."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def _ram(pages: PageStatistics) -> dict[str, int]:
    return {"used": (pages.total - pages.free) * PAGE_SIZE, "total": pages.total * PAGE_SIZE}


def _vmalloc(space: VmapStatistics) -> dict[str, int]:
    """Addresses, guard pages included: in use, freed and not yet purged, and all there are."""
    return {
        "used": space.busy_pages * PAGE_SIZE,
        "lazy": space.lazy_pages * PAGE_SIZE,
        "total": space.total_pages * PAGE_SIZE,
    }
