"""The files of `sys/kernel/debug/mm/`: commands are bytes from outside."""

from __future__ import annotations

import errno
import os
import re
import stat

import pytest

from scullvfs.fs.debugfs import debugfs
from scullvfs.fs.file import File
from scullvfs.fs.node import Directory
from scullvfs.mm import Machine
from scullvfs.mm.command_line import MAX_LINE
from scullvfs.mm.commands import MAX_BYTES
from scullvfs.mm.handles import MAX_HANDLES
from scullvfs.mm.workqueue import finish

from ..scull.helpers import fails


@pytest.fixture
def directory() -> Directory:
    """`sys/kernel/debug`, on 16 MiB of RAM."""
    return debugfs(Machine(mem=16 << 20), [], 0, 0)


@pytest.fixture
def mm(directory: Directory) -> Directory:
    """The directory `mm` of it."""
    mm = directory.entries[b"mm"]
    assert isinstance(mm, Directory)
    return mm


def file(directory: Directory, name: bytes) -> File:
    """A file of a directory."""
    node = directory.entries[name]
    assert isinstance(node, File)
    return node


def do(mm: Directory, data: bytes, pos: int = 0, append: bool = False) -> int:
    """Write to `command`."""
    return file(mm, b"command").open(os.O_WRONLY).write(pos, data, append)


def shown(mm: Directory, name: bytes = b"command") -> bytes:
    """What a file of it has, which is as long as its size says."""
    node = file(mm, name)
    node.looked_up(1)
    handle, text = node.open(os.O_RDONLY, 1), b""
    while part := bytes(handle.read(len(text), 1 << 20)):
        text += part
    assert node.size == len(text)
    return text


def test_permissions(mm: Directory) -> None:
    """They are the owner's alone, and a listing is not written to."""
    modes = {name: stat.S_IMODE(node.mode) for name, node in mm.entries.items()}
    assert modes == {b"command": 0o600, b"handles": 0o400}
    with fails(errno.EACCES):
        file(mm, b"handles").open(os.O_WRONLY)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_write_is_a_command(mm: Directory, end: bytes) -> None:
    """With a newline and without, wherever it is written; what it says is there to be read."""
    assert do(mm, b"vmalloc a 65536" + end) == 15 + len(end)
    assert shown(mm) == b"ffffc90000000000\n"
    assert do(mm, b"poke a 0 0x41" + end, pos=4711, append=True) == 13 + len(end)
    assert do(mm, b"peek a 0" + end) == 8 + len(end)
    assert shown(mm) == b"ffffc90000000000: 41\n"
    assert [line.split()[:4] for line in shown(mm, b"handles").splitlines()[1:]] == [
        [b"a", b"vmalloc", b"ffffc90000000000", b"65536"]
    ]


def test_an_open_file_keeps_its_text(mm: Directory) -> None:
    """A reader sees the answer of the moment of its open, as of any such file."""
    do(mm, b"kmalloc a 8")
    handle = file(mm, b"command").open(os.O_RDWR)
    before = bytes(handle.read(0, 100))
    assert handle.write(0, b"sizes 100", False) == 9
    assert bytes(handle.read(0, 100)) == before
    assert shown(mm) == b"128\n"


def test_truncated_first(mm: Directory) -> None:
    """The shell's `>` truncates the file, which changes nothing."""
    assert finish(file(mm, b"command").truncate(0)) is None
    assert b"vmalloc NAME SIZE\n" in shown(mm)


