"""What comes from the child that has read a mount is the model, or it is refused."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from scullvfs.view.plain import decoded, encoded


class Inner(NamedTuple):
    """A part of a model."""

    number: int
    name: str


class Model(NamedTuple):
    """One with all kinds of values."""

    there: bool
    parts: tuple[Inner, ...]
    pair: tuple[int, str]


MODEL = Model(True, (Inner(1, "a"), Inner(1 << 63, "\x1b")), (7, "b"))


def test_both_ways() -> None:
    """What is encoded comes back, of the same types."""
    back = decoded(Model, encoded(MODEL))
    assert back == MODEL
    assert isinstance(back.parts[1], Inner)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[",
        b"{}",
        b"[true]",
        b'[1,[],[7,"b"]]',
        b'[true,[],[7.5,"b"]]',
        b'[true,[],[true,"b"]]',
        b'[true,[],[7,"b",8]]',
        b'[true,[[1]],[7,"b"]]',
        b'[true,[[1,null]],[7,"b"]]',
        b'[true,"",[7,"b"]]',
        b"[" * 100_000,
    ],
)
def test_lies(data: bytes) -> None:
    """Anything else is the error that is caught."""
    with pytest.raises(ValueError):  # noqa: PT011 - any message
        decoded(Model, data)
