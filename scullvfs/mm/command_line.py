"""A command for a machine, as it is written: a word and its arguments, each what USAGE says.

    vmap b 4 a    -->    "vmap", "b", 4, the handle of the name a

Numbers are decimal, 0x or octal.  What a line cannot mean is refused (`Refused`) before anything is
done, and so are names that nobody has, or somebody has already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, Final

from .handles import MAX_NAME, Handle, Handles

__all__ = ["MAX_LINE", "MAX_PEEK", "MAX_PFNS", "USAGE", "CommandLine", "Refused", "Why", "is_name"]

MAX_LINE: Final = 255
"""Characters of a command."""
MAX_PEEK: Final = 256
"""Bytes that are read at once."""
MAX_PFNS: Final = 512
"""Frames that are listed at once."""

_NAME: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_NAME}}}")
_NUMBER: Final = re.compile(r"(-?)(?:0[xX]([0-9a-fA-F]{1,16})|0([0-7]{1,22})|(0|[1-9][0-9]{0,19}))")
_U64_MAX: Final = (1 << 64) - 1

USAGE: Final = {
    "vmalloc": "NAME SIZE",
    "vzalloc": "NAME SIZE",
    "vmalloc_user": "NAME SIZE",
    "vmalloc_32": "NAME SIZE",
    "vmalloc_huge": "NAME SIZE",
    "kvmalloc": "NAME SIZE",
    "vmap": "NAME PAGES HANDLE",
    "vm_map_ram": "NAME PAGES HANDLE",
    "ioremap": "NAME PHYS SIZE",
    "kmalloc": "NAME SIZE",
    "kmalloc_nowarn": "NAME SIZE",
    "kmem_cache_alloc": "NAME CACHE",
    "kmem_cache_alloc_nowarn": "NAME CACHE",
    "get_free_pages": "NAME ORDER",
    "gfp": "NAME ORDER",
    "free": "HANDLE",
    "purge": "",
    "settle": "",
    "peek": "HANDLE OFFSET [COUNT]",
    "poke": "HANDLE OFFSET BYTE...",
    "walk": "HANDLE [OFFSET]",
    "pfns": "HANDLE [COUNT]",
    "sizes": "SIZE",
    "buddy": "",
}
"""Word -> its arguments; those in brackets may be left out, of the last there may be more."""

_MOST: Final = {"peek": MAX_PEEK, "pfns": MAX_PFNS}
"""Word -> the largest COUNT."""


class Why(Enum):
    """Why a command is refused."""

    INVALID = auto()
    """It is none, or its arguments are not what they should be."""
    NO_HANDLE = auto()
    NAME_IN_USE = auto()
    NAME_TOO_LONG = auto()
    HANDLE_IN_USE = auto()
    """Its frames are mapped by another one."""
    TOO_MANY = auto()
    """There are MAX_HANDLES."""
    TOO_LARGE = auto()
    """It would take too long."""
    NO_MEMORY = auto()
    """The function has given NULL."""
    FAULT = auto()
    """Nothing is mapped there; the kernel log has the report."""
    NOT_ITS_OWN = auto()
    """It would write into memory of others."""


class Refused(Exception):
    """A command that was not done; its text is for who has given it."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(text)
        self.why: Final = why


class CommandLine:
    """Reads commands.

    Args:
        handles: where names are looked up.
        size_max: the largest number of bytes, SIZE_MAX.
    """

    def __init__(self, handles: Handles, size_max: int) -> None:
        self._handles = handles
        self._parsers: Final[dict[str, Callable[[str], Any]]] = {
            "NAME": self._new_name,
            "HANDLE": self._handle,
            "CACHE": str,
            "SIZE": lambda text: _number(text, 0, size_max),
            "PHYS": lambda text: _number(text, 0, _U64_MAX),
            "ORDER": lambda text: _number(text, 0, (1 << 32) - 1),
            "PAGES": lambda text: _number(text, 0, (1 << 32) - 1),
            "OFFSET": lambda text: _number(text, -size_max, size_max),
            "BYTE": lambda text: _number(text, 0, 0xFF),
        }

    def parse(self, line: str) -> tuple[str, list[Any]]:
        """The word of a line, and its arguments.

        Raises:
            Refused: it is no command.
        """
        if len(line) > MAX_LINE or not (line.isascii() and line.isprintable()):
            text = f"a command is one line of printable ASCII, {MAX_LINE} characters at the most"
            raise Refused(Why.INVALID, text)
        word, *words = line.split() or [""]
        usage = USAGE.get(word)
        if usage is None:
            raise Refused(Why.INVALID, f"unknown command; there are {', '.join(USAGE)}")
        return word, self._arguments(f"{word} {usage}".rstrip(), usage.split(), words)

    def _arguments(self, usage: str, places: Sequence[str], words: Sequence[str]) -> list[Any]:
        required = sum(not place.startswith("[") for place in places)
        most = MAX_LINE if places and places[-1].endswith("...") else len(places)
        if not required <= len(words) <= most:
            raise Refused(Why.INVALID, f"usage: {usage}")
        arguments = []
        for number, text in enumerate(words):
            place = places[min(number, len(places) - 1)].strip("[].")
            try:
                if place == "COUNT":
                    arguments.append(_number(text, 1, _MOST[usage.split()[0]]))
                else:
                    arguments.append(self._parsers[place](text))
            except ValueError as error:
                raise Refused(Why.INVALID, f"{place}: {error}; usage: {usage}") from None
        return arguments

    def _new_name(self, text: str) -> str:
        if len(text) > MAX_NAME:
            raise Refused(Why.NAME_TOO_LONG, f"a name has {MAX_NAME} characters at the most")
        if not is_name(text):
            raise ValueError(f"{text!r} is no name of letters, digits, '_', '.' and '-'")
        if text in self._handles:
            raise Refused(Why.NAME_IN_USE, f"{text} is in use")
        return text

    def _handle(self, text: str) -> Handle:
        handle = self._handles.find(text)
        if handle is None:
            raise Refused(Why.NO_HANDLE, f"there is no {text}")
        return handle


def is_name(text: str) -> bool:
    """Whether a handle can be called so, if that is not too long."""
    return _NAME.fullmatch(text) is not None


def _number(text: str, least: int, most: int) -> int:
    """A number as the kernel reads it: decimal, 0x or octal.

    Raises:
        ValueError: it is none, or not in the range.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no number")
    sign, hexadecimal, octal, decimal = match.groups()
    digits, base = (hexadecimal, 16) if hexadecimal else (octal, 8) if octal else (decimal, 10)
    value = int(f"{sign}{digits}", base)
    if not least <= value <= most:
        raise ValueError(f"{text} is not from {least} to {most}")
    return value
