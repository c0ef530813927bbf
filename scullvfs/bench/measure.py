"""The runs, in turn: round after round, and in a round target after target.

What a machine can do changes within seconds. So the targets are not measured one after the
other but each number of all of them at once, and the next round begins with another target.

Before a cold write all of them are emptied, and then left alone for a moment.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from . import dd
from .dd import CALLS, Outcome
from .plan import Plan, blocks_for, trial_blocks
from .targets import Target

__all__ = ["Sample", "measure", "runs"]

Tell = Callable[[list[str], Outcome], None]
"""Called after each run with its command line."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run."""

    target: str
    call: str
    size: int
    """Block size in bytes."""
    round: int
    outcome: Outcome


def runs(plan: Plan, targets: Sequence[Target]) -> int:
    """How many runs `measure` makes, the first ones at each size not counted."""
    return plan.rounds * len(plan.sizes) * len(CALLS) * len(targets)


def measure(
    plan: Plan, targets: Sequence[Target], tell: Tell = lambda command, outcome: None
) -> Iterator[Sample]:
    """Run all that the plan asks for, and yield every run as it is done.

    Raises:
        ScullvfsError: a run failed, or a target has no room or cannot be emptied.
    """
    blocks = {size: _blocks(plan, targets, size, tell) for size in plan.sizes}
    for number in range(plan.rounds):
        for size in plan.sizes:
            for call in CALLS:
                if call == "cold":
                    for target in targets:
                        target.empty()
                    time.sleep(plan.rest)
                for target in _rotated(targets, number):
                    outcome = _run(call, target, size, blocks[size], tell)
                    yield Sample(target.name, call, size, number, outcome)


def _blocks(plan: Plan, targets: Sequence[Target], size: int, tell: Tell) -> int:
    """How many blocks of `size` a run moves; the first runs, which show it, are not counted.

    They also warm up caches and per-cpu lists.
    """
    room = min(target.room() for target in targets)
    first = trial_blocks(size, room)
    took = [_run("write", target, size, first, tell).seconds / first for target in targets]
    return blocks_for(plan, size, took, room)


def _run(call: str, target: Target, size: int, blocks: int, tell: Tell) -> Outcome:
    outcome = dd.run(call, target.file, size, blocks)
    tell(dd.command(call, target.file, size, blocks), outcome)
    return outcome


def _rotated(targets: Sequence[Target], by: int) -> list[Target]:
    by %= len(targets)
    return [*targets[by:], *targets[:by]]
