"""Whether a played step is as recorded, and if not, which listed difference allows it.

    step, recorded, got ---> Judge.step() ---> "" | name of a difference | None: not allowed
                               |
                               +-- World: what the real driver knows at this step, and which
                                   of it is spoiled here by a difference before

A difference (differences.toml) says by what a step is and gives that it applies.  It may leave
things behind that are no longer as in the real driver; it spoils them.  A later step may then
differ too, but only in what hangs on the spoiled thing, and only until it is whole again:

    spoiled       what may differ then                      whole again
    content       reads, SEEK_END, stat, the listing        when the real driver and this one
    geometry      reads, writes, the listing                  empty the device
    position      read, write and lseek from there          when lseek gives the same in both
    descriptor    every step on it                          when it is closed
    mapping       every step on it                          when it is unmapped
    parameter     what ioctl says of it                     when it is set to what both take

Used by the tests of the recordings only.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import play

__all__ = ["DATA", "Cause", "Difference", "Judge", "load", "same"]

DATA = Path(__file__).with_name("differences.toml")

CUT = 4000
"""The driver ends its listing behind so many characters; a shorter one is whole."""

READS = {"read", "pread", "read_all", "readv", "read_bad", "sendfile", "mread"}
WRITES = {"write", "pwrite", "write_all", "writev", "write_bad"}
MOVES = {"read", "read_all", "readv", "read_bad", "sendfile", "write", "write_all", "write_bad"}
LISTS = {"fstat", "stat"}

Step = dict[str, Any]
Result = dict[str, Any]
COMMANDS = {number: name for name, number in play.IOCTLS.items()}
RANGES = {"ORDER": range(19), "QSET": range(1, 524_288)}


# -- the data file ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Cause:
    """One way in which a difference shows: a table `step` of the data file."""

    name: str
    op: list[str]
    when: str = ""
    flags: list[str] = field(default_factory=list)
    cmd: list[str] = field(default_factory=list)
    recorded: Result = field(default_factory=dict)
    got: Result = field(default_factory=dict)
    spoils: list[str] = field(default_factory=list)

    def applies(self, step: Step, recorded: Result, got: Result, world: World) -> bool:
        """Whether it is about this step, its recorded result and the one here."""
        return (
            step["op"] in self.op
            and set(self.flags) <= set(step.get("flags", ["O_RDWR"]))
            and (not self.cmd or step["cmd"] in self.cmd)
            and self.recorded.items() <= recorded.items()
            and self.got.items() <= got.items()
            and (not self.when or WHEN[self.when](step, recorded, got, world))
        )


@dataclass(frozen=True, eq=False)
class Command:
    """A shell command that shows a difference: a table `command` of the data file."""

    name: str
    runs: str = ""
    after: str = ""
    recorded: str = ""
    got: str = ""

    def applies(self, command: str, recorded: str, got: str, before: str) -> bool:
        """Whether it is about a command, what was recorded and what is printed here.

        Args:
            before: the commands since the device was last emptied, a line each.
        """
        return all(
            re.search(pattern, text, re.MULTILINE)
            for pattern, text in (
                (self.runs, command),
                (self.after, before),
                (self.recorded, recorded),
                (self.got, got),
            )
        )


@dataclass(frozen=True)
class Difference:
    """An entry of the data file."""

    name: str
    real: str
    here: str
    why: str
    steps: list[Cause]
    commands: list[Command]


def load(path: Path = DATA) -> list[Difference]:
    """The differences that are allowed."""
    with path.open("rb") as file:
        entries = tomllib.load(file)["difference"]
    return [
        Difference(
            **{key: entry[key].strip() for key in ("name", "real", "here", "why")},
            steps=[Cause(entry["name"], **table) for table in entry.get("step", [])],
            commands=[Command(entry["name"], **table) for table in entry.get("command", [])],
        )
        for entry in entries
    ]


# -- equality --------------------------------------------------------------------------------------


def same(recorded: Result, got: Result) -> bool:
    """Whether two results are equal; a listing may go on where the real one was cut."""
    if "text" in recorded and "text" in got:
        return not _other_devices(recorded["text"], got["text"])
    return recorded == got


def _other_devices(recorded: str, got: str) -> set[int]:
    """The devices of which two listings tell other things; -1 is what comes before them."""
    printed = re.sub("at (PTR|NULL)", "at " + "0" * 16, recorded).replace(":PTR", ":12345678")
    if len(printed) >= CUT and got.startswith(recorded):
        return set()
    ours, theirs = _blocks(got), _blocks(recorded)
    if len(printed) >= CUT:
        *_, last = theirs
        ours = {device: text for device, text in ours.items() if device in theirs}
        if ours.get(last, "").startswith(theirs[last]):
            ours[last] = theirs[last]
    return {device for device in {*ours, *theirs} if ours.get(device) != theirs.get(device)}


def _blocks(text: str) -> dict[int, str]:
    head, *rest = re.split(r"^Device (\d+):", text, flags=re.MULTILINE)
    return {-1: head} | {int(n): block for n, block in zip(rest[::2], rest[1::2], strict=True)}


# -- the real driver, as far as the recorded results tell ------------------------------------------


@dataclass
class Device:
    """A device; what is spoiled has a cause."""

    size: int = 0
    geometry: tuple[int | None, int | None] = (4, 500)
    mappings: int = 0
    spoiled: dict[str, Cause] = field(default_factory=dict)


@dataclass
class Descriptor:
    """An open file, shared by the descriptors that dup() makes of it."""

    device: int
    flags: set[str]
    pos: int = 0
    spoiled: Cause | None = None


class World:
    """What the real driver knows, and what of it is spoiled here."""

    def __init__(self) -> None:
        self.devices = [Device() for _ in range(4)]
        self.descriptors: dict[str, Descriptor] = {}
        self.extra: dict[str, tuple[int, Cause]] = {}
        """Descriptors that are open only here, with their devices."""
        self.maps: dict[str, tuple[int, Cause | None]] = {}
        """Mappings with their devices, and the cause if there is none here."""
        self.parameters: dict[str, int | None] = {"ORDER": 4, "QSET": 500}
        self.spoiled: dict[str, Cause] = {}
        """Parameters that are not what they are here."""
        self.here: dict[str, int] = {"ORDER": 4, "QSET": 500}
        """What they are here."""

    def possible(self, name: str, value: int) -> bool:
        """Whether a parameter may have that value here, with the other one as it is."""
        if value not in RANGES[name]:
            return False
        pair = self.here | {name: value}
        return (4096 << pair["ORDER"]) * pair["QSET"] < 1 << 31

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

    def position(self, step: Step) -> int:
        """Where a step begins."""
        found = self.descriptor(step)
        pos: int = step.get("at", found.pos if found else 0)
        return pos


def _command(step: Step) -> str:
    cmd: str = step["cmd"]
    return cmd if cmd in play.IOCTLS else COMMANDS.get(int(cmd, 16), "")


def _value(step: Step) -> int | None:
    """The value that an ioctl command sets; None if it sets none, or through a bad pointer."""
    name = _command(step)
    if name[:1] in ("T", "H"):
        value = step.get("arg", step.get("bad", 0)) & 0xFFFF_FFFF
        return value - (value >> 31 << 32)
    return step.get("ptr", step.get("readonly")) if name[:1] in ("S", "X") else None


def _appends_elsewhere(step: Step, recorded: Result, got: Result, world: World) -> bool:
    opened, device = world.descriptor(step), world.device(step)
    if opened is None or "O_APPEND" not in opened.flags or "errno" in got:
        return False
    unsure = opened.spoiled if "at" not in step else None
    return bool(unsure or device.spoiled or world.position(step) != device.size)


def _out_of_range(step: Step, recorded: Result, got: Result, world: World) -> bool:
    value = _value(step)
    return value is not None and not world.possible(_command(step)[1:], value)


def _fetches_from_nowhere(step: Step, recorded: Result, got: Result, world: World) -> bool:
    cmd = int(step["cmd"], 16) if step["cmd"] not in play.IOCTLS else play.IOCTLS[step["cmd"]]
    return bool(cmd >> 30 & 1 and cmd >> 16 & 0x3FFF and not {"ptr", "readonly"} & step.keys())


def _true_size(step: Step, recorded: Result, got: Result, world: World) -> bool:
    device = world.device(step)
    return got.get("size") == device.size or "content" in device.spoiled


def _behind_the_page(step: Step, recorded: Result, got: Result, world: World) -> bool:
    device, pos = world.device(step), world.position(step)
    order, qset = device.geometry
    if not order or not qset or not world.descriptor(step):
        return False
    quantum = 4096 << order
    if step["op"] in WRITES:
        count = len(play.data_of(step["data"]))
    else:
        count = min(step.get("n", step.get("max") or device.size), device.size - pos)
    end = (
        pos + count
        if step["op"].endswith("_all")
        else min(pos + count, pos - pos % quantum + quantum)
    )
    start = max(pos, quantum * qset)
    return start < end and (start % quantum + end - start) > 4096


WHEN: dict[str, Callable[[Step, Result, Result, World], bool]] = {
    "appends elsewhere": _appends_elsewhere,
    "behind the page of a later item": _behind_the_page,
    "device is mapped": lambda step, recorded, got, world: world.device(step).mappings > 0,
    "fetches from nowhere": _fetches_from_nowhere,
    "never returned": lambda step, recorded, got, world: bool(
        {"signal", "timeout"} & recorded.keys()
    ),
    "no bytes": lambda step, recorded, got, world: not play.data_of(step["data"]),
    "out of range": _out_of_range,
    "some bytes": lambda step, recorded, got, world: step["n"] > 0,
    "through a bad pointer": lambda step, recorded, got, world: "bad" in step,
    "true size": _true_size,
}


# -- the judge -------------------------------------------------------------------------------------


class Judge:
    """Judges the steps of one scenario, in order."""

    def __init__(self, differences: list[Difference]) -> None:
        self.causes = [cause for difference in differences for cause in difference.steps]
        self.world = World()
        self.used: set[Cause] = set()
        """What steps so far have fallen under, at once or as a consequence."""

    def step(self, step: Step, recorded: Result, got: Result) -> str | None:
        """ "" if the step is as recorded, else the difference it falls under; None: under none."""
        equal = same(recorded, got)
        applying = [c for c in self.causes if c.applies(step, recorded, got, self.world)]
        cause = None
        if not equal:
            cause = applying[0] if applying else self._consequence(step, recorded, got)
            if cause:
                self.used.add(cause)
        self._follow(step, recorded, got)
        for each in applying:
            self._spoil(each, step)
        if not applying:
            self._spread(step, recorded, got, cause)
        return "" if equal else cause and cause.name

    def _consequence(self, step: Step, recorded: Result, got: Result) -> Cause | None:
        """What allows a step to differ to which no difference applies."""
        world, op = self.world, step["op"]
        if op == "scullvmem":
            return self._listing(recorded, got)
        if op == "ioctl" and _command(step)[1:] in world.spoiled:
            return world.spoiled[_command(step)[1:]]
        name = step.get("out", step.get("fd", ""))
        if op not in ("open", "mmap") and name in world.extra:
            return world.extra[name][1]
        if (
            "map" in step
            and op != "mmap"
            and (missing := world.maps.get(step["map"], (0, None))[1])
        ):
            return missing
        spoiled = world.device(step).spoiled
        opened = world.descriptor(step)
        if opened and opened.spoiled and (op in MOVES or step.get("whence") == "CUR"):
            return opened.spoiled
        if op in READS | LISTS or step.get("whence") == "END" or op == "mwrite":
            return spoiled.get("content") or (spoiled.get("geometry") if op in READS else None)
        return spoiled.get("geometry") if op in WRITES else None

    def _listing(self, recorded: Result, got: Result) -> Cause | None:
        """A listing may differ in devices that are spoiled."""
        if not {"text"} <= recorded.keys() & got.keys():
            return None
        causes = [
            next(iter(self.world.devices[device].spoiled.values()), None) if device >= 0 else None
            for device in sorted(_other_devices(recorded["text"], got["text"]))
        ]
        return causes[0] if all(causes) else None

    def _spoil(self, cause: Cause, step: Step) -> None:
        """Note what is not as in the real driver any more."""
        world = self.world
        device = world.device(step)
        for thing in cause.spoils:
            if thing == "content":
                device.spoiled["content"] = cause
            elif thing == "geometry":
                if world.spoiled or device.geometry != tuple(world.parameters.values()):
                    device.spoiled["geometry"] = cause
            elif thing == "position":
                for name in ("fd", "out"):
                    opened = world.descriptors.get(step.get(name, ""))
                    if opened and "at" not in step:
                        opened.spoiled = cause
            elif thing == "descriptor":
                world.extra[step["fd"]] = step.get("dev", 0), cause
            elif thing == "mapping":
                world.maps[step["map"]] = world.maps[step["map"]][0], cause
            elif thing == "parameter":
                world.spoiled[_command(step)[1:]] = cause
            else:
                raise ValueError(f"{cause.name}: nothing is called {thing}")

    def _spread(self, step: Step, recorded: Result, got: Result, cause: Cause | None) -> None:
        """A step through something spoiled may spoil more."""
        op, device, opened = step["op"], self.world.device(step), self.world.descriptor(step)
        from_there = opened.spoiled if opened and op in MOVES else None
        if op in WRITES | {"mwrite"} and (cause or from_there):
            device.spoiled.setdefault("content", cause or from_there)
        if opened and cause and (op in MOVES or op == "lseek"):
            opened.spoiled = cause
        elif opened and op == "lseek" and "ret" in got and same(recorded, got):
            opened.spoiled = None

    # -- what the real driver does ---------------------------------------------------------------

    def _follow(self, step: Step, recorded: Result, got: Result) -> None:
        """Do in the world what the real driver did."""
        op = step["op"]
        if "skipped" in recorded and op != "close":
            return
        if op in MOVES or op in WRITES:
            self._transfer(step, recorded)
        elif handler := getattr(self, f"_follow_{op}", None):
            handler(step, recorded)

    def _transfer(self, step: Step, recorded: Result) -> None:
        opened, device = self.world.descriptor(step), self.world.device(step)
        if opened is None or ("errno" in recorded and "calls" not in recorded):
            return
        runs = recorded.get("calls", [[recorded.get("ret", recorded.get("len", 0)), 1]])
        end = self.world.position(step) + sum(n * times for n, times in runs)
        if step["op"] in WRITES:
            device.size = max(device.size, end)
        if "at" not in step:
            opened.pos = end

    def _follow_open(self, step: Step, recorded: Result) -> None:
        world, flags = self.world, set(step.get("flags", ["O_RDWR"]))
        device = world.devices[step.get("dev", 0)]
        opened = "errno" not in recorded
        if opened:
            world.descriptors[step["fd"]] = Descriptor(step.get("dev", 0), flags)
        # The driver's open comes before the kernel's look at O_DIRECT.
        reached = opened or "O_DIRECT" in flags
        if reached and "O_WRONLY" in flags and "O_PATH" not in flags and not device.mappings:
            device.size = 0
            order, qset = world.parameters.values()
            device.geometry = order, qset
            causes = list(world.spoiled.values())
            device.spoiled = {"geometry": causes[0]} if causes else {}

    def _follow_close(self, step: Step, recorded: Result) -> None:
        self.world.descriptors.pop(step["fd"], None)
        self.world.extra.pop(step["fd"], None)

    def _follow_dup(self, step: Step, recorded: Result) -> None:
        self.world.descriptors[step["to"]] = self.world.descriptors[step["fd"]]

    def _follow_lseek(self, step: Step, recorded: Result) -> None:
        opened = self.world.descriptor(step)
        if opened and "ret" in recorded:
            opened.pos = recorded["ret"]

    def _follow_fcntl_append(self, step: Step, recorded: Result) -> None:
        opened = self.world.descriptor(step)
        if opened:
            change = opened.flags.add if step["on"] else opened.flags.discard
            change("O_APPEND")

    def _follow_mmap(self, step: Step, recorded: Result) -> None:
        opened = self.world.descriptor(step)
        if opened and "errno" not in recorded:
            self.world.maps[step["map"]] = opened.device, None
            self.world.devices[opened.device].mappings += 1

    def _follow_munmap(self, step: Step, recorded: Result) -> None:
        device, _ = self.world.maps.pop(step["map"])
        self.world.devices[device].mappings -= 1

    def _follow_ioctl(self, step: Step, recorded: Result) -> None:
        world, name = self.world, _command(step)
        if name == "RESET":
            world.parameters = {"ORDER": 4, "QSET": 500}
            world.here = {"ORDER": 4, "QSET": 500}
            world.spoiled.clear()
        elif (value := _value(step)) is not None:
            world.parameters[name[1:]] = value
            if world.possible(name[1:], value):
                world.here[name[1:]] = value
                world.spoiled.pop(name[1:], None)
