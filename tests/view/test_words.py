"""How numbers are said, and what the words of a picture are true of."""

from __future__ import annotations

import pytest

from scullvfs.view.cells import cells_of
from scullvfs.view.device import Group, Run
from scullvfs.view.words import bytes_words, few_groups, group_words, places_words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (4000, "4,000 bytes"),
        (4096, "4 KiB"),
        (12345, "12,345 bytes"),
        (65536, "64 KiB"),
        (1310720, "1.25 MiB"),
        (1 << 45, "32 TiB"),
    ],
)
def test_bytes(count: int, words: str) -> None:
    """In the largest unit, with three digits."""
    assert bytes_words(count) == words


def test_places() -> None:
    """Runs of up to four, else only that there are more."""
    assert places_words([Run(0, 20), Run(30, 1)]) == "0-19, 30"
    assert places_words([Run(2 * at, 1) for at in range(5)]) == ""


def test_groups_that_are_left_out_are_said() -> None:
    """Whatever there is is drawn or counted."""
    groups = [Group(at, 1, 1, 1, at, ()) for at in range(10)]
    *few, words, last = few_groups(groups, 4)
    assert [*few, last] == [*groups[:3], groups[9]]
    assert words == f"6 items with {sum(range(3, 9))} quanta, not drawn one by one"
    assert list(few_groups(groups, 10)) == groups


def test_group() -> None:
    """What a set has."""
    assert group_words(Group(0, 1, 1, 0, 0, ()), 500) == "no quantum set: a hole"
    assert group_words(Group(0, 1, 1, 1, 2, (Run(3, 2),)), 500) == "500 pointers; 3-4 used"
    assert (
        group_words(Group(0, 7, 1, 1, 5, (Run(0, 5),)), 5)
        == "5 pointers each, all lead to a quantum"
    )


def test_cells() -> None:
    """A cell is of whose most is; free frames count together."""
    assert cells_of("0aS?", 4) == (1, "0aS?")
    assert cells_of("aaab" + "0123" + "0aaa" + "001a", 4) == (4, "a0a0")
    assert cells_of("a" * 5, 4) == (2, "aaa")
