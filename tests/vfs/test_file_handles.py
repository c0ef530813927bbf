"""File handles, as open_by_handle_at(2) and an NFS server use them: they outlive the cache."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .helpers import opened
from .troubles import fails_as

CACHES = Path("/proc/sys/vm/drop_caches")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access(CACHES, os.W_OK),
    reason="only root outside of containers opens by a handle and drops caches",
)

MAX_HANDLE_SZ = 128
"""Linux: include/linux/fs.h"""

libc = ctypes.CDLL(None, use_errno=True)

NAMES = [".", "proc", "proc/meminfo", "scullv0", "sys/module/scullv/parameters/scullv_order"]


class FileHandle(ctypes.Structure):
    """open_by_handle_at(2): struct file_handle."""

    _fields_ = (
        ("handle_bytes", ctypes.c_uint),
        ("handle_type", ctypes.c_int),
        ("f_handle", ctypes.c_ubyte * MAX_HANDLE_SZ),
    )


def handle_of(path: Path) -> FileHandle:
    """The handle of what is at *path*."""
    handle, mount_id = FileHandle(MAX_HANDLE_SZ), ctypes.c_int()
    name = os.fsencode(path)
    checked(libc.name_to_handle_at(-1, name, ctypes.byref(handle), ctypes.byref(mount_id), 0))
    return handle


def checked(result: int) -> int:
    """What a function of libc returns, or its errno as an exception."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def open_by_handle(mount: Path, handle: FileHandle) -> int:
    """A descriptor of what *handle* names, found by the kernel's cache or the file system alone."""
    with opened(mount, os.O_RDONLY) as fd:
        return checked(libc.open_by_handle_at(fd, ctypes.byref(handle), os.O_RDONLY))


def forget() -> None:
    """Let the kernel drop the inodes that nobody uses."""
    CACHES.write_text("2")


@pytest.mark.parametrize("semantics", ["device", "file"])
def test_open_by_handle(mount: Callable[[str], Path], semantics: str) -> None:
    """Whatever it is, it is found again after its inode has left the cache, with its content."""
    mnt = mount(f"mem=16M,semantics={semantics}")
    (mnt / "scullv0").write_bytes(b"data")
    handles = {name: handle_of(mnt / name) for name in NAMES}
    numbers = {name: os.stat(mnt / name).st_ino for name in NAMES}
    forget()
    for name, handle in handles.items():
        fd = open_by_handle(mnt, handle)
        try:
            assert os.fstat(fd).st_ino == numbers[name]
            if name == "scullv0":
                assert os.pread(fd, 10, 0) == b"data"
            elif name == "proc/meminfo":
                assert os.pread(fd, 10, 0).startswith(b"MemTotal:")
            elif name == "proc":
                assert "meminfo" in os.listdir(fd)
                above = os.open("..", os.O_RDONLY, dir_fd=fd)
                assert os.fstat(above).st_ino == numbers["."]
                os.close(above)
        finally:
            os.close(fd)


@pytest.mark.long
def test_handle_of_a_former_mount(mount: Callable[[str], Path]) -> None:
    """It opens no other file that has its number now, nor the same one; the root is the root."""
    before, now = mount("mem=16M,devs=8"), mount("mem=16M,devs=1")
    stale = [handle_of(path) for path in before.rglob("*") if not path.is_symlink()]
    assert len(stale) > len(list(now.rglob("*")))  # some have a number that nothing has
    forget()
    for _ in ("unknown to the kernel", "known"):
        for handle in stale:
            with fails_as("stale-handle"):
                os.close(open_by_handle(now, handle))
        list(now.rglob("*"))
    os.close(open_by_handle(now, handle_of(before)))


def test_handle_of_nothing(mounted: Path) -> None:
    """A number that no mount has is as stale, and no mistake of the daemon's."""
    handle = handle_of(mounted / "scullv0")
    for number in (0, 1 << 20, (1 << 64) - 1):
        handle.f_handle[:8] = [*number.to_bytes(8, "little")]
        with fails_as("stale-handle"):
            open_by_handle(mounted, handle)
