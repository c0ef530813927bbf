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
from collections.abc import Mapping

from .differences import Cause, Difference
from .play import LISTINGS
from .world import MOVES, READS, WRITES, Result, Step, World

__all__ = ["Judge", "same"]

CUT = 4000
"""The driver ends its listing behind so many characters; a shorter one is whole."""
WHOLE = {"scullseq"}
"""Listings that never end before."""

LISTS = {"fstat", "stat"}


# -- equality --------------------------------------------------------------------------------------


def same(step: Step, recorded: Result, got: Result) -> bool:
    """Whether two results are equal; a listing may go on where the real one was cut."""
    if "text" in recorded and "text" in got:
        return not _other_devices(step, recorded["text"], got["text"])
    return recorded == got


def _other_devices(step: Step, recorded: str, got: str) -> set[int]:
    """The devices of which two listings tell other things; -1 is what comes before them."""
    pointer = " 12345678" if step["op"] == "scullmem" else "12345678"
    printed = re.sub("at (PTR|NULL)", "at " + "0" * 16, recorded).replace(":PTR", ":" + pointer)
    cut = len(printed) >= CUT and step["op"] not in WHOLE
    if cut and got.startswith(recorded):
        return set()
    ours, theirs = _blocks(got), _blocks(recorded)
    if cut:
        *_, last = theirs
        ours = {device: text for device, text in ours.items() if device in theirs}
        if ours.get(last, "").startswith(theirs[last]):
            ours[last] = theirs[last]
    return {device for device in {*ours, *theirs} if ours.get(device) != theirs.get(device)}


def _blocks(text: str) -> dict[int, str]:
    head, *rest = re.split(r"^Device (\d+):", text, flags=re.MULTILINE)
    return {-1: head} | {int(n): block for n, block in zip(rest[::2], rest[1::2], strict=True)}


# -- the judge -------------------------------------------------------------------------------------


class Judge:
    """Judges the steps of one scenario, in order."""

    def __init__(
        self,
        differences: list[Difference],
        driver: str = "scullv",
        insmod: Mapping[str, int] | None = None,
    ) -> None:
        self.causes = [cause for difference in differences for cause in difference.steps]
        self.world = World(driver, insmod)
        self.used: set[Cause] = set()
        """What steps so far have fallen under, at once or as a consequence."""

    def step(self, step: Step, recorded: Result, got: Result) -> str | None:
        """ "" if the step is as recorded, else the difference it falls under; None: under none."""
        equal = same(step, recorded, got)
        applying = [c for c in self.causes if c.applies(step, recorded, got, self.world)]
        cause = None
        if not equal:
            cause = applying[0] if applying else self._consequence(step, recorded, got)
            if cause:
                self.used.add(cause)
        self.world.follow(step, recorded)
        for each in applying:
            self._spoil(each, step)
        if not applying:
            self._spread(step, recorded, got, cause)
        return "" if equal else cause and cause.name

    def _consequence(self, step: Step, recorded: Result, got: Result) -> Cause | None:
        """What allows a step to differ to which no difference applies."""
        world, op = self.world, step["op"]
        if op in LISTINGS:
            return self._listing(step, recorded, got)
        if op == "ioctl" and world.command(step)[1:] in world.spoiled:
            return world.spoiled[world.command(step)[1:]]
        name = step.get("out", step.get("fd", ""))
        if op not in ("open", "mmap") and name in world.extra:
            return world.extra[name][1]
        if "map" in step and op != "mmap" and (mapped := world.mapping(step)):
            return mapped
        spoiled = world.device(step).spoiled
        opened = world.descriptor(step)
        if opened and opened.spoiled and (op in MOVES or step.get("whence") == "CUR"):
            return opened.spoiled
        if op in READS | LISTS or step.get("whence") == "END" or op == "mwrite":
            return spoiled.get("content") or (spoiled.get("geometry") if op in READS else None)
        return spoiled.get("geometry") if op in WRITES else None

    def _listing(self, step: Step, recorded: Result, got: Result) -> Cause | None:
        """A listing may differ in devices that are spoiled."""
        if not {"text"} <= recorded.keys() & got.keys():
            return None
        causes = [
            next(iter(self.world.devices[device].spoiled.values()), None) if device >= 0 else None
            for device in sorted(_other_devices(step, recorded["text"], got["text"]))
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
                world.spoil_mapping(step, cause)
            elif thing == "parameter":
                world.spoiled[world.command(step)[1:]] = cause
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
        elif opened and op == "lseek" and "ret" in got and same(step, recorded, got):
            opened.spoiled = None
