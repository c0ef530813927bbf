"""`sys/kernel/debug/fail_function/`, and `sys/kernel/slab/CACHE/failslab`."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from scullvfs.fs.file import File
from scullvfs.fs.node import Directory, Node, Symlink
from scullvfs.fs.root import build_tree
from scullvfs.mm import Machine
from scullvfs.mm.sched import Task
from scullvfs.scull import Module
from scullvfs.scull.faults import add_faults
from scullvfs.scull.ioctl import scull_ioctl

from ..scull.helpers import fails

DEBUG = "sys/kernel/debug"
INJECT = f"{DEBUG}/fail_function/inject"


class Files:
    """A tree, whose files are used by their paths."""

    def __init__(self, arch: str = "x86_64") -> None:
        self.machine = Machine(8 << 20, arch=arch)
        self.machine.running.current = Task(os.getpid(), 0, 0)
        self.module = Module(self.machine)
        add_faults(self.machine, [self.module])
        self.tree = build_tree(self.machine, [self.module], uid=7, gid=8, mode=0o664)

    def node(self, path: str) -> Node | None:
        """What is there, by looking its names up one after the other."""
        node: Node | None = self.tree.root
        for name in path.split("/"):
            assert node is not None
            node = node.lookup(name.encode())
        return node

    def file(self, path: str) -> File:
        """A file that is there."""
        node = self.node(path)
        assert isinstance(node, File)
        return node

    def read(self, path: str) -> str:
        """What it says."""
        return bytes(self.file(path).open(os.O_RDONLY).read(0, 1 << 20)).decode()

    def write(self, path: str, data: bytes) -> int:
        """Write at once; returns how much is taken."""
        return self.file(path).open(os.O_WRONLY).write(0, data, False)

    def names(self, path: str) -> set[str]:
        """Those of a directory."""
        directory = self.node(path)
        assert isinstance(directory, Directory)
        return {name.decode() for name, _ in directory} - {".", ".."}


@pytest.fixture
def files() -> Files:
    """Of a machine with scullv loaded."""
    return Files()


def test_functions_come_and_go(files: Files) -> None:
    """A name chosen has a directory, in the order of the choice; ! takes it away, blanks all."""
    plain = files.names(f"{DEBUG}/fail_function")
    assert {"inject", "injectable", "probability", "times"} < plain
    assert files.read(INJECT) == ""
    assert files.write(INJECT, b" scullv_write \n") == 15
    assert files.write(INJECT, b"should_failslab") == 15
    assert files.read(INJECT) == "scullv_write [scullv]\nshould_failslab\n"
    chosen = {"scullv_write", "should_failslab"}
    assert files.names(f"{DEBUG}/fail_function") == plain | chosen
    assert files.write(INJECT, b"!scullv_write\n") == 14
    assert files.node(f"{DEBUG}/fail_function/scullv_write") is None
    assert files.read(INJECT) == "should_failslab\n"
    assert files.write(INJECT, b"\n") == 1
    assert files.names(f"{DEBUG}/fail_function") == plain


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b"scullv_nothing", errno.EINVAL),
        (b"scullp_write", errno.EINVAL),  # which is not loaded
        (b"vmap", errno.ERANGE),
        (b"scullv_read", errno.EBUSY),
        (b"!scullv_write", errno.ENOENT),
        (b"!", errno.ENOENT),
        (b"scullv_write x", errno.EINVAL),
        (b"\xff\xfe", errno.EINVAL),
        (b"x" * (1 << 20), errno.EINVAL),
    ],
)
def test_names_that_are_refused(files: Files, data: bytes, number: int) -> None:
    """With the kernel's errno, and nothing changes."""
    files.write(INJECT, b"scullv_read")
    with fails(number):
        files.write(INJECT, data)
    assert files.read(INJECT) == "scullv_read [scullv]\n"


@pytest.mark.parametrize(
    ("data", "count"), [(b"\0scullv_write", 13), (b"", 0), (b" " * 4096, 512), (b"\n", 1)]
)
def test_blanks_clear(files: Files, data: bytes, count: int) -> None:
    """A name ends at a NUL, and of a long text 512 bytes are taken."""
    files.write(INJECT, b"scullv_read")
    assert files.write(INJECT, data) == count
    assert files.read(INJECT) == ""


def test_injectable(files: Files) -> None:
    """Each with what it may return; it is a link to the list, which all may read."""
    link = files.node(f"{DEBUG}/fail_function/injectable")
    assert isinstance(link, Symlink)
    assert link.target == b"../error_injection/list"
    lines = files.read(f"{DEBUG}/error_injection/list").splitlines()
    assert "scullv_open [scullv]\tERRNO" in lines
    assert "should_fail_alloc_page\tTRUE" in lines
    assert "vmalloc_noprof\tNULL" in lines
    assert stat.S_IMODE(files.file(f"{DEBUG}/error_injection/list").mode) == 0o444
    for line in lines:
        files.write(INJECT, line.split()[0].encode())


@pytest.mark.parametrize(("arch", "digits"), [("x86_64", 16), ("i386", 8)])
def test_retval(arch: str, digits: int) -> None:
    """EINVAL at first; without a sign, in hexadecimal, as wide as a pointer."""
    files = Files(arch)
    files.write(INJECT, b"scullv_write")
    path = f"{DEBUG}/fail_function/scullv_write/retval"
    assert files.read(path) == f"{'f' * (digits - 2)}ea\n"
    assert files.write(path, b"0x" + b"f" * (digits - 1) + b"b\n") == digits + 3
    assert files.read(path) == f"{'f' * (digits - 1)}b\n"
    refused = {
        errno.EINVAL: (b"0", b"5", b"-5", b"x", b"", b"\0", b"4096"),
        errno.ERANGE: (b"0x1" + 16 * b"0", b"9" * (1 << 20)),
    }
    for number, texts in refused.items():
        for text in texts:
            with fails(number):
                files.write(path, text)
    assert files.read(path) == f"{'f' * (digits - 1)}b\n"


