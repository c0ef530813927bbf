"""What kmalloc gave inside a real kernel, 6.12, and how its caches cut their slabs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.gfp import __GFP_NOWARN, GFP_KERNEL
from scullvfs.mm.slab_order import calculate_order

HERE = Path(__file__).parent
SLABINFO = (HERE / "text" / "proc_slabinfo.txt").read_text().splitlines()[2:]


def steps(name: str) -> list[dict[str, Any]]:
    """The steps of a recording."""
    return list(json.loads((HERE / "mm" / f"{name}.json").read_text())["steps"])


@pytest.fixture
def machine() -> Machine:
    """A machine as large as the recorded one."""
    return Machine(768 << 20, shuffle=False)


def test_sizes(machine: Machine) -> None:
    """Each of 70 sizes gets an object as large as the kernel's; ksize() of NULL is 0."""
    slab = machine.slab
    for step in steps("30-ksize"):
        address = slab.kmalloc(step["size"])
        assert slab.ksize(address) == step["result"]["ksize"], step
        slab.kfree(address)
    machine.check()


@pytest.mark.parametrize("name", ["31-kmalloc-large", "32-kmalloc-align"])
def test_objects(machine: Machine, name: str) -> None:
    """NULL where the kernel gave NULL, the same size, and aligned at least as far as it says."""
    slab = machine.slab
    for step in steps(name):
        if step["op"] == "free":
            continue
        gfp = GFP_KERNEL | (__GFP_NOWARN if step["op"] == "kmalloc_nowarn" else 0)
        address, expected = slab.kmalloc(step["size"], gfp), step["result"]
        assert (address is None) == (expected.get("addr") == "NULL"), step
        if address is not None:
            ksize = expected["ksize"]
            assert slab.ksize(address) == ksize, step
            assert address % (ksize & -ksize) == int(expected["kaddr"], 16) % (ksize & -ksize) == 0


def test_a_warning_once(machine: Machine) -> None:
    """Of four requests that are too large the first is warned of."""
    for size in (4194305, 8388608, 1 << 40, (1 << 64) - 1):
        assert machine.slab.kmalloc(size) is None
    texts = [record.text for record in machine.log.records()]
    assert len([text for text in texts if "WARNING" in text]) == 1


@pytest.mark.parametrize("line", SLABINFO, ids=[line.split()[0] for line in SLABINFO])
def test_slabs(line: str) -> None:
    """Each of a kernel's 197 caches: objects in a slab, and pages."""
    size, objects, pages = map(int, line.split()[3:6])
    order = calculate_order(size)
    assert (objects, pages) == ((4096 << order) // size, 1 << order)


def test_kmalloc_caches(machine: Machine) -> None:
    """They have the kernel's names, order and sizes."""
    caches = [cache.statistics() for cache in machine.slab.caches()]
    ours = [(c.name, c.objsize, c.objperslab, c.pagesperslab) for c in caches]
    fields = [line.split() for line in SLABINFO]
    kmalloc = [f for f in fields if f[0].removeprefix("kmalloc-").rstrip("k").isdigit()]
    theirs = [(f[0], int(f[3]), int(f[4]), int(f[5])) for f in kmalloc]
    assert [cache for cache in ours if cache[0].startswith("kmalloc-")] == theirs
