"""The faults of a device without a mount: what stands on the path, and how they go together."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from scullvfs.fs.device_faults import DeviceFaults
from scullvfs.fs.devices import FALLOC_FL_KEEP_SIZE, DeviceFile, PosixFile
from scullvfs.fs.op_fault import RANDOM, At
from scullvfs.fs.waiting import Delayed
from scullvfs.mm import PAGE_SIZE, outside
from scullvfs.mm.replacing import LAYERS
from scullvfs.mm.sched import Task
from scullvfs.mm.workqueue import finish

from ..scull.helpers import fails
from .device_files import SIZE, new_file

P = PAGE_SIZE


@pytest.fixture(params=[DeviceFile, PosixFile])
def file(request: pytest.FixtureRequest) -> DeviceFile:
    """A device by each set of rules."""
    return new_file(request.param)


@pytest.fixture
def faults(file: DeviceFile) -> DeviceFaults:
    """Its faults."""
    return DeviceFaults(file, file.device.machine.faults)


def replaced(file: DeviceFile) -> set[str]:
    """Names of the methods of a file and of its open files that others stand in the place of."""
    parts = (file, *file.handles)
    return {name for part in parts for name in vars(part).get(LAYERS, {})}


SET: dict[str, Callable[[DeviceFaults], None]] = {
    "short_read": lambda faults: faults.short_read.set(1),
    "short_write": lambda faults: faults.short_write.set(RANDOM),
    "delay_us": lambda faults: faults.delay_us.set(5),
    "errno": lambda faults: faults.operations["ioctl"].set_error(5),
    "at": lambda faults: faults.operations["open"].set_at(At("call", 3)),
    "delay": lambda faults: faults.operations["llseek"].set_delay(3),
}
STANDS = {
    "short_read": {"read", "read_pages"},
    "short_write": {"write", "write_pages"},
    "delay_us": {
        "read",
        "read_pages",
        "write",
        "write_pages",
        "ioctl",
        "lseek",
        "fallocate",
        "open",
        "truncate",
    },
    "errno": {"ioctl"},
    "at": {"open"},
    "delay": {"lseek"},
}


@pytest.mark.parametrize("what", SET)
def test_on_the_path_only_while_set(file: DeviceFile, faults: DeviceFaults, what: str) -> None:
    """Of what is open and what is opened; nothing is left of it after a reset."""
    file.open(os.O_RDWR)
    assert replaced(file) == set()
    SET[what](faults)
    assert replaced(file) == STANDS[what]
    if what != "delay_us":
        file.open(os.O_RDWR)
    handles = [{*vars(handle).get(LAYERS, {})} for handle in file.handles]
    assert handles[0] == handles[-1]
    file.device.machine.faults.check()
    faults.reset()
    assert replaced(file) == set()
    for name in STANDS[what]:
        assert all(name not in vars(part) for part in (file, *file.handles))
    file.device.machine.faults.check()


def test_used_up_it_is_off_the_path(file: DeviceFile, faults: DeviceFaults) -> None:
    """What has failed as often as it was to costs nothing any more; written anew it comes again."""
    handle = file.open(os.O_RDWR)
    fault = faults.operations["ioctl"]
    for injected in (1, 2):
        fault.set_error(errno.EIO)
        assert (fault.probability, fault.times) == (100, 1)
        with fails(errno.EIO):
            handle.ioctl(0, 0, b"")
        assert (fault.times, fault.injected) == (0, injected)
        assert replaced(file) == set()
        with fails(errno.ENOTTY):
            handle.ioctl(0, 0, b"")


def test_released_files_are_forgotten(file: DeviceFile, faults: DeviceFaults) -> None:
    """Nobody keeps a handle."""
    count = len(file.handles)
    handle = file.open(os.O_RDWR)
    assert len(file.handles) == count + 1
    handle.release()
    assert len(file.handles) == count


def test_other_values_of_errno(faults: DeviceFaults) -> None:
    """What was set of the probability and of `times` stays; 0 leaves all as it is."""
    fault = faults.operations["write"]
    fault.probability, fault.times = 30, -1
    fault.set_error(errno.EIO)
    assert (fault.probability, fault.times) == (30, -1)
    fault.set_error(0)
    assert (fault.probability, fault.times, fault.is_armed) == (30, -1, False)


@pytest.mark.parametrize(
    ("pos", "count", "gives"),
    [
        (0, 9999, 9999),
        (0, 10_000, 10_000),
        (0, 10_001, 10_000),
        (9999, 2, 1),
        (10_000, 1, None),
        (20_000, 5, None),
        (SIZE, 10, 0),
        (SIZE + 5, 10, 0),
    ],
)
def test_read_at_a_byte(
    file: DeviceFile, faults: DeviceFaults, pos: int, count: int, gives: int | None
) -> None:
    """What ends before it is as ever, what reaches over it is cut short, the rest fails; a read at
    the end of the file reads no byte."""
    handle = file.open(os.O_RDWR)
    fault = faults.operations["read"]
    fault.set_at(At("byte", 10_000))
    fault.set_error(errno.EIO)
    if gives is None:
        with fails(errno.EIO):
            handle.read(pos, count)
    else:
        assert len(handle.read(pos, count)) == gives
    assert fault.times == (0 if gives is None else 1)


def test_nothing_is_cut_where_nothing_can_fail(file: DeviceFile, faults: DeviceFaults) -> None:
    """Not of who does not pass the task filter, nor where it has failed as often as it was to."""
    machine = file.device.machine
    handle = file.open(os.O_RDWR)
    fault = faults.operations["write"]
    fault.set_at(At("byte", 5))
    fault.set_error(errno.EIO)
    fault.task_filter = True
    assert handle.write(0, bytes(10), append=False) == 10
    machine.running.current = Task(os.getpid(), 0, 0)
    machine.faults.tasks.set_make_it_fail(os.getpid(), True)
    assert handle.write(0, bytes(10), append=False) == 5
    fault.times = 0
    assert handle.write(0, bytes(10), append=False) == 10


def test_fallocate_is_whole_or_fails() -> None:
    """One that has the byte in it allocates nothing."""
    file = new_file(PosixFile)
    faults = DeviceFaults(file, file.device.machine.faults)
    handle, fault = file.open(os.O_RDWR), faults.operations["fallocate"]
    fault.set_at(At("byte", 200_000))
    fault.set_error(errno.ENOSPC)
    before = file.allocated
    with fails(errno.ENOSPC):
        handle.fallocate(FALLOC_FL_KEEP_SIZE, 100_000, 100_001)
    assert file.allocated == before
    finish(handle.fallocate(FALLOC_FL_KEEP_SIZE, 100_000, 100_000))
    assert file.allocated > before


def test_calls_are_counted_from_when_at_is_set(file: DeviceFile, faults: DeviceFaults) -> None:
    """Before there is an errno, too, and anew each time."""
    handle, fault = file.open(os.O_RDWR), faults.operations["write"]
    for _ in range(2):
        fault.set_at(At("call", 3))
        assert handle.write(0, b"x", append=False) == 1
        fault.set_error(errno.EIO)
        assert handle.write(0, b"x", append=False) == 1
        with fails(errno.EIO):
            handle.write(0, b"x", append=False)


def test_fail_nth_goes_by_its_own(file: DeviceFile, faults: DeviceFaults) -> None:
    """Whatever the probability; the errno is what the operation has."""
    machine = file.device.machine
    handle, fault = file.open(os.O_RDWR), faults.operations["write"]
    fault.set_error(errno.EIO)
    fault.set(fault.knobs[1], 0)
    assert fault.knobs[1].name == "probability"
    assert handle.write(0, b"x", append=False) == 1
    machine.running.current = Task(os.getpid(), 0, 0)
    machine.faults.tasks.set_fail_nth(os.getpid(), 2)
    assert handle.write(0, b"x", append=False) == 1
    with fails(errno.EIO):
        handle.write(0, b"x", append=False)
    assert replaced(file) == set()


def test_delayed_write_keeps_its_data(file: DeviceFile, faults: DeviceFaults) -> None:
    """What it was given is gone by then; it counts as a call when it is made."""
    handle, fault = file.open(os.O_RDWR), faults.operations["write"]
    fault.set_delay(3_600_000_000)
    fault.set_at(At("call", 1))
    data = bytearray(b"data")
    with memoryview(data) as view, pytest.raises(Delayed) as caught:
        handle.write(3, view, append=False)
    data[:] = b"gone"
    assert fault.calls == 0
    with pytest.raises(Delayed):
        caught.value.again()
    fault.set_delay(0)
    assert caught.value.again() == 4
    assert bytes(handle.read(0, 8)) == b"\0\0\0data\0"


def test_delayed_open_and_truncate(file: DeviceFile, faults: DeviceFaults) -> None:
    """Nothing happens before; afterwards the open has a handle, and the truncate its steps."""
    faults.delay_us.set(3_600_000_000)
    with pytest.raises(Delayed) as opening:
        file.open(os.O_RDWR | os.O_TRUNC)
    with pytest.raises(Delayed) as truncating:
        file.truncate(7)
    assert file.size == SIZE
    faults.reset()
    finish(truncating.value.again())
    assert file.size == 7
    handle = opening.value.again()
    assert file.size == 0
    assert handle in file.handles
    assert file.device.machine.faults.statistics()["scullv0/delay_us"].injected == 2


def test_the_log_and_the_trace(
    file: DeviceFile, faults: DeviceFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has what is set, once; each call that it changes is told of, by its driver's name."""
    monkeypatch.setattr(outside, "monotonic_ns", lambda: 1 << 60)  # some microseconds are soon over
    machine = file.device.machine
    told: list[tuple[str, str, str]] = []
    machine.faults.tell = lambda fault, function, result: told.append(
        (fault.name, function, result)
    )
    handle = file.open(os.O_RDWR)
    for _ in range(2):
        faults.short_write.set(2)
    assert handle.write(0, b"data", False) == 2
    assert handle.write(0, b"d", False) == 1
    faults.short_write.set(RANDOM)
    faults.reset()
    faults.operations["ioctl"].set_delay(7)
    faults.delay_us.set(5)
    with pytest.raises(Delayed):
        file.truncate(0)
    assert told == [
        ("scullv0/short_write", "scullv_write [scullv]", "2"),
        ("scullv0/delay_us", "scullv_truncate [scullv]", "5 us"),
    ]
    assert [record.text.split("FAULT_INJECTION: ")[1] for record in machine.log.records()[-5:]] == [
        "scullv0/short_write is 2",
        "scullv0/short_write is random",
        "scullv0/short_write is 0",
        "scullv0/ioctl/delay_us is 7",
        "scullv0/delay_us is 5",
    ]


