"""Areas that are made ahead: nobody can tell, whatever he looks at, and whatever comes between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.gfp import GFP_HIGHUSER, GFP_KERNEL
from scullvfs.mm.replacing import Layer, Replaced, replace
from scullvfs.mm.vmalloc_ahead import VmallocAhead

from ..thorough import rounds
from .helpers import MIB, P

CALLER = "scullv_write [scullv]"


class Pair:
    """A machine that makes areas ahead, and one that does not, with the same calls."""

    def __init__(self, **options: object) -> None:
        self.machine, self.other = (Machine(16 * MIB, **options) for _ in range(2))  # type: ignore[arg-type]
        self.ahead = VmallocAhead(self.machine)
        self.made = 0
        """The most areas that nobody had got yet."""

    def both(self, call: Callable[[Machine], object]) -> object:
        """Do the same on both; the results are equal."""
        result = call(self.machine)
        assert call(self.other) == result
        self.made = max(self.made, self.ahead.nr_ahead)
        return result

    def vmalloc(self, size: int, caller: str = CALLER, whole: bool = False) -> int:
        """An area, with something in it where it is not whole."""

        def call(machine: Machine) -> tuple[int | None, bytes]:
            address = machine.vm.vmalloc(size, caller, whole)
            if address is None:
                return None, b""
            if whole:
                machine.memory.write(address, b"\xa5" * size)
            found = bytes(machine.memory.read(address, size))
            machine.memory.write(address, b"\x5a" * size)
            return address, found

        address, _ = self.both(call)  # type: ignore[misc]
        return address or 0

    def compare(self) -> None:
        """Compare all there is, but for what is not anybody's yet."""
        self.ahead.undo()
        for machine in (self.machine, self.other):
            machine.set_times([0] * len(machine.times()))
        ours, others = ({**each.state(), "log": None} for each in (self.machine, self.other))
        assert ours == others  # the log's times are the clock's
        assert self.machine.statistics() == self.other.statistics()
        assert bytes(self.machine.ram.bytes) == bytes(self.other.ram.bytes)
        for zone, other in zip(
            self.machine.page_alloc.zones, self.other.page_alloc.zones, strict=True
        ):
            assert zone.free_by_order() == other.free_by_order()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """While it lasts, areas are made ahead."""
        self.ahead.begin()
        try:
            yield
        finally:
            self.ahead.end()


class _Others:
    """What else is asked of the machines."""

    def __init__(self, pair: Pair, rng: Random) -> None:
        self._pair = pair
        self._rng = rng
        self._areas: list[int] = []
        self._objects: list[int] = []
        self._frames: list[int] = []
        for machine in (pair.machine, pair.other):
            machine.holders.append(lambda: {*self._frames})

    def fill(self) -> None:
        """Some areas of the same kind, one after the other."""
        rng = self._rng
        size = rng.choice([1, 1, 1, 2, 4, 4, 16, 3, 600]) * P - (rng.random() < 0.1)
        whole, caller = rng.random() < 0.7, rng.choice([CALLER, "fill"])
        for _ in range(rng.choice([1, 3, 20, 60, 200])):
            if len(self._areas) > 900:
                break
            address = self._pair.vmalloc(size, caller, whole)
            if not address:
                break
            self._areas.append(address)

    def step(self) -> None:
        """One of them, at random."""
        rng, pair = self._rng, self._pair
        choice = rng.random()
        if choice < 0.5:
            self.fill()
        elif choice < 0.6 and self._areas:
            gone = self._taken(self._areas)
            pair.both(lambda machine: machine.vm.vfree_bulk(gone))
        elif choice < 0.65 and self._areas:
            gone = sorted(self._areas)
            self._areas.clear()
            pair.both(lambda machine: machine.vm.vfree_bulk(gone))
        elif choice < 0.75:
            size = rng.choice([8, 64, 72, 96, 128, 5000])
            objects = [pair.both(lambda m: m.slab.kmalloc(size)) for _ in range(rng.randrange(40))]
            self._objects += [address for address in objects if isinstance(address, int)]
        elif choice < 0.85 and self._objects:
            for address in self._taken(self._objects):
                pair.both(lambda machine, address=address: machine.slab.kfree(address))
        elif choice < 0.9:
            pfn = pair.both(lambda m: m.page_alloc.alloc_pages(GFP_HIGHUSER, 0))
            if isinstance(pfn, int):
                self._frames.append(pfn)
        elif choice < 0.93:
            pair.ahead.undo()  # it is nobody's who allocates or frees
            pair.both(lambda machine: machine.vmap_space.purge_vmap_area_lazy())
        elif choice < 0.96:
            pair.ahead.undo()
            pair.both(lambda machine: machine.idle_work())
        else:
            pair.compare()

    def _taken(self, those: list[int]) -> list[int]:
        self._rng.shuffle(those)
        return [those.pop() for _ in range(self._rng.randrange(len(those) + 1))]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(rounds(3, 2)))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": False},
        {"arch": "i386"},
        {"arch": "arm64"},
        {"cpus": 4},
        {"fragment": 30},
        {"init_on_alloc": False},
        {"page_owner": True},
    ],
    ids=str,
)
def test_random_calls(options: dict[str, object], seed: int) -> None:
    """All calls give the same on both machines, and all that is seen is the same."""
    rng = Random(seed)
    pair = Pair(seed=seed, **options)
    others = _Others(pair, rng)
    for _ in range(rounds(40, 25)):
        with pair.serving():
            for _ in range(rng.randrange(1, 12)):
                others.step()
        pair.compare()
    pair.machine.check()
    makes = options.get("init_on_alloc", True) and not options.get("page_owner")
    assert bool(pair.made) == bool(makes)


