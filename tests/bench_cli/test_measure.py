"""The order of the runs, on plain files."""

import os
from pathlib import Path

import pytest

from scullvfs.bench.dd import CALLS, Outcome
from scullvfs.bench.measure import measure, runs
from scullvfs.bench.plan import Plan
from scullvfs.bench.targets import Target
from scullvfs.errors import ScullvfsError

PLAN = Plan(sizes=(512, 4096), rounds=2, seconds=0.001, limit=8192, rest=0)


@pytest.fixture
def targets(tmp_path: Path) -> list[Target]:
    """Two files."""
    found = []
    for name in ("scullvfs", "tmpfs"):
        (tmp_path / name).touch()
        found.append(Target(name, str(tmp_path / name)))
    return found


@pytest.mark.long
def test_measure_in_turn(targets: list[Target]) -> None:
    """Each number of all targets before the next; every round begins with another target."""
    samples = list(measure(PLAN, targets))
    assert [(s.round, s.size, s.call, s.target) for s in samples] == [
        (number, size, call, target)
        for number, order in enumerate((["scullvfs", "tmpfs"], ["tmpfs", "scullvfs"]))
        for size in PLAN.sizes
        for call in CALLS
        for target in order
    ]
    assert len(samples) == runs(PLAN, targets)


@pytest.mark.long
def test_measure_moves_the_same_everywhere(targets: list[Target]) -> None:
    """A block size has one amount, on all targets and in all rounds; a rewrite a block less."""
    samples = list(measure(PLAN, targets))
    for size in PLAN.sizes:
        (written,) = {s.outcome.bytes for s in samples if s.size == size and s.call != "rewrite"}
        (again,) = {s.outcome.bytes for s in samples if s.size == size and s.call == "rewrite"}
        assert written - again == size
        assert 4 * size <= written <= max(PLAN.limit, 4 * size)


@pytest.mark.long
def test_a_cold_write_finds_every_file_empty(targets: list[Target]) -> None:
    """All targets are emptied before the first of them is written to; other writes find data."""
    empty: dict[tuple[int, int, str], bool] = {}
    for sample in measure(PLAN, targets):
        (other,) = (target.file for target in targets if target.name != sample.target)
        number = sample.round, sample.size, sample.call
        empty.setdefault(number, os.stat(other).st_size == 0)  # after the first of both
    assert {call for (_, _, call), is_empty in empty.items() if is_empty} == {"cold"}
    assert len(empty) == PLAN.rounds * len(PLAN.sizes) * len(CALLS)
    assert sum(empty.values()) == PLAN.rounds * len(PLAN.sizes)


def test_a_file_that_cannot_be_emptied(tmp_path: Path) -> None:
    """It ends the benchmark, in one line."""
    with pytest.raises(ScullvfsError, match=r"cannot empty .*: No such file or directory$"):
        Target("tmpfs", str(tmp_path / "none")).empty()


@pytest.mark.long
def test_measure_tells_every_run(targets: list[Target]) -> None:
    """The commands, those of the first runs included."""
    told: list[tuple[list[str], Outcome]] = []
    samples = list(measure(PLAN, targets, lambda command, outcome: told.append((command, outcome))))
    assert len(told) == len(samples) + len(PLAN.sizes) * len(targets)
    assert [outcome for _, outcome in told[-len(samples) :]] == [s.outcome for s in samples]
    assert all(command[0] == "dd" for command, _ in told)


def test_room(targets: list[Target]) -> None:
    """Half of what is free, the file's own data included; without end where nothing is kept."""
    path = Path(targets[0].file)
    before = targets[0].room()
    path.write_bytes(bytes(1 << 20))
    assert abs(targets[0].room() - before) < before // 10
    assert Target("floor", str(path), keeps=False).room() > 1 << 60
