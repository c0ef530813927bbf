"""RAM: one mapping of the host, given back frame by frame."""

from __future__ import annotations

import pytest

from scullvfs.mm.ram import ZERO_PAGE, Ram, lazy_array

from .helpers import MIB, P


@pytest.mark.parametrize("pointer_size", [4, 8])
def test_words_are_the_same_bytes(pointer_size: int) -> None:
    """A word is so many bytes of RAM, little-endian."""
    ram = Ram(MIB, pointer_size)

    ram.words[3] = 0x01020304

    start = 3 * pointer_size
    assert bytes(ram.bytes[start : start + 4]) == b"\x04\x03\x02\x01"
    assert len(ram.words) * pointer_size == ram.size == MIB == ram.nr_pages * P


def test_release_makes_frames_read_as_zeros() -> None:
    """The released frames are zeros again, their neighbours what they were."""
    ram = Ram(MIB, 8)
    ram.bytes[: 5 * P] = b"x" * 5 * P

    ram.release(1, 3)

    assert bytes(ram.bytes[: 5 * P]) == b"x" * P + bytes(3 * P) + b"x" * P


def test_clear_pages_clears_one_frame() -> None:
    """The frame and nothing beside it."""
    ram = Ram(MIB, 8)
    ram.bytes[: 3 * P] = b"x" * 3 * P

    ram.clear_pages([1])

    assert bytes(ram.bytes[: 3 * P]) == b"x" * P + ZERO_PAGE + b"x" * P


def test_close_ends_every_view() -> None:
    """After close() nothing of it can be read."""
    ram = Ram(MIB, 8)
    ram.close()

    with pytest.raises(ValueError, match="released"):
        ram.bytes[0]


def test_lazy_array_is_zeros_at_first() -> None:
    """Any number of zeros that can be written to."""
    numbers = lazy_array(10_000_000)

    assert (numbers[0], numbers[9_999_999]) == (0, 0)
    numbers[9_999_999] = 0xFFFF_FFFF
    assert numbers[9_999_999] == 0xFFFF_FFFF
