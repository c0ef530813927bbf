"""ioctl(2) number by number: each of the 13 commands, by value and by pointer, and all others.

docs/ioctl.md drives them from C, and test_pages.py runs that.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ..scull.helpers import NUMBERS
from .helpers import read_all, shell

PARAMETERS = {"ORDER": 4, "QSET": 500}
"""What is behind the letters, and its value at load."""

PERL = """
use strict; use warnings;
open(my $device, '+<', $ARGV[0]) or die $!;
sub int_of { my $cell = shift; return unpack('i', $cell) }
my $cell = pack('i', 2);
ioctl($device, 0x40044b01, $cell) or die "set: $!";
print int_of($cell), ' ', int(ioctl($device, 0x4b04, 0)), "\\n";
$cell = pack('i', 5);
ioctl($device, 0xc0044b05, $cell) or die "exchange: $!";
print int_of($cell), ' ', int(ioctl($device, 0x4b06, 6)), "\\n";
ioctl($device, 0x80044b03, $cell) or die "get: $!";
print int_of($cell), "\\n";
print defined(ioctl($device, 0x4b02, 19)) ? 'set' : "$!", "\\n";
print defined(ioctl($device, 0x4b0d, 0)) ? 'known' : "$!", "\\n";
print ioctl($device, 0x4b00, 0), ' ', int(ioctl($device, 0x4b04, 0)), "\\n";
"""


def by_value(fd: int, name: str, arg: int = 0) -> int:
    """Call ioctl(2) with a number as its third argument; returns its result."""
    return fcntl.ioctl(fd, NUMBERS[name], arg)


def by_pointer(fd: int, name: str, value: int = 0) -> int:
    """Call ioctl(2) with a pointer to an int; returns what is in it then."""
    cell = bytearray(struct.pack("i", value))
    assert fcntl.ioctl(fd, NUMBERS[name], cell) == 0
    return int(struct.unpack("i", cell)[0])


def parameters(fd: int) -> tuple[int, int]:
    """Order and qset as the module has them."""
    return by_value(fd, "QORDER"), by_value(fd, "QQSET")


def refusal(fd: int, number: int, arg: int | bytearray = 0) -> str:
    """The name of the errno that an ioctl fails with; what it returns if it does not."""
    try:
        return str(fcntl.ioctl(fd, number, arg))
    except OSError as error:
        return errno.errorcode[error.errno or 0]


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_ioctl_every_letter(fd: int, parameter: str) -> None:
    """Each letter sets and returns what LDD3 says, one after the other."""
    initial = PARAMETERS[parameter]
    assert by_value(fd, "Q" + parameter) == initial
    assert by_pointer(fd, "G" + parameter, -77) == initial
    assert by_pointer(fd, "S" + parameter, 2) == 2
    assert by_value(fd, "Q" + parameter) == 2
    assert by_value(fd, "T" + parameter, 3) == 0
    assert by_pointer(fd, "G" + parameter) == 3
    assert by_pointer(fd, "X" + parameter, 5) == 3
    assert by_value(fd, "H" + parameter, 6) == 5
    assert by_value(fd, "H" + parameter, 1) == 6
    assert by_value(fd, "Q" + parameter) == 1
    assert parameters(fd) == tuple((PARAMETERS | {parameter: 1}).values())


def test_ioctl_reset(fd: int) -> None:
    """RESET restores both parameters, and takes no notice of its argument."""
    by_value(fd, "TORDER", 1)
    by_value(fd, "TQSET", 1)
    assert by_value(fd, "RESET", 12345) == 0
    assert parameters(fd) == (4, 500)


def test_ioctl_reset_forgets_the_mount_options(mount: Callable[[str], Path]) -> None:
    """RESET gives LDD3's values, not those of the mount."""
    fd = os.open(mount("mem=16M,order=1,qset=2") / "scullv0", os.O_RDONLY)
    try:
        assert parameters(fd) == (1, 2)
        by_value(fd, "RESET")
        assert parameters(fd) == (4, 500)
    finally:
        os.close(fd)


def test_ioctl_value_is_an_int(fd: int) -> None:
    """Of a 64-bit argument the driver takes the low 32 bits."""
    call = ctypes.CDLL(None, use_errno=True).ioctl
    call.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong)
    assert call(fd, NUMBERS["TORDER"], (1 << 32) + 5) == 0
    assert by_value(fd, "QORDER") == 5


