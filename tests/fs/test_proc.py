"""The kernel's text formats, line by line, of machines in a known state."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable

import pytest

from scullvfs.fs.file import File
from scullvfs.fs.proc import (
    TEXTS,
    IomemFile,
    Kmsg,
    Vmallocinfo,
    buddyinfo,
    iomem,
    listings,
    meminfo,
    pagetypeinfo,
    procfs,
    slabinfo,
    zoneinfo,
)
from scullvfs.fs.seq_file import Listing, text_of
from scullvfs.fs.shown import TextFile
from scullvfs.mm import Machine
from scullvfs.mm.gfp import GFP_HIGHUSER
from scullvfs.mm.printk import KERN_ERR, KernelLog
from scullvfs.mm.sched import Task
from scullvfs.mm.vm_struct import VM_MAP, VM_MAP_PUT_PAGES
from scullvfs.scull import Module

from ..scull.helpers import fails
from .books import assert_books_add_up, free_frames, read_meminfo
from .conftest import MIB

Fresh = Callable[..., Machine]

P = 4096


def shown(listing: Listing) -> str:
    """All of a listing, whose size is known beforehand."""
    size, text = listing.size(), text_of(listing)
    assert size == len(text)
    return text


def vmallocinfo(machine: Machine) -> str:
    """What is in that file."""
    return shown(Vmallocinfo(machine))


def kmsg(machine: Machine) -> str:
    """What is in that file."""
    return shown(Kmsg(machine))


# vmallocinfo


def test_vmallocinfo_empty(fresh: Fresh) -> None:
    """Without areas there is no line."""
    assert vmallocinfo(fresh()) == ""


@pytest.mark.parametrize(
    ("arch", "line"),
    [
        (
            "x86_64",
            "0xffffc90000000000-0xffffc90000004000   16384 f [m] pages=3 vmalloc N0=3\n",
        ),
        ("i386", "0xf77fe000-0xf7802000   16384 f [m] pages=3 vmalloc\n"),
        (
            "arm64",
            "0xffff800080000000-0xffff800080004000   16384 f [m] pages=3 vmalloc N0=3\n",
        ),
    ],
)
def test_vmallocinfo_vmalloc(fresh: Fresh, arch: str, line: str) -> None:
    """The range, its size with the guard page, the caller, and the pages without it."""
    machine = fresh(arch)
    machine.vm.vmalloc(3 * P, "f [m]")
    assert vmallocinfo(machine) == line


@pytest.mark.parametrize(
    ("arch", "pages", "lines"),
    [
        (
            "x86_64",
            1024,
            "0xffffc90000000000-0xffffc90000401000 4198400 f pages=1024 vmalloc vpages N0=1024\n"
            "0xffffc90000401000-0xffffc90000404000   12288 f pages=2 vmalloc N0=2\n",
        ),
        (
            "x86_64",
            512,
            "0xffffc90000000000-0xffffc90000201000 2101248 f pages=512 vmalloc N0=512\n",
        ),
        (
            "i386",
            2048,
            "0xf77fe000-0xf7fff000 8392704 f pages=2048 vmalloc vpages\n"
            "0xf7fff000-0xf8002000   12288 f pages=2 vmalloc\n",
        ),
    ],
)
def test_vmallocinfo_vpages(fresh: Fresh, arch: str, pages: int, lines: str) -> None:
    """An array of page pointers that is more than a page has an area of its own."""
    machine = fresh(arch)
    machine.vm.vmalloc(pages * P, "f")
    assert vmallocinfo(machine) == lines


@pytest.mark.parametrize(
    ("arch", "line"),
    [
        (
            "x86_64",
            "0xffffc90000000000-0xffffc90000003000   12288 f [m] phys=0x00000000fed00000 ioremap\n",
        ),
        ("i386", "0xf77fe000-0xf7801000   12288 f [m] phys=0xfed00000 ioremap\n"),
    ],
)
def test_vmallocinfo_ioremap(fresh: Fresh, arch: str, line: str) -> None:
    """Device memory has a physical address and no pages; the area starts at its page."""
    machine = fresh(arch)
    machine.vm.ioremap(0xFED0_0404, P, "f [m]")
    assert vmallocinfo(machine) == line


def test_vmallocinfo_of_the_kin(fresh: Fresh) -> None:
    """What processes may map says so; a block of vm_map_ram() has no caller, nor pages."""
    machine = fresh("x86_64")
    machine.vm.vmalloc_user(P, "f [m]")
    machine.vm.vm_map_ram([1])
    assert vmallocinfo(machine) == (
        "0xffffc90000000000-0xffffc90000002000    8192 f [m] pages=1 vmalloc user N0=1\n"
        "0xffffc90000100000-0xffffc90000200000 1048576 vm_map_ram\n"
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [(VM_MAP, "f [m] vmap"), (VM_MAP | VM_MAP_PUT_PAGES, "f [m] pages=2 vmap N0=2")],
)
def test_vmallocinfo_vmap(fresh: Fresh, flags: int, words: str) -> None:
    """Frames that the caller has mapped are counted only if vfree() is to free them."""
    machine = fresh()
    frames = machine.page_alloc.alloc_pages_bulk(GFP_HIGHUSER, 2)
    assert frames is not None
    machine.vm.vmap(frames, flags, "f [m]")
    assert vmallocinfo(machine) == f"0xffffc90000000000-0xffffc90000003000   12288 {words}\n"


def test_vmallocinfo_without_caller(fresh: Fresh) -> None:
    """Nobody is named when nobody has a name."""
    machine = fresh()
    machine.vm.vmalloc(1)
    assert vmallocinfo(machine) == (
        "0xffffc90000000000-0xffffc90000002000    8192 pages=1 vmalloc N0=1\n"
    )


def test_vmallocinfo_unpurged(fresh: Fresh) -> None:
    """Busy areas by their address; then what is freed and not purged, until it is."""
    machine = fresh()
    first, second, third = (machine.vm.vmalloc(pages * P, "f") for pages in (1, 2, 300))
    machine.vm.vfree(second)
    busy = (
        "0xffffc90000000000-0xffffc90000002000    8192 f pages=1 vmalloc N0=1\n"
        "0xffffc90000005000-0xffffc90000132000 1232896 f pages=300 vmalloc N0=300\n"
    )
    unpurged = "0xffffc90000002000-0xffffc90000005000   12288 unpurged vm_area\n"
    assert vmallocinfo(machine) == busy + unpurged
    machine.vm.vm_unmap_aliases()
    assert vmallocinfo(machine) == busy
    assert (first, third) == (0xFFFF_C900_0000_0000, 0xFFFF_C900_0000_5000)


def test_vmallocinfo_by_address(fresh: Fresh) -> None:
    """The order is that of the addresses, not of the calls."""
    machine = fresh()
    first = machine.vm.vmalloc(P, "first")
    machine.vm.vmalloc(P, "second")
    machine.vm.vfree(first)
    machine.vm.vm_unmap_aliases()
    machine.vm.vmalloc(P, "third")
    assert [line.split()[2] for line in vmallocinfo(machine).splitlines()] == ["third", "second"]


# buddyinfo, meminfo, iomem, kmsg


def test_buddyinfo_fresh(fresh: Fresh) -> None:
    """Eleven columns, six wide, each with a blank behind it; of RAM nearly all is large blocks."""
    machine = fresh()
    text = buddyinfo(machine)
    assert text.startswith("Node 0, zone   Normal ")
    assert text.endswith("\n")
    columns = text.removeprefix("Node 0, zone   Normal ")[:-1]
    assert len(columns) == 11 * 7
    counts = [int(columns[at : at + 7]) for at in range(0, 77, 7)]
    assert columns == "".join(f"{count:6} " for count in counts)
    assert sum(count << order for order, count in enumerate(counts)) == machine.page_alloc.nr_free
    assert counts[10] == 14  # of 16 blocks of 4 MiB one lacks frame 0, and one is broken up


def test_buddyinfo_zones(fresh: Fresh) -> None:
    """On i386 memory above the linear mapping is a zone of its own, with a line of its own."""
    lines = buddyinfo(fresh("i386", 1024 * MIB)).splitlines()
    assert [line[:22] for line in lines] == ["Node 0, zone   Normal ", "Node 0, zone  HighMem "]


@pytest.mark.parametrize(
    ("arch", "total"), [("x86_64", 34359738367), ("i386", 131072), ("arm64", 133141626880)]
)
def test_meminfo(fresh: Fresh, arch: str, total: int) -> None:
    """The window is as large as Linux says: on x86_64 its end is the last address of it."""
    machine = fresh(arch)
    machine.vm.vmalloc(256 * P)
    slab, pgtable = machine.slab.statistics().pages * 4, machine.pgtable.statistics()
    tables = pgtable.tables * 4
    fields = read_meminfo(meminfo(machine))
    assert {name: number for name, number in fields.items() if number} == {
        "MemTotal": 65532,
        "MemFree": 65532 - 1024 - slab - tables,
        "MemAvailable": 65532 - 1024 - slab - tables - 381 * 4,  # the high watermark
        "Slab": slab,
        "SUnreclaim": slab,
        **({"PageTables": pgtable.nr_pagetable * 4} if pgtable.nr_pagetable else {}),
        "CommitLimit": 32766 // 4 * 4,
        "VmallocTotal": total,
        "VmallocUsed": 1024,
        "Hugepagesize": 4096 if arch == "i386" else 2048,
        **{
            "x86_64": {"DirectMap4k": 2048, "DirectMap2M": 63488},
            "i386": {
                "LowTotal": 65532,
                "LowFree": fields["MemFree"],
                "DirectMap4k": 4096,
                "DirectMap4M": 61440,
            },
            "arm64": {},
        }[arch],
    }


def test_meminfo_percpu(fresh: Fresh) -> None:
    """The frames of all CPUs' copies, and none of what the chunk is kept with."""
    machine = fresh(cpus=3)
    for size in (100, 2 * P, 2 * P):
        machine.percpu.alloc_percpu(size, 8)
    assert read_meminfo(meminfo(machine))["Percpu"] == 5 * 3 * 4


