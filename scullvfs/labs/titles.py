"""What each lab is about, in a phrase: all that a TAB and a list need."""

from __future__ import annotations

from typing import Final

__all__ = ["TITLES"]

TITLES: Final = {
    1: "quanta and short reads",
    2: "holes",
    3: "geometry by ioctl",
    4: "contiguous against scattered",
    5: "the four allocators compared",
    6: "ioremap without allocation",
    7: "lazy freeing, the guard page, and quirks=ldd3",
    8: "running out of addresses on i386",
    9: "scullv_write() and scullv_trim(), line by line",
}
