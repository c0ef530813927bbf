"""Functions that are made to fail as they are entered."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.fail_function import ErrorType
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.sched import Task
from scullvfs.mm.slab_common import KMALLOC_MAX_CACHE_SIZE

from .helpers import P

CALLS: dict[str, Callable[[Machine], object]] = {
    "kmalloc": lambda machine: machine.slab.kmalloc(100),
    "large kmalloc": lambda machine: machine.slab.kmalloc(KMALLOC_MAX_CACHE_SIZE + 1),
    "kmem_cache_alloc": lambda machine: machine.slab.kmem_cache_alloc(
        machine.slab.kmalloc_slab(64)
    ),
    "runs": lambda machine: machine.slab.alloc_runs(32, 100),
    "pages": lambda machine: machine.page_alloc.alloc_pages(GFP_KERNEL, 1),
    "get_free_pages": lambda machine: machine.page_alloc.get_free_pages(GFP_KERNEL, 1),
    "vmalloc": lambda machine: machine.vm.vmalloc(P),
    "vzalloc": lambda machine: machine.vm.vzalloc(P),
    "vmalloc_32": lambda machine: machine.vm.vmalloc_32(P),
    "ioremap": lambda machine: machine.vm.ioremap(0xFED0_0000, P),
}

OBJECTS = {"kmalloc", "kmem_cache_alloc", "runs"}
AREAS = {"vmalloc", "vzalloc", "vmalloc_32", "ioremap"}
FAILING = {
    "should_failslab": OBJECTS | AREAS,
    "should_fail_alloc_page": {*CALLS},
    "__kmalloc_noprof": {"kmalloc", "large kmalloc", "runs", *AREAS} - {"ioremap"},
    "kmem_cache_alloc_noprof": {"kmem_cache_alloc"},
    "get_free_pages_noprof": {"get_free_pages"},
    "vmalloc_noprof": {"vmalloc"},
    "vzalloc_noprof": {"vzalloc"},
}
"""Function -> what fails where each call of it does: its callers', too."""


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", FAILING)
def test_each(name: str, traced: bool) -> None:
    """Nothing else than what comes by it fails, and nothing when it is chosen no more."""
    failed = set()
    for call, function in CALLS.items():
        machine = Machine(16 << 20)
        machine.running.current = Task(os.getpid(), 0, 0)
        assert FAILING.keys() == machine.faults.fail_function.functions.keys()
        fault = machine.faults.fail_function
        if traced:
            machine.trace.set_event("kmem", on=True)
        fault.inject(name)
        fault.arm(times=-1)
        fault.verbose = 0
        given = function(machine)
        if given is None:
            failed.add(call)
        fault.remove_all()
        before = fault.injected
        assert function(machine) is not None
        assert fault.injected == before
    assert failed == FAILING[name]


def test_return_values() -> None:
    """What a function cannot return becomes something that it can."""
    errno, null, either, true = (
        ErrorType.ERRNO,
        ErrorType.NULL,
        ErrorType.ERRNO_NULL,
        ErrorType.TRUE,
    )
    assert [errno.adjusted(n) for n in (0, 1, -1, -4095, -4096)] == [-22, -22, -1, -4095, -22]
    assert [either.adjusted(n) for n in (0, 1, -1, -4095, -4096)] == [0, -22, -1, -4095, -22]
    assert [null.adjusted(n) for n in (0, 1, -1)] == [0, 0, 0]
    assert [true.adjusted(n) for n in (0, 1, -1)] == [1, 1, 1]


def test_retval(machine: Machine) -> None:
    """One that cannot be changes nothing."""
    injection = machine.faults.fail_function.inject("should_failslab")
    assert injection.retval == -22
    assert injection.set_retval(-12)
    assert not injection.set_retval(0)
    assert not injection.set_retval(5)
    assert injection.retval == -12


def test_armed_only_with_a_function(machine: Machine) -> None:
    """With nothing chosen nothing can fail; a fail-nth counts the calls of what is."""
    fault, slab = machine.faults.fail_function, machine.slab
    machine.running.current = Task(os.getpid(), 0, 0)
    fault.arm(times=-1)
    fault.verbose = 0
    assert not fault.is_armed
    slab.kfree(slab.kmalloc(100))
    fault.inject("__kmalloc_noprof")
    assert fault.is_armed
    assert slab.kmalloc(100) is None
    fault.probability = 0
    machine.faults.changed(fault)
    slab.kfree(slab.kmalloc(100))
    machine.faults.tasks.set_fail_nth(os.getpid(), 2)
    slab.kfree(slab.kmalloc(100))
    assert slab.kmalloc(100) is None
    machine.faults.check()
    machine.faults.reset()
    assert fault.injections == {}
    assert machine.faults.tasks.fail_nth == {}


def test_report(machine: Machine) -> None:
    """What was entered, and by which way."""
    fault = machine.faults.fail_function
    fault.inject("vmalloc_noprof")
    fault.arm(times=1)
    assert machine.vm.vmalloc(P) is None
    lines = [record.text for record in machine.log.records()]
    assert "name fail_function, interval 1, probability 100, space 0, times 1" in lines
    begin = lines.index(" should_fail_ex")
    assert lines[begin + 1 : begin + 4] == [" fei_kprobe_handler", " vmalloc_noprof", " </TASK>"]
