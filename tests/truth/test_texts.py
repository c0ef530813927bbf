"""The machine's texts against those of a real kernel, 6.12: the same lines, fields and columns.

Numbers differ, nothing else does.  The recordings are in `text`; the longest ones are shortened.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scullvfs.fs.driver_trace import track_drivers
from scullvfs.fs.page_owner import PageOwnerListing
from scullvfs.fs.page_tables import PageTablesListing
from scullvfs.fs.proc import TEXTS, Vmallocinfo, iomem
from scullvfs.fs.seq_file import text_of
from scullvfs.mm import Machine
from scullvfs.mm.gfp import __GFP_HIGHMEM as HIGHMEM
from scullvfs.mm.gfp import __GFP_NOWARN as NOWARN
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.ratelimit import RatelimitState
from scullvfs.scull import DRIVERS, Module

from .structure import Structure, differences

MIB = 1 << 20

RECORDINGS = Path(__file__).parent / "text"
DEBUG = Path(__file__).parent / "text-debug"
"""Of a small kernel with what Debian's leaves out."""

CALLER = {"CALLER": r"\S+\+0x\S+(?: \[\w+\])?|scullv_write \[scullv\]|pcpu_\w+"}
"""The machine has no code, so its callers have no offset."""

NAMES: dict[str, dict[str, str]] = {
    "buddyinfo": {"ZONE": "DMA|DMA32|Normal"},
    "iomem": {"RANGE": r"[0-9a-f]{8,}-[0-9a-f]{8,}"},
    # The one line that goes by another format is held against itself.
    "meminfo": {"FIELD": r"(?!HardwareCorrupted)\w+(?:\(\w+\))?:"},
    "pagetypeinfo": {
        "ZONE": "DMA,|DMA32,|Normal,",
        "LAST": "DMA|DMA32|Normal",
        "TYPE": "Unmovable|Movable|Reclaimable|HighAtomic|Isolate",
    },
    "slabinfo": {"CACHE": r"[\w-]+(?= +\d)"},
    "zoneinfo": {
        "ZONE": "DMA|DMA32|Normal",
        "STAT": r"(?:nr|numa|workingset|pgpromote|pgdemote)_\w+",
        "MARK": "boost|min|low|high|promo|spanned|present|managed|cma",
    },
}
"""File in proc/ -> what may have any name, and has the same format in all lines."""


def recorded(name: str) -> str:
    """The text of a recording."""
    return (RECORDINGS / f"{name}.txt").read_text()


def used(mem: int = 64 * MIB) -> Machine:
    """A machine on which something of every kind is allocated, and something is freed."""
    machine = Machine(mem)
    vm, caller = machine.vm, "scullv_write [scullv]"
    areas = [vm.vmalloc(size, caller) for size in (4096, 65536, 3 * MIB, 12 * MIB, 65536, 65536)]
    for area in (areas[4], areas[1], areas[5], areas[3]):
        vm.vfree(area)
    vm.ioremap(0xFED0_0000, 4096, caller)
    frames = machine.page_alloc.alloc_pages_bulk(GFP_KERNEL, 4)
    assert frames is not None
    vm.vmap(frames, caller=caller)
    for size in (8, 100, 5000, 100_000):
        machine.slab.kmalloc(size)
    return machine


def shown(name: str, machine: Machine) -> str:
    """The text of a file in proc/."""
    return iomem(machine) if name == "iomem" else TEXTS[name][1](machine)


# the judge itself


def wider(text: str, column: int) -> str:
    """A text whose lines have a blank more before one of their fields."""
    return re.sub(rf"(?m)^((?: *\S+){{{column}}} )", r"\1 ", text)


def without(text: str, column: int) -> str:
    """A text whose lines lack a field."""
    return re.sub(rf"(?m)^((?: *\S+){{{column}}}) *\S+", r"\1", text)


@pytest.mark.parametrize("name", NAMES)
def test_judge_finds_a_wider_column_and_one_that_is_missing(name: str) -> None:
    """Whichever it is; the text itself has no difference."""
    text = "\n".join(recorded(f"proc_{name}").splitlines()[:50])
    assert not differences(text, text, NAMES[name])
    changed = 0
    for column in range(1, max(len(line.split()) for line in text.splitlines())):
        for change in (wider, without):
            other = change(text, column)
            if other != text:
                changed += 1
                assert differences(text, other, NAMES[name]), (change, column)
    assert changed >= 4


