"""The 13 commands of ioctl(2): their numbers, what they do, and what they refuse."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

import pytest

from scullvfs.mm import LAYOUTS
from scullvfs.scull import COMMANDS, MAX_ORDER, MAX_QSET, Module, scull_ioctl

from .helpers import NUMBERS, fails

PARAMETERS = [("ORDER", "scullv_order", 1, 7), ("QSET", "scullv_qset", 4, 300)]
"""Suffix of the commands, attribute, its value in these tests, another one."""

both = pytest.mark.parametrize(("suffix", "attribute", "old", "new"), PARAMETERS)

OUT_OF_RANGE = [
    ("ORDER", -1),
    ("ORDER", MAX_ORDER + 1),
    ("ORDER", -(1 << 31)),
    ("QSET", 0),
    ("QSET", -1),
    ("QSET", MAX_QSET + 1),
    ("QSET", (1 << 31) - 1),
]


def anybody() -> bool:
    """A caller without CAP_SYS_ADMIN."""
    return False


def call(module: Module, name: str, value: int = 0) -> tuple[int, bytes]:
    """Issue a command with `value` where it takes one: behind the pointer or as the argument."""
    device, number = module.devices[0], COMMANDS[name]
    if name[0] in "SX":
        return scull_ioctl(device, number, 0x7FFF_0000, struct.pack("=i", value), anybody)
    return scull_ioctl(device, number, value, b"", anybody)


def parameters(module: Module) -> tuple[int, int]:
    """The module's order and qset."""
    return module.parameters["scullv_order"], module.parameters["scullv_qset"]


def test_ioctl_numbers() -> None:
    """The commands have the numbers that C programs are compiled with."""
    assert COMMANDS == NUMBERS


@both
def test_ioctl_set(module: Module, suffix: str, attribute: str, old: int, new: int) -> None:
    """Set and Tell store the value and return 0."""
    for letter, value in (("S", new), ("T", new + 1)):
        assert call(module, letter + suffix, value) == (0, b"")
        assert module.parameters[attribute] == value


@both
def test_ioctl_get(module: Module, suffix: str, attribute: str, old: int, new: int) -> None:
    """Get stores the value through the pointer, Query returns it; nothing changes."""
    before = parameters(module)
    assert call(module, "G" + suffix) == (0, struct.pack("=i", old))
    assert call(module, "Q" + suffix, new) == (old, b"")
    assert parameters(module) == before


@both
def test_ioctl_exchange(module: Module, suffix: str, attribute: str, old: int, new: int) -> None:
    """eXchange and sHift store the new value and hand the old one out, each in its way."""
    assert call(module, "X" + suffix, new) == (0, struct.pack("=i", old))
    assert module.parameters[attribute] == new
    assert call(module, "H" + suffix, old) == (new, b"")
    assert module.parameters[attribute] == old


@both
def test_ioctl_touches_one_parameter(
    module: Module, suffix: str, attribute: str, old: int, new: int
) -> None:
    """Order and qset are set each for itself."""
    call(module, "T" + suffix, new)
    changed = {"scullv_order": 1, "scullv_qset": 4} | {attribute: new}
    assert {name: module.parameters[name] for name in changed} == changed


def test_ioctl_reset(module: Module) -> None:
    """RESET brings back 4 and 500, whatever the module was loaded with, and no device changes."""
    assert call(module, "RESET") == (0, b"")
    assert parameters(module) == (4, 500)
    assert {(device.measure, device.qset) for device in module.devices} == {(1, 4)}


@pytest.mark.parametrize("letter", "STXH")
@pytest.mark.parametrize(("suffix", "value"), OUT_OF_RANGE)
def test_ioctl_out_of_range(module: Module, letter: str, suffix: str, value: int) -> None:
    """A value that would crash the real driver is EINVAL and changes nothing."""
    before = parameters(module)
    with fails(errno.EINVAL):
        call(module, letter + suffix, value)
    assert parameters(module) == before


