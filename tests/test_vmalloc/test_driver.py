"""The scenarios on machines of all kinds, by one worker and by several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.sched import IDLE
from scullvfs.test_vmalloc import cases
from scullvfs.test_vmalloc.driver import Module
from scullvfs.test_vmalloc.parameters import NAMES, Parameters

from ..mm.helpers import ARCHS, MIB, P, books, take_all

FEW = Parameters(test_loop_count=20)
ALL_BUT_ONE = [name for name in NAMES if name != "align_shift_alloc_test"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the scenarios have beside their loops is less than Linux has."""
    monkeypatch.setattr(cases, "JUNK_BYTES", 200 * P)
    monkeypatch.setattr(cases, "NR_BUSY", 150)
    monkeypatch.setattr(cases, "NR_PCPU", 300)


@pytest.fixture
def make_machine() -> Iterator[Callable[..., Machine]]:
    """Makes machines, each of which is checked at the end."""
    machines: list[Machine] = []

    def make(mem: int = 64 * MIB, **options: Any) -> Machine:
        machines.append(Machine(mem=mem, **options))
        return machines[-1]

    yield make
    for machine in machines:
        machine.check()
        machine.close()


def run(machine: Machine, seed: int = 0, **parameters: Any) -> Module:
    """All of it."""
    module = Module(machine, FEW._replace(**parameters), seed)
    for _ in module.run():
        pass
    return module


def went(module: Module) -> dict[str, tuple[int, int]]:
    """Scenario -> how often it has passed, and failed."""
    lines = [line.split() for line in module.lines() if line.startswith("Summary: ")]
    return {words[1]: (int(words[3]), int(words[5])) for words in lines}


def bit(*names: str) -> int:
    """Their run_test_mask."""
    return sum(1 << NAMES.index(name) for name in names)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("options", [{}, {"cpus": 3}, {"init_on_alloc": False, "shuffle": False}])
def test_all(make_machine: Callable[..., Machine], arch: str, options: dict[str, Any]) -> None:
    """One fails, as it must, all others pass; what they leave is freed a grace period later."""
    machine = make_machine(arch=arch, **options)
    machine.percpu.free_percpu(machine.percpu.alloc_percpu(8, 8))
    machine.page_alloc.free_pages(machine.page_alloc.get_free_pages(GFP_KERNEL, 0), 0)
    held = machine.slab.kmalloc(1)
    before = books(machine)
    module = run(machine)
    assert went(module) == {
        name: (0, 1) if name == "align_shift_alloc_test" else (1, 0) for name in NAMES
    }
    assert module.wrong() == []
    assert machine.krc.statistics().pointers == 40
    machine.krc.kvfree_rcu_barrier()
    machine.vm.vm_unmap_aliases()
    # A block of vm_map_ram() and a page of pointers in a chunk stay: nothing else does.
    assert machine.percpu.statistics()[:2] == (1, 0)
    assert machine.vm.nr_vmalloc_pages == before.vmalloc_pages
    machine.slab.kfree(held)
    assert machine.current is IDLE


@pytest.mark.parametrize("name", NAMES)
def test_mask(make_machine: Callable[..., Machine], name: str) -> None:
    """Bit by bit; with other bits than these nothing is run."""
    machine = make_machine()
    assert list(went(run(machine, run_test_mask=bit(name)))) == [name]
    assert run(machine, run_test_mask=1 << len(NAMES)).lines()[0].startswith("All test took")


def test_turns_are_as_said(make_machine: Callable[..., Machine]) -> None:
    """The bar reaches its end where nothing fails."""
    machine = make_machine()
    module = Module(machine, FEW._replace(run_test_mask=bit(*ALL_BUT_ONE), nr_threads=3), 0)
    said = sum(turns.done for turns in module.run())
    loops = 20 * len(ALL_BUT_ONE) - 20 + 200 + 150 + 300
    assert module.turns == 3 * loops
    assert said == module.turns - module.turns % 256


def test_repeat(make_machine: Callable[..., Machine]) -> None:
    """Each is run so often, and counted."""
    module = run(make_machine(), test_repeat_count=3, run_test_mask=bit(*NAMES[:7]))
    assert went(module) == {**dict.fromkeys(NAMES[:6], (3, 0)), NAMES[6]: (0, 3)}


def allocations(machine: Machine) -> list[tuple[str, int]]:
    """Who has asked for how much, from now on."""
    asked: list[tuple[str, int]] = []
    allocate = machine.vm.vmalloc_node_range

    def noted(size: int, gfp: int, caller: str = "", *args: Any, **more: Any) -> int | None:
        asked.append((f"{machine.current.comm} {caller}", size))
        return allocate(size, gfp, caller, *args, **more)

    machine.vm.vmalloc_node_range = noted  # type: ignore[method-assign]
    return asked


def test_order(make_machine: Callable[..., Machine]) -> None:
    """In the order of the bits if asked for, else shuffled by the seed, for each worker anew."""
    orders = []
    for seed, sequential in ((1, True), (1, False), (1, False), (2, False)):
        machine = make_machine()
        asked = allocations(machine)
        run(machine, seed, sequential_test_order=sequential, run_test_mask=127, nr_threads=2)
        order = [dict.fromkeys(who for who, _ in asked if f"/{n} " in who) for n in (0, 1)]
        orders.append([[who.split()[1] for who in each] for each in order])
    assert orders[0] == [list(NAMES[:7])] * 2
    assert orders[1] == orders[2] != orders[3]
    assert orders[1][0] != orders[1][1]
    assert {len(order) for both in orders for order in both} == {7}