@pytest.mark.parametrize(
    ("parameter", "values"), [("ORDER", (0, 18)), ("QSET", (1, 524287))], ids=["order", "qset"]
)
def test_ioctl_values_at_the_limits(fd: int, parameter: str, values: tuple[int, int]) -> None:
    """The smallest and the largest value can be set, by pointer and by value."""
    for value in values:
        for name, least in (("TORDER", 0), ("TQSET", 1)):
            by_value(fd, name, least)
        by_value(fd, "T" + parameter, value)
        assert by_pointer(fd, "G" + parameter) == value
        by_value(fd, "T" + parameter, values[0])
        by_pointer(fd, "S" + parameter, value)
        assert by_value(fd, "Q" + parameter) == value


@pytest.mark.parametrize("value", [-(1 << 31), -1, 19, 0x7FFFFFFF])
@pytest.mark.parametrize("letter", "STXH")
def test_ioctl_order_out_of_range(fd: int, letter: str, value: int) -> None:
    """An order that would crash the driver is EINVAL, and nothing changes."""
    check_out_of_range(fd, letter + "ORDER", value)


@pytest.mark.parametrize("value", [-(1 << 31), -1, 0, 65536, 524288, 0x7FFFFFFF])
@pytest.mark.parametrize("letter", "STXH")
def test_ioctl_qset_out_of_range(fd: int, letter: str, value: int) -> None:
    """A qset that would crash the driver is EINVAL, and nothing changes."""
    check_out_of_range(fd, letter + "QSET", value)


def check_out_of_range(fd: int, name: str, value: int) -> None:
    """The command fails and leaves the module and the caller's int alone."""
    by_value(fd, "TORDER", 3)
    by_value(fd, "TQSET", 7)
    cell = bytearray(struct.pack("i", value))
    assert refusal(fd, NUMBERS[name], cell if name[0] in "SX" else value) == "EINVAL"
    assert cell == struct.pack("i", value)
    assert parameters(fd) == (3, 7)


def unknown_numbers() -> list[int]:
    """Right numbers with each wrong size and direction, other numbers, other magics."""
    shapes = [direction << 30 | size << 16 for direction in range(4) for size in (0, 1, 2, 4, 8)]
    known = [shape | 0x4B00 | nr for shape in shapes for nr in range(13)]
    above = [shape | 0x4B00 | nr for shape in shapes for nr in (13, 14, 128, 255)]
    others = [shape | magic << 8 | 4 for shape in shapes for magic in (0x4A, 0x4C, 0x6B, 0xCB)]
    return [number for number in known + above + others if number not in NUMBERS.values()]


def test_ioctl_unknown_numbers(fd: int) -> None:
    """A wrong magic, a number above 12, a wrong size or direction: ENOTTY, nothing changes."""
    numbers = unknown_numbers()
    assert len(numbers) == 20 * (13 + 4 + 4) - 13
    cell = bytearray(b"\x03" * 8)
    assert {refusal(fd, number, cell) for number in numbers} == {"ENOTTY"}
    assert cell == b"\x03" * 8
    assert parameters(fd) == (4, 500)


@pytest.mark.parametrize(
    "number", [0x5401, 0x5413, 0x80081272, 0x80086601], ids=lambda number: f"{number:#x}"
)
def test_ioctl_of_other_devices(fd: int, number: int) -> None:
    """TCGETS, TIOCGWINSZ, BLKGETSIZE64 and FS_IOC_GETFLAGS are ENOTTY."""
    assert refusal(fd, number, bytearray(64)) == "ENOTTY"


def test_ioctl_of_regular_files(fd: int) -> None:
    """FIONREAD the kernel answers itself for a regular file: what is left to read."""
    os.write(fd, bytes(100))
    os.lseek(fd, 30, os.SEEK_SET)
    left = bytearray(4)
    fcntl.ioctl(fd, 0x541B, left)
    assert struct.unpack("i", left) == (70,)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_ACCMODE])
def test_ioctl_open_modes(scullv0: Path, flags: int) -> None:
    """It needs no permission of the descriptor, not even one to read or write."""
    fd = os.open(scullv0, flags)
    try:
        for parameter, initial in PARAMETERS.items():
            assert by_value(fd, "H" + parameter, 2) == initial
            assert by_pointer(fd, "X" + parameter, 3) == 2
            assert by_pointer(fd, "G" + parameter) == 3
        assert by_value(fd, "RESET") == 0
        assert parameters(fd) == (4, 500)
    finally:
        os.close(fd)


