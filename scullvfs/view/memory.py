"""RAM and the window of vmalloc() of one mount, read together: the model of `scullvfs map`."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from scullvfs.mm.layout import PAGE_SHIFT, PAGE_SIZE, page_align

from .core import Core
from .files import Files
from .listing import BUSY, areas
from .ram import Ram, read_devices, read_ram
from .window import Window, read_window

__all__ = ["ROWS", "SVG_ACROSS", "SVG_CELLS", "Memory", "read_memory"]

ROWS = 16
"""Rows of cells that each part of a picture in a terminal has at the most."""
SVG_ACROSS = 110
SVG_CELLS = SVG_ACROSS * 24
"""Cells that each part has as SVG."""


class Memory(NamedTuple):
    """Both."""

    ram: Ram
    window: Window
    digits: int
    """Hexadecimal digits of an address."""


def read_memory(files: Files, first: int | None, last: int | None, nr_cells: int) -> Memory:
    """Read whose each frame is, and what each address of the window is.

    Args:
        first, last: what the band of the window has: from an address, to before another one.
        nr_cells: how many cells there is room for in the band.

    Raises:
        OSError: as read(2); ERANGE, the addresses are no part of the window; EBADMSG, what is
            said does not fit together.
    """
    with Core(files) as core:
        layout = core.layout
        bounds = None
        if first is not None or last is not None:
            start = (layout.vmalloc_start if first is None else first) & -PAGE_SIZE
            end = start + (nr_cells << PAGE_SHIFT) if last is None else page_align(last)
            end = min(end, layout.vmalloc_end) if last is None else end
            if not layout.vmalloc_start <= start < end <= layout.vmalloc_end:
                raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
            bounds = start, end
        devices = read_devices(files, core)
        ranges, owners = sorted(areas(files)), devices.owners()
        others = [each for each in ranges if each.kind == BUSY and each.start not in owners]
        return Memory(
            ram=read_ram(files, core, devices, others),
            window=read_window(core, devices.names, owners, ranges, bounds, nr_cells),
            digits=layout.pointer_digits,
        )
