"""Every range of the vmalloc window and what it is: no gap, true sizes, any position."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random

import pytest

from scullvfs.fs.seq_file import SeqFile, text_of
from scullvfs.fs.vmap_areas import VmapAreas
from scullvfs.mm import Machine
from scullvfs.mm.layout import LAYOUTS
from scullvfs.mm.rbtree import FreeRange, RangeTree

from .conftest import MIB

Fresh = Callable[..., Machine]

P = 4096


def rows(text: str) -> list[tuple[int, int, int, str]]:
    """(start, end, size, word) of each line."""
    found = []
    for line in text.splitlines():
        addresses, size, word = line.split()
        start, end = (int(address, 16) for address in addresses.split("-"))
        found.append((start, end, int(size), word))
    return found


def test_each_kind(fresh: Fresh) -> None:
    """In use, lazily freed, in a pool, free: each line says which, where, and how large."""
    machine = fresh(cpus=2)
    vm, listing = machine.vm, VmapAreas(machine)
    areas = [vm.vmalloc(16 * P) for _ in range(4)]
    vm.vfree(areas[1])
    vm.vm_unmap_aliases()
    vm.vfree(areas[2])
    assert text_of(listing) == (
        "0xffffc90000000000-0xffffc90000011000           69632 busy\n"
        "0xffffc90000033000-0xffffc90000044000           69632 busy\n"
        "0xffffc90000022000-0xffffc90000033000           69632 lazy\n"
        "0xffffc90000011000-0xffffc90000022000           69632 pool\n"
        "0xffffc90000044000-0xffffe90000000000  35184371810304 free\n"
    )


def test_pools_in_order_of_use(fresh: Fresh) -> None:
    """By size, and first of each the one that an allocation of that size gets next."""
    machine = fresh(cpus=2)
    vm = machine.vm
    for pages in (3, 1, 3, 3, 1):
        for address in [vm.vmalloc(pages * P) for _ in range(4)]:
            vm.vfree(address)
    vm.vm_unmap_aliases()
    pooled = [row for row in rows(text_of(VmapAreas(machine))) if row[3] == "pool"]
    assert [size for _, _, size, _ in pooled] == 8 * [2 * P] + 12 * [4 * P]
    assert vm.vmalloc(3 * P) == next(start for start, _, size, _ in pooled if size == 4 * P)


def busy_machine(fresh: Fresh, arch: str, cpus: int, steps: int) -> Machine:
    """Areas come and go, some of them are purged."""
    machine, rng, live = fresh(arch, cpus=cpus), Random(cpus), []
    for step in range(steps):
        live.append(machine.vm.vmalloc(rng.choice([1, 2, 16, 100]) * P))
        if rng.random() < 0.7:
            machine.vm.vfree(live.pop(rng.randrange(len(live))))
        if step % 90 == 89:
            machine.vm.vm_unmap_aliases()
    return machine


@pytest.mark.parametrize("arch", LAYOUTS)
@pytest.mark.parametrize("cpus", [1, 4])
def test_ranges_tile_the_window(fresh: Fresh, arch: str, cpus: int) -> None:
    """By address each begins where the one before ends; each kind is there, as in the books."""
    machine = busy_machine(fresh, arch, cpus, 400)
    space, listing = machine.vmap_space, VmapAreas(machine)
    found = rows(text_of(listing))
    at = machine.layout.vmalloc_start
    for start, end, size, _ in sorted(found):
        assert (start, end) == (at, start + size)
        at = end
    assert at == machine.layout.vmalloc_end
    words = [word for *_, word in found]
    assert words == sorted(words, key=["busy", "lazy", "pool", "free"].index)
    assert words.count("busy") == len(space.busy)
    assert words.count("lazy") == len(space.lazy) > 0
    assert words.count("free") == len(space.free_areas) == len([*space.free_areas])
    assert ("pool" in words) == (cpus > 1 and arch != "i386")


@pytest.mark.parametrize("arch", LAYOUTS)
def test_size_and_any_position(fresh: Fresh, arch: str) -> None:
    """The size is that of the text, and each position has its bytes."""
    for steps in (0, 1, 300):
        machine, rng = busy_machine(fresh, arch, 4, steps), Random(1)
        file = SeqFile(VmapAreas(machine), 0o400, 1, 2)
        text, handle = text_of(file.listing).encode(), file.open(os.O_RDONLY)
        assert file.size == len(text)
        for pos in (0, len(text) - 1, len(text), *(rng.randrange(len(text)) for _ in range(200))):
            count = rng.choice([1, 50, 5000])
            assert bytes(handle.read(pos, count)) == text[pos : pos + count]


def test_full_window(fresh: Fresh) -> None:
    """Where nothing is free nothing is said of it, and reading behind the end gives nothing."""
    machine = fresh("i386")
    space = machine.vmap_space
    space.reserve(machine.layout.vmalloc_start, machine.layout.vmalloc_end)
    file = SeqFile(VmapAreas(machine), 0o400, 1, 2)
    assert text_of(file.listing) == "0xf77fe000-0xff7fe000       134217728 busy\n"
    assert bytes(file.open(0).read(file.size, 10)) == b""


def test_work_does_not_grow(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read far inside goes along half of the free ranges at the most, and makes its own lines."""
    machine = fresh(mem=256 * MIB)
    areas = [machine.vm.vmalloc(P) for _ in range(4000)]
    for address in areas[::2]:
        machine.vm.vfree(address)
    machine.vm.vm_unmap_aliases()
    file = SeqFile(VmapAreas(machine), 0o400, 1, 2)
    text, made = text_of(file.listing).encode(), []
    assert len(machine.vmap_space.free_areas) >= 2000
    line = VmapAreas._line
    monkeypatch.setattr(VmapAreas, "_line", lambda *args: made.append(1) or line(*args))
    for pos in range(0, len(text), len(text) // 7):
        made.clear()
        assert file.size == len(text)
        assert bytes(file.open(0).read(pos, P)) == text[pos : pos + P]
        assert len(made) < P // 59 + 3


def test_tree_nth() -> None:
    """From either end it is the same range as in a list of them."""
    for count in (0, 1, 2, 3, 50):
        tree = RangeTree()
        order = Random(count).sample(range(count), count)
        for number in order:
            tree.insert(FreeRange(10 * number, 10 * number + 5))
        tree.check()
        assert [tree.nth(n).start for n in range(count)] == [10 * n for n in range(count)]
        assert [node.start for node in tree.walk(12)] == [10 * n for n in range(1, count)]
        for wrong in (-1, count):
            with pytest.raises(IndexError):
                tree.nth(wrong)