@pytest.mark.parametrize(
    ("mem", "sizes"),
    [
        (MIB + P, [1028, 0, 0]),
        (3 << 21, [2048, 4096, 0]),
        ((5 << 29) + P, [2052, 1570816, 1048576]),
    ],
)
def test_meminfo_direct_map(fresh: Fresh, mem: int, sizes: list[int]) -> None:
    """The linear mapping has the largest pages that fit, but for its first 2 MiB and first GiB."""
    fields = read_meminfo(meminfo(fresh(mem=mem)))
    assert [fields[f"DirectMap{size}"] for size in ("4k", "2M", "1G")] == sizes


@pytest.mark.parametrize("arch", ["x86_64", "i386"])
def test_the_file_that_fragments_memory_is_counted(fresh: Fresh, arch: str) -> None:
    """In meminfo as Cached and Unevictable, in zoneinfo by node and zone; the books add up."""
    machine = fresh(arch, 1024 * MIB, fragment=80)
    machine.vm.vmalloc(300 * P)
    texts = {name: show(machine) for name, (_, show) in TEXTS.items()}
    texts["vmallocinfo"] = vmallocinfo(machine)
    fields = assert_books_add_up(texts.__getitem__)
    assert fields["MemTotal"] == (1 << 20) - 4
    assert 50_000 < fields["Cached"] < 54_000
    pages = fields["Cached"] // 4
    for name in ("nr_unevictable", "nr_file_pages"):
        assert re.findall(rf"{name} +(\d+)", texts["zoneinfo"]) == [str(pages)]
    assert sum(map(int, re.findall(r"nr_zone_unevictable +(\d+)", texts["zoneinfo"]))) == pages
    blocks = re.findall(r"type +(?:Unm|M)ovable +(\d.*)", texts["pagetypeinfo"])
    rows = (map(int, line.split()) for line in blocks)
    counts = [sum(column) for column in zip(*rows, strict=True)]
    assert sum(count << order for order, count in enumerate(counts)) * 4 == fields["MemFree"]


