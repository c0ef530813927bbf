"""`sys/kernel/debug/scull/`: what each device is made to do wrong, and all as it was again.

    reset               of all devices, and of all other faults of the machine
    NAMEn/reset         of this device: a true boolean puts everything back
    NAMEn/short_read    bytes that one call gives or takes at the most; 0 for all, or "random"
    NAMEn/short_write
    NAMEn/delay_us      microseconds that each call takes at least
    NAMEn/OPERATION/    one operation of it: when it fails, as any fault (`fault_files`), and
        errno               with what; 0 and it never does
        at                  from where on: `call N`, `byte N`, or just N; 0 from the start
        delay_us            microseconds, besides the device's

The files of a device are made when somebody looks at them: of thousands of devices few are broken.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from scullvfs.mm.fault_attr import KNOBS

from .device_faults import DeviceFaults
from .fault_files import knob_files, simple_attr
from .kstrtox import S64, kstrtobool_from_user, kstrtoint, kstrtonumber
from .node import Directory, LateDirectory, Node, refused
from .op_fault import BYTES, OPERATIONS, RANDOM, At, DeviceKnob, OpFault
from .show_store import ShowStoreFile

if TYPE_CHECKING:
    from scullvfs.mm.fault_inject import FaultInjection

    from .devices import DeviceFile

__all__ = ["scull_directory"]

LONGEST: Final = 64
"""Bytes of a value at the most."""

_ERRNOS: Final = {
    name: number
    for name, number in vars(errno).items()
    if name.startswith("E") and number != errno.ENOSYS
}
"""What a call can fail with, by its name.

With ENOSYS the kernel takes a call for one that the daemon does not know, and never makes it again
(Linux: fs/fuse/file.c:fuse_send_open(), fuse_file_fallocate(), fuse_lseek()).
"""
_NAMES: Final = {number: name for number, name in errno.errorcode.items() if name in _ERRNOS}


def scull_directory(
    files: Sequence[DeviceFile], faults: FaultInjection, uid: int, gid: int
) -> Directory:
    """The directory `scull`, with one of each device."""

    def make(file: DeviceFile) -> dict[str, Node]:
        return _device(DeviceFaults(file, faults), uid, gid)

    count = _NR_OF_DEVICE + len(OPERATIONS) * (1 + _NR_OF_OPERATION)
    nodes: dict[str, Node] = {"reset": _reset(faults.reset, uid, gid)}
    for file in files:
        directory = LateDirectory(uid, gid, partial(make, file), len(OPERATIONS), count)
        faults.late[file.device.name] = directory.make_names
        nodes[file.device.name] = directory
    return Directory.of(nodes, uid, gid)


_NR_OF_DEVICE: Final = 4
_NR_OF_OPERATION: Final = len(KNOBS) + 3


def _device(faults: DeviceFaults, uid: int, gid: int) -> dict[str, Node]:
    return {
        "reset": _reset(faults.reset, uid, gid),
        "short_read": _short(faults.short_read, uid, gid),
        "short_write": _short(faults.short_write, uid, gid),
        "delay_us": _delay(lambda: faults.delay_us.value, faults.delay_us.set, uid, gid),
        **{
            name: Directory.of(_operation(fault, uid, gid), uid, gid)
            for name, fault in faults.operations.items()
        },
    }


def _operation(fault: OpFault, uid: int, gid: int) -> dict[str, Node]:
    def store_errno(text: bytes) -> None:
        fault.set_error(_errno(text))

    def store_at(text: bytes) -> None:
        fault.set_at(_at(text, fault.operation in BYTES))

    return {
        "errno": _value(lambda: _NAMES.get(fault.error, "0"), store_errno, uid, gid),
        "at": _value(lambda: fault.at or "0", store_at, uid, gid),
        "delay_us": _delay(lambda: fault.delay_us, fault.set_delay, uid, gid),
        **knob_files(fault, uid, gid),
    }


def _value(
    show: Callable[[], object], store: Callable[[bytes], None], uid: int, gid: int
) -> ShowStoreFile:
    """A file with a value, that is written as a text."""

    def take(data: bytes) -> None:
        text = data.partition(b"\0")[0].removesuffix(b"\n")
        if len(data) > LONGEST:
            raise refused(errno.EINVAL)
        store(text)

    return ShowStoreFile(0o600, uid, gid, lambda: f"{show()}\n", take)


def _delay(
    show: Callable[[], int], store: Callable[[int], None], uid: int, gid: int
) -> ShowStoreFile:
    def take(data: bytes) -> None:
        store(simple_attr(data))

    return ShowStoreFile(0o600, uid, gid, lambda: f"{show()}\n", take)


def _short(knob: DeviceKnob, uid: int, gid: int) -> ShowStoreFile:
    def show() -> object:
        return "random" if knob.value == RANDOM else knob.value

    def store(text: bytes) -> None:
        knob.set(RANDOM if text == b"random" else kstrtonumber(text, 0, S64[1]))

    return _value(show, store, uid, gid)


def _reset(reset: Callable[[], None], uid: int, gid: int) -> ShowStoreFile:
    def take(data: bytes) -> None:
        value = kstrtobool_from_user(data)
        if value is None:
            raise refused(errno.EINVAL)
        if value:
            reset()

    return ShowStoreFile(0o200, uid, gid, None, take)


def _errno(text: bytes) -> int:
    """The errno that a text means, by its name, or by its number with or without a minus.

    Raises:
        OSError: EINVAL, there is none like that.
    """
    number = _ERRNOS.get(text.decode("ascii", "replace"))
    if number is None:
        number = abs(kstrtoint(text))
        if number and number not in _NAMES:
            raise refused(errno.EINVAL)
    return number


def _at(text: bytes, has_bytes: bool) -> At | None:
    """The place that a text means.

    Raises:
        OSError: EINVAL, it is none, or a byte of what has no bytes; ERANGE, too far.
    """
    unit, blank, number = text.rpartition(b" ")
    value = kstrtonumber(number, 0, S64[1])
    if not unit and not blank and not value:
        return None
    unit = unit or b"byte"
    if (unit != b"call" or not value) and (unit != b"byte" or not has_bytes):
        raise refused(errno.EINVAL)
    return At(unit.decode(), value)
