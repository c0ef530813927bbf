"""When reading moves st_atime: as on a tmpfs that is mounted with the same words."""

from __future__ import annotations

import mmap
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..helpers import mount_point, mounted_on, opened, program, read_all, shell, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a tmpfs")

OLD = 978_307_200_000_000_000
"""Nanoseconds: the first day of 2001, before every other time of the files here."""

OPTIONS = ["relatime", "noatime", "nodiratime", "strictatime", "strictatime,nodiratime"]


@pytest.fixture(scope="module", params=OPTIONS)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Path]]:
    """A mount with these options, and a tmpfs with them that has the same names in it."""
    directory = tmp_path_factory.mktemp("atime")
    with ExitStack() as stack:
        scullvfs = stack.enter_context(program())
        ours = stack.enter_context(mount_point(scullvfs, directory / "mnt"))
        options = f"mem=16M,semantics=file,{request.param}"
        stack.enter_context(mounted_on(scullvfs, ours, options))
        tmpfs = directory / "tmpfs"
        tmpfs.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", tmpfs], check=True)
        stack.callback(subprocess.run, ["umount", tmpfs], check=True)
        (tmpfs / "scullv0").touch()
        (tmpfs / "scullv").symlink_to("scullv0")
        (tmpfs / "proc").mkdir()
        yield ours, tmpfs


def atime(path: Path) -> int:
    """Nanoseconds."""
    return os.stat(path, follow_symlinks=False).st_atime_ns


def moved(path: Path, call: Callable[[], object]) -> bool:
    """Whether a call moves st_atime, which was later than nothing before."""
    os.utime(path, ns=(OLD, OLD), follow_symlinks=False)
    assert atime(path) == OLD
    call()
    return atime(path) > OLD


def descriptor(path: Path, flags: int, call: Callable[[int], object]) -> None:
    """A call on an open file."""
    with opened(path, flags) as fd:
        call(fd)


def written(path: Path) -> int:
    """Write, and return st_mtime.

    Linux takes it from a coarser clock than st_atime at times, so a tmpfs has it too early then.
    """
    descriptor(path, os.O_WRONLY, lambda fd: os.write(fd, b"new"))
    return os.stat(path).st_mtime_ns


def read_map(fd: int) -> int:
    """A byte through a mapping."""
    with mmap.mmap(fd, 4096, prot=mmap.PROT_READ) as mapping:
        return mapping[0]


CALLS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "nothing": ("scullv0", os.stat),
    "read": ("scullv0", Path.read_bytes),
    "cat": ("scullv0", lambda path: shell('cat "$path"', path=path)),
    "dd": ("scullv0", lambda path: shell('dd if="$path" of=/dev/null', path=path)),
    "read an empty one": ("empty", Path.read_bytes),
    "sendfile": ("scullv0", lambda path: shell('cp "$path" /dev/null', path=path)),
    "map": ("scullv0", lambda path: descriptor(path, os.O_RDONLY, read_map)),
    "O_DIRECT": ("scullv0", lambda path: descriptor(
        path, os.O_RDONLY | os.O_DIRECT, lambda fd: os.preadv(fd, [mmap.mmap(-1, 4096)], 0))),
    "O_NOATIME": ("scullv0", lambda path: descriptor(path, os.O_RDONLY | os.O_NOATIME, read_all)),
    "write": ("scullv0", lambda path: descriptor(
        path, os.O_WRONLY, lambda fd: os.write(fd, b"new"))),
    "append": ("scullv0", lambda path: shell('echo new >>"$path"', path=path)),
    "truncate": ("scullv0", lambda path: os.truncate(path, 5000)),
    "chmod": ("scullv0", lambda path: os.chmod(path, 0o640)),
    "touch -m": ("scullv0", lambda path: shell('touch -m "$path"', path=path)),
    "touch -a": ("scullv0", lambda path: shell('touch -a "$path"', path=path)),
    "list": ("proc", os.listdir),
    "list the root": (".", os.listdir),
    "look up": ("proc", lambda path: os.stat(path / "meminfo") if path.is_mount() else None),
    "readlink": ("scullv", os.readlink),
    "follow": ("scullv", Path.read_bytes),
}  # fmt: skip
"""Name -> what is touched, and how."""


@pytest.mark.parametrize("what", CALLS)
def test_as_on_tmpfs(pair: tuple[Path, Path], what: str) -> None:
    """The first call after the time was set long ago."""
    name, call = CALLS[what]
    here, there = (_prepared(mnt, name) for mnt in pair)
    assert moved(here, lambda: call(here)) == moved(there, lambda: call(there))


def _prepared(mnt: Path, name: str) -> Path:
    """What is at a name, a device with a page in it; the first name is an empty device."""
    if name in ("scullv0", "scullv"):
        descriptor(mnt / "scullv0", os.O_RDWR, lambda fd: os.pwrite(fd, bytes(4096), 0))
    elif name == "empty":
        os.truncate(mnt / "scullv0", 0)
        name = "scullv0"
    return mnt / name


def test_again(pair: tuple[Path, Path], request: pytest.FixtureRequest) -> None:
    """What was read since it was last changed is not moved again, but under strictatime."""
    for mnt in pair:
        path = _prepared(mnt, "scullv0")
        os.utime(path, ns=(OLD, OLD))
        path.read_bytes()
        first = atime(path)
        if "strictatime" in request.node.name:
            wait_until(lambda p=path, a=first: p.read_bytes() and atime(p) > a, "it moves again")  # type: ignore[misc]
            continue
        for _ in range(3):
            path.read_bytes()
        assert atime(path) == first
        assert (first == OLD) == ("noatime" in request.node.name)
        wait_until(lambda p=path, a=first: written(p) > a, "it is written later")  # type: ignore[misc]
        assert atime(path) == first
        if first != OLD:
            wait_until(lambda p=path, a=first: p.read_bytes() and atime(p) > a, "it moves again")  # type: ignore[misc]


def test_past_the_page_cache(pair: tuple[Path, Path], request: pytest.FixtureRequest) -> None:
    """What has to be read from the device is noticed on any descriptor, opened long ago."""
    path = _prepared(pair[0], "scullv0")
    with opened(path) as fd:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        expected = "noatime" not in request.node.name
        assert moved(path, lambda: os.pread(fd, 1, 0)) == expected


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A device by the driver's rules."""
    with (
        program() as scullvfs,
        mount_point(scullvfs, tmp_path_factory.mktemp("atime") / "mnt") as path,
        mounted_on(scullvfs, path, "mem=16M"),
    ):
        yield path / "scullv0"


@pytest.mark.parametrize("what", ["read", "cat", "dd", "map"])
def test_device(device: Path, what: str) -> None:
    """Reading a character device moves nothing on its inode, unless the driver does it."""
    device.write_bytes(bytes(4096))
    call = CALLS[what][1]
    if what == "map":

        def call(path: Path) -> object:
            with opened(path) as fd, mmap.mmap(fd, 4096, flags=mmap.MAP_PRIVATE) as mapping:
                return mapping[0]

    assert not moved(device, lambda: call(device))