@pytest.mark.long
def test_one_failure_is_reported_once() -> None:
    """Whatever there is no memory for: for a slab, too, which is the case with 13, 17, 57, 76."""
    for taken in (*range(20), 57, 76):
        missed = []
        for is_ahead in (False, True):
            machine = Machine(8 * MIB, shuffle=False)
            ahead = VmallocAhead(machine)
            for _ in range(taken):
                machine.page_alloc.alloc_pages(GFP_KERNEL, 0)
            if is_ahead:
                ahead.begin()
            while machine.vm.vmalloc(P, CALLER, True) is not None:
                pass
            ahead.end()
            missed.append(machine.log.nopage.missed)
            machine.close()
        assert missed[0] == missed[1], taken


def test_window(make_machine: Callable[..., Machine]) -> None:
    """It doubles while the same is asked for, and begins again with what is asked for else."""
    machine = make_machine()
    ahead = VmallocAhead(machine)
    for _ in range(2):  # the first slabs, the first page table
        machine.vm.vmalloc(P, "somebody")
    ahead.begin()
    left = []
    for _ in range(15):
        machine.vm.vmalloc(P, CALLER, True)
        left.append(ahead.nr_ahead)
    assert left[:7] == [0, 1, 0, 3, 2, 1, 0]
    machine.vm.vmalloc(P, "another", True)
    assert ahead.nr_ahead == 0
    machine.vm.vmalloc(P, "another", True)
    assert ahead.nr_ahead == 1
    ahead.end()
    assert ahead.nr_ahead == 0


def test_nothing_beyond_the_end(make_machine: Callable[..., Machine]) -> None:
    """Without `begin()`, and after `end()`, each area is made when it is asked for."""
    machine = make_machine()
    ahead = VmallocAhead(machine)
    for _ in range(10):
        machine.vm.vmalloc(P, CALLER)
        assert len(machine.vmap_space.busy) == machine.vm.nr_vmalloc_pages
    ahead.begin()
    for _ in range(10):
        machine.vm.vmalloc(P, CALLER)
    assert len(machine.vmap_space.busy) > 20
    ahead.end()
    assert len(machine.vmap_space.busy) == 20
    machine.check()


@pytest.mark.parametrize(
    ("part", "method"),
    [
        ("vm", "vmalloc"),
        ("vm", "vmalloc_node_range"),
        ("slab", "kmalloc"),
        ("page_alloc", "alloc_pages_bulk"),
    ],
)
def test_what_is_replaced_is_called(
    make_machine: Callable[..., Machine], part: str, method: str
) -> None:
    """Somebody who wants to hear of each call on the way does."""
    machine = make_machine()
    ahead = VmallocAhead(machine)
    heard: list[str] = []

    def listening(plain: Replaced) -> Replaced:
        def call(*args: object, **keywords: object) -> object:
            heard.append(method)
            return plain(*args, **keywords)

        return call

    ahead.begin()
    for _ in range(4):
        machine.vm.vmalloc(4 * PAGE_SIZE, CALLER)
    ahead.undo()
    replace(getattr(machine, part), method, Layer.ENTRY, listening)
    for _ in range(40):
        machine.vm.vmalloc(4 * PAGE_SIZE, CALLER)
    assert len(heard) >= 40
    replace(getattr(machine, part), method, Layer.ENTRY, None)
    for _ in range(40):
        machine.vm.vmalloc(4 * PAGE_SIZE, CALLER)
    assert len(heard) < 80
    ahead.end()
    machine.slab.kmalloc(64, GFP_KERNEL)
    machine.check()