def test_judge_finds_lines() -> None:
    """One too few, one too many, or in another order; of many alike the number says nothing."""
    text = "a 1\nb 2\nc 3\n"
    assert not differences(text, "a 1\nb 7\nb 8\nc 3\n")
    assert differences(text, "a 1\nc 3\n") == ["no such line here: 'b # '"]
    assert differences(text, "a 1\nb 2\nc 3\nd 4\n") == ["no such line there: 'd # '"]
    assert differences(text, "b 2\na 1\nc 3\n")
    assert not differences(text, "c 3\na 1\n", ordered=False)


@pytest.mark.parametrize(
    ("theirs", "ours", "same"),
    [
        ("n:    12 kB\nn:  3456 kB\n", "n:     1 kB\n", True),
        ("n:    12 kB\nn:  3456 kB\n", "n:      1 kB\n", False),
        ("n:    12 kB\n", "n:    12 KB\n", False),
        ("at 0x00ff\n", "at 0x0123\n", True),
        ("at 0x00ff\n", "at 0x123\n", False),
        ("a 1 \n", "a 1\n", False),
    ],
)
def test_judge_knows_formats(theirs: str, ours: str, same: bool) -> None:
    """Numbers that are filled up on the left, units, digits, blanks at the end."""
    assert (not differences(theirs, ours)) == same


# the files


@pytest.mark.parametrize("name", ["buddyinfo", "meminfo", "pagetypeinfo", "slabinfo"])
def test_file(name: str) -> None:
    """The same lines in the same order, field by field."""
    assert not differences(recorded(f"proc_{name}"), shown(name, used()), NAMES[name])


def test_meminfo_has_every_field() -> None:
    """By its name, in the same order, with the same unit."""
    theirs, ours = recorded("proc_meminfo").splitlines(), shown("meminfo", used()).splitlines()
    assert [line.split()[::2] for line in ours] == [line.split()[::2] for line in theirs]


def test_pagetypeinfo_has_every_type() -> None:
    """Each type by name and in order: a line of each zone, and a column of its pageblocks."""
    theirs, ours = recorded("proc_pagetypeinfo"), shown("pagetypeinfo", used())
    types = r"(?m)zone +Normal, type +(\w+)"
    assert re.findall(types, ours) == re.findall(types.replace("Normal", "DMA32"), theirs)
    heading = "(?m)^Number of blocks type.*"
    assert re.findall(heading, ours) == re.findall(heading, theirs)


def zone_of(text: str, name: str) -> list[str]:
    """The lines of a zone in zoneinfo, what it says of all zones left out."""
    (zone,) = re.findall(rf"(?ms)^Node 0, zone +{name}\n(.*?)(?=^Node|\Z)", text)
    return [line for line in zone.splitlines() if "per-node" not in line]


def test_zoneinfo() -> None:
    """The node's and the zone's fields by name, in order, each in its column.

    The first zone has the node's, too; how many protections there are is how many zones.
    """
    theirs, ours = recorded("proc_zoneinfo"), shown("zoneinfo", used())
    first = "Node 0, zone    DMA\n" + "".join(f"{line}\n" for line in zone_of(theirs, "DMA"))
    here = "Node 0, zone Normal\n" + "".join(f"{line}\n" for line in zone_of(ours, "Normal"))
    first = re.sub(r"protection: \(.*\)", "protection: (0)", first)
    assert not differences(first, here, NAMES["zoneinfo"])
    assert [line.split()[:-1] for line in here.splitlines()] == [
        [word.replace("DMA", "Normal") for word in line.split()[:-1]] for line in first.splitlines()
    ]


def test_zoneinfo_i386() -> None:
    """Low memory is protected from requests that may have high memory; no numbers of NUMA."""
    text = shown("zoneinfo", Machine(1 << 30, "i386"))
    (low,) = [line.strip() for line in zone_of(text, "Normal") if "protection" in line]
    assert low == f"protection: (0, {((1 << 18) - 0x36FFE) // 32})"
    (high,) = [line.strip() for line in zone_of(text, "HighMem") if "protection" in line]
    assert high == "protection: (0, 0)"
    assert "numa_" not in text
    assert text.count("per-node stats") == 1


def test_meminfo_vmalloc_total() -> None:
    """The window's size is one byte less than 32 TiB, as VMALLOC_END is its last address."""
    line = re.search("(?m)^VmallocTotal:.*", recorded("proc_meminfo"))
    assert line is not None
    assert line[0] in shown("meminfo", used())


def test_iomem() -> None:
    """Ranges have eight digits, or as many as they need."""
    text = shown("iomem", used(8 << 30)).replace("scull-demo", "Reserved")  # a device, too
    assert not differences(recorded("proc_iomem"), text, NAMES["iomem"], ordered=False)
    assert re.search("(?m)^[0-9a-f]{8}-[0-9a-f]{9} : ", text)


