"""What follows from a student's word, and that it is the same everywhere."""

from __future__ import annotations

import re

import pytest

from scullvfs.labs.begin import options_of
from scullvfs.labs.check import tasks
from scullvfs.labs.numbers import Numbers, seed_of
from scullvfs.labs.table import LABS


def test_numbers() -> None:
    """They are the same on every machine, and a name more leaves the others as they are."""
    assert seed_of("") == 0
    assert seed_of("ada") == 13789847514168268317
    numbers = Numbers(3, seed_of("ada"))
    assert [numbers.pick("order 1", 0, 3), numbers.pick("qset 1", 10, 90)] == [0, 84]
    assert {Numbers(1, seed).pick("x", 1, 6) for seed in range(100)} == {*range(1, 7)}
    assert all(3 <= len(Numbers(1, seed).some("x", 9, 3, 5)) <= 5 for seed in range(50))
    text = numbers.text("data", 1000)
    assert len(text) == 1000
    assert text.isascii()
    assert len({*text.splitlines()}) == 32


@pytest.mark.parametrize("number", LABS)
def test_any_seed_makes_a_lab(number: int) -> None:
    """Its options are such as there are, and its tasks are said."""
    for seed in range(40):
        options = options_of(number, seed)
        assert options.mem == 64 << 20
        asked = tasks(number, seed)
        assert all(re.fullmatch(r"[A-Z][^\n]*\.", task.text) for task in asked)
        assert len({task.text for task in asked}) == len(asked)
