"""How the text of one mount option becomes a value: numbers, sizes, users, choices.

Each function here makes a parser: it takes what is allowed and returns a `Parse`, which
says in `expects` what it takes, for error messages and the manual page, in `brief` the same
for the help, and is called with the text. Whatever cannot be raises `ValueError`. Used by
`table`; knows nothing of the options themselves. Sizes are read and written here for all rooms:
`parse_size()`, `format_size()`.
"""

from . import dataclasses_alone  # isort: skip  # noqa: F401  (before dataclasses)
import grp
import os
import pwd
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from scullvfs.mm.layout import PAGE_SIZE

__all__ = [
    "MAX_TEXT",
    "Parse",
    "choice",
    "fault",
    "format_size",
    "group",
    "number",
    "octal_mode",
    "path",
    "parse_size",
    "several",
    "size",
    "switch",
    "text",
    "user",
]

UNITS: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
"""Suffix of a size -> how far the number before it is shifted."""

MAX_ID: Final = (1 << 32) - 2
"""The highest uid and gid; the one above means "leave it" to chown(2)."""

MAX_TEXT: Final = 4095
"""Bytes of the source of a mount (Linux: fs/namespace.c:copy_mount_string())."""

LISTABLE: Final = 32
"""How many numbers are still few enough to be listed."""


@dataclass(frozen=True, slots=True)
class Parse:
    """A parser of one kind of value."""

    expects: str
    """What it takes, to be read after "must be"."""
    brief: str
    """The same in two or three words."""
    convert: Callable[[str], Any]
    known: Callable[[], Iterable[str]] = tuple
    """Makes the values that can be listed, for shell completion; none where there are too many."""
    format: Callable[[Any], str] = str
    """The way back: a value as a user would write it."""
    separator: str = ""
    """What stands between several of the known values, if there may be several."""

    def __call__(self, text: str) -> Any:
        """The value of `text`; `ValueError` if it has none."""
        return self.convert(text)


def _decimal(text: str, low: int, high: int) -> int:
    """`text` as a decimal number from `low` to `high`, both included.

    Stricter than `int`, which also takes blanks, underscores and other scripts' digits.
    """
    if not re.fullmatch(r"[0-9]{1,20}", text) or not low <= int(text) <= high:
        raise ValueError(text)
    return int(text)


def number(low: int, high: int) -> Parse:
    """A decimal number from `low` to `high`, both included."""
    few = range(low, high + 1) if high - low < LISTABLE else range(0)
    return Parse(
        f"a number from {low} to {high}",
        f"{low} to {high}" if high < 1 << 32 else f"{low} to 2^{high.bit_length()} - 1",
        lambda text: _decimal(text, low, high),
        known=lambda: map(str, few),
    )


WORDS: Final = dict.fromkeys(("0", "n", "off"), False) | dict.fromkeys(("1", "y", "on"), True)
"""What a boolean may be given as (some of Linux: lib/kstrtox.c:kstrtobool())."""


def switch() -> Parse:
    """A boolean, as any of WORDS; written as 0 or 1."""

    def convert(text: str) -> bool:
        try:
            return WORDS[text]
        except KeyError:
            raise ValueError(text) from None

    return Parse(
        "0 or 1, n or y, off or on",
        "0 or 1",
        convert,
        known=lambda: ("0", "1"),
        format=lambda value: str(int(value)),
    )


def fault() -> Parse:
    """When something fails: off, or the four numbers of Linux's parameter with colons.

    Linux: lib/fault-inject.c:setup_fault_attr()
    """
    ulong, integer = (0, (1 << 64) - 1), (-(1 << 31), (1 << 31) - 1)

    def convert(text: str) -> str:
        if text == "off":
            return text
        numbers = text.split(":")
        if len(numbers) != 4:
            raise ValueError(text)
        for number, (low, high) in zip(numbers, (ulong, ulong, integer, integer), strict=True):
            if not re.fullmatch(r"-?[0-9]{1,20}", number) or not low <= int(number) <= high:
                raise ValueError(text)
        return ":".join(str(int(number)) for number in numbers)

    return Parse(
        "off, or INTERVAL:PROBABILITY:SPACE:TIMES, four numbers",
        "off, or I:P:S:T",
        convert,
        known=lambda: ("off",),
    )


