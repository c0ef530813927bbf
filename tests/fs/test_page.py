"""kpageflags and kpagecount: what each frame is, and reads that are no whole numbers."""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Callable

import pytest

from scullvfs.fs.page import (
    KPF_BUDDY,
    KPF_COMPOUND_HEAD,
    KPF_COMPOUND_TAIL,
    KPF_PGTABLE,
    KPF_RESERVED,
    KPF_SLAB,
    FrameFile,
    kpagecount,
    kpageflags,
)
from scullvfs.mm import Machine
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.layout import LAYOUTS
from scullvfs.scull import Module

from ..scull.helpers import fails
from .conftest import MIB

Fresh = Callable[..., Machine]

P = 4096
BUDDY, SLAB = 1 << KPF_BUDDY, 1 << KPF_SLAB
HEAD, TAIL = 1 << KPF_COMPOUND_HEAD, 1 << KPF_COMPOUND_TAIL


def read_all(machine: Machine, count: int = 1 << 16) -> list[int]:
    """The flags of all frames, in pieces of `count` bytes."""
    handle, data = FrameFile(kpageflags, machine, 0o400, 1, 2).open(os.O_RDONLY), b""
    while part := bytes(handle.read(len(data), count)):
        data += part
    return array("Q", data).tolist()


@pytest.mark.parametrize("arch", LAYOUTS)
@pytest.mark.parametrize("shuffle", [False, True])
def test_each_frame(fresh: Fresh, arch: str, shuffle: bool) -> None:
    """What is free in blocks, in slabs, a page table or reserved, is that in the machine's books.

    Found out by the checks of the parts, which go over all that they have.
    """
    machine = fresh(arch, shuffle=shuffle, cpus=4)
    module = Module(machine, scullv_devs=2, scullv_order=0, scullv_qset=5)
    for step in range(200):
        module.devices[step % 2].write(step * 7919 * 16 % (1 << 20), bytes(10_000))
    large = machine.slab.kmalloc(100_000)
    machine.slab.alloc_runs(300, 5000)
    machine.page_alloc.alloc_pages(GFP_KERNEL, 3)
    module.devices[0].trim()
    assert large is not None

    flags = read_all(machine)
    assert len(flags) == machine.ram.nr_pages
    in_buddy = {pfn for zone in machine.page_alloc.zones for pfn in zone.buddy.check()}
    assert {pfn for pfn, each in enumerate(flags) if each & BUDDY} == in_buddy
    slab = machine.slab.check()
    first = (large - machine.layout.page_offset) // P
    objects = {*range(first, first + 32)}
    assert {pfn for pfn, each in enumerate(flags) if each & SLAB} == slab - objects
    assert [flags[pfn] for pfn in sorted(objects)] == [HEAD] + 31 * [TAIL]
    tables = [pfn for pfn, each in enumerate(flags) if each & 1 << KPF_PGTABLE]
    assert {*tables} <= machine.pgtable.check()
    assert len(tables) == machine.pgtable.statistics().nr_pagetable
    assert flags[0] == 1 << KPF_RESERVED
    known = in_buddy | slab | {*tables} | {0}
    assert not any(each for pfn, each in enumerate(flags) if pfn not in known)


def test_slabs_are_compound(fresh: Fresh) -> None:
    """A head with as many tails as its order says; those of a run of objects, too."""
    machine = fresh(cpus=4)
    for _ in range(40):
        machine.slab.kmalloc(4096)
    machine.slab.alloc_runs(4096, 200)
    flags = [each & (HEAD | TAIL) for each in read_all(machine) if each & SLAB]
    flags.remove(0)  # of the vmap_areas, a frame alone
    order = next(c.order for c in machine.slab.caches() if c.name == "kmalloc-4k")
    assert order == 3
    slab = [HEAD] + (len(range(1 << order)) - 1) * [TAIL]
    assert flags == len(flags) // len(slab) * slab
    assert flags


@pytest.mark.parametrize("count", [8, 800, 4096 - 8])
def test_any_piece(fresh: Fresh, count: int) -> None:
    """However many frames a read has, and wherever blocks lie across its ends."""
    machine = fresh(mem=4 * MIB)
    machine.slab.kmalloc(1 * MIB)
    machine.slab.kmalloc(20_000)
    machine.vm.vmalloc(50 * P)
    assert read_all(machine, count) == read_all(machine)


def test_many_large_objects(fresh: Fresh) -> None:
    """Where there are more of them than frames are read, it goes by the frames."""
    machine = fresh(mem=8 * MIB, cpus=4)
    for size in (10_000, 20_000):
        machine.slab.kmalloc(size)
        machine.slab.alloc_runs(300, 50)
    assert read_all(machine, 8) == read_all(machine, 16) == read_all(machine)


def test_counts(fresh: Fresh) -> None:
    """No process has any frame mapped."""
    machine = fresh()
    machine.vm.vmalloc_user(P)
    handle = FrameFile(kpagecount, machine, 0o400, 1, 2).open(0)
    assert bytes(handle.read(0, 4096)) == bytes(4096)


def test_reads_of_any_bytes(fresh: Fresh) -> None:
    """Whatever is asked for is a part of the whole, which programs seek in."""
    machine = fresh()
    file = FrameFile(kpageflags, machine, 0o400, 1, 2)
    handle, size = file.open(0), 8 * machine.ram.nr_pages
    assert file.size == size
    whole = bytes(handle.read_pages(0, size))
    assert len(whole) == size
    for pos, count in ((1, 8), (4, 8), (0, 7), (0, 9), (8, 65535), (size - 3, 3), (size - 16, 17)):
        assert bytes(handle.read(pos, count)) == whole[pos : pos + count]
    assert bytes(handle.read(size, 8)) == bytes(handle.read(1 << 60, 8)) == b""
    assert len(handle.read(0, 65537)) == len(handle.read(0, 1 << 20)) == 65536
    with fails(errno.EINVAL):
        handle.write(0, bytes(8), False)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR])
def test_refuses_writing(fresh: Fresh, flags: int) -> None:
    """They can only be read."""
    with fails(errno.EACCES):
        FrameFile(kpageflags, fresh(), 0o400, 1, 2).open(flags)
    with fails(errno.EINVAL):
        FrameFile(kpageflags, fresh(), 0o400, 1, 2).truncate(0)