def test_ioctl_access_mode_3_neither_reads_nor_writes(scullv0: Path) -> None:
    """A descriptor opened with O_ACCMODE is for ioctl(2) alone, and does not empty the device."""
    scullv0.write_bytes(b"kept")
    fd = os.open(scullv0, os.O_ACCMODE)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.read(fd, 1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(fd, b"x")
    finally:
        os.close(fd)
    assert scullv0.read_bytes() == b"kept"


@pytest.mark.parametrize(
    "name",
    [
        "proc/kmsg",
        "proc/scullvmem",
        "sys/module/scullv/parameters/scullv_order",
        "sys/class/scullv/scullv0/order",
        "sys/class/scullv",
        ".",
    ],
)
def test_ioctl_not_a_device(mnt: Path, fd: int, name: str) -> None:
    """Files of proc and sys, and directories, know no command, and nothing changes."""
    other = os.open(mnt / name, os.O_RDONLY)
    try:
        for number in NUMBERS.values():
            assert refusal(other, number, bytearray(struct.pack("i", 2))) == "ENOTTY"
    finally:
        os.close(other)
    assert parameters(fd) == (4, 500)


@pytest.mark.parametrize("name", ["SORDER", "GORDER", "XORDER", "SQSET", "GQSET", "XQSET"])
@pytest.mark.parametrize("pointer", [0, 8, (1 << 64) - 4096], ids=["null", "low", "kernel"])
def test_ioctl_bad_pointer(fd: int, name: str, pointer: int) -> None:
    """A pointer to nowhere is EFAULT, and nothing changes."""
    call = ctypes.CDLL(None, use_errno=True).ioctl
    call.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong)
    assert call(fd, NUMBERS[name], pointer) == -1
    assert ctypes.get_errno() == errno.EFAULT
    assert parameters(fd) == (4, 500)


def test_ioctl_read_only_memory(fd: int) -> None:
    """eXchange has set the value, as in LDD3, when it cannot store the old one: EFAULT."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)
    zeros = libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    assert libc.ioctl(fd, NUMBERS["XORDER"], zeros) == -1
    assert ctypes.get_errno() == errno.EFAULT
    assert libc.munmap(zeros, 4096) == 0
    assert by_value(fd, "QORDER") == 0


def test_ioctl_is_of_the_module(mnt: Path, fd: int) -> None:
    """What is set through one device is asked through another, and through the link."""
    by_value(fd, "TORDER", 2)
    for name in ("scullv3", "scullv"):
        other = os.open(mnt / name, os.O_RDONLY)
        assert by_value(other, "QORDER") == 2
        os.close(other)


def test_ioctl_geometry_at_the_next_trim(mnt: Path, fd: int) -> None:
    """A device keeps its geometry until it is emptied, each for itself."""
    os.write(fd, b"x" * 65536)
    by_value(fd, "TORDER", 1)
    by_value(fd, "TQSET", 2)
    assert os.write(fd, bytes(100_000)) == 65536
    assert os.stat(mnt / "scullv0").st_blksize == os.stat(mnt / "scullv1").st_blksize == 65536

    (mnt / "scullv1").write_bytes(b"")
    assert os.stat(mnt / "scullv1").st_blksize == 8192
    assert os.stat(mnt / "scullv0").st_blksize == os.stat(mnt / "scullv2").st_blksize == 65536
    assert len(read_all(fd)) == 131072

    os.ftruncate(fd, 0)
    assert os.pwrite(fd, bytes(100_000), 0) == 8192
    assert "Device 0: qset 2, order 1, sz 8192" in (mnt / "proc/scullvmem").read_text()


def test_ioctl_keeps_the_content(fd: int) -> None:
    """No command empties the device or moves the position."""
    os.write(fd, b"content")
    for name in NUMBERS:
        if name[0] in "GSX":
            by_pointer(fd, name, 1)
        else:
            by_value(fd, name, 1)
    assert os.lseek(fd, 0, os.SEEK_CUR) == 7
    assert os.pread(fd, 100, 0) == b"content"


def test_ioctl_posix_semantics(mount: Callable[[str], Path]) -> None:
    """A device by the rules of a regular file takes the same commands."""
    fd = os.open(mount("mem=16M,semantics=file") / "scullv0", os.O_RDWR)
    try:
        assert by_value(fd, "HORDER", 2) == 4
        assert by_pointer(fd, "XORDER", 3) == 2
        assert refusal(fd, 0x4B0D) == "ENOTTY"
    finally:
        os.close(fd)


def test_ioctl_perl(scullv0: Path) -> None:
    """Perl, which returns `0 but true`, sees the same numbers and errors."""
    done = subprocess.run(
        ["perl", "-e", PERL, scullv0], capture_output=True, text=True, env={"LC_ALL": "C"}
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "2 2",
        "2 5",
        "6",
        "Invalid argument",
        "Inappropriate ioctl for device",
        "0 but true 4",
    ]


def test_ioctl_lsattr(scullv0: Path) -> None:
    """lsattr and chattr, which are ioctls, are refused and leave the device alone."""
    scullv0.write_bytes(b"kept")
    for command in ("lsattr $file", "chattr +i $file"):
        done = shell(command, file=scullv0)
        assert done.returncode == 1
        assert "Operation not supported" in done.stderr
    assert scullv0.read_bytes() == b"kept"