def text() -> Parse:
    """Any bytes but NUL, up to MAX_TEXT of them, as `os.fsdecode` has them.

    libfuse may hand the source to mount(8), which takes one that begins with '-' for its options
    (libfuse: lib/mount_util.c:add_mount()).
    """

    def convert(text: str) -> str:
        if "\0" in text or text.startswith("-") or len(os.fsencode(text)) > MAX_TEXT:
            raise ValueError(text)
        return text

    return Parse(f"any text of up to {MAX_TEXT} bytes, but no '-' first", "any text", convert)


def path() -> Parse:
    """The path of a file, "" for none, which is also written `none`."""

    def convert(text: str) -> str:
        if "\0" in text or len(os.fsencode(text)) > MAX_TEXT:
            raise ValueError(text)
        return "" if text == "none" else text

    return Parse(
        "none, or the path of a file",
        "none, or a file",
        convert,
        format=lambda value: value or "none",
    )


def choice(words: Iterable[str]) -> Parse:
    """One of `words`."""
    known = tuple(words)

    def convert(text: str) -> str:
        if text not in known:
            raise ValueError(text)
        return text

    names = ", ".join(known)
    return Parse(f"one of {names}", names, convert, known=lambda: known)


def several(words: Iterable[str]) -> Parse:
    """Some of `words`, none of them twice, with colons between them."""
    known = tuple(words)

    def convert(text: str) -> str:
        names = text.split(":")
        if not {*names} <= {*known} or len({*names}) < len(names):
            raise ValueError(text)
        return text

    expects = f"names of {', '.join(known)} with colons between them, each once"
    return Parse(expects, ":".join(known), convert, known=lambda: known, separator=":")


def size(low: int) -> Parse:
    """A size in bytes, at least `low` and a multiple of PAGE_SIZE; K, M, G and T are binary."""

    def convert(text: str) -> int:
        value = parse_size(text)
        if value < low or value % PAGE_SIZE:
            raise ValueError(text)
        return value

    expects = f"a size like 512M or 16G, at least {format_size(low)} and a multiple of 4K"
    return Parse(expects, f"{format_size(low)} or more", convert, format=format_size)


def parse_size(text: str) -> int:
    """The number of bytes in `text`, like 512, 64k or 4M; the suffixes are binary.

    Raises:
        ValueError: there is none.
    """
    match = re.fullmatch(r"([0-9]{1,20})([KMGT]?)", text.upper())
    if match is None:
        raise ValueError(text)
    return int(match[1]) << UNITS[match[2]]


def format_size(value: int) -> str:
    """`value` bytes with the largest suffix that leaves it a whole number: 1G, 1536M, 4097."""
    shift, suffix = max(
        (shift, suffix) for suffix, shift in UNITS.items() if value % (1 << shift) == 0
    )
    return f"{value >> shift}{suffix}"


def octal_mode() -> Parse:
    """Permission bits in octal, 0 to 0777."""

    def convert(text: str) -> int:
        if not re.fullmatch(r"0?[0-7]{1,3}", text):
            raise ValueError(text)
        return int(text, 8)

    return Parse(
        "octal permission bits from 0000 to 0777",
        "0000 to 0777",
        convert,
        format=lambda value: f"{value:04o}",
    )


def user() -> Parse:
    """A uid, as a number or by its name in the user database."""
    return _identity(
        "user",
        lambda name: pwd.getpwnam(name).pw_uid,
        lambda: [user.pw_name for user in pwd.getpwall()],
    )


def group() -> Parse:
    """A gid, as a number or by its name in the group database."""
    return _identity(
        "group",
        lambda name: grp.getgrnam(name).gr_gid,
        lambda: [group.gr_name for group in grp.getgrall()],
    )


def _identity(kind: str, find: Callable[[str], int], known: Callable[[], Iterable[str]]) -> Parse:
    def convert(text: str) -> int:
        if text.isdecimal():
            return _decimal(text, 0, MAX_ID)
        try:
            return find(text)
        except KeyError:
            raise ValueError(text) from None

    expects = f"a number, or the name of a {kind} of this system"
    return Parse(expects, "a number or a name", convert, known=known)
