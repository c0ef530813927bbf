"""A small machine against a model, in calls that hypothesis thinks up.

The model is a dict: address -> the pages that are visible there, each a bytearray that
several addresses may share (vmap).  After every call the machine's books are checked.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from scullvfs.mm import KernelBug, Machine, PageFault
from scullvfs.mm.gfp import GFP_HIGHUSER

from ..thorough import rounds
from .helpers import ARCHS, MIB, P, books, difference

MEM = 2 * MIB
PICK = st.integers(0, 99)
WHERE = st.floats(0, 1, exclude_max=True)
SIZES = st.integers(1, 40 * P) | st.sampled_from([1, P, P + 1, 2 * P, 200 * P])


def some(addresses: Collection[int], pick: int) -> int:
    """One of the addresses, which are not none."""
    return sorted(addresses)[pick % len(addresses)]


@dataclass
class Area:
    """What the model knows of an area: its pages, and how many bytes an owner may use."""

    pages: list[bytearray]
    size: int

    @property
    def content(self) -> bytes:
        """All bytes, those behind `size` too."""
        return b"".join(self.pages)

    def write(self, offset: int, data: bytes) -> None:
        """Change bytes, page by page."""
        for i, byte in enumerate(data, offset):
            self.pages[i // P][i % P] = byte


class MachineModel(RuleBasedStateMachine):
    """Calls on a machine and on the dict."""

    @initialize(
        arch=st.sampled_from(ARCHS),
        shuffle=st.booleans(),
        cpus=st.sampled_from([1, 2]),
        seed=st.integers(0, 3),
        fragment=st.sampled_from([0, 0, 50, 100]),
        init_on_alloc=st.booleans(),
    )
    def switch_on(
        self, arch: str, shuffle: bool, cpus: int, seed: int, fragment: int, init_on_alloc: bool
    ) -> None:
        self.machine = Machine(MEM, arch, shuffle, seed, cpus, True, fragment, init_on_alloc)
        self.init_on_alloc = init_on_alloc
        self.fresh = books(self.machine)
        self.model: dict[int, Area] = {}
        """Every vmalloc and vmap area."""
        self.areas: list[int] = []
        """Those of vmalloc."""
        self.things: dict[int, bytearray] = {}
        self.registers: dict[int, int] = {}
        self.sources: dict[int, int] = {}
        """vmap address -> address of the area whose frames it shows."""

    def read(self, address: int, count: int) -> bytes:
        return bytes(self.machine.memory.read(address, count))

    @rule(size=SIZES, zero=st.booleans())
    def vmalloc(self, size: int, zero: bool) -> None:
        free, vm = self.machine.page_alloc.nr_available(GFP_HIGHUSER), self.machine.vm
        address = vm.vzalloc(size) if zero else vm.vmalloc(size)
        nr_pages = -(-size // P)
        if address is None:
            assert free < nr_pages + 1 + 2 * len(self.machine.layout.levels)
            return
        assert address not in self.model
        content = self.read(address, nr_pages * P)
        if zero or self.init_on_alloc:
            assert difference(content, bytes(nr_pages * P)) is None
        pages = [bytearray(content[at : at + P]) for at in range(0, len(content), P)]
        self.model[address] = Area(pages, size)
        self.areas.append(address)

    @rule(size=st.integers(1, 20000), zero=st.booleans())
    def kmalloc(self, size: int, zero: bool) -> None:
        slab, written = self.machine.slab, self.machine.pgtable.entries_written
        address = slab.kzalloc(size) if zero else slab.kmalloc(size)
        assert self.machine.pgtable.entries_written == written
        if address is not None:
            assert address not in self.things
            content = self.read(address, size)
            if zero or self.init_on_alloc:
                assert difference(content, bytes(size)) is None
            self.things[address] = bytearray(content)

    @precondition(lambda self: self.areas)
    @rule(pick=PICK, turn=st.integers(0, 40), back=st.booleans())
    def vmap(self, pick: int, turn: int, back: bool) -> None:
        source = some(self.areas, pick)
        pages = self.model[source].pages
        turn %= len(pages)
        places = [*range(turn, len(pages)), *range(turn)][:: -1 if back else 1]
        pfns = [self.machine.vm.vmalloc_to_pfn(source + i * P) for i in places]
        address = self.machine.vm.vmap([pfn for pfn in pfns if pfn is not None])
        if address is not None:
            assert address not in self.model
            self.model[address] = Area([pages[i] for i in places], len(places) * P)
            self.sources[address] = source

    @rule(offset=st.integers(0, P - 1), size=st.integers(1, 3 * P))
    def ioremap(self, offset: int, size: int) -> None:
        address = self.machine.vm.ioremap((1 << 31) + offset, size)
        if address is not None:
            assert address % P == offset
            assert self.read(address, size) == b"\xff" * size
            pages = -(-(offset + size) // P)
            assert (address - offset) % (P << (pages - 1).bit_length()) == 0
            self.registers[address] = size

    @precondition(lambda self: self.model)
    @rule(pick=PICK, where=WHERE, data=st.binary(min_size=1, max_size=50), repeat=PICK)
    def write(self, pick: int, where: float, data: bytes, repeat: int) -> None:
        address = some(self.model, pick)
        area = self.model[address]
        offset = int(where * area.size)
        data = (data * (repeat + 1))[: area.size - offset]
        self.machine.memory.write(address + offset, data)
        area.write(offset, data)

    @precondition(lambda self: self.model)
    @rule(pick=PICK, where=WHERE, value=st.integers(0, 255), count=st.integers(1, 3 * P))
    def memset(self, pick: int, where: float, value: int, count: int) -> None:
        address = some(self.model, pick)
        area = self.model[address]
        offset = int(where * area.size)
        count = min(count, area.size - offset)
        self.machine.memory.memset(address + offset, value, count)
        area.write(offset, bytes([value]) * count)

    @precondition(lambda self: self.things)
    @rule(pick=PICK, data=st.binary(min_size=1, max_size=100))
    def write_object(self, pick: int, data: bytes) -> None:
        address = some(self.things, pick)
        thing = self.things[address]
        data = data[: len(thing)]
        self.machine.memory.write(address, data)
        thing[: len(data)] = data

    @precondition(lambda self: self.model)
    @rule(pick=PICK, before=st.integers(0, 2 * P), write=st.booleans())
    def run_over_the_end(self, pick: int, before: int, write: bool) -> None:
        address = some(self.model, pick)
        end = address + len(self.model[address].pages) * P
        start = max(end - before, address)
        memory, count = self.machine.memory, end - start + 1
        with pytest.raises(PageFault) as caught:
            memory.write(start, b"!" * count) if write else memory.read(start, count)
        assert (caught.value.address, caught.value.write) == (end, write)

    @precondition(lambda self: self.areas)
    @rule(pick=PICK, page=st.integers(0, 40))
    def vfree(self, pick: int, page: int) -> None:
        address = some(self.areas, pick)
        for at in [at for at, source in self.sources.items() if source == address]:
            self.machine.vm.vunmap(at)
            del self.model[at], self.sources[at]
        self.areas.remove(address)
        area = self.model.pop(address)
        self.machine.vm.vfree(address + min(page, len(area.pages)) * P)
        with pytest.raises(KernelBug, match="nonexistent"):
            self.machine.vm.vfree(address)

    @precondition(lambda self: self.sources)
    @rule(pick=PICK)
    def vunmap(self, pick: int) -> None:
        address = some(self.sources, pick)
        self.machine.vm.vunmap(address)
        del self.model[address], self.sources[address]

    @precondition(lambda self: self.things)
    @rule(pick=PICK)
    def kfree(self, pick: int) -> None:
        address = some(self.things, pick)
        del self.things[address]
        self.machine.slab.kfree(address)
        with pytest.raises(KernelBug):
            self.machine.slab.kfree(address)

    @precondition(lambda self: self.registers)
    @rule(pick=PICK)
    def iounmap(self, pick: int) -> None:
        address = some(self.registers, pick)
        del self.registers[address]
        self.machine.vm.iounmap(address)

    @rule()
    def idle_work(self) -> None:
        self.machine.idle_work()

    @rule(full=st.booleans())
    def purge(self, full: bool) -> None:
        self.machine.vmap_space.purge_vmap_area_lazy(full)

    @rule()
    def drain(self) -> None:
        for zone in self.machine.page_alloc.zones:
            zone.drain()

    @invariant()
    def books_add_up(self) -> None:
        if hasattr(self, "machine"):
            self.machine.check()

    @invariant()
    def everything_visible_is_as_the_model_says(self) -> None:
        if not hasattr(self, "machine"):
            return
        for address, area in self.model.items():
            found = self.read(address, len(area.pages) * P)
            assert difference(found, area.content) is None
        for address, thing in self.things.items():
            assert difference(self.read(address, len(thing)), thing) is None
        mapped = {at + i * P for at, area in self.model.items() for i in range(len(area.pages))}
        for at, size in self.registers.items():
            mapped |= set(range(at - at % P, at + size, P))
        assert mapped == {at for at, _ in self.machine.pgtable.mappings()}

    def teardown(self) -> None:
        if not hasattr(self, "machine"):
            return
        for address in [*self.sources]:
            self.machine.vm.vunmap(address)
            del self.model[address]
        for address in self.model:
            self.machine.vm.vfree(address)
        for address in self.things:
            self.machine.slab.kfree(address)
        for address in self.registers:
            self.machine.vm.iounmap(address)
        assert books(self.machine) == self.fresh


TestMachineModel = MachineModel.TestCase
TestMachineModel.settings = settings(max_examples=rounds(100, 15), stateful_step_count=40)
# Passing takes seconds; a failure may be shrunk for up to five minutes.
TestMachineModel.pytestmark = pytest.mark.timeout(400)  # type: ignore[attr-defined]
