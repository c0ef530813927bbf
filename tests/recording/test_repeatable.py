"""The seed's promise, by way of the door: what idle work, clock and load do shows in nothing."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import pytest

from scullvfs.mm import outside

from ..thorough import rounds
from .play import OPTIONS, TEXTS, Player, idling, world

TIMES = re.compile(rb"(?<=\[)[ \d]{5}\.\d{6}(?=\])")


def timeless(log: list[Any]) -> list[Any]:
    """Without the times of the kernel's log."""
    return [TIMES.sub(b"", item) if isinstance(item, bytes) else item for item in log]


def run(options: str, seed: int, idle_seed: int | None, calls: int) -> tuple[list[Any], Any]:
    """What random calls give, and all texts and states after them."""
    with world(options) as made:
        between = (lambda: None) if idle_seed is None else idling(made.machine, idle_seed)
        player = Player(made, seed, between, timed=False)
        player.play(calls)
        texts = [player.text(path) for path in TEXTS]
        state = made.machine.state()
        del state["log"], state["trace"]
        drivers = [module.state() for module in made.modules]
        return timeless(player.log + texts), (state, drivers)


@pytest.mark.long
@pytest.mark.parametrize("semantics", ["device", "file"])
@pytest.mark.parametrize("more", ["", "arch=i386", "fragment=60", "shuffle=0", "cpus=4"])
def test_idle_work_clock_and_load_show_in_nothing(
    semantics: str, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One idles at random moments, between the steps of a call too, the other never does.

    And for the other time goes by more slowly, and backwards for files.  Whether a delay is over is
    another matter: that is what a clock says.
    """
    options = f"{OPTIONS},semantics={semantics},{more}".rstrip(",")
    monkeypatch.setattr("scullvfs.mm.zone.KEPT", 64)  # idle work goes over all but these
    calls = rounds(400, 120)
    for seed in range(rounds(16, 3)):
        idle = run(options, seed, seed + 1, calls)
        with monkeypatch.context() as patch:
            slow, back = count(1), count(1 << 60, -7)
            patch.setattr(outside, "monotonic_ns", slow.__next__)
            patch.setattr(outside, "time_ns", back.__next__)
            busy = run(options, seed, None, calls)
        for number, (here, there) in enumerate(zip(idle[0], busy[0], strict=True)):
            assert here == there, number
        assert idle[1] == busy[1]
