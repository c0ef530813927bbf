"""What a daemon says of itself: one JSON object, an extended attribute of its mount's root.

    getfattr -n user.scullvfs.status --only-values /mnt/scullv | jq

The daemon makes it anew at every request; `status` reads it, from another process. Sizes are
in bytes, times in seconds. Imports neither pyfuse3 nor trio.
"""

import json
import os
import resource
import time
from collections.abc import Callable
from typing import Any, Final

import scullvfs
from scullvfs.fs.calls import Statistics
from scullvfs.mm import PAGE_SIZE
from scullvfs.mm.page_alloc import PageStatistics
from scullvfs.mm.vmap import VmapStatistics
from scullvfs.options.table import MountOptions
from scullvfs.scull import Module
from scullvfs.text import unicode

__all__ = ["Report"]

MOST_DEVICES: Final = 32
"""Devices whose calls are in a report."""


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
        module: Module,
        requests: Callable[[], int | None],
        calls: Callable[[], dict[str, Statistics]],
        lowlevel: Callable[[], bool],
    ) -> None:
        self._options = options
        self._module = module
        self._requests = requests
        self._calls = calls
        self._lowlevel = lowlevel
        self._started = time.monotonic()

    def __call__(self) -> bytes:
        """The JSON."""
        cpu, books = os.times(), self._module.machine.statistics()
        parameters = self._module.statistics()
        return json.dumps(
            {
                "pid": os.getpid(),
                "version": scullvfs.__version__,
                "uptime": round(time.monotonic() - self._started, 3),
                "options": self._options_in_effect(),
                "ram": _ram(books.pages),
                "vmalloc": _vmalloc(books.vmap),
                "devices": parameters.scullv_devs,
                "requests": self._requests(),
                "calls": _busiest(self._calls()),
                "lowlevel": self._lowlevel(),
                "rss": _rss(),
                "cpu": round(cpu.user + cpu.system, 2),
            }
        ).encode()

    def _options_in_effect(self) -> dict[str, Any]:
        """Those of the mount; order and qset may have been changed since."""
        parameters = self._module.statistics()
        return self._options.as_dict() | {
            "scullv_order": parameters.scullv_order,
            "scullv_qset": parameters.scullv_qset,
            "fsname": unicode(self._options.fsname),
        }


def _busiest(calls: dict[str, Statistics]) -> dict[str, Statistics]:
    """The kinds of call that there were, of the devices that were called most, in their order.

    Of all devices it would be more than an extended attribute can hold.
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