def test_retval_of_other_types(files: Files) -> None:
    """NULL is 0 and TRUE 1, and nothing else."""
    for name, value in (("vmalloc_noprof", 0), ("should_fail_alloc_page", 1)):
        files.write(INJECT, name.encode())
        path = f"{DEBUG}/fail_function/{name}/retval"
        assert files.read(path) == f"{value}\n"
        assert files.write(path, b"%d" % value) == 1
        with fails(errno.EINVAL):
            files.write(path, b"%d" % (1 - value))


def test_retval_of_one_that_is_gone(files: Files) -> None:
    """Who has it open still gets ENOENT."""
    files.write(INJECT, b"scullv_write")
    handle = files.file(f"{DEBUG}/fail_function/scullv_write/retval").open(os.O_RDWR)
    files.write(INJECT, b"")
    with fails(errno.ENOENT):
        handle.write(0, b"0xfffffffffffffffb", False)


def arm(files: Files, name: str, times: bytes = b"-1") -> None:
    """Have a function fail with EIO, each time."""
    files.write(INJECT, name.encode())
    files.write(f"{DEBUG}/fail_function/{name}/retval", b"0xfffffffffffffffb")
    files.write(f"{DEBUG}/fail_function/probability", b"100")
    files.write(f"{DEBUG}/fail_function/times", times)
    files.write(f"{DEBUG}/fail_function/verbose", b"1")


def test_functions_of_a_driver(files: Files) -> None:
    """Each fails as it is entered, and nothing has happened; of all devices."""
    device, other = files.module.devices[:2]
    device.write(0, b"x" * 100)
    calls = {
        "open": lambda: device.open(os.O_WRONLY),
        "read": lambda: device.read(0, 10),
        "write": lambda: other.write(0, b"y"),
        "ioctl": lambda: device.ioctl(0x4B00, 0, b"", lambda: True),
    }
    state = files.module.state()
    for name, call in calls.items():
        arm(files, f"scullv_{name}")
        with fails(errno.EIO):
            call()
        files.write(INJECT, b"")
        assert files.module.state() == state
    assert bytes(device.read(0, 10)) == b"x" * 10
    assert device.ioctl.__func__ is scull_ioctl


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (b"0xfffffffffffff001", errno.EIO),
        (b"0xfffffffffffffe00", errno.EIO),
        (b"0x" + b"f" * 16, 1),
    ],
)
def test_errnos_without_a_name(files: Files, value: bytes, number: int) -> None:
    """They are EIO to who calls."""
    arm(files, "scullv_write")
    files.write(f"{DEBUG}/fail_function/scullv_write/retval", value)
    with fails(number):
        files.module.devices[0].write(0, b"x")


def test_trim(files: Files) -> None:
    """Nobody looks at what it returns: the open goes well, and the device is as it was."""
    device = files.module.devices[0]
    device.write(0, b"x" * 100)
    arm(files, "scullv_trim", b"1")
    assert device.open(os.O_WRONLY) is None
    assert device.size == 100
    assert device.open(os.O_WRONLY) is None
    assert device.size == 0


def test_call_trace(files: Files) -> None:
    """The driver's function, and the system call behind it."""
    from scullvfs.fs.driver_trace import track_drivers

    track_drivers(files.machine)
    arm(files, "scullv_write", b"1")
    files.write(f"{DEBUG}/fail_function/verbose", b"2")
    with fails(errno.EIO):
        files.module.devices[0].write(0, b"x")
    lines = [record.text for record in files.machine.log.records()]
    begin = lines.index(" fei_kprobe_handler")
    assert lines[begin + 1 : begin + 4] == [" scullv_write [scullv]", " vfs_write", " ksys_write"]


def test_caches(files: Files) -> None:
    """A 1 in front marks one; any other text takes that away."""
    path = "sys/kernel/slab/kmalloc-64/failslab"
    caches = files.machine.faults.failslab.caches
    assert stat.S_IMODE(files.file(path).mode) == 0o600
    assert files.read(path) == "0\n"
    assert files.write(path, b"1\n") == 2
    assert [cache.name for cache in caches] == ["kmalloc-64"]
    assert files.read(path) == "1\n"
    assert files.write(path, b"1" * (1 << 20)) == 4096
    for data in (b"0\n", b"x", b"\0", b" 1", b"-1"):
        files.write(path, b"1")
        assert files.write(path, data) == len(data)
        assert not caches
    assert "vmap_area" in files.names("sys/kernel/slab")


def test_shrink(files: Files) -> None:
    """A 1 in front frees the empty slabs of a cache; any other text is EINVAL."""
    path = "sys/kernel/slab/kmalloc-64/shrink"
    slab = files.machine.slab
    cache = slab.kmalloc_slab(64)
    for address in [slab.kmalloc(64) for _ in range(1000)]:
        slab.kfree(address)
    assert stat.S_IMODE(files.file(path).mode) == 0o600
    before = cache.nr_slabs
    for data in (b"0", b"x1", b" 1", b"\0", b""):
        with fails(errno.EINVAL):
            files.write(path, data)
    assert cache.nr_slabs == before
    assert files.write(path, b"1\n") == 2
    assert cache.nr_slabs < before
    assert files.read(path) == ""
