r"""The text behind `-o`, as libfuse reads it: items between commas, with escapes.

    fsname=a\,b     a comma that belongs to the value
    fsname=a\\b     a backslash
    fsname=a\012b   any byte, in three octal digits

libfuse: lib/fuse_opt.c:process_opt_sep_arg(). Used by whatever reads or writes such a text; knows
no option.
"""

import os
import re
from typing import Final

from scullvfs.text import mangled

__all__ = ["escape", "escape_for_libfuse", "split", "unescape"]

_ITEM: Final = re.compile(r"(?:[^\\,]|\\.?)+", re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\([0-3][0-7]{2}|.)", re.DOTALL)


def split(text: str) -> list[str]:
    """The items of `text` that are not empty, their escapes left in."""
    return _ITEM.findall(text)


def unescape(item: str) -> str:
    """`item` without its escapes; a backslash at the end is one."""
    return os.fsdecode(_ESCAPE.sub(_byte, os.fsencode(item)))


def escape(value: str) -> str:
    """`value` as it stands behind `-o` and can be shown; `unescape` is the way back."""
    return mangled(value).replace(",", r"\,")


def escape_for_libfuse(value: str) -> str:
    """`value` in ASCII, which is all that pyfuse3 passes on; libfuse makes the bytes of it."""
    plain = range(0x20, 0x7F)
    return "".join(
        chr(byte) if byte in plain and byte not in rb"\," else f"\\{byte:03o}"
        for byte in os.fsencode(value)
    )


def _byte(match: re.Match[bytes]) -> bytes:
    return match[1] if len(match[1]) == 1 else bytes([int(match[1], 8)])
