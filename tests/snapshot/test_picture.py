"""A machine that was saved goes on exactly as the one that it was saved from."""

from __future__ import annotations

from pathlib import Path

import pytest

from scullvfs.errors import BadFileError
from scullvfs.mm.trace_filter import FilterError

from ..thorough import rounds
from .helpers import Kernel, Play

FAMILY = "drivers=scullv:scullp:scullc:scull,scullv_qset=7,scullp_qset=5,scullc_qset=3,scull_qset=9"
SMALL = f"{FAMILY},mem=24M,seed=3,scullv_order=1"
KINDS = (
    SMALL,
    f"{SMALL},shuffle=0,cpus=2",
    f"{SMALL},fragment=70,cpus=2",
    f"{SMALL},init_on_alloc=0,fragment=30",
    f"{SMALL},page_owner=on",
    f"{SMALL},quirks=ldd3,init_on_alloc=0",
    f"{SMALL},hardened_usercopy=1,arch=arm64,shuffle=0",
    f"{FAMILY},arch=i386,mem=1G,fragment=20,scullv_order=0",
)


@pytest.mark.parametrize("options", KINDS)
def test_goes_on_as_the_saved_one_would(options: str, tmp_path: Path) -> None:
    """The same calls have the same results, and leave the same books and bytes behind."""
    before, after = rounds(400, 150), rounds(600, 150)
    for seed in range(rounds(3, 1)):
        plain = Kernel(options)
        play = Play(plain, seed)
        expected = [play.step() for _ in range(before + after)]

        saved = Kernel(options)
        play = Play(saved, seed)
        for number in range(before):
            assert play.step() == expected[number], number
        path = tmp_path / "machine.snap"
        path.write_bytes(saved.save())
        restored = play.kernel = Kernel(options)
        restored.restore(path)
        assert restored.state() == saved.state()
        assert restored.content() == saved.content()
        if "quirks" not in options:
            restored.check()
        for number in range(before, before + after):
            assert play.step() == expected[number], number
        assert restored.state() == plain.state()
        assert restored.content() == plain.content()
        for kernel in (plain, saved, restored):
            kernel.close()


def test_saving_changes_nothing() -> None:
    """Whoever is saved goes on as one who is not, and gives the same file once more."""
    kernels = [Kernel(SMALL), Kernel(SMALL)]
    plays = [Play(kernel, 1) for kernel in kernels]
    for number in range(rounds(500, 120)):
        assert plays[0].step() == plays[1].step()
        if number % 40 == 0:
            kernels[0].save()
            kernels[1].state()  # both do what waits for idle time first, as the trace tells
    same = kernels[0].state() == kernels[1].state()
    assert same  # to say where they differ would take minutes
    kernels[0].check()


@pytest.mark.long
def test_damage_is_restored(tmp_path: Path) -> None:
    """A broken list of free objects, overwritten page tables, and who did it."""
    options = f"{FAMILY},quirks=ldd3,mem=8M,seed=1,scullp_order=2,scull_quantum=500,shuffle=0"
    saved = Kernel(options)
    scullp, scull = saved.modules[1].devices[0], saved.modules[3].devices[0]
    for device in (scullp, scull):
        for item in range(40):  # all but those of the first item are too short
            try:
                device.write(item * device.itemsize + 3000, b"\xa5" * 12_000)
            except OSError:
                break
    report = saved.machine.overruns.report()
    assert report
    path = tmp_path / "machine.snap"
    path.write_bytes(saved.save())
    restored = Kernel(options)
    restored.restore(path)
    assert restored.state() == saved.state()
    assert restored.machine.overruns.report() == report
    assert restored.content() == saved.content()


def test_clock_goes_on(tmp_path: Path) -> None:
    """What comes after is later than what was before, however long that machine was on."""
    saved = Kernel(SMALL)
    saved.machine.log.go_on_from(3_600_000_000_000)
    saved.machine.log.printk(4, "one")
    path = tmp_path / "machine.snap"
    path.write_bytes(saved.save())
    restored = Kernel(SMALL)
    restored.restore(path)
    restored.machine.log.printk(4, "two")
    one, two = restored.machine.log.records()[-2:]
    assert (one.text, two.text) == ("one", "two")
    assert one == saved.machine.log.records()[-1]
    assert one.nanoseconds < two.nanoseconds
    restored.machine.log.check()


def test_what_is_set_of_tasks_is_not_restored(tmp_path: Path) -> None:
    """Their numbers are other tasks' by then."""
    saved = Kernel(SMALL)
    saved.machine.faults.tasks.set_fail_nth(1, 7)
    path = tmp_path / "machine.snap"
    path.write_bytes(saved.save())
    restored = Kernel(SMALL)
    restored.restore(path)
    assert not restored.machine.faults.tasks.fail_nth


def test_events_and_filters(tmp_path: Path) -> None:
    """Which are on, with which filter, and what was wrong with one."""
    saved = Kernel(SMALL)
    trace = saved.machine.trace
    trace.set_event("kmem:kmalloc", on=True)
    trace.set_filter(trace.files["kmem", "kmalloc"], "bytes_req > 100")
    with pytest.raises(FilterError):
        trace.set_filter(trace.files["kmem", "kfree"], "nonsense > 1")
    path = tmp_path / "machine.snap"
    path.write_bytes(saved.save())
    restored = Kernel(SMALL)
    restored.restore(path)
    assert restored.machine.trace.state() == trace.state()
    written = restored.machine.trace.written
    restored.machine.slab.kmalloc(50)
    restored.machine.slab.kmalloc(500)
    assert restored.machine.trace.written == written + 1


def test_another_machine(tmp_path: Path) -> None:
    """A file of other options is refused, whatever it holds."""
    path = tmp_path / "machine.snap"
    path.write_bytes(Kernel(SMALL).save())
    with pytest.raises(BadFileError, match="is of another machine"):
        Kernel(f"{SMALL},cpus=2").restore(path)
