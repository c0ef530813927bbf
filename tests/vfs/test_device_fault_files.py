"""The files of the faults of a device on a mount: what is taken, refused, and put back."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .faults import DATA, everything, faults, fill, put
from .helpers import opened, read_all
from .troubles import fails_as


@pytest.fixture
def mnt(mount: Callable[[str], Path]) -> Path:
    """A mount."""
    return mount("mem=32M")


@pytest.mark.long
def test_nothing_is_left(mnt: Path) -> None:
    """After a reset all files say what they said at first, and the books are in order."""
    files = [path for path in sorted(faults(mnt).rglob("*")) if path.is_file()]
    readable = [path for path in files if path.name != "reset"]
    first = [path.read_text() for path in readable]
    for path in readable:
        path.write_text({"errno": "EIO", "at": "call 7", "task-filter": "Y"}.get(path.name, "3"))
    assert [path.read_text() for path in readable] != first
    put(mnt, {"reset": 1})
    assert [path.read_text() for path in readable] == first
    fill(mnt / "scullv0")
    assert read_all(mnt / "scullv0") == DATA
    (mnt / "sys/kernel/debug/validate").write_text("1")


@pytest.mark.long
@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\n",
        b"9" * 40,
        b"-99999999999999999999",
        b"\0" * 100,
        b"EIO EIO",
        b"ENOSYS",
        b"call",
        b"call 0",
        b"byte -1",
        b"call 99999999999999999999",
        b"a" * (1 << 20),
        b"9" * (1 << 20),
        b" " * (1 << 20),
    ],
    ids=lambda data: data[:12].decode(errors="replace") + f" {len(data)}",
)
def test_bad_input(mnt: Path, data: bytes) -> None:
    """An errno and nothing has changed, or what Linux takes of it; the device goes on."""
    refused = {errno.EINVAL, errno.ERANGE}
    for path in sorted(faults(mnt).rglob("*")):
        if not path.is_file():
            continue
        before = None if path.name == "reset" else path.read_text()
        result = 0
        with opened(path, os.O_WRONLY | os.O_TRUNC) as fd:
            try:
                os.write(fd, data)
            except OSError as error:
                result = error.errno or -1
        own = path.name in ("errno", "at", "delay_us", "short_read", "short_write")
        assert result in refused if own else result in {0, *refused}, path
        assert result == 0 or before is None or path.read_text() == before, path
    everything(mnt)
    fill(mnt / "scullv0", DATA[:100])
    assert read_all(mnt / "scullv0") == DATA[:100]


def test_errnos(mnt: Path) -> None:
    """As the page of troubles has them."""
    put(mnt, {"write/errno": "EIO"})
    with opened(mnt / "scullv0") as fd, fails_as("injected"):
        os.pwrite(fd, b"x", 0)
    with fails_as("fault-value"):
        put(mnt, {"write/errno": "ENOSYS"})
    with fails_as("fault-range"):
        put(mnt, {"delay_us": 1 << 64})


def test_reset_is_only_written(mnt: Path) -> None:
    """And takes a boolean; one that is not true does nothing."""
    put(mnt, {"write/errno": "EIO"})
    reset = faults(mnt) / "reset"
    with pytest.raises(OSError, match="Invalid argument"):
        reset.read_text()
    reset.write_text("0")
    assert (faults(mnt) / "write/errno").read_text() == "EIO\n"
    reset.write_text("y")
    assert (faults(mnt) / "write/errno").read_text() == "0\n"
