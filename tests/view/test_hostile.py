"""Files of anybody's choice: a picture, or the error that is caught; always an end."""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from scullvfs.fs.kcore import Kcore
from scullvfs.mm import Machine
from scullvfs.mm.layout import LAYOUTS, PAGE_SHIFT, PAGE_SIZE
from scullvfs.view import files
from scullvfs.view.device import Device, read_device
from scullvfs.view.memory import Memory, read_memory
from scullvfs.view.show_svg import device_svg

from ..scull.helpers import fails

LAYOUT = LAYOUTS["x86_64"]
NR_FRAMES = 1024
"""Of the machine whose files are told lies of."""
LISTING = "proc/scullvmem"
AREAS = "sys/kernel/debug/vmap_areas"
ITEM = f"  item at {LAYOUT.page_offset:x}, qset at {LAYOUT.page_offset + 8192:x}\n"
HEAD = "Device 0: qset 500, order 4, sz 65536\n"
QUANTUM = LAYOUT.vmalloc_start
AREA = f"0x{QUANTUM:016x}-0x{QUANTUM + 17 * PAGE_SIZE:016x} {17 * PAGE_SIZE:>14} busy\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory that is as a mount with one quantum: its pointer stands in frame 2."""
    machine = Machine(NR_FRAMES * PAGE_SIZE, "x86_64", shuffle=False)
    try:
        core = bytearray(Kcore(machine, 0o400, 1, 2).bytes_at(0, 1 << 30))
    finally:
        machine.close()
    struct.pack_into("<Q", core, 3 * PAGE_SIZE, QUANTUM)
    core[3 * PAGE_SIZE + 8 : 4 * PAGE_SIZE] = bytes(PAGE_SIZE - 8)
    said = {
        "proc/kcore": core,
        "proc/kpageflags": bytes(8 * NR_FRAMES),
        "proc/meminfo": f"MemTotal: {4 * NR_FRAMES} kB\nMemFree: 0 kB\nCached: 0 kB\n",
        "proc/zoneinfo": "  start_pfn:           1\n",
        "proc/slabinfo": "",
        LISTING: HEAD + ITEM,
        AREAS: AREA + window(QUANTUM + 17 * PAGE_SIZE),
        "sys/class/scullv/scullv0/quanta": "1\n",
    }
    for name, data in said.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return tmp_path


def window(start: int) -> str:
    """All of it from there on, free."""
    end = LAYOUT.vmalloc_end
    return f"0x{start:016x}-0x{end:016x} {end - start:>14} free\n"


def read_show(root: Path) -> Device:
    """What `show` reads."""
    return read_device(files.Files(str(root)), "scullv0", (), ())


def read_map(root: Path) -> Memory:
    """What `map` reads."""
    return read_memory(files.Files(str(root)), None, None, 1000)


def read_both(root: Path) -> tuple[Device, Memory]:
    """Both."""
    return read_show(root), read_map(root)


def test_honest(root: Path) -> None:
    """What the lies are told of is a picture."""
    device, memory = read_both(root)
    assert [quantum.address for quantum in device.quanta] == [QUANTUM]
    assert device_svg(device, "/mnt").count(">none</text>") == 16  # the tables map nothing there
    assert [(total.letter, total.pages) for total in memory.window.totals][:2] == [
        ("a", 16),
        ("|", 1),
    ]


@pytest.mark.parametrize("name", [LISTING, AREAS, "proc/kcore", "proc/kpageflags"])
@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"\xff" * 100, b"\0" * PAGE_SIZE, b"\x7fELF" * PAGE_SIZE],
    ids=["empty", "newline", "short", "zeros", "elf"],
)
def test_files_that_are_none(root: Path, name: str, data: bytes) -> None:
    """Empty, short, and of another kind."""
    (root / name).write_bytes(data)
    with fails(errno.EBADMSG):
        read_both(root)


@pytest.mark.parametrize(
    "head",
    [
        "Device 0: qset 500, order 9999999999, sz 1\n",
        "Device 0: qset 500, order 2147483647, sz 1\n",
        "Device 0: qset 500, order 18, sz 1\n",
        "Device 0: qset 2147483647, order 0, sz 1\n",
        "Device 0: qset 0, order 4, sz 1\n",
    ],
)
@pytest.mark.parametrize("read", [read_show, read_map])
def test_geometry(root: Path, head: str, read: Callable[[Path], object]) -> None:
    """Numbers that no device has are not computed with."""
    (root / LISTING).write_text(head + ITEM)
    with fails(errno.EBADMSG):
        read(root)


@pytest.mark.parametrize(("start", "end"), [(1, 0), (0, 0), (0, 100), (-17, 17 << 40)])
def test_areas(root: Path, start: int, end: int) -> None:
    """Ranges that end before they begin, or in a page."""
    (root / AREAS).write_text(
        f"0x{QUANTUM + start * PAGE_SIZE:016x}-0x{QUANTUM + end:016x} {PAGE_SIZE:>14} busy\n"
    )
    with fails(errno.EBADMSG):
        read_map(root)


def test_endless_listing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines have a bound, as whole files have."""
    monkeypatch.setattr(files, "MOST", 1 << 16)
    (root / LISTING).write_text(HEAD + ITEM * 10_000)
    with fails(errno.EBADMSG):
        read_show(root)


def test_tables_that_lead_to_themselves(root: Path) -> None:
    """Each is looked at once, whatever the number of ways to it."""
    with open(root / "proc/kcore", "r+b") as core:
        found = re.search(rb"SYMBOL\(swapper_pg_dir\)=(\w+)\n", core.read(PAGE_SIZE))
        assert found is not None
        top = int(found[1], 16) - LAYOUT.page_offset
        core.seek(PAGE_SIZE + top)
        core.write(struct.pack("<Q", top | LAYOUT.table_flags) * 512)
    device, memory = read_both(root)
    assert {*device.quanta[0].frames} == {top >> PAGE_SHIFT}
    owners = {owner.letter: owner.frames for owner in memory.ram.owners}
    assert owners == {"a": 1, "?": NR_FRAMES - 1}


def test_pointers_that_are_garbage(root: Path) -> None:
    """A set whose every pointer is poison: the map leaves out what is no frame."""
    with open(root / "proc/kcore", "r+b") as core:
        core.seek(3 * PAGE_SIZE)
        core.write(b"\xa5" * PAGE_SIZE)
    device = read_show(root)
    assert [(quantum.why, quantum.frames) for quantum in device.quanta] == [("garbage", ())]
    assert "is a5a5a5a5a5a5a5a5, where no memory is" in device_svg(device, "/mnt")
    assert "a" not in {owner.letter for owner in read_map(root).ram.owners}


def test_names_of_caches(root: Path) -> None:
    """They become words that a terminal can print and XML can have."""
    (root / "proc/slabinfo").write_bytes(b"\x1b[31m\x00\xff 1 1 1 1 1 : t 1 1 1 : s 1 1 0\n")
    assert [cache.name for cache in read_map(root).ram.caches] == [r"\033[31m\000\377"]