def test_state_and_repr(file: DeviceFile, faults: DeviceFaults) -> None:
    """What is set is in the machine's state, and in the books while it is armed."""
    faults.short_write.set(RANDOM)
    faults.operations["read"].set_at(At("byte", 5))
    faults.operations["read"].set_error(errno.EIO)
    state = file.device.machine.faults.state()["attrs"]
    assert state["scullv0/short_write"]["value"] == RANDOM
    assert state["scullv0/read"]["at"] == At("byte", 5)
    assert [*file.device.machine.faults.statistics()] == ["scullv0/short_write", "scullv0/read"]
    assert repr(faults) == "<DeviceFaults scullv0 on=['read', 'write']>"
    assert "short_write -1" in repr(faults.short_write)
    file.device.machine.check()


# the page cache


def test_fills_are_whole() -> None:
    """Never cut short; a page that fails is asked for by itself, which is what counts."""
    file = new_file(PosixFile)
    faults = DeviceFaults(file, file.device.machine.faults)
    handle, fault = file.open(os.O_RDWR), faults.operations["read"]
    faults.short_read.set(1)
    assert len(handle.read_pages(0, SIZE)) == SIZE
    fault.set_at(At("byte", 3 * P + 7))
    fault.set_error(errno.EIO)
    with fails(errno.EIO):  # read ahead
        handle.read_pages(0, 8 * P)
    assert fault.times == 1
    for page in range(3):
        assert len(handle.read_pages(page * P, P)) == P
    with fails(errno.EIO):
        handle.read_pages(3 * P, P)
    assert fault.times == 0


def test_what_nobody_has_heard_of_goes_with_the_errno() -> None:
    """Until somebody has heard of it the last failure stays on the path, and no longer."""
    file = new_file(PosixFile)
    faults = DeviceFaults(file, file.device.machine.faults)
    handle, fault = file.open(os.O_RDWR), faults.operations["read"]
    for forget in (lambda: fault.set_error(0), file.device.machine.faults.reset):
        fault.set_error(errno.EIO)
        with fails(errno.EIO):
            handle.read_pages(0, 8 * P)
        assert (fault.is_armed, replaced(file)) == (False, {"read", "read_pages"})
        forget()
        assert replaced(file) == set()
        fault.set_error(errno.EIO)
        with fails(errno.EIO):
            handle.read_pages(P, P)
        assert fault.times == 0
