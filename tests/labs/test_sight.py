"""What a check believes of a mount's files: these are files of the test's."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from scullvfs.labs.sight import Handle, Sight
from scullvfs.view.files import Files

from ..scull.helpers import fails

HANDLES = "sys/kernel/debug/mm/handles"


@pytest.fixture
def sight(tmp_path: Path) -> Sight:
    """A directory with some of the files of a mount."""
    write(tmp_path, "sys/class/scullv/scullv0/order", "1\n")
    for name, value in (("qset", 3), ("size", 20_000), ("items", 1), ("quanta", 2)):
        write(tmp_path, f"sys/class/scullv/scullv0/{name}", f"{value}\n")
    write(tmp_path, "scullv0", "x" * 20_000)
    write(tmp_path, HANDLES, "# name kind ...\n")
    return Sight(Files(str(tmp_path)))


def write(root: Path, name: str, text: str) -> None:
    """Make a file, and the directories on the way."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_device(sight: Sight) -> None:
    """Its numbers, and bytes of its quantum."""
    assert sight.device("scullv0") == (1, 8192, 3, 20_000, 1, 2)
    assert sight.content("scullv0") == b"x" * 20_000


@pytest.mark.parametrize(
    ("name", "value"),
    [("qset", "0"), ("order", "9999999999"), ("order", "-1"), ("size", "big"), ("items", "")],
)
def test_device_that_cannot_be(sight: Sight, tmp_path: Path, name: str, value: str) -> None:
    """Nothing is computed with such numbers."""
    write(tmp_path, f"sys/class/scullv/scullv0/{name}", value)
    with fails(errno.EBADMSG):
        sight.device("scullv0")
    with fails(errno.EBADMSG):
        sight.content("scullv0")


def test_content_has_a_bound(sight: Sight, tmp_path: Path) -> None:
    """A device that says to be longer than any that a lab asks for is not read."""
    write(tmp_path, "sys/class/scullv/scullv0/size", str(1 << 40))
    with fails(errno.EBADMSG):
        sight.content("scullv0")


def test_holes_are_zeros(sight: Sight, tmp_path: Path) -> None:
    """What cannot be read of a device that is longer."""
    write(tmp_path, "sys/class/scullv/scullv0/size", "30000")
    assert sight.content("scullv0") == b"x" * 20_000 + bytes(10_000)


def test_handles(sight: Sight, tmp_path: Path) -> None:
    """In one piece, or in pieces."""
    lines = (
        "# name          kind           address                size entries frames memory",
        "a               vmalloc        ffffc90000000000      65536      19     21 frames 8 1 ...",
        "r               ioremap        ffffc90000020ff8         16       2      0 "
        "phys 0xfe000ff8-0xfe001007",
    )
    write(tmp_path, HANDLES, "".join(f"{line}\n" for line in lines))
    assert sight.handles() == {
        "a": Handle("vmalloc", 0xFFFF_C900_0000_0000, 65536, None),
        "r": Handle("ioremap", 0xFFFF_C900_0002_0FF8, 16, 0xFE00_0FF8),
    }
    for line in ("a vmalloc", "a vmalloc x 1 1 1 -", "\x1b[31m", f"a vmalloc 1 {'9' * 30} 1 1 -"):
        write(tmp_path, HANDLES, f"{lines[0]}\n{line}\n")
        with fails(errno.EBADMSG):
            sight.handles()


def test_answer(sight: Sight, tmp_path: Path) -> None:
    """One line, of not too many bytes."""
    write(tmp_path, "scull1", " 1\n2\t 3 \n")
    assert sight.answer("scull1") == "1 2 3"
    write(tmp_path, "scull1", "9" * 100_000)
    assert len(sight.answer("scull1")) == 256


@pytest.mark.parametrize(("quantum", "size"), [(1, 8), (8, 8), (9, 96), (97, 128), (129, 0)])
def test_object_size(sight: Sight, tmp_path: Path, quantum: int, size: int) -> None:
    """The smallest that is large enough."""
    rows = [f"{name} 1 8 {size} 8 1 : tunables" for name, size in (("kmalloc-8", 8), ("other", 16))]
    rows += [f"kmalloc-{size} 1 8 {size} 8 1 : tunables" for size in (128, 96)]
    write(tmp_path, "proc/slabinfo", "slabinfo\n# name\n" + "".join(f"{row}\n" for row in rows))
    assert sight.object_size("scull", quantum) == size
