"""The conditions that differences.toml names: what holds at a step for a difference to apply.

Each is asked with the step, its recorded result, the one here, and what the real driver knows.
"""

from __future__ import annotations

from collections.abc import Callable

from . import play
from .world import WRITES, Result, Step, World

__all__ = ["WHEN"]

PAGE_SIZE = 4096
USED_UP = 576 << 20
"""Bytes in the devices, with which the 768 MiB of the real machine may be used up."""
MANY = 1_000_000
"""List items that take the real driver seconds."""


def _appends_elsewhere(step: Step, recorded: Result, got: Result, world: World) -> bool:
    opened, device = world.descriptor(step), world.device(step)
    if opened is None or "O_APPEND" not in opened.flags or "errno" in got:
        return False
    unsure = opened.spoiled if "at" not in step else None
    return bool(unsure or device.spoiled or world.position(step) != device.size)


def _taken(step: Step, recorded: Result, world: World) -> bool:
    """Whether the real driver has taken a value that scullvfs does not."""
    value = world.value(step)
    taken = recorded.get("errno") in (None, "EFAULT")  # EFAULT: the old one went nowhere
    return taken and value is not None and not world.possible(world.command(step)[1:], value)


def _larger(step: Step, world: World) -> bool:
    """Whether it asks for quanta that there is no room for in the objects of a cache."""
    value = world.value(step) if world.driver.objects else None
    return value is not None and world.command(step)[1:] == "QUANTUM" and value > world.largest


def _out_of_range(step: Step, recorded: Result, got: Result, world: World) -> bool:
    return _taken(step, recorded, world) and not _larger(step, world)


def _larger_than_the_objects(step: Step, recorded: Result, got: Result, world: World) -> bool:
    return _taken(step, recorded, world) and _larger(step, world)


def _fetches_from_nowhere(step: Step, recorded: Result, got: Result, world: World) -> bool:
    cmd = world.number(step)
    return bool(cmd >> 30 & 1 and cmd >> 16 & 0x3FFF and not {"ptr", "readonly"} & step.keys())


def _true_size(step: Step, recorded: Result, got: Result, world: World) -> bool:
    device = world.device(step)
    return got.get("size") == device.size or "content" in device.spoiled


def _mutex_is_locked(step: Step, recorded: Result, got: Result, world: World) -> bool:
    listing = step["op"] in play.LISTINGS
    return any(d.locked for d in (world.devices if listing else [world.device(step)]))


def _part_ends_with_quantum(step: Step, recorded: Result, got: Result, world: World) -> bool:
    quantum, pos = world.quantum(world.device(step)), world.position(step)
    counts = step["ns"] if step["op"] == "readv" else [len(play.data_of(d)) for d in step["datas"]]
    ends = [pos + sum(counts[: i + 1]) for i in range(len(counts) - 1)]
    return quantum > 0 and any(end % quantum == 0 for end in ends)


def _behind_the_page(step: Step, recorded: Result, got: Result, world: World) -> bool:
    device, pos = world.device(step), world.position(step)
    quantum, qset = world.quantum(device), device.geometry[1]
    if world.driver.measure != "ORDER" or quantum <= PAGE_SIZE or not qset:
        return False  # nothing is behind the page
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
    return start < end and (start % quantum + end - start) > PAGE_SIZE


WHEN: dict[str, Callable[[Step, Result, Result, World], bool]] = {
    "appends elsewhere": _appends_elsewhere,
    "behind the page of a later item": _behind_the_page,
    "device is mapped": lambda step, recorded, got, world: world.is_mapped(world.device(step)),
    "fetches from nowhere": _fetches_from_nowhere,
    "geometry is sound": lambda step, recorded, got, world: (
        "geometry" not in world.device(step).spoiled
    ),
    "larger than the objects": _larger_than_the_objects,
    "many items": lambda step, recorded, got, world: world.items(world.device(step)) > MANY,
    "memory is used up": lambda step, recorded, got, world: (
        sum(device.size for device in world.devices) >= USED_UP
    ),
    "mutex is locked": _mutex_is_locked,
    "no bytes": lambda step, recorded, got, world: not play.data_of(step["data"]),
    "out of range": _out_of_range,
    "part ends with a quantum": _part_ends_with_quantum,
    "private": lambda step, recorded, got, world: step.get("flags") == "private",
    "some bytes": lambda step, recorded, got, world: step["n"] > 0,
    "through a bad pointer": lambda step, recorded, got, world: "bad" in step,
    "true size": _true_size,
}