WRONG = {
    b"": errno.EINVAL,
    b"\n": errno.EINVAL,
    b"nothing": errno.EINVAL,
    b"vmalloc b": errno.EINVAL,
    b"vmalloc b x": errno.EINVAL,
    b"vmalloc b 4096\n\n": errno.EINVAL,
    b"vmalloc b 4096\nvmalloc c 4096\n": errno.EINVAL,
    b"vmalloc b 4096\0": errno.EINVAL,
    b"vmalloc b 4096\r\n": errno.EINVAL,
    b"vmalloc \xff 4096": errno.EINVAL,
    "vmalloc b ٤".encode(): errno.EINVAL,
    b"vmalloc b \xb2": errno.EINVAL,
    b"kmalloc b 1".ljust(MAX_LINE + 1): errno.EINVAL,
    b"kmalloc b 1" + bytes(1 << 20): errno.EINVAL,
    b"kmalloc b 1" + b" " * (1 << 20): errno.EINVAL,
    b"kmalloc b 1" + b"\n" * (1 << 20): errno.EINVAL,
    b"kmalloc b " + b"9" * (1 << 20): errno.EINVAL,
    b"kmalloc a 1": errno.EEXIST,
    b"free b": errno.ENOENT,
    b"free a": errno.EBUSY,
    b"vmalloc 12345678901234567890123456789012 1": errno.ENAMETOOLONG,
    b"get_free_pages b 11": errno.ENOMEM,
    b"vmalloc b 0": errno.ENOMEM,
    b"peek a 4096": errno.EFAULT,
    b"poke a -1 1": errno.EFAULT,
    b"poke g 4096 1": errno.EPERM,
}


@pytest.mark.parametrize("data", WRONG, ids=lambda data: f"{data[:25]} {len(data)}")
def test_refused(mm: Directory, data: bytes) -> None:
    """The errno says what kind of mistake it is, and what is read afterwards says it in words."""
    for line in (b"vmalloc a 4096", b"gfp g 0", b"vmap v 1 a"):
        do(mm, line)
    before, handles = shown(mm), shown(mm, b"handles")
    with fails(WRONG[data]):
        do(mm, data)
    assert shown(mm) != before
    assert shown(mm, b"handles") == handles


def test_refused_for_want_of_room() -> None:
    """As many handles as there can be, and an allocation that takes long, are refused."""
    machine = Machine(mem=64 << 20)
    mm = debugfs(machine, [], 0, 0).entries[b"mm"]
    assert isinstance(mm, Directory)
    with fails(errno.EFBIG):
        do(mm, b"vmalloc a %d" % (MAX_BYTES + 1))
    for number in range(MAX_HANDLES):
        do(mm, b"kmalloc %d 8" % number)
    with fails(errno.ENOSPC):
        do(mm, b"kmalloc a 8")
    assert len(shown(mm, b"handles").splitlines()) == MAX_HANDLES + 1


@pytest.mark.parametrize(
    ("arch", "entry"),
    [
        ("x86_64", "entry_SYSCALL_64_after_hwframe"),
        ("i386", "entry_SYSENTER_32"),
        ("arm64", "el0t_64_sync"),
    ],
)
def test_the_report_has_the_way_of_the_call(arch: str, entry: str) -> None:
    """From the command back to where a process enters the kernel of that architecture."""
    machine = Machine(16 << 20, arch)
    mm = debugfs(machine, [], 0, 0).entries[b"mm"]
    assert isinstance(mm, Directory)
    do(mm, b"vmalloc a 4096")
    with fails(errno.EFAULT):
        do(mm, b"peek a 4096")
    text = "\n".join(record.text for record in machine.log.records())
    _, trace = re.split("Call [Tt]race:\n", text)
    functions = re.findall(r"(?m)^ (\w+)$", trace)
    assert functions[:4] == ["mm_peek", "mm_command_write", "vfs_write", "ksys_write"]
    assert functions[-1] == entry


def test_validate_counts_what_is_held(directory: Directory, mm: Directory) -> None:
    """With handles alive the machine's books add up."""
    for line in (
        *(b"vmalloc a 65536", b"kmalloc k 100", b"kmalloc l 100000", b"get_free_pages g 3"),
        *(b"ioremap r 0xfe000000 4096", b"vmap v 16 g", b"free k", b"purge"),
    ):
        do(mm, line)
    validate = file(directory, b"validate")
    assert validate.open(os.O_WRONLY).write(0, b"1", False) == 1
    assert bytes(validate.open(os.O_RDONLY).read(0, 100)) == b"1\n"
