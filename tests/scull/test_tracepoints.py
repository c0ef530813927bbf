"""The drivers' events, and the call sites in the machine's."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.trace_format import format_text
from scullvfs.mm.workqueue import finish
from scullvfs.scull import DRIVERS, Module, ScullDev, posix
from scullvfs.scull.ioctl import commands
from scullvfs.scull.trace_events import EVENTS
from scullvfs.scull.tracepoints import add_tracepoints

from .helpers import fails


def loaded(name: str = "scullv", mem: int = 64 << 20) -> tuple[Machine, ScullDev]:
    """A machine with one member of the family, whose devices can be traced, and the first one."""
    machine = Machine(mem)
    module = Module(machine, DRIVERS[name])
    add_tracepoints(machine, [module])
    return machine, module.devices[0]


def lines(machine: Machine) -> list[str]:
    """What was recorded since the last time."""
    return [line.partition(": ")[2] for line in machine.trace.take(1 << 30).splitlines()]


@pytest.mark.parametrize("name", DRIVERS)
def test_calls(name: str) -> None:
    """Device, position, count and result of each, as the driver sees it."""
    machine, device = loaded(name)
    dev, quantum = f"{name}0", device.quantum
    assert machine.trace.set_event("scull", on=True)
    device.write(0, b"x" * (quantum + 10))
    device.read(quantum - 5, 100)
    device.read(1 << 20, 100)
    numbers = commands(device.driver)
    device.ioctl(numbers["QQSET"], 0, b"", lambda: True)
    with fails(errno.ENOTTY):
        device.ioctl(0x1234, 7, b"", lambda: True)
    left = device.open(os.O_WRONLY)
    assert left is None
    assert lines(machine) == [
        f"scull_write: dev={dev} pos=0 count={quantum + 10} ret={quantum}",
        f"scull_read: dev={dev} pos={quantum - 5} count=100 ret=5",
        f"scull_read: dev={dev} pos={1 << 20} count=100 ret=0",
        f"scull_ioctl: dev={dev} cmd={numbers['QQSET']:#x} arg=0x0 ret={device.qset}",
        f"scull_ioctl: dev={dev} cmd=0x1234 arg=0x7 ret=-{errno.ENOTTY}",
        f"scull_trim: dev={dev} size={quantum} quanta=1",
        f"scull_open: dev={dev} flags={os.O_WRONLY:#x} ret=0",
    ]
    machine.trace.set_event("scull", on=False)
    device.write(0, b"x")
    device.ioctl(numbers["QQSET"], 0, b"", lambda: True)
    assert lines(machine) == []
    machine.check()


def test_rules_of_a_regular_file() -> None:
    """A read is one event, a write one for each quantum."""
    machine, device = loaded()
    machine.trace.set_event("scull", on=True)
    posix.write_span(device, 0, b"x" * (device.quantum + 10))
    assert len(posix.read_span(device, 0, 1 << 20)) == device.quantum + 10
    finish(device.truncating(0, later=False))
    assert lines(machine) == [
        f"scull_write: dev=scullv0 pos=0 count={device.quantum + 10} ret={device.quantum}",
        f"scull_write: dev=scullv0 pos={device.quantum} count=10 ret=10",
        f"scull_read: dev=scullv0 pos=0 count={1 << 20} ret={device.quantum + 10}",
        f"scull_trim: dev=scullv0 size={device.quantum + 10} quanta=2",
    ]


def test_write_that_fails() -> None:
    """Its result is the errno, negative as in the kernel."""
    machine, device = loaded(mem=4 << 20)
    machine.trace.set_event("scull_write", on=True)
    with fails(errno.ENOMEM):
        for number in range(100):
            device.write(number * device.quantum, b"x")
    assert lines(machine)[-1].endswith(f"count=1 ret=-{errno.ENOMEM}")


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("scull", "kmalloc"),
        ("scullc", "kmem_cache_alloc"),
        ("scullp", "mm_page_alloc"),
        ("scullv", "alloc_vmap_area"),
    ],
)
def test_memory_of_each_member(name: str, event: str) -> None:
    """What its quanta come from is seen to happen, by its functions, and so is their end."""
    machine, device = loaded(name)
    machine.trace.set_event(":", on=True)
    device.write(0, b"x")
    text = machine.trace.take(1 << 20)
    assert f" {event}: " in text
    assert f"kmalloc: call_site={name}_write [{name}] ptr=" in text
    device.trim()
    text = machine.trace.take(1 << 20)
    assert f"kfree: call_site={name}_trim [{name}] ptr=" in text
    assert (": kmem_cache_free: " in text) == (name == "scullc")
    assert f"call_site={name}_trim [{name}] ptr=" in text
    device.fill(0)
    device.write(5 * device.itemsize, b"x")
    text = machine.trace.take(1 << 20)
    assert f"call_site={name}_write [{name}]" in text
    finish(device.truncating(1, later=False))
    text = machine.trace.take(1 << 20)
    freed = [line for line in text.splitlines() if " kfree: " in line and "=vfree " not in line]
    assert len(freed) >= 5, text
    assert all(f"call_site={name}_trim [{name}]" in line for line in freed)


def test_module_is_named() -> None:
    """Whoever unloads it."""
    machine = Machine(16 << 20)
    machine.trace.set_event("kmem", on=True)
    module = Module(machine)
    assert "call_site=scullv_init [scullv]" in machine.trace.take(1 << 20)
    module.unload()
    assert "call_site=scullv_cleanup [scullv]" in machine.trace.take(1 << 20)


def test_filter_by_device() -> None:
    """The name of the device is a text."""
    machine, device = loaded()
    trace = machine.trace
    trace.set_filter(trace.files["scull", "scull_write"], 'dev ~ "scullv*" && ret < 0')
    trace.set_event("scull_write", on=True)
    device.write(0, b"x")
    assert lines(machine) == []
    trace.set_filter(trace.files["scull", "scull_write"], "dev == 'scullv0' && count == 1")
    device.write(0, b"x")
    assert len(lines(machine)) == 1


def test_formats() -> None:
    """Each field has a place, and what C prints has as many values."""
    for event in EVENTS:
        text = format_text(event, struct.calcsize("P"))
        assert text.count("\tfield:") == 4 + len(event.fields)
        assert event.print_fmt.count("%") == len(event.fields)
