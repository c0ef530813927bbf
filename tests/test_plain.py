"""Data is of a kind, or it is refused."""

from __future__ import annotations

from typing import Any, NamedTuple, TypedDict

import pytest

from scullvfs.plain import checked


class Pair(NamedTuple):
    """A row."""

    number: int
    name: str | None


class Part(TypedDict):
    """An object with one of each."""

    rows: list[Pair]
    numbers: list[list[int]]
    mixed: list[int | str]
    named: dict[str, bool]
    whatever: Any


GOOD: dict[str, Any] = {
    "rows": [[1, "a"], [2, None]],
    "numbers": [[1, 2], [], [3]],
    "mixed": [1, "b"],
    "named": {"x": True},
    "whatever": [None, {}],
}


def test_good() -> None:
    """Of lists come rows where the kind says so; all else is as it was."""
    found = checked(Part, GOOD)
    assert found == {**GOOD, "rows": [Pair(1, "a"), Pair(2, None)]}
    assert isinstance(found["rows"][0], Pair)
    assert checked(Part, {**GOOD, "rows": []})["rows"] == []
    assert checked(tuple[int, ...], [1, 2]) == (1, 2)  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", [[1]]),
        ("rows", [[1, "a", 2]]),
        ("rows", [[1, "a"], 7]),
        ("rows", [[True, "a"]]),
        ("rows", [[1, 2]]),
        ("rows", {}),
        ("rows", None),
        ("numbers", [1]),
        ("numbers", [[1.0]]),
        ("numbers", [[None]]),
        ("mixed", [True]),
        ("mixed", [None]),
        ("named", {"x": 1}),
        ("named", []),
        ("more", 1),
    ],
)
def test_bad(name: str, value: object) -> None:
    """Of another type, too short, too long, or a name too many."""
    with pytest.raises(ValueError, match=r"^(no|other) "):
        checked(Part, {**GOOD, name: value})


def test_a_name_is_missing() -> None:
    """As bad as one too many."""
    with pytest.raises(ValueError, match="other names"):
        checked(Part, {name: value for name, value in GOOD.items() if name != "rows"})
