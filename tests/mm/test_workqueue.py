"""Work in steps, and what waits for its turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.workqueue import Steps, Workqueue, finish


def counting(done: list[int], *numbers: int) -> Steps[None]:
    """A step for each number."""
    for number in numbers:
        done.append(number)
        yield


def freeing(machine: Machine, addresses: Iterator[int | None]) -> Steps[None]:
    """A vfree() in each step."""
    for address in addresses:
        machine.vm.vfree(address)
        yield


def test_finish() -> None:
    """All steps are done, and the result is theirs."""

    def steps() -> Steps[str]:
        yield from counting(done, 1, 2)
        return "result"

    done: list[int] = []
    assert finish(steps()) == "result"
    assert done == [1, 2]


def test_first_come_first_served() -> None:
    """A step is one of the oldest work; at the end there is none."""
    work, done = Workqueue(), list[int]()
    work.queue_work(counting(done, 1, 2))
    work.queue_work(counting(done, 3))
    assert len(work) == 2
    assert work.step()
    assert done == [1]
    finish(work.drain())
    assert done == [1, 2, 3]
    assert (len(work), work.step()) == (0, False)


def test_flush_work() -> None:
    """What came before is done, too, and what came later is not."""
    work, done = Workqueue(), list[int]()
    works = [counting(done, 1), counting(done, 2, 3), counting(done, 4)]
    for each in works:
        work.queue_work(each)
    finish(work.flush_work(works[1]))
    assert (done, len(work)) == ([1, 2, 3], 1)
    finish(work.flush_work(works[1]))
    assert (done, len(work)) == ([1, 2, 3], 1)


def test_flush_work_that_is_given_up() -> None:
    """The rest is there for others, who end what a second one waits for."""
    work, done = Workqueue(), list[int]()
    long = counting(done, *range(5))
    work.queue_work(long)
    first, second = work.flush_work(long), work.flush_work(long)
    next(first)
    next(second)
    first.close()
    assert (done, len(work)) == ([0, 1], 1)
    while work.step():
        pass
    assert done == [*range(5)]
    finish(second)


def test_a_broken_work_is_given_up() -> None:
    """Whoever does the step hears of it, and the next one goes on with the other work."""

    def broken() -> Steps[None]:
        yield
        raise LookupError

    work, done = Workqueue(), list[int]()
    work.queue_work(broken())
    work.queue_work(counting(done, 1))
    assert work.step()
    with pytest.raises(LookupError):
        work.step()
    finish(work.drain())
    assert done == [1]


def test_idle_work_does_what_was_left(machine: Machine) -> None:
    """Where nobody else does the work, an idle machine does."""
    addresses = [machine.vm.vmalloc(PAGE_SIZE) for _ in range(5)]
    machine.workqueue.queue_work(freeing(machine, iter(addresses)))
    assert len(machine.vmap_space.busy) == 5
    while machine.idle_work():
        pass
    assert not machine.vmap_space.busy
    machine.check()


def test_what_is_to_be_freed_is_there_to_allocate(machine: Machine) -> None:
    """Who allocates finishes the work first, so when it is done does not show."""
    half = machine.page_alloc.nr_free // 2 * PAGE_SIZE
    kept = machine.vm.vmalloc(half)
    given_up = [machine.vm.vmalloc(half // 32) for _ in range(30)]
    assert None not in (kept, *given_up)
    assert machine.vm.vmalloc(half // 8) is None
    machine.workqueue.queue_work(freeing(machine, iter(given_up)))
    assert machine.vm.vmalloc(half // 8) is not None
    machine.check()
    assert len(machine.workqueue) == 0


def test_what_is_done_in_slices_holds_nobody_up(machine: Machine) -> None:
    """Who allocates in between does none of it, not even after it is left to idle work."""
    addresses = [machine.vm.vmalloc(PAGE_SIZE) for _ in range(100)]
    work = freeing(machine, iter(addresses))
    machine.workqueue.queue_work(work)
    slices = machine.workqueue.flush_work(work)
    next(slices)
    machine.vm.vmalloc(PAGE_SIZE)
    assert len(machine.vmap_space.busy) == 100
    slices.close()
    machine.vm.vmalloc(PAGE_SIZE)
    assert len(machine.vmap_space.busy) == 101
    while machine.workqueue.step():
        pass
    assert len(machine.vmap_space.busy) == 2
    machine.workqueue.queue_work(freeing(machine, iter(list(machine.vmap_space.busy))))
    machine.vm.vmalloc(PAGE_SIZE)
    assert len(machine.vmap_space.busy) == 1


def test_what_is_given_up_in_slices_is_there_to_allocate(machine: Machine) -> None:
    """Before vmalloc() fails, as much of it is done as that takes, and no more."""
    half = machine.page_alloc.nr_free // 2 * PAGE_SIZE
    kept = machine.vm.vmalloc(half)
    given_up = [machine.vm.vmalloc(half // 32) for _ in range(30)]
    assert None not in (kept, *given_up)
    work = freeing(machine, iter(given_up))
    machine.workqueue.queue_work(work)
    slices = machine.workqueue.flush_work(work)
    next(slices)
    slices.close()
    assert machine.vm.vmalloc(half // 8) is not None
    assert len(machine.workqueue) == 1
    machine.check()


def test_scheduled_work_comes_first() -> None:
    """Before what waits, and when a step has scheduled it, when that ends; there are two of it."""
    work, done = Workqueue(), list[int]()

    def scheduling() -> Steps[None]:
        work.schedule_work(lambda: done.append(0))
        done.append(1)
        yield
        done.append(3)

    work.queue_work(counting(done, 7))
    work.queue_work(scheduling())
    work.schedule_work(lambda: done.append(9))
    assert (len(work), work.pending) == (3, True)
    assert work.step()
    assert done == [9]
    finish(work.drain())
    assert done == [9, 7, 1, 0, 3]
    assert not work.pending


def test_scheduled_work_is_done_amid_slices() -> None:
    """Who allocates does it, and leaves what somebody else does in slices alone."""
    work, done = Workqueue(), list[int]()
    long = counting(done, 1, 2)
    work.queue_work(long)
    slices = work.flush_work(long)
    next(slices)
    assert not work.pending
    work.schedule_work(lambda: done.append(9))
    assert work.pending
    work.flush()
    assert (done, len(work), work.pending) == ([1, 9], 1, False)
    work.check()
    finish(slices)
    assert done == [1, 9, 2]


def test_purge_is_work(machine: Machine) -> None:
    """Idle time does it, or who allocates or frees next, and both have the same afterwards."""
    limit = (machine.vmap_space.lazy_max_pages - 1) * PAGE_SIZE
    other = Machine(64 << 20)
    for each in (machine, other):
        assert each.vm.vmap([1] * 3) is not None
        each.vm.vunmap(each.vm.vmap([1] * (limit // PAGE_SIZE)))
        each.vm.vunmap(each.vm.vmap([1]))
        assert (each.vmap_space.purges, len(each.workqueue)) == (0, 1)
    while machine.idle_work():
        pass
    assert (machine.vmap_space.purges, machine.vmap_space.nr_lazy_pages) == (1, 0)
    addresses = [each.vm.vmalloc(PAGE_SIZE) for each in (machine, other)]
    assert addresses[0] == addresses[1] == machine.layout.vmalloc_start + 4 * PAGE_SIZE
    assert machine.vmap_space.state() == other.vmap_space.state()
    other.close()


def test_no_step_within_a_step() -> None:
    """A step that asks for more is told that there is nothing, and goes on."""
    work, said = Workqueue(), list[bool]()

    def asking() -> Steps[None]:
        said.append(work.step())
        yield

    work.queue_work(asking())
    work.queue_work(asking())
    finish(work.drain())
    assert said == [False, False]