def test_meminfo_high_memory(fresh: Fresh) -> None:
    """With high memory there are four lines more, behind Mlocked, and both parts are all."""
    text = meminfo(fresh("i386", 1024 * MIB))
    fields = read_meminfo(text)
    names = [line.split(":")[0] for line in text.splitlines()]
    at = names.index("Mlocked")
    assert names[at : at + 6] == [
        *("Mlocked", "HighTotal", "HighFree", "LowTotal", "LowFree", "SwapTotal")
    ]
    assert fields["HighTotal"] + fields["LowTotal"] == fields["MemTotal"] == (1 << 20) - 4
    assert fields["HighFree"] + fields["LowFree"] == fields["MemFree"]
    assert fields["HighTotal"] == (1 << 20) - 0x36FFE * 4


@pytest.mark.parametrize(
    ("mem", "last", "device"),
    [
        (16 * MIB, "00ffffff", "fe000000-fe000fff"),
        (4096 * MIB, "ffffffff", "100000000-100000fff"),
        (16384 * MIB, "3ffffffff", "400000000-400000fff"),
    ],
)
def test_iomem(fresh: Fresh, mem: int, last: str, device: str) -> None:
    """Addresses have eight digits, and more where they need them; a device is behind RAM."""
    assert iomem(fresh(mem=mem)) == (
        f"00000000-00000fff : Reserved\n00001000-{last} : System RAM\n{device} : scull-demo\n"
    )


