"""When freed memory goes back to the host: not while it is freed, nor while it is used again."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from scullvfs.fuse.loop import GRACE, MANY, untouched


class Pages:
    """Page frames of which at each look so many are freed."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = list(counts)

    @property
    def nr_surplus(self) -> int:
        """The next count."""
        return self.counts.pop(0)


@pytest.mark.parametrize(
    ("counts", "looks"),
    [
        ([0], 1),
        ([5000, 5000], 2),
        ([5000, 4000, 3000, 0], 4),
        ([5000, 4000, 4000], 3),
        ([1000, 9000, 8000, 8000], 4),
        ([100 * MANY, 100 * MANY - 99], 2),
        ([100 * MANY, 100 * MANY - 100, 100 * MANY - 100], 3),
    ],
)
def test_waits_while_many_come_and_go(counts: list[int], looks: int) -> None:
    """It looks every now and then, until they are as many as at the look before, or none."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    pages = Pages([*counts, -1])

    async def main() -> float:
        began = trio.current_time()
        await untouched(SimpleNamespace(page_alloc=pages))  # type: ignore[arg-type]
        return trio.current_time() - began

    assert trio.run(main, clock=clock) == pytest.approx(looks * GRACE)
    assert pages.counts == [-1]
