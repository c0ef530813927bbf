"""RAM and the window of vmalloc() of one mount, read together: the model of `scullvfs map`."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from scullvfs.mm.layout import PAGE_SHIFT, PAGE_SIZE, Layout, page_align

from .core import Core
from .files import Files
from .listing import BUSY, areas
from .ram import Ram, read_devices, read_flags, read_ram
from .window import Window, read_window

__all__ = ["ROWS", "SVG_ACROSS", "SVG_CELLS", "Memory", "read_memory", "read_part"]

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
        bounds = _bounds(core.layout, first, last, nr_cells)
        with ThreadPoolExecutor(1) as beside:  # most of it is waiting for the daemon
            flags = beside.submit(read_flags, files)
            devices = read_devices(files, core)
            ranges, owners = sorted(areas(files)), devices.owners()
            window = read_window(core, devices.names, owners, ranges, bounds, nr_cells)
        others = [each for each in ranges if each.kind == BUSY and each.start not in owners]
        return Memory(
            ram=read_ram(files, core, flags.result(), devices, others),
            window=window,
            digits=core.layout.pointer_digits,
        )


def read_part(files: Files, first: int, last: int, nr_cells: int) -> tuple[Window, int]:
    """The window alone, and the digits of an address; all else is as for `read_memory`.

    Raises:
        OSError: as `read_memory`.
    """
    with Core(files) as core:
        bounds = _bounds(core.layout, first, last, nr_cells)
        devices = read_devices(files, core)
        ranges = sorted(areas(files))
        window = read_window(core, devices.names, devices.owners(), ranges, bounds, nr_cells)
        return window, core.layout.pointer_digits


def _bounds(
    layout: Layout, first: int | None, last: int | None, nr_cells: int
) -> tuple[int, int] | None:
    """The addresses of the band, in whole pages; None, as many as are in use."""
    if first is None and last is None:
        return None
    start = (layout.vmalloc_start if first is None else first) & -PAGE_SIZE
    if last is None:
        end = min(start + (nr_cells << PAGE_SHIFT), layout.vmalloc_end)
    else:
        end = page_align(last)
    if not layout.vmalloc_start <= start < end <= layout.vmalloc_end:
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
    return start, end
