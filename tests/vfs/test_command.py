"""Memory by hand, on a mount: what a shell does with echo and cat."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..scull.helpers import fails
from .helpers import MIB, Scullvfs, mount_point, mounted_on, shell
from .troubles import TROUBLES

OTHER = 65533
"""A user that owns nothing here."""


def handles(mm: Path) -> list[str]:
    """Names of the handles, the oldest first."""
    return [line.split()[0] for line in (mm / "handles").read_text().splitlines()[1:]]


@pytest.fixture
def mm(shared: Path) -> Iterator[Path]:
    """The directory of these files on the module's mount, where nothing is left of a test."""
    mm = shared / "sys/kernel/debug/mm"
    yield mm
    for name in reversed(handles(mm)):
        (mm / "command").write_text(f"free {name}")


SESSION = """
cd "$MNT"
mm=sys/kernel/debug/mm
echo 'vmalloc a 65536' > $mm/command && cat $mm/command
echo 'poke a 65535 0x41' > $mm/command
echo 'peek a 65535' > $mm/command && cat $mm/command
echo 'peek a 65536' > $mm/command || cat $mm/command
printf 'kmalloc k 100' > $mm/command
echo get_free_pages g 3 >> $mm/command
sed 1d $mm/handles | tr -s ' ' | cut -d ' ' -f 1,2,4
echo 'free a' > $mm/command; echo 'free a' > $mm/command
grep -c unpurged proc/vmallocinfo
echo 1 > sys/kernel/debug/validate && cat sys/kernel/debug/validate
"""

PRINTED = """\
ffffc90000000000
ffffc9000000ffff: 41
page fault at ffffc90000010000
a vmalloc 65536
k kmalloc 128
g get_free_pages 32768
1
1
"""


def test_a_session(mounted: Path) -> None:
    """Each command does what it says, or fails as the shell tells."""
    done = shell(SESSION, MNT=mounted)
    assert done.stdout == PRINTED
    assert [line.rpartition(": ")[2] for line in done.stderr.splitlines()] == [
        os.strerror(getattr(errno, TROUBLES[name].outcome))
        for name in ("peek-unmapped", "no-such-handle")
    ]
    assert "BUG: unable to handle page fault for address: ffffc90000010000" in (
        (mounted / "proc/kmsg").read_text()
    )


ROWS = {
    "bad-command": b"vmalloc b",
    "handle-exists": b"kmalloc a 1",
    "no-such-handle": b"free b",
    "handle-mapped": b"free a",
    "handle-name": b"kmalloc %b 1" % (b"n" * 32),
    "command-null": b"get_free_pages b 11",
    "command-large": b"vmalloc b 8388609",
    "peek-unmapped": b"peek a 4096",
    "poke-elsewhere": b"poke g -1 1",
}


@pytest.mark.parametrize("name", ROWS)
def test_refused(mm: Path, name: str) -> None:
    """Each mistake has an errno, and nothing is changed."""
    for line in ("vmalloc a 4096", "get_free_pages g 0", "vmap v 1 a"):
        (mm / "command").write_text(line)
    with fails(getattr(errno, TROUBLES[name].outcome)):
        (mm / "command").write_bytes(ROWS[name])
    assert handles(mm) == ["a", "g", "v"]


@pytest.mark.long
def test_too_many(mm: Path) -> None:
    """There is an end to them, and then room again."""
    with open(mm / "command", "wb", buffering=0) as file:
        with fails(getattr(errno, TROUBLES["handles-full"].outcome)):
            for number in range(5000):
                file.write(b"kmalloc %d 8" % number)
        assert len(handles(mm)) == number
        file.write(b"free 0")
        file.write(b"kmalloc 0 8")


@pytest.mark.parametrize(
    "data",
    [b"\0" * MIB, b"kmalloc a 8" + b" " * MIB, b"kmalloc a 8\n" * 1000, bytes(range(256))],
    ids=["NUL", "spaces", "lines", "all bytes"],
)
def test_hostile(mm: Path, data: bytes) -> None:
    """Bytes of any kind and number are no command."""
    with fails(errno.EINVAL):
        (mm / "command").write_bytes(data)
    assert handles(mm) == []


@pytest.fixture
def of_others(scullvfs: Scullvfs) -> Iterator[Path]:
    """These files on a mount that all may touch."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # pytest's own directories are closed to others
        with (
            mount_point(scullvfs, Path(directory, "mnt")) as path,
            mounted_on(scullvfs, path, "mem=16M,allow_other"),
        ):
            yield path / "sys/kernel/debug/mm"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_they_are_the_owners_alone(of_others: Path) -> None:
    """Nobody else reads them or gives commands, and that cannot be changed."""
    for command in ("cat command", "cat handles", "echo purge > command"):
        done = subprocess.run(
            ["sh", "-c", command], cwd=of_others, user=OTHER, group=OTHER, extra_groups=[]
        )
        assert done.returncode != 0
    with fails(getattr(errno, TROUBLES["fixed-mode"].outcome)):
        os.chmod(of_others / "command", 0o666)