def test_workers_take_turns(make_machine: Callable[..., Machine]) -> None:
    """After each allocation it is another one's, so what both hold is there at the same time."""
    machine = make_machine()
    asked = allocations(machine)
    module = run(machine, nr_threads=2, run_test_mask=1, test_loop_count=5)
    assert [who.split()[0] for who, _ in asked] == ["vmalloc_test/0", "vmalloc_test/1"] * 5
    assert len(machine.vmap_space.lazy) == 10
    assert len({start for start, _, _ in machine.vmap_space.lazy}) == 10
    lines = module.lines()
    assert [line.split("=")[0] for line in lines if line.startswith("All")] == [
        "All test took worker0",
        "All test took worker1",
    ]


@pytest.mark.long
def test_the_same_seed_gives_the_same_machine(make_machine: Callable[..., Machine]) -> None:
    """Where everything lies, down to the frames; another seed gives another one."""
    states = []
    for seed in (3, 3, 4):
        machine = make_machine()
        run(machine, seed, nr_threads=2)
        state = machine.state()
        del state["log"]
        states.append(state)
    assert states[0] == states[1] != states[2]


@pytest.mark.parametrize(("nr_pages", "size"), [(0, P), (-1, P), (7, 7 * P), (600, 600 * P)])
@pytest.mark.parametrize("use_huge", [False, True])
def test_nr_pages(
    make_machine: Callable[..., Machine], nr_pages: int, size: int, use_huge: bool
) -> None:
    """Of fix_size_alloc_test, by huge pages if asked for, and of vm_map_ram_test."""
    machine = make_machine()
    asked = allocations(machine)
    mask = bit("fix_size_alloc_test", "vm_map_ram_test")
    module = run(machine, nr_pages=nr_pages, use_huge=use_huge, run_test_mask=mask)
    assert module.wrong() == []
    assert {count for who, count in asked if who.endswith("[test_vmalloc]")} >= {size}
    starts = {start % (2 * MIB) for start, end, _ in machine.vmap_space.lazy if end - start > MIB}
    assert (starts == {0}) == (use_huge and nr_pages == 600)


@pytest.mark.parametrize("name", ALL_BUT_ONE)
def test_without_memory(make_machine: Callable[..., Machine], name: str) -> None:
    """Each but one fails, and what it got before is freed."""
    machine = make_machine()
    before = books(machine)
    held = take_all(machine.page_alloc, leave=6)
    module = run(machine, run_test_mask=bit(name), nr_pages=40)
    machine.page_alloc.free_frames(held)
    machine.krc.kvfree_rcu_barrier()
    # With one argument what finds no page to be kept in is freed at once, and can be had again.
    passes = name == "kvfree_rcu_1_arg_vmalloc_test"
    assert went(module) == {name: (1, 0) if passes else (0, 1)}
    assert module.wrong() == ([] if passes else [f"{name} failed"])
    after = books(machine)
    assert (after.vmalloc_pages, after.objects) == (before.vmalloc_pages, before.objects)


def test_long_busy_list_alloc_test_without_the_small_one(
    make_machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The large one, which it has, is freed."""
    machine = make_machine()
    allocate, sizes = machine.vm.vmalloc, [0]

    def vmalloc(size: int, caller: str) -> int | None:
        sizes.append(size)
        return None if sizes[-2] == 100 * P else allocate(size, caller)

    monkeypatch.setattr(machine.vm, "vmalloc", vmalloc)
    module = run(machine, run_test_mask=bit("long_busy_list_alloc_test"))
    assert sizes[-2:] == [100 * P, P]
    assert module.wrong() == ["long_busy_list_alloc_test failed"]
    assert machine.vm.nr_vmalloc_pages == 0


def test_vm_map_ram_test_without_addresses(make_machine: Callable[..., Machine]) -> None:
    """It writes to NULL, as Linux's does, and the kernel says so; here the others go on."""
    machine = Machine(64 * MIB)
    machine.vmap_space.reserve(machine.layout.vmalloc_start, machine.layout.vmalloc_end)
    module = run(machine, run_test_mask=bit("vm_map_ram_test"))
    assert module.wrong() == ["vm_map_ram_test failed"]
    text = "\n".join(module.dmesg())
    assert "BUG: kernel NULL pointer dereference, address: 0000000000000000" in text
    assert " vm_map_ram_test [test_vmalloc]\n" in text
    assert " kthread\n" in text
    assert module.lines()[1:-2] == [line.partition("] ")[2] for line in module.dmesg()[1:-2]]
    machine.close()


def test_what_must_fail_and_passes_is_wrong(
    make_machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test is one of the machine, too."""
    machine = make_machine()
    allocate = machine.vm.vmalloc_node_range
    monkeypatch.setattr(
        machine.vm,
        "vmalloc_node_range",
        lambda size, gfp, caller="", align=1: allocate(size, gfp, caller),
    )
    module = run(machine, run_test_mask=bit("align_shift_alloc_test"))
    assert module.wrong() == ["align_shift_alloc_test passed"]


def test_lines_are_the_first_of_each_report(make_machine: Callable[..., Machine]) -> None:
    """The whole of it is what dmesg has."""
    module = run(make_machine(), run_test_mask=bit("align_shift_alloc_test"))
    first, second, *summary = module.lines()
    assert first.startswith("vmalloc_node_range for size 8192 failed: Address range restricted")
    assert second.startswith("vmalloc_test/0: vmalloc error: size 4096, vm_struct allocation fail")
    assert [line.split()[0] for line in summary] == ["Summary:", "All"]
    texts = [line.partition("] ")[2] for line in module.dmesg()]
    assert {first, second, *summary} < {*texts}
    assert texts[2].startswith("CPU: 0 UID: 0 PID: 3 Comm: vmalloc_test/0 Tainted: G           O ")
    assert texts[-3] == "0 pages hwpoisoned"