@pytest.mark.parametrize("name", ["vmallocinfo_kptr1", "vmallocinfo_after_trim"])
def test_vmallocinfo(name: str) -> None:
    """Each kind of line that is in the recording is in ours, and none that is not."""
    machine = used()
    machine.percpu.alloc_percpu(8, 8)
    listing = Vmallocinfo(machine)
    ours, theirs = text_of(listing), recorded(name)
    assert listing.size() == len(ours)
    kinds = Structure.of(theirs, CALLER).kinds
    ours = "".join(
        line
        for line in ours.splitlines(keepends=True)
        if name == "vmallocinfo_kptr1" or next(iter(Structure.of(line, CALLER).kinds)) in kinds
    )
    assert not differences(theirs, ours, CALLER, ordered=False)
    assert kinds.keys() == Structure.of(ours, CALLER).kinds.keys()


@pytest.mark.parametrize("text", [recorded("vmallocinfo_kptr1"), text_of(Vmallocinfo(used()))])
def test_vmallocinfo_order(text: str) -> None:
    """Busy areas by address, then the unpurged ones by address."""
    lines = [line for line in text.splitlines() if line < "0xffffffff"]
    busy = [line for line in lines if "unpurged" not in line]
    unpurged = [line for line in lines if "unpurged" in line]
    assert lines == sorted(busy) + sorted(unpurged)
    assert len(unpurged) > 2


# the files of debugfs


def test_page_tables() -> None:
    """Each line of ours is of a kind that is in the recordings, and its fields in their places.

    What this machine has not got (modules, pages that cannot be written) is all that it lacks.
    """
    theirs = (DEBUG / "page_tables_kernel_head.txt").read_text()
    theirs += (DEBUG / "page_tables_kernel_vmalloc.txt").read_text()
    machine = Machine(256 * MIB)
    for size in (4096, 65536, 3 * MIB, 65536):
        machine.vm.vmalloc(size)
    ours = text_of(PageTablesListing(machine))
    names = {"SIZE": r"(?<= )\d+[KMGT](?= )", "PART": r"(?<=\[ ).*(?= \]---)"}
    assert not differences(theirs, ours, names, ordered=False)
    missing = Structure.of(theirs, names).kinds.keys() - Structure.of(ours, names).kinds.keys()
    assert len(missing) == 4
    assert all(" ro " in kind or " RW NX " in kind for kind in missing)
    for text in (ours, ours.replace("RW ", "RW  "), ours.replace(" pte", "pte")):
        assert bool(differences(theirs, text, names, ordered=False)) == (text != ours)


def test_page_tables_parts() -> None:
    """The parts of the address space come in the recorded order, and begin where they did.

    But for the first areas and what is behind the last one, the holes are the same.
    """
    theirs = (DEBUG / "page_tables_kernel_head.txt").read_text()
    behind = (DEBUG / "page_tables_kernel_vmalloc.txt").read_text()
    theirs += behind[behind.index("---[ Vmemmap") :]
    ours = text_of(PageTablesListing(Machine(256 * MIB - 0x20000)))
    parts = r"(?m)^---\[ .* \]---\n0x\w{16}"
    assert re.findall(parts, ours) == re.findall(parts, theirs)
    before, there = ours.splitlines(), theirs.splitlines()
    assert before[:4] == there[:4]
    holes = before[before.index("---[ vmalloc() Area ]---") - 4 :][:5]
    assert holes == there[there.index("---[ vmalloc() Area ]---") - 4 :][:5]


