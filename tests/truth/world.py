"""The real driver, as far as recorded results tell: what it knows at a step of a scenario.

    step, recorded ---> World.follow() ---> devices, descriptors, mappings, parameters

It is told what the real driver did, and does not know how the one here works; what is spoiled here
(`judge`) is noted beside each thing.  A driver is a row of what the recordings teach about it.

Used by the judge only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import play

if TYPE_CHECKING:
    from .differences import Cause

__all__ = ["MOVES", "READS", "WRITES", "Descriptor", "Device", "Result", "Step", "World"]

PAGE_SIZE = 4096
INT_MAX = (1 << 31) - 1

READS = {"read", "pread", "read_all", "readv", "read_bad", "sendfile", "mread"}
WRITES = {"write", "pwrite", "write_all", "writev", "write_bad"}
MOVES = READS - {"pread", "mread"} | WRITES - {"pwrite"}

Step = dict[str, Any]
Result = dict[str, Any]


@dataclass(frozen=True)
class Driver:
    """What is known of a driver; a quantum is an order or a number of bytes."""

    measure: str
    """What the commands call it that says how large a quantum is."""
    defaults: tuple[int, int]
    """Of that and of the qset, after RESET."""
    measures: range
    """That scullvfs takes."""
    qsets: range
    objects: str = ""
    """The parameter of insmod with the size of the objects that a quantum has to fit in."""

    def quantum(self, measure: int) -> int:
        """Bytes in a quantum."""
        return PAGE_SIZE << measure if self.measure == "ORDER" else measure


PAGES = range(1, INT_MAX // PAGE_SIZE + 1)
INTS = range(1, INT_MAX + 1)
DRIVERS = {
    "scullv": Driver("ORDER", (4, 500), range(19), PAGES),
    "scullp": Driver("ORDER", (0, 500), range(19), PAGES),
    "scullc": Driver("QUANTUM", (4000, 500), INTS, INTS, "scullc_quantum"),
    "scull": Driver("QUANTUM", (4000, 1000), INTS, INTS),
}


@dataclass
class Device:
    """A device; what is spoiled has a cause."""

    geometry: tuple[int | None, int | None]
    size: int = 0
    mappings: int = 0
    spoiled: dict[str, Cause] = field(default_factory=dict)
    locked: bool = False
    """Whether somebody died with its mutex, and nobody has got it since."""


@dataclass
class Descriptor:
    """An open file, shared by the descriptors that dup() makes of it."""

    device: int
    flags: set[str]
    pos: int = 0
    spoiled: Cause | None = None


class World:
    """What the real driver knows, and what of it is spoiled here.

    Args:
        name: the driver's.
        insmod: the parameters that it was loaded with.
    """

    def __init__(self, name: str = "scullv", insmod: Mapping[str, int] | None = None) -> None:
        self.name = name
        self.driver = DRIVERS[name]
        self.commands = play.IOCTLS[name]
        self._names = {number: command for command, number in self.commands.items()}
        measure, qset = self.driver.defaults
        object_size = (insmod or {}).get(self.driver.objects, measure)
        self.largest = cache_size(object_size) if self.driver.objects else INT_MAX
        """Bytes that a quantum may have."""
        self.devices = [Device((measure, qset)) for _ in range(4)]
        self.descriptors: dict[str, Descriptor] = {}
        self.extra: dict[str, tuple[int, Cause]] = {}
        """Descriptors that are open only here, with their devices."""
        self.maps: dict[str, tuple[int, Cause | None]] = {}
        """Mappings with their devices, and the cause if there is none here."""
        self.extra_maps: dict[str, tuple[int, Cause]] = {}
        """Mappings that are only here, with their devices."""
        self.parameters: dict[str, int | None] = {self.driver.measure: measure, "QSET": qset}
        self.spoiled: dict[str, Cause] = {}
        """Parameters that are not what they are here."""
        self.here: dict[str, int] = {self.driver.measure: measure, "QSET": qset}
        """What they are here."""

    # -- what a step is about --------------------------------------------------------------------

    def possible(self, name: str, value: int) -> bool:
        """Whether a parameter may have that value here, with the other one as it is."""
        if value not in (self.driver.qsets if name == "QSET" else self.driver.measures):
            return False
        pair = self.here | {name: value}
        quantum = self.driver.quantum(pair[self.driver.measure])
        return quantum <= self.largest and quantum * pair["QSET"] <= INT_MAX

    def number(self, step: Step) -> int:
        """The number of an ioctl command."""
        cmd: str = step["cmd"]
        return self.commands[cmd] if cmd in self.commands else int(cmd, 16)

    def command(self, step: Step) -> str:
        """Its name, "" if it is none of the driver's."""
        return self._names.get(self.number(step), "")

    def value(self, step: Step) -> int | None:
        """The value that it sets; None if it sets none, or through a bad pointer."""
        name = self.command(step)
        if name[:1] in ("T", "H"):
            value: int = step.get("arg", step.get("bad", 0)) & 0xFFFF_FFFF
            return value - (value >> 31 << 32)
        return step.get("ptr", step.get("readonly")) if name[:1] in ("S", "X") else None

    def quantum(self, device: Device) -> int:
        """Bytes in a quantum of a device, 0 where that is not known or no sound number."""
        measure = device.geometry[0]
        sound = measure is not None and 0 <= measure <= self.driver.measures[-1]
        return self.driver.quantum(measure) if sound else 0

    def descriptor(self, step: Step) -> Descriptor | None:
        """The descriptor that a step goes through."""
        return self.descriptors.get(step.get("out", step.get("fd", "")))

    def device(self, step: Step) -> Device:
        """The device that a step is about, or changes."""
        if "map" in step and "fd" not in step:
            return self.devices[self.maps.get(step["map"], (0, None))[0]]
        name = step.get("out", step.get("fd", ""))
        if step["op"] != "open" and name in self.extra:
            return self.devices[self.extra[name][0]]
        found = None if step["op"] == "open" else self.descriptor(step)
        return self.devices[found.device if found else step.get("dev", 0)]

    def items(self, device: Device) -> int:
        """List items that a device has, by its size."""
        itemsize = self.quantum(device) * (device.geometry[1] or 0)
        return device.size // itemsize if itemsize > 0 else 0

    def position(self, step: Step) -> int:
        """Where a step begins."""
        found = self.descriptor(step)
        pos: int = step.get("at", found.pos if found else 0)
        return pos

    def mapping(self, step: Step) -> Cause | None:
        """Why a mapping is only here, or only there."""
        only_there = self.maps.get(step["map"], (0, None))[1]
        return only_there or self.extra_maps.get(step["map"], (0, None))[1]

    def spoil_mapping(self, step: Step, cause: Cause) -> None:
        """Note that a mapping that was just tried is only here, or only there."""
        name, opened = step["map"], self.descriptor(step)
        if name in self.maps:
            self.maps[name] = self.maps[name][0], cause
        elif opened:
            self.extra_maps[name] = opened.device, cause

    def is_mapped(self, device: Device) -> bool:
        """Whether a device is mapped here, or there."""
        return device.mappings > 0 or any(
            self.devices[index] is device for index, _ in self.extra_maps.values()
        )

    # -- what the real driver does ---------------------------------------------------------------

    def follow(self, step: Step, recorded: Result) -> None:
        """Do what the real driver did."""
        op = step["op"]
        if "skipped" in recorded:
            if op == "close":
                self.extra.pop(step["fd"], None)
            elif op == "munmap":
                self.extra_maps.pop(step["map"], None)
            return
        self._lock(step, recorded)
        if op in MOVES | WRITES:
            self._transfer(step, recorded)
        elif handler := getattr(self, f"_follow_{op}", None):
            handler(step, recorded)

    def _lock(self, step: Step, recorded: Result) -> None:
        """Who dies in a read or write leaves the device's mutex behind; it may be got later."""
        if step["op"] in (READS | WRITES) - {"mread", "writev"} or trims(step):
            device = self.device(step)
            device.locked = "signal" in recorded or (device.locked and "timeout" in recorded)

    def _transfer(self, step: Step, recorded: Result) -> None:
        opened, device = self.descriptor(step), self.device(step)
        if opened is None or ("errno" in recorded and "calls" not in recorded):
            return
        runs = recorded.get("calls", [[recorded.get("ret", recorded.get("len", 0)), 1]])
        end = self.position(step) + sum(n * times for n, times in runs)
        if step["op"] in WRITES:
            device.size = max(device.size, end)
        if "at" not in step:
            opened.pos = end

    def _follow_open(self, step: Step, recorded: Result) -> None:
        flags = set(step.get("flags", ["O_RDWR"]))
        device = self.devices[step.get("dev", 0)]
        opened = "ret" in recorded
        if opened and not in_child(step):
            self.descriptors[step["fd"]] = Descriptor(step.get("dev", 0), flags)
        # The driver's open comes before the kernel's look at O_DIRECT.  Who waits for the mutex is
        # killed there, who has it goes on to the end.
        reached = opened or "O_DIRECT" in flags or ("timeout" in recorded and not device.locked)
        if reached and trims(step) and not device.mappings:
            device.size = 0
            measure, qset = self.parameters.values()
            device.geometry = measure, qset
            causes = list(self.spoiled.values())
            device.spoiled = {"geometry": causes[0]} if causes else {}

    def _follow_close(self, step: Step, recorded: Result) -> None:
        self.descriptors.pop(step["fd"], None)
        self.extra.pop(step["fd"], None)

    def _follow_dup(self, step: Step, recorded: Result) -> None:
        self.descriptors[step["to"]] = self.descriptors[step["fd"]]

    def _follow_lseek(self, step: Step, recorded: Result) -> None:
        opened = self.descriptor(step)
        if opened and "ret" in recorded:
            opened.pos = recorded["ret"]

    def _follow_fcntl_append(self, step: Step, recorded: Result) -> None:
        opened = self.descriptor(step)
        if opened:
            change = opened.flags.add if step["on"] else opened.flags.discard
            change("O_APPEND")

    def _follow_mmap(self, step: Step, recorded: Result) -> None:
        opened = self.descriptor(step)
        if opened and "errno" not in recorded:
            self.maps[step["map"]] = opened.device, None
            self.devices[opened.device].mappings += 1

    def _follow_munmap(self, step: Step, recorded: Result) -> None:
        device, _ = self.maps.pop(step["map"])
        self.devices[device].mappings -= 1

    def _follow_ioctl(self, step: Step, recorded: Result) -> None:
        name = self.command(step)
        if recorded.get("errno") not in (None, "EFAULT"):
            return
        if name == "RESET":
            measure, qset = self.driver.defaults
            self.parameters = {self.driver.measure: measure, "QSET": qset}
            self.here = {self.driver.measure: measure, "QSET": qset}
            self.spoiled.clear()
        elif (value := self.value(step)) is not None:
            self.parameters[name[1:]] = value
            if self.possible(name[1:], value):
                self.here[name[1:]] = value
                self.spoiled.pop(name[1:], None)


def trims(step: Step) -> bool:
    """Whether it is an open that empties the device."""
    flags = step.get("flags", ["O_RDWR"]) if step["op"] == "open" else []
    return "O_WRONLY" in flags and "O_PATH" not in flags


def in_child(step: Step) -> bool:
    """Whether the player leaves it to a child, with which what it opens goes."""
    return bool(step.get("guard") or "uid" in step)


def cache_size(object_size: int) -> int:
    """Bytes that an object of scullc's cache takes: whole cache lines, or part of one if small.

    Linux: mm/slab_common.c:calculate_alignment(), SLAB_HWCACHE_ALIGN
    """
    align = 64
    while object_size <= align // 2 and align > 8:
        align //= 2
    return -(-object_size // align) * align