def test_iomem_is_for_the_owner(fresh: Fresh) -> None:
    """Root and who owns the file see where RAM is, and nobody else does; all see what there is."""
    machine = fresh()
    file = IomemFile(machine, 0o444, 1000, 1000)
    for uid, shown in ((0, True), (1000, True), (1001, False)):
        machine.running.current = Task(1, uid, 1001)
        file.looked_up(1)
        text = bytes(file.open(os.O_RDONLY, 1).read(0, 999)).decode()
        assert file.size == len(text)
        assert (text == iomem(machine)) is shown
        if not shown:
            names = ("Reserved", "System RAM", "scull-demo")
            assert text == "".join(f"00000000-00000000 : {name}\n" for name in names)


def test_zones_add_up(fresh: Fresh) -> None:
    """What zoneinfo, pagetypeinfo, buddyinfo and meminfo say of free frames is the same."""
    for arch, mem in (("x86_64", 64 * MIB), ("i386", 1024 * MIB)):
        machine = fresh(arch, mem)
        machine.vm.vmalloc(100 * P)
        free = read_meminfo(meminfo(machine))["MemFree"] // 4
        assert sum(map(int, re.findall("pages free +(\\d+)", zoneinfo(machine)))) == free
        assert free_frames(buddyinfo(machine)) == free
        rows = re.findall(r"type +\w+ ([ \d]+)\n", pagetypeinfo(machine))
        counts = [sum(map(int, column)) for column in zip(*map(str.split, rows), strict=True)]
        assert sum(count << order for order, count in enumerate(counts)) == free


def test_slabinfo_has_each_cache(fresh: Fresh) -> None:
    """A line for each cache: the objects in use, those there is room for, the size of a slab."""
    machine = fresh()
    for _ in range(3):
        machine.slab.kmalloc(4000)
    lines = slabinfo(machine).splitlines()
    assert lines[0] == "slabinfo - version: 2.1"
    assert [line.split()[0] for line in lines[2:]] == [
        cache.statistics().name for cache in machine.slab.caches()
    ]
    (line,) = [line.split() for line in lines if line.startswith("kmalloc-4k ")]
    assert line[2:6] == ["8", "4096", "8", "8"]


