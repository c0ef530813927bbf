"""Where the drivers' events happen, and what their functions are called in a call site.

Reads and writes are those that reach the driver: by the driver's rules each is a system call or a
part of one; by the rules of a regular file reads fill the page cache, and a write of several quanta
is one event for each.  As for the machine's events (`mm.tracepoints`) a traced method stands in the
place of the plain one while the event is on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING

from scullvfs.mm import Machine
from scullvfs.mm.fault_inject import Fault
from scullvfs.mm.replacing import Replaced
from scullvfs.mm.tracepoints import CALL_SITES, Maker, Recorder, Switch, tracing

from .dev import ScullDev
from .trace_events import EVENTS

if TYPE_CHECKING:
    from scullvfs.mm.access import Buffer, View
    from scullvfs.mm.workqueue import Left

    from .module import Module

__all__ = ["add_tracepoints"]


def _site(function: str) -> Callable[[FrameType], str]:
    """Names a driver's function, by the device, list or module that the frame is a method of."""

    def site(frame: FrameType) -> str:
        name = frame.f_locals["self"].driver.name
        return f"{name}_{function} [{name}]"

    return site


CALL_SITES.update(
    {
        "ScullDev.read": _site("read"),
        "ScullDev.write": _site("write"),
        "ScullDev.trim": _site("trim"),
        "Quanta._free": _site("trim"),
        "ItemList._free": _site("trim"),
        "Quanta.free_quanta": _site("trim"),
        "Quanta.free_qset": _site("trim"),
        "Quanta.fill": _site("write"),
        "Module.__init__": _site("init"),
        "Module.unload": _site("cleanup"),
    }
)


def _traced_open(device: ScullDev, plain: Replaced, recorder: Recorder) -> Replaced:
    def open(flags: int, later: bool = False) -> Left:
        try:
            left: Left = plain(flags, later)
        except OSError as error:
            recorder.one((device.name, flags, -(error.errno or 0)))
            raise
        recorder.one((device.name, flags, 0))
        return left

    return open


def _traced_read(device: ScullDev, plain: Replaced, recorder: Recorder) -> Replaced:
    name, one = device.name, recorder.one

    def read(pos: int, count: int) -> View:
        try:
            data: View = plain(pos, count)
        except OSError as error:
            one((name, pos, count, -(error.errno or 0)))
            raise
        one((name, pos, count, len(data)))
        return data

    return read


def _traced_write(device: ScullDev, plain: Replaced, recorder: Recorder) -> Replaced:
    name, one = device.name, recorder.one

    def write(pos: int, data: Buffer) -> int:
        try:
            count: int = plain(pos, data)
        except OSError as error:
            one((name, pos, len(data), -(error.errno or 0)))
            raise
        one((name, pos, len(data), count))
        return count

    return write


def _traced_trim(device: ScullDev, plain: Replaced, recorder: Recorder) -> Replaced:
    def trim(later: bool = False) -> Left:
        recorder.one((device.name, device.size, device.nr_quanta))
        left: Left = plain(later)
        return left

    return trim


def _traced_ioctl(device: ScullDev, plain: Replaced, recorder: Recorder) -> Replaced:
    name, one = device.name, recorder.one

    def ioctl(cmd: int, arg: int, data: bytes, capable: Callable[[], bool]) -> tuple[int, bytes]:
        try:
            result: tuple[int, bytes] = plain(cmd, arg, data, capable)
        except OSError as error:
            one((name, cmd, arg, -(error.errno or 0)))
            raise
        one((name, cmd, arg, result[0]))
        return result

    return ioctl


def _telling(devices: Sequence[ScullDev]) -> Switch:
    """Has reads by the rules of a regular file, which are no method of a device's, told of."""

    def switch(recorder: Recorder | None) -> None:
        for device in devices:
            device.tell_read = None if recorder is None else _tell(device, recorder)

    return switch


def _tell(device: ScullDev, recorder: Recorder) -> Callable[[int, int, int], None]:
    def tell(pos: int, count: int, result: int) -> None:
        recorder.one((device.name, pos, count, result))

    return tell


def _fault_teller(recorder: Recorder) -> Callable[[Fault, str, str], None]:
    return lambda attr, function, result: recorder.one((attr.name, function, result))


def add_tracepoints(machine: Machine, modules: Sequence[Module]) -> None:
    """Let the devices of all modules of a machine be traced."""
    devices = [device for module in modules for device in module.devices]

    def traced(name: str, make: Maker) -> Switch:
        return tracing(*((device, name, make) for device in devices))

    reads = traced("read", _traced_read)
    spans = _telling(devices)

    def switch_reads(recorder: Recorder | None) -> None:
        reads(recorder)
        spans(recorder)

    def switch_faults(recorder: Recorder | None) -> None:
        machine.faults.tell = None if recorder is None else _fault_teller(recorder)

    machine.trace.add(
        EVENTS,
        {
            "fault_inject": switch_faults,
            "scull_open": traced("open", _traced_open),
            "scull_read": switch_reads,
            "scull_write": traced("write", _traced_write),
            "scull_ioctl": traced("ioctl", _traced_ioctl),
            "scull_trim": traced("trim", _traced_trim),
        },
    )
