"""What to run: block sizes, and how many blocks of each.

A run of dd should take about as long at every block size, so that small blocks do not take
for ever and large ones are not over before anything can be timed. How many blocks that is
the slowest target decides; all targets then get the same number, a power of two.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from scullvfs.errors import ScullvfsError, UsageError
from scullvfs.options.parsers import format_size, parse_size

__all__ = [
    "DEFAULT_SIZES",
    "LIMIT",
    "MAX_SIZE",
    "MIN_BLOCKS",
    "MIN_SIZE",
    "REST",
    "ROUNDS",
    "SECONDS",
    "Plan",
    "blocks_for",
    "parse_sizes",
    "trial_blocks",
]

MIN_SIZE: Final = 512
MAX_SIZE: Final = 64 << 20
DEFAULT_SIZES: Final = "512-4M"

ROUNDS: Final = 5
SECONDS: Final = 0.1
LIMIT: Final = 64 << 20
REST: Final = 0.2
"""What a `Plan` has by default."""

MIN_BLOCKS: Final = 4
"""The least that one run moves: a rewrite leaves the first block out, see `dd`."""

TRIAL: Final = 256 << 10
"""Bytes of the first run at a block size, which shows how long a block takes."""

RANGE: Final = re.compile(r"(?P<first>[^-]+)-(?P<last>[^-x]+)(x(?P<step>[24]))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the user asked for."""

    sizes: tuple[int, ...]
    """Block sizes in bytes, ascending."""
    rounds: int = ROUNDS
    """How often each number is measured."""
    seconds: float = SECONDS
    """About how long one run of dd takes on the slowest target."""
    limit: int = LIMIT
    """The most bytes that one run moves, if that is MIN_BLOCKS blocks at least."""
    rest: float = REST
    """Seconds that an empty file is left alone before a cold write: in a twentieth of one a daemon
    begins to give its memory back to the host, and 64 MiB take it less than that."""


def parse_sizes(text: str) -> tuple[int, ...]:
    """Block sizes from `4K,64K`, `512-4M` (each twice the one before) or `512-4Mx4`.

    Raises:
        UsageError: what is not such a list, or a size out of range.
    """
    sizes: set[int] = set()
    for part in text.split(","):
        between = RANGE.fullmatch(part)
        if between is None:
            sizes.add(_block_size(part))
            continue
        size, last = _block_size(between["first"]), _block_size(between["last"])
        if size > last:
            raise UsageError(f"--sizes {part} is not possible; the smaller size comes first")
        while size <= last:
            sizes.add(size)
            size *= int(between["step"] or 2)
    return tuple(sorted(sizes))


def _block_size(text: str) -> int:
    try:
        size = parse_size(text)
    except ValueError:
        raise UsageError(
            f"--sizes {text} is not possible; write a list like 4K,64K or a range like 512-4M, "
            "512-4Mx4"
        ) from None
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UsageError(
            f"--sizes {text} is not possible; a block is {MIN_SIZE} to {format_size(MAX_SIZE)}"
        )
    return size


def trial_blocks(size: int, room: int) -> int:
    """How many blocks the first run moves, from which `blocks_for` learns.

    Raises:
        ScullvfsError: not even MIN_BLOCKS have room.
    """
    return _blocks(TRIAL, size, room)


def blocks_for(plan: Plan, size: int, seconds_a_block: Iterable[float], room: int) -> int:
    """How many blocks of `size` a run moves: a power of two, at least MIN_BLOCKS.

    `seconds_a_block` is how long a block takes on each target, `room` how many bytes the
    smallest of them can hold.

    Raises:
        ScullvfsError: not even MIN_BLOCKS have room.
    """
    wanted = int(plan.seconds / max(seconds_a_block)) * size
    return _blocks(min(wanted, plan.limit), size, room)


def _blocks(wanted: int, size: int, room: int) -> int:
    """About `wanted` bytes in blocks of `size`."""
    if room < MIN_BLOCKS * size:
        raise ScullvfsError(
            f"blocks of {format_size(size)} need room for {format_size(MIN_BLOCKS * size)}, and "
            f"there is only {format_size(room >> 10 << 10)}; use smaller --sizes"
        )
    return max(_power_of_two(min(wanted, room) // size), MIN_BLOCKS)


def _power_of_two(number: int) -> int:
    """The largest that is not above `number`; 0 for 0."""
    return 1 << (number.bit_length() - 1) if number else 0