def test_kmsg(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is its level, the seconds since the machine was switched on, and the text."""
    machine = fresh()
    clock = iter([0, 1_234_567_890, 98_765_432_100_000]).__next__
    monkeypatch.setattr(machine, "log", KernelLog(clock=clock))
    assert kmsg(machine) == ""
    machine.log.printk(KERN_ERR, "two\nlines")
    machine.log.printk(6, "another")
    assert kmsg(machine) == (
        "<3>[    1.234567] two\n<3>[    1.234567] lines\n<6>[98765.432100] another\n"
    )
    assert kmsg(machine).startswith("<3>")


# the files


def test_text_file() -> None:
    """The content is made at open, and read in pieces at any position."""
    numbers = iter("ab")
    file = TextFile(lambda: f"content {next(numbers)}\n", 0o444, 1, 2)
    first, second = file.open(os.O_RDONLY), file.open(os.O_RDONLY)
    assert first.read(0, 100) == b"content a\n"
    assert second.read(0, 100) == b"content b\n"
    assert [bytes(first.read(pos, 4)) for pos in (0, 4, 8, 10, 99)] == [
        *(b"cont", b"ent ", b"a\n", b"", b"")
    ]
    assert (file.size, file.allocated, file.mode & 0o7777) == (10, 0, 0o444)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND])
def test_text_file_refuses_writing(flags: int) -> None:
    """It can only be read; nothing is made for somebody who wants to write."""
    file = TextFile(lambda: pytest.fail("made"), 0o444, 0, 0)
    with fails(errno.EACCES):
        file.open(flags)
    with fails(errno.EINVAL):
        file.truncate(0)


def test_proc_files(fresh: Fresh) -> None:
    """Each file shows its own machine; those with addresses are for the owner alone."""
    module = Module(fresh())
    entries = procfs(module.machine, [module], 1, 2).entries
    proc = {name: node for name, node in entries.items() if isinstance(node, File)}
    texts = {name: node.open(0).read(0, 1 << 14) for name, node in proc.items()}
    assert texts[b"meminfo"] == meminfo(module.machine).encode()
    assert b"Device 3: qset 500" in texts[b"scullvmem"]
    assert {name for name, node in proc.items() if node.mode & 0o7777 == 0o400} == {
        b"kcore",
        b"kmsg",
        b"kpagecount",
        b"kpageflags",
        b"pagetypeinfo",
        b"slabinfo",
        b"vmallocinfo",
    }


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("arch", ["x86_64", "i386", "arm64"])
def test_books_add_up(fresh: Fresh, arch: str, shuffle: bool) -> None:
    """All of RAM is free, in slabs, in page tables or vmalloc's, whatever has been done."""
    machine = fresh(arch, shuffle=shuffle)
    module = Module(machine, scullv_devs=3, scullv_order=1, scullv_qset=5)

    def read(name: str) -> str:
        if name in TEXTS:
            return TEXTS[name][1](machine)
        return shown(listings(machine, [module])[name][1])

    def add_up() -> dict[str, int]:
        meminfo, pgtable = assert_books_add_up(read), machine.pgtable.statistics()
        counted = sum(meminfo[name] for name in ("MemFree", "Slab", "PageTables", "VmallocUsed"))
        without_a_line = pgtable.tables - pgtable.nr_pagetable
        assert meminfo["MemTotal"] == counted + without_a_line * 4
        return meminfo

    for step in range(300):
        device = module.devices[step % 3]
        device.write(step * 7919 * 16 % (1 << 22), bytes(10_000))
        if step % 50 == 49:
            device.truncate(step * 1000)
            machine.vm.vmalloc(step * P)  # nobody's, but in the books
            add_up()
            machine.check()
    for device in module.devices:
        device.trim()
    meminfo = add_up()
    assert meminfo["Slab"] == len(machine.slab.check()) * 4
