"""What tracing prints against a real kernel's: formats to the letter, records field by field."""

from __future__ import annotations

import re

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.trace_events import EVENTS, TraceEvent
from scullvfs.mm.trace_format import format_text
from scullvfs.scull import DRIVERS, Module
from scullvfs.scull.tracepoints import add_tracepoints

from .structure import differences
from .test_texts import RECORDINGS, recorded

MIB = 1 << 20

NAMES = {
    "FLAGS": r"[.dNs][.N][.s][.1][.](?= )",
    # There is no code, so there is no offset.
    "SITE": r"call_site=\S+(?: \[\w+\])?",
    "GFP": r"gfp_flags=\S+",
    "PTR": r"ptr=[0-9a-f]{16}",
    "PAGE": r"page=[0-9a-f]{16}",
    "PFN": r"pfn=0x[0-9a-f]+",
    "CACHE": r"name=\S+",
}
"""What may be anything that looks like this."""


NEVER = {"rss_stat", "mm_page_free_batched"}
"""Events of the recordings that do not happen here."""

WHO = re.compile(r"(?m)^(?=.{16}-[\d ]{7} \[) *\S+-\d+ +")
"""A name in 16 columns, filled up on its left side, and a pid in 7, filled up on its right side."""


def without_who(text: str) -> str:
    """The records without who it was; each line has that."""
    rest, count = WHO.subn("", text)
    assert count == len(text.splitlines())
    return rest


def recorded_lines() -> list[str]:
    """The records of all recordings that are of events that happen here."""
    ours = {event.name for event in EVENTS}
    names = ("trace_all_write", "trace_trim", "trace_scullc", "trace_scullp")
    lines = [line for name in names for line in recorded(name).splitlines()]
    record = re.compile(r"(?:\d+:)?( *\S+-\d+ +\[000\] .*\d: (\w+): .*)")  # of `grep -n`, too
    return [match[1] for line in lines if (match := record.match(line)) and match[2] in ours]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event.system}:{event.name}")
def test_format(event: TraceEvent) -> None:
    """The file `format` is the same to the letter: fields, offsets, sizes, and how C prints it."""
    text = (RECORDINGS / "events" / event.system / f"{event.name}.txt").read_text()
    assert format_text(event, 8) == text


def test_format_of_32_bits() -> None:
    """A long is shorter there, and what follows is nearer."""
    event = next(event for event in EVENTS if event.name == "mm_page_alloc")
    places = re.findall(r"(\w+);\toffset:(\d+);\tsize:(\d+)", format_text(event, 4))
    assert places[4:] == [
        ("pfn", "8", "4"),
        ("order", "12", "4"),
        ("gfp_flags", "16", "4"),
        ("migratetype", "20", "4"),
    ]


def test_available_events() -> None:
    """The same events in the same order."""
    ours = [f"{event.system}:{event.name}" for event in EVENTS]
    assert ours == recorded("available_events").split()


def test_heading() -> None:
    """The lines above the records, columns and all."""
    lines = recorded("tracing_trace").splitlines()
    assert Machine(4 * MIB).trace.heading().splitlines() == [
        line for line in lines if line.startswith("#")
    ]


def test_records() -> None:
    """Each event that happens here reads as it does there."""
    machine = Machine(64 * MIB)
    trace, slab = machine.trace, machine.slab
    trace.set_event(":", on=True)
    cache = slab.kmem_cache_create("scullc", 4000)
    assert cache is not None
    address = machine.vm.vmalloc(16 * 4096, "scullv_write [scullv]")
    mine = slab.kmem_cache_alloc(cache)
    assert mine is not None
    slab.kmem_cache_free(cache, mine)
    slab.kfree(slab.kmalloc(100_000))
    slab.kfree(None)
    machine.vm.vfree(address)
    machine.vm.vm_unmap_aliases()
    text = trace.take(1 << 20)
    happened = set(re.findall(r"\d: (\w+): ", text))
    assert happened == {
        *("kmalloc", "kfree", "kmem_cache_alloc", "kmem_cache_free"),
        *("mm_page_alloc", "mm_page_free"),
        *("alloc_vmap_area", "free_vmap_area_noflush", "purge_vmap_area_lazy"),
    }
    theirs = "\n".join(recorded_lines())
    assert set(re.findall(r"\d: (\w+): ", theirs)) == happened | NEVER
    assert differences(without_who(theirs), without_who(text), NAMES, ordered=False) == []


def test_what_an_area_takes() -> None:
    """Of slabs, in the order in which the driver's write takes it there, by the same functions."""

    def taken(text: str) -> list[str]:
        lines = [
            re.sub(r"(ptr=|va_start: )\w+", "", line.partition(": ")[2])
            for line in text.splitlines()
            if "vm_area_node" in line or "vmalloc_node" in line or "alloc_vmap_area" in line
        ]
        return [re.sub(r"\+0x\w+/0x\w+", "", line) for line in lines]

    machine = Machine(64 * MIB)
    machine.trace.set_event(":", on=True)
    machine.vm.vmalloc(16 * 4096, "scullv_write [scullv]")
    theirs = taken(recorded("trace_all_write"))
    assert len(theirs) == 5
    assert taken(machine.trace.take(1 << 20)) == theirs


@pytest.mark.parametrize(
    ("name", "recording"), [("scullv", "trace_all_write"), ("scullp", "trace_scullp")]
)
def test_what_a_quantum_set_takes(name: str, recording: str) -> None:
    """The drivers ask for memory as it is, and clear it themselves."""
    without = re.compile(r"\+0x\w+/0x\w+|ptr=\w+ ")
    (theirs,) = re.findall(rf"kmalloc: call_site={name}_write.*", recorded(recording))
    machine = Machine(64 * MIB)
    module = Module(machine, DRIVERS[name])
    add_tracepoints(machine, [module])
    machine.trace.set_event("kmalloc", on=True)
    module.devices[0].write(0, b"x")
    (ours,) = re.findall(rf"kmalloc: call_site={name}_write.*", machine.trace.take(1 << 20))
    assert without.sub("", ours) == without.sub("", theirs)


def test_judge_finds_a_field_that_is_otherwise() -> None:
    """A record with another name, another base or another gap."""
    theirs = without_who("\n".join(recorded_lines()))
    line = next(line for line in theirs.splitlines() if " alloc_vmap_area: " in line)
    assert differences(theirs, line, NAMES, ordered=False) == []
    for old, new in ((" align=", " alignment="), ("va_start: ", "va_start: 0x"), ("] ", "]  ")):
        assert differences(theirs, line.replace(old, new), NAMES, ordered=False)
