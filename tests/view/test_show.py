"""A device in a terminal: what is written fits in its place, however narrow or large all is."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from scullvfs.mm.layout import LAYOUTS, PAGE_SHIFT, PAGE_SIZE
from scullvfs.view.device import Device, Group, Quantum, Run
from scullvfs.view.marks import ASCII, NARROWEST
from scullvfs.view.show import draw_device


def drawn(arch: str, pages: int, nr_frames: int, width: int) -> str:
    """A device with one quantum in the last frames there are."""
    layout = LAYOUTS[arch]
    address, size = layout.vmalloc_start, pages * PAGE_SIZE
    frames = tuple(range(nr_frames - pages, nr_frames))
    quantum = Quantum(
        *(0, 0, 0, 0, 0, address, "area", size, ()),
        frames=frames,
        entries=frames,
        guard=address + size,
        block=Run(0, 0),
        slab=False,
    )
    group = Group(0, 1, 1, 1, 1, (Run(0, 1),))
    device = Device(
        *("scullv0", "scullv", arch, 4, 500, size, size, 1, 1, 1, (group,), (quantum,)),
        nr_frames=nr_frames,
        page_offset=layout.page_offset,
    )
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(draw_device(device, width, ASCII))
    return text.getvalue()


@pytest.mark.parametrize("mem", [4 << 20, 16 << 30])
@pytest.mark.parametrize("pages", [1, 16, 256])
@pytest.mark.parametrize("arch", ["x86_64", "i386"])
def test_no_label_is_cut(arch: str, pages: int, mem: int) -> None:
    """Rich ends what it has to cut with an ellipsis, in ASCII, too."""
    for width in (NARROWEST, 57, 60, 70, *range(75, 82), 100):
        text = drawn(arch, pages, mem >> PAGE_SHIFT, width)
        assert text.isascii(), width
        assert max(map(len, text.splitlines())) <= width
        assert re.search(r"^VIRTUAL .*PHYSICAL .* RAM *$", text, re.MULTILINE), width
        assert re.search(r" guard .* none +a (page )?fault *$", text, re.MULTILINE), width
        assert pages < 19 or re.search(rf"^\.\.\. +{pages - 15} more *$", text, re.MULTILINE)
