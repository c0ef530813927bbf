"""What every part says of itself: its books, its state, and a line for a debugger."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.machine import MachineState
from scullvfs.plain import checked
from scullvfs.scull import Module
from scullvfs.scull.module import ModuleState

from .helpers import ARCHS, MIB, P

PARTS = (
    *("ram", "workqueue", "log", "page_alloc", "slab", "pgtable", "vmap_space", "vm", "krc"),
    *("percpu", "faults"),
)


def used(machine: Machine) -> Module:
    """A module that has done some of everything, and its machine."""
    module = Module(machine, scullv_devs=3, scullv_order=1, scullv_qset=4)
    first, second, _ = module.devices
    for pos in range(0, 400_000, 5000):
        first.write(pos, b"x" * 4000)
        second.write(3 * pos, b"y")
    first.truncate(150_000)
    second.trim(later=True)
    machine.slab.kmalloc(100_000)
    machine.vm.vfree(machine.vm.vmalloc(700 * P))
    machine.vm.ioremap(0xFEB0_0000, P)
    machine.log.warn_once("for once", "here")
    return module


def timeless(state: dict[str, Any]) -> dict[str, Any]:
    """A machine's state without the times of its log."""
    log = state["log"]
    records = [[level, text] for level, _, text in log["records"]]
    return state | {"log": log | {"records": records, "nopage": None}}


def plain(value: object) -> bool:
    """Whether it is made of dicts, lists, tuples, numbers and texts alone."""
    if type(value) is dict:
        return all(type(key) is str and plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(plain, value))
    return value is None or type(value) in (int, str, bool)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("fragment", [0, 60])
def test_state_is_plain_and_of_the_calls_alone(arch: str, shuffle: bool, fragment: int) -> None:
    """Two machines after the same calls are in the same state, whether one has idled or not."""
    states = []
    for idle in (True, False):
        machine = Machine(48 * MIB, arch, shuffle, seed=7, fragment=fragment)
        module = used(machine)
        while idle and machine.idle_work():
            pass
        state, driver = machine.state(), module.state()
        assert plain(state)
        assert plain(driver)
        data = json.loads(json.dumps(state))
        assert json.loads(json.dumps(checked(MachineState, data))) == data
        assert checked(ModuleState, json.loads(json.dumps(driver))) == driver
        states.append((timeless({**state}), driver))
    assert states[0] == states[1]


def test_state_shows_every_change(make_machine: Callable[..., Machine]) -> None:
    """Whatever a call has changed, something in the state of its part is another."""
    machine = make_machine(panic_on_warn=False)
    vm, slab = machine.vm, machine.slab
    calls: list[tuple[str, Callable[[], object]]] = [
        ("page_alloc", lambda: vm.vmalloc(P)),
        ("vmap_space", lambda: vm.vmalloc(P)),
        ("vm", lambda: vm.vmalloc(P)),
        ("percpu", lambda: machine.percpu.alloc_percpu(8, 8)),
        ("krc", lambda: machine.krc.kvfree_rcu(vm.vmalloc(P))),
        ("pgtable", lambda: vm.vmalloc(600 * P)),
        ("slab", lambda: slab.kmalloc(8)),
        ("slab", lambda: slab.kmalloc(9000)),
        ("log", lambda: vm.vfree(0x1234)),
        ("vmap_space", vm.vm_unmap_aliases),
    ]
    for part, call in calls:
        before = {**machine.state()}[part]
        call()
        assert {**machine.state()}[part] != before, part


def test_statistics_are_numbers(lenient: Machine) -> None:
    """The books of a machine are those of its parts, and made of nothing but numbers and names."""
    machine = lenient
    used(machine).unload()
    books = machine.statistics()
    parts = (books.pages, books.slab, books.pgtable, books.vmap, books.vmalloc, books.log)
    assert parts == tuple(
        getattr(machine, part).statistics()
        for part in ("page_alloc", "slab", "pgtable", "vmap_space", "vm", "log")
    )
    assert books.ram == (machine.ram.nr_pages, machine.ram.size)
    assert books.workqueue.waiting == 0
    assert books.workqueue.queued > 0
    assert sum(zone.free for zone in books.pages.zones) == books.pages.free
    assert sum(zone.managed for zone in books.pages.zones) == books.pages.total
    assert books.vmap.busy_pages == sum(
        area.kind.size // P for area in machine.vmap_space.busy.values()
    )


def test_repr_is_one_line(lenient: Machine) -> None:
    """A debugger shows what it is, and the numbers that matter."""
    machine = lenient
    module = used(machine)
    for part in PARTS:
        text = repr(getattr(machine, part))
        assert text.startswith(f"<{type(getattr(machine, part)).__name__} ")
        assert "\n" not in text
    assert repr(machine).startswith("<Machine x86_64 mem=64M free=")
    assert repr(module) == "<Module scullv scullv_devs=3 scullv_order=1 scullv_qset=4>"
    assert repr(module.devices[1]) == "<ScullDev scullv1 order=1 qset=4 size=0 quanta=0>"
    assert repr(module.devices[0]).startswith("<ScullDev scullv0 order=1 qset=4 size=150000 ")


def parts_of(thing: object) -> Iterator[object]:
    """What an object of the machine's own refers to, in its attributes and their containers."""
    if isinstance(thing, (list, tuple, set, dict)):
        yield from thing.values() if isinstance(thing, dict) else thing
    elif type(thing).__module__.startswith("scullvfs."):
        slots = (name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ()))
        yield from (getattr(thing, name) for name in slots if hasattr(thing, name))
        yield from vars(thing).values() if hasattr(thing, "__dict__") else ()


def test_every_part_says_what_it_is(machine: Machine) -> None:
    """In a debugger nothing of the machine is only "an object at" some address."""
    address = machine.vm.vmalloc(3 * P)
    machine.vm.vfree(address)
    todo: list[object] = [machine]
    seen: dict[int, object] = {}
    while todo:
        thing = todo.pop()
        if id(thing) not in seen:
            seen[id(thing)] = thing
            todo += parts_of(thing)
    own = {type(thing) for thing in seen.values() if type(thing).__module__.startswith("scullvfs.")}
    assert len(own) > 20
    assert {kind.__qualname__ for kind in own if kind.__repr__ is object.__repr__} == set()
