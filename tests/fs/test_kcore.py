"""proc/kcore: RAM behind headers that debuggers know, and the way from there to each page."""

from __future__ import annotations

import errno
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scullvfs.fs.kcore import MOST, Kcore
from scullvfs.mm import Machine
from scullvfs.mm.layout import LAYOUTS, PAGE_SIZE

from ..scull.helpers import fails
from .conftest import MIB

Fresh = Callable[..., Machine]


def whole(machine: Machine) -> bytes:
    """All of the file."""
    file = Kcore(machine, 0o400, 1, 2)
    return bytes(file.open(os.O_RDONLY).read_pages(0, file.size + 1))


@pytest.mark.parametrize("arch", LAYOUTS)
def test_page_tables_lead_to_each_page(fresh: Fresh, arch: str) -> None:
    """From the note's top-level table on, the entries are those that the machine follows."""
    machine = fresh(arch, shuffle=True)
    layout = machine.layout
    address = machine.vm.vmalloc(5 * PAGE_SIZE)
    assert address is not None
    core = whole(machine)
    found = re.search(rb"SYMBOL\(swapper_pg_dir\)=([0-9a-f]+)\n", core[:PAGE_SIZE])
    assert found is not None
    for page in range(6):
        at, entries = int(found[1], 16) - layout.page_offset, []
        for level in layout.levels:
            index = (address + page * PAGE_SIZE) >> level.shift & ((1 << level.bits) - 1)
            place = PAGE_SIZE + at + index * layout.pointer_size
            word = core[place : place + layout.pointer_size]
            entries.append((level.name, int.from_bytes(word, "little")))
            at = entries[-1][1] & layout.phys_mask
        assert entries == machine.pgtable.walk(address + page * PAGE_SIZE)
        assert bool(entries[-1][1]) == (page < 5)  # the last one is the guard page


@pytest.mark.long
@pytest.mark.parametrize("arch", LAYOUTS)
def test_headers(fresh: Fresh, arch: str, tmp_path: Path) -> None:
    """readelf and gdb find RAM at the addresses of the linear mapping."""
    machine = fresh(arch)
    layout = machine.layout
    address = machine.slab.kmalloc(64)
    assert address is not None
    machine.memory.write(address, b"Linux Device Drivers")
    path = tmp_path / "kcore"
    path.write_bytes(whole(machine))
    magic, kind = struct.unpack_from("<4s12xH", path.read_bytes())
    assert (magic, kind) == (b"\x7fELF", 4)
    if shutil.which("readelf") is not None:
        said = subprocess.run(
            ["readelf", "-hlnW", path], capture_output=True, text=True, check=True
        )
        assert said.stderr == ""
        assert re.search(rf"LOAD +0x0*1000 0x0*{layout.page_offset:x} 0x0* 0x", said.stdout)
        assert "VMCOREINFO" in said.stdout
    if shutil.which("gdb") is not None and arch == "x86_64":
        command = ["gdb", "-nx", "-batch", "-ex", f"x/s {address:#x}", "-core", path]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert '"Linux Device Drivers"' in done.stdout


def test_reads_of_any_bytes(fresh: Fresh) -> None:
    """Whatever is asked for is a part of the whole, which ends with RAM."""
    machine = fresh()
    machine.ram.bytes[3 * PAGE_SIZE : 3 * PAGE_SIZE + 3] = b"abc"
    file, core = Kcore(machine, 0o400, 1, 2), whole(machine)
    assert len(core) == file.size == PAGE_SIZE + machine.ram.size
    handle = file.open(os.O_RDONLY)
    for pos, count in ((0, 7), (4090, 12), (4095, MOST), (4 * PAGE_SIZE, 3), (file.size - 3, 9)):
        assert bytes(handle.read(pos, count)) == core[pos : pos + count]
    assert bytes(handle.read(file.size, 8)) == bytes(handle.read(1 << 60, 8)) == b""
    assert len(handle.read(0, MOST + 1)) == MOST < MIB


def test_linear_mapping_is_all(fresh: Fresh) -> None:
    """On i386 RAM above what the kernel has mapped is not in it."""
    machine = Machine(mem=1 << 30, arch="i386")
    try:
        assert Kcore(machine, 0o400, 1, 2).size == PAGE_SIZE + machine.layout.lowmem < 1 << 30
    finally:
        machine.close()


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR])
def test_refuses_writing(fresh: Fresh, flags: int) -> None:
    """It can only be read."""
    with fails(errno.EACCES):
        Kcore(fresh(), 0o400, 1, 2).open(flags)
