"""Set-user-ID bits: they go, and stay, as on a file of tmpfs, under both sets of rules."""

from __future__ import annotations

import itertools
import mmap
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from scullvfs.mounts.probe import ask

from .helpers import DEADLINE, mount_point, mounted_on, opened, program

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")

OTHER = (65533, 65533)
ROOT = (0, 0)
SEMANTICS = ["device", "file", "file,writeback"]


@pytest.fixture(scope="module")
def mounts() -> Iterator[dict[str, Path]]:
    """A mount by each set of rules that lets others in, and a directory of tmpfs."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        os.chmod(directory, 0o755)
        scullvfs = stack.enter_context(program())
        paths = {name: Path(directory, name) for name in (*SEMANTICS, "tmpfs")}
        for semantics in SEMANTICS:
            stack.enter_context(mount_point(scullvfs, paths[semantics]))
            options = f"mem=16M,allow_other,devs=1,semantics={semantics}"
            stack.enter_context(mounted_on(scullvfs, paths[semantics], options))
        paths["tmpfs"].mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", paths["tmpfs"]], check=True)
        stack.callback(subprocess.run, ["umount", paths["tmpfs"]], check=True)
        (paths["tmpfs"] / "scullv0").touch()
        yield paths


def with_open(flags: int, call: Callable[[int], object]) -> Callable[[Path], None]:
    """A call on an open file."""

    def do(path: Path) -> None:
        with opened(path, flags) as fd, suppress(OSError):  # there is no fallocate for a device
            call(fd)

    return do


def write_page(fd: int) -> int:
    """A page that is aligned as O_DIRECT wants it."""
    return os.pwritev(fd, [mmap.mmap(-1, 4096)], 0)


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: path.stat(),
    "open to read": with_open(os.O_RDONLY, lambda _: None),
    "read": with_open(os.O_RDWR, lambda fd: os.pread(fd, 10, 0)),
    "write": with_open(os.O_RDWR, lambda fd: os.write(fd, b"x")),
    "write past the page cache": with_open(os.O_RDWR | os.O_DIRECT, write_page),
    "append": with_open(os.O_RDWR | os.O_APPEND, lambda fd: os.write(fd, b"x")),
    "writev": with_open(os.O_RDWR, lambda fd: os.writev(fd, [b"x", b"y"])),
    "truncate": lambda path: os.truncate(path, 1),
    "ftruncate": with_open(os.O_RDWR, lambda fd: os.ftruncate(fd, 100)),
    "open with O_TRUNC": with_open(os.O_RDWR | os.O_TRUNC, lambda _: None),
    "open with O_TRUNC and O_WRONLY": with_open(os.O_WRONLY | os.O_TRUNC, lambda _: None),
    "fallocate": with_open(os.O_RDWR, lambda fd: os.posix_fallocate(fd, 0, 100)),
}


def mode_after(
    path: Path, mode: int, user: tuple[int, int], change: Callable[[Path], object]
) -> int:
    """The mode of a file with something in it, changed by a user."""
    path.write_bytes(b"data")
    os.chmod(path, mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    if user == ROOT:  # who this is
        change(path)
    else:
        ask(lambda: str(change(path)).encode(), timeout=DEADLINE, identity=user)
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("what", CHANGES)
def test_as_on_tmpfs(mounts: dict[str, Path], semantics: str, what: str) -> None:
    """Another user's change takes the bits that tmpfs takes; root's leaves them."""
    device, file = mounts[semantics] / "scullv0", mounts["tmpfs"] / "scullv0"
    for mode, user in itertools.product((0o6777, 0o4666, 0o2777, 0o777), (OTHER, ROOT)):
        expected = mode_after(file, mode, user, CHANGES[what])
        assert oct(mode_after(device, mode, user, CHANGES[what])) == oct(expected), (mode, user)


def test_emptied_by_an_open(mounts: dict[str, Path]) -> None:
    """A write-only open changes a device, too, and no file."""
    only = with_open(os.O_WRONLY, lambda _: None)
    assert mode_after(mounts["device"] / "scullv0", 0o6777, OTHER, only) == 0o777
    assert mode_after(mounts["file"] / "scullv0", 0o6777, OTHER, only) == 0o6777


@pytest.mark.parametrize("semantics", [*SEMANTICS, "tmpfs"])
def test_root_without_the_capability(mounts: dict[str, Path], semantics: str) -> None:
    """It is CAP_FSETID that counts, not the uid."""
    path = mounts[semantics] / "scullv0"

    def dd(arguments: str) -> Callable[[Path], object]:
        weak = ["setpriv", "--bounding-set=-fsetid", "--inh-caps=-fsetid"]
        command = ["dd", "if=/dev/zero", f"of={path}", "bs=1", "count=1", *arguments.split()]
        return lambda _: subprocess.run([*weak, *command], check=True, stderr=subprocess.DEVNULL)

    assert mode_after(path, 0o6777, (0, 0), dd("")) == 0o777
    assert mode_after(path, 0o6777, (0, 0), dd("conv=notrunc")) == 0o777


@pytest.mark.parametrize("semantics", [*SEMANTICS, "tmpfs"])
def test_given_away(mounts: dict[str, Path], semantics: str) -> None:
    """chown takes them, whoever does it."""
    path = mounts[semantics] / "scullv0"
    assert mode_after(path, 0o6777, (0, 0), lambda path: os.chown(path, *OTHER)) == 0o777
    os.chown(path, 0, 0)