@pytest.mark.parametrize("letter", "STXH")
@pytest.mark.parametrize(
    ("suffix", "value"), [("ORDER", 0), ("ORDER", MAX_ORDER), ("QSET", 1), ("QSET", MAX_QSET)]
)
def test_ioctl_ends_of_the_range(module: Module, letter: str, suffix: str, value: int) -> None:
    """The smallest and the largest value are taken, if the other one is small."""
    module.parameters["scullv_order"], module.parameters["scullv_qset"] = 0, 1
    call(module, letter + suffix, value)
    assert call(module, "Q" + suffix) == (value, b"")


@pytest.mark.parametrize("letter", "STXH")
@pytest.mark.parametrize(("order", "qset"), [(4, 65536), (11, 500)])
def test_ioctl_overflow(module: Module, letter: str, order: int, qset: int) -> None:
    """A pair of which the driver would compute an item of 0 or fewer bytes is EINVAL."""
    call(module, "TORDER", order)
    with fails(errno.EINVAL):
        call(module, letter + "QSET", 65536)
    assert parameters(module) == (order, 4)
    module.parameters["scullv_order"], module.parameters["scullv_qset"] = 0, qset
    with fails(errno.EINVAL):
        call(module, letter + "ORDER", 11)
    assert parameters(module) == (0, qset)


def test_ioctl_argument_is_an_int(module: Module) -> None:
    """Of the argument of Tell and sHift 32 bits count, as in the driver."""
    scull_ioctl(module.devices[0], COMMANDS["TORDER"], (1 << 40) + 3, b"", anybody)
    assert module.parameters["scullv_order"] == 3
    with fails(errno.EINVAL):
        scull_ioctl(module.devices[0], COMMANDS["TORDER"], 0xFFFF_FFFF, b"", anybody)
    assert module.parameters["scullv_order"] == 3


@pytest.mark.parametrize(
    "cmd",
    [
        0x00004B0D,  # number above 12
        0x00004BFF,
        0x00004A02,  # another magic
        0x00005401,  # TCGETS, as isatty() asks
        0x00004B01,  # SORDER without its direction
        0x80044B01,  # ... with the wrong one
        0x40084B01,  # ... with the wrong size
        0xC0044B00,
        0,
        0xFFFF_FFFF,
    ],
)
def test_ioctl_unknown(module: Module, cmd: int) -> None:
    """Anything else is ENOTTY: another magic, number, size or direction."""
    before = parameters(module)
    with fails(errno.ENOTTY):
        scull_ioctl(module.devices[0], cmd, 1, b"\1\0\0\0", anybody)
    assert parameters(module) == before


@pytest.mark.parametrize("arch", ["x86_64", "i386", "arm64"])
@pytest.mark.parametrize(("name", "cmd"), [("SORDER", 0), ("unknown", 0x8004_4B0B)])
def test_ioctl_pointer_of_no_process(
    load: Callable[..., Module], arch: str, name: str, cmd: int
) -> None:
    """A pointer that reaches behind a process's addresses is EFAULT, before all else."""
    device = load(arch=arch).devices[0]
    # On an i386, too, those who call are processes of the host, with wider pointers.
    end = LAYOUTS["x86_64" if arch == "i386" else arch].task_size
    cmd = cmd or COMMANDS[name]
    with fails(errno.EFAULT):
        scull_ioctl(device, cmd, end - 3, b"\2\0\0\0", anybody)
    assert device.parameters["scullv_order"] == 1
    if name == "SORDER":
        assert scull_ioctl(device, cmd, end - 4, b"\2\0\0\0", anybody) == (0, b"")
        assert device.parameters["scullv_order"] == 2


def test_ioctl_holds_from_the_next_trim_on(module: Module) -> None:
    """A device takes what was set when it is trimmed."""
    first, second = module.devices[:2]
    call(module, "TORDER", 0)
    call(module, "TQSET", 9)
    first.trim()
    assert (first.measure, first.qset) == (0, 9)
    assert (second.measure, second.qset) == (1, 4)
