"""What is written to a file, as the kernel makes a number, a boolean or a name of it.

Linux: lib/kstrtox.c, lib/string_helpers.c
"""

from __future__ import annotations

import errno
import re
from typing import Final

from .node import refused

__all__ = [
    "BLANKS",
    "INT",
    "S64",
    "U64",
    "kstrtobool_from_user",
    "kstrtoint",
    "kstrtonumber",
    "kstrtouint_from_user",
    "kstrtoul_from_user",
    "strim",
]

Range = tuple[int, int]
"""Of a type of C: the least and the most that it holds."""
INT: Final[Range] = (-(1 << 31), (1 << 31) - 1)
UINT: Final[Range] = (0, (1 << 32) - 1)
S64: Final[Range] = (-(1 << 63), (1 << 63) - 1)
U64: Final[Range] = (0, (1 << 64) - 1)

UINT_SIZE: Final = 1 + 32 + 1
ULONG_SIZE: Final = 1 + 64 + 1
"""Bytes that are looked at: a sign, a digit for each bit, and a newline."""
BOOL_SIZE: Final = 3

BLANKS: Final = b" \t\n\v\f\r\xa0"
"""Linux: lib/ctype.c, isspace()"""

_NUMBER: Final = re.compile(rb"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)(\n?\Z)?")
_DECIMAL: Final = re.compile(rb"([+-]?)([0-9]+)(\n?\Z)?")


def kstrtonumber(text: bytes, least: int, most: int, base: int = 0) -> int:
    """A number, with a sign and a newline; up to a NUL.

    Args:
        least: what its type holds; with 0 there is no sign but a plus.
        base: 10, or 0 where 0x and a leading 0 say that it is another one.

    Raises:
        OSError: EINVAL, no number; ERANGE, it does not fit into the type.

    Linux: lib/kstrtox.c:kstrtoll(), kstrtoull()
    """
    match = (_DECIMAL if base else _NUMBER).match(text.partition(b"\0")[0])
    if match is None:
        raise refused(errno.EINVAL)
    sign, digits, end = match.groups()
    if not base:
        base = 16 if digits[1:2] in (b"x", b"X") else 8 if digits[:1] == b"0" else 10
    digits = digits.removeprefix(digits[:2] if base == 16 else b"").lstrip(b"0")
    # More digits than a 64-bit number has need not be converted, which takes long for a million.
    value = int(digits or b"0", base) if len(digits) <= 32 else U64[1] + 1
    # An overflow is found before what follows the digits.
    if (sign == b"-" and least >= 0) or (end is None and value <= U64[1]):
        raise refused(errno.EINVAL)
    value = -value if sign == b"-" else value
    if not least <= value <= most:
        raise refused(errno.ERANGE)
    return value


def kstrtoint(text: bytes) -> int:
    """An int; see `kstrtonumber()`."""
    return kstrtonumber(text, *INT)


def kstrtouint_from_user(data: bytes) -> int:
    """An unsigned int; see `kstrtonumber()`."""
    return kstrtonumber(data[:UINT_SIZE], *UINT)


def kstrtoul_from_user(data: bytes, base: int) -> int:
    """An unsigned long of 64 bits; see `kstrtonumber()`."""
    return kstrtonumber(data[:ULONG_SIZE], *U64, base)


def kstrtobool_from_user(data: bytes) -> bool | None:
    """The boolean that a text means, by its first letter or two; None if it is none."""
    text = data[:BOOL_SIZE].partition(b"\0")[0].lower()
    if text[:1] in (b"y", b"t", b"1") or text[:2] == b"on":
        return True
    if text[:1] in (b"n", b"f", b"0") or text[:2] == b"of":
        return False
    return None


def strim(data: bytes) -> bytes:
    """Without the blanks around it; up to a NUL (Linux: lib/string_helpers.c:strim())."""
    return data.partition(b"\0")[0].strip(BLANKS)