@pytest.mark.parametrize("part", [1, 2], ids=["whole", "half"])
def test_page_owner(part: int) -> None:
    """A quantum's frames as a real kernel had them: both lines field by field, and the functions.

    Of the functions ours have no offset, and two that lead to each system call are missing.  How
    much of the quantum is written makes no difference.
    """
    both = (DEBUG / "page_owner_scull.txt").read_text()
    theirs, of_scullp = (both.split("\n\n")[number] + "\n\n" for number in (2, 5))
    machine = Machine(64 * MIB, page_owner=True)
    track_drivers(machine)
    assert machine.page_owner is not None
    Module(machine).devices[0].write(0, bytes(65536 // part))
    paragraphs = text_of(PageOwnerListing(machine.page_owner)).split("\n\n")
    ours = [each for each in paragraphs if "bulk" in each and "0x2cc2(" in each]
    assert len(ours) == 16
    without = r"(?m)^ (?:__x64_sys_write|x64_sys_call)\+.*\n|\+0x\w+/0x\w+"
    theirs, of_scullp = re.sub(without, "", theirs), re.sub(without, "", of_scullp)
    names = {
        "COMM": r"(?<= )\(\S+\)(?=, ts)",
        "PFN": r"(?<=PFN )0x[0-9a-f]+",
        "COMMA": r"\(\S+\),(?= ts)",
    }
    for text in ours:
        assert not differences(theirs, f"{text}\n\n", names)
        assert differences(theirs, f"{text}\n\n".replace("tgid", "tid"), names)
    Module(machine, DRIVERS["scullp"]).devices[0].write(0, bytes(4096 // part))
    paragraphs = text_of(PageOwnerListing(machine.page_owner)).split("\n\n")
    (ours,) = [each for each in paragraphs if "get_free_pages" in each]
    assert not differences(of_scullp, f"{ours}\n\n", names)


def test_page_owner_fields() -> None:
    """Each first and second line of the recording, whoever asked for the page, reads as ours."""
    theirs = (DEBUG / "page_owner_scull.txt").read_text()
    machine = Machine(64 * MIB, page_owner=True)
    assert machine.page_owner is not None
    machine.page_alloc.alloc_pages(GFP_KERNEL, 0)
    first = (
        r"(?m)^Page allocated via order \d+, mask 0x[0-9a-f]+\([\w|]*\), "
        r"pid \d+, tgid \d+ \([^)\n]+\), ts \d+ ns\n"
        r"PFN 0x[0-9a-f]+ type Unmovable Block \d+ type (?:Unm|M)ovable "
        r"Flags 0x[0-9a-f]+\([\w|]*zone=\d\)\n \w+"
    )
    for text in (theirs, text_of(PageOwnerListing(machine.page_owner))):
        assert len(re.findall(first, text)) == text.count("Page allocated") > 1


# the log


def stamped(text: str) -> str:
    """The lines of a log without their times; those that go on stand behind a blank there."""
    return re.sub(r"(?m)^(?:\[[ \d.]+\]| {15}) ", lambda match: " " * (match[0][0] == " "), text)


def logged(machine: Machine) -> str:
    """The machine's log behind its first line."""
    return "".join(f"{record.text}\n" for record in machine.log.records()[1:])


def without_trace(text: str) -> str:
    """A report without the functions, those that Linux has and the machine cannot know of."""
    return re.sub(r"(?m)^ (?!<)[?\w. ]+(?:\+0x\S+)?(?: \[\w+\])?\n", "", text)


REPORT = {
    "TAINTED": r"Tainted: [A-Z ]+ 6\.12\S+ #1(?:  Debian \S+)?",
    "COMM": r"(?<=Comm: )\S+|^\S+:(?= vmalloc error)",
    "REASONS": r"\[O\]=OOT_MODULE(?:, \[E\]=UNSIGNED_MODULE)?",
    "HARDWARE": r"(?<=Hardware name: ).*",
    "ZONE": r"DMA|DMA32|Normal|DMA:|DMA32:|Normal:",
    "FREE": r"\d+\*\d+kB(?: \([UME]+\))?(?: \d+\*\d+kB(?: \([UME]+\))?)*",
    "RESERVE": r"(?<=lowmem_reserve\[\]: )[\d ]+",
    "RANGE": r"0x[0-9a-f]+ - 0x[0-9a-f]+",
}
"""What may be otherwise in a report."""


def test_warn_alloc() -> None:
    """A failed vmalloc: why, the flags, who it was, and all the lines on memory, field by field.

    The recorded machine has a zone more.
    """
    theirs = without_trace(stamped(recorded("warn_alloc")))
    theirs = re.sub(r"(?m)^Node 0 DMA (?s:.*?)^(?=Node 0 DMA32)|^Node 0 DMA: .*\n", "", theirs)
    machine = Machine(64 * MIB)
    machine.log.add_module("vmalloc_test")
    machine.vmap_space.reserve(machine.layout.vmalloc_start, machine.layout.vmalloc_end)
    assert machine.vm.vmalloc(4096) is None
    ours = without_trace(logged(machine))
    assert " 0xffffc90000000000 - 0xffffe8ffffffffff\n" in ours
    assert "mode:0xcc0(GFP_KERNEL), nodemask=(null),cpuset=/,mems_allowed=0\n" in ours
    ours = ours.replace("0xcc0(GFP_KERNEL)", "0xdc0(GFP_KERNEL|__GFP_ZERO)")
    assert not differences(theirs, ours, REPORT)
    assert len(ours.splitlines()) == len(theirs.splitlines())


def test_warn_alloc_blocks() -> None:
    """The free blocks of each order, which add up, with the letters of their types."""
    machine = Machine(64 * MIB)
    machine.log.warn_alloc("why")
    (line,) = re.findall("(?m)^Node 0 Normal: (.*)", logged(machine))
    assert re.fullmatch(r"(?:\d+\*\d+kB (?:\([UM]+\) )?){11}= \d+kB", line)
    sizes = [int(count) * int(size) for count, size in re.findall(r"(\d+)\*(\d+)kB", line)]
    assert sum(sizes) == int(line.split()[-1].removesuffix("kB")) == machine.page_alloc.nr_free * 4
    for count, letters in re.findall(r"(\d+)\*\d+kB( \(\w+\))?", line):
        assert bool(letters) == (count != "0")


def test_warn_alloc_looks_where_the_request_did() -> None:
    """Without __GFP_HIGHMEM nothing is said of the zone of that name; without NUMA no node."""
    machine = Machine(1 << 30, "i386")
    machine.log.warn_alloc("low", GFP_KERNEL)
    text = logged(machine)
    assert re.findall(r"(?m)^(\w+) free:", text) == ["Normal"]
    machine.log.nopage = RatelimitState(0, 1)
    machine.log.warn_alloc("high", GFP_KERNEL | HIGHMEM)
    assert re.findall(r"(?m)^(\w+) free:", logged(machine)[len(text) :]) == ["Normal", "HighMem"]


def test_page_allocation_failure() -> None:
    """A block that is not to be had is reported as a real kernel did, if the caller wants it."""
    machine = Machine(16 * MIB)
    pages = machine.page_alloc
    while pages.alloc_pages(GFP_KERNEL | NOWARN, 10) is not None:
        pass
    assert not logged(machine)
    assert pages.get_free_pages(GFP_KERNEL, 10) is None
    first, *rest = logged(machine).splitlines()
    assert first == (
        "swapper/0: page allocation failure: order:10, mode:0xcc0(GFP_KERNEL), "
        "nodemask=(null),cpuset=/,mems_allowed=0"
    )
    assert " __alloc_pages_noprof" in rest
    assert "Mem-Info:" in rest


CRASH = """\
BUG: unable to handle page fault for address: ff5bfa38c00ae000
#PF: supervisor write access in kernel mode
#PF: error_code(0x0002) - not-present page
PGD 1000067 P4D 11a5067 PUD 11a6067 PMD 11a7067 PTE 0
Oops: 0002 [#1] PREEMPT SMP NOPTI
CPU: 0 PID: 127 Comm: python3 Tainted: G           OE      6.1.0-56-amd64 #1  Debian 6.1.192-2
CR2: ff5bfa38c00ae000
Call Trace:
 <TASK>
 _copy_from_user+0x24/0x60
 scullv_write+0xef/0x1da [scullv]
 vfs_write+0xc7/0x3f0
 do_syscall_64+0x5d/0xb0
 </TASK>
Modules linked in: scullv(OE)
---[ end trace 0000000000000000 ]---
"""
"""What Linux 6.1 said when the real driver ran over the end of a quantum, as written down then."""


def test_oops() -> None:
    """Each line of a real crash is in ours, field by field.

    6.12 says "Oops" twice, has the user's id, and a line for what taints; CR2 was written down
    from the line with the registers.
    """
    machine = Machine(64 * MIB)
    device = Module(machine, scullv_devs=1, scullv_order=1, scullv_qset=1, quirk_ldd3=True).devices[
        0
    ]
    device.write(0, bytes(8192))
    with pytest.raises(OSError, match="the quantum ends"):
        device.write(8192, bytes(8192))
    ours = re.sub(r"UID: \d+ ", "", logged(machine)).replace("Oops: Oops:", "Oops:")
    theirs = re.sub(r"\+0x\w+/0x\w+", "", CRASH).replace("(OE)", "(O)")
    names = {
        "ADDRESS": r"[0-9a-f]{16}",
        "ENTRY": r"(?<=(?:PGD|P4D|PUD|PMD|PTE) )[0-9a-f]+",
        "COMM": r"(?<=Comm: )\S+",
        "RELEASE": r"Tainted: .*",
    }
    theirs_kinds, kinds = Structure.of(theirs, names).kinds, Structure.of(ours, names).kinds
    assert not theirs_kinds.keys() - kinds.keys()
    known = "".join(
        f"{line}\n"
        for line in ours.splitlines()
        if next(iter(Structure.of(line, names).kinds)) in theirs_kinds
    )
    assert not differences(theirs, known, names, ordered=False)
