"""A device as SVG: what is on the way of its lines."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from scullvfs.mm.layout import LAYOUTS, PAGE_SIZE
from scullvfs.view.device import Device, Group, Quantum, Run
from scullvfs.view.shapes import ADVANCE
from scullvfs.view.show_svg import device_svg

SVG = "{http://www.w3.org/2000/svg}"
NR_FRAMES = 1 << 22
ADDRESS = LAYOUTS["x86_64"].vmalloc_start


def drawn(frames: tuple[int, ...]) -> ElementTree.Element:
    """A device with one quantum in these frames."""
    size = len(frames) * PAGE_SIZE
    quantum = Quantum(
        *(0, 0, 0, 0, 0, ADDRESS, "area", size, ()),
        frames=frames,
        entries=frames,
        guard=ADDRESS + size,
        block=Run(0, 0),
        slab=False,
    )
    group = Group(0, 1, 1, 1, 1, (Run(0, 1),))
    device = Device(
        *("scullv0", "scullv", "x86_64", 4, 500, size, size, 1, 1, 1, (group,), (quantum,)),
        nr_frames=NR_FRAMES,
        page_offset=LAYOUTS["x86_64"].page_offset,
    )
    return ElementTree.fromstring(device_svg(device, "/mnt"))


@pytest.mark.parametrize(
    "frames", [(NR_FRAMES - 1,), (1, NR_FRAMES - 1), (*range(NR_FRAMES - 30, NR_FRAMES),)]
)
def test_lines_cross_no_words(frames: tuple[int, ...]) -> None:
    """They begin behind all that is said of pages, however few or many, and end at the bar."""
    root = drawn(frames)
    curves = [
        [float(number) for number in re.findall(r"[\d.]+", path.attrib["d"])]
        for path in root.iter(f"{SVG}path")
        if "C" in path.attrib["d"]
    ]
    assert 0 < len(curves) <= len(frames)
    for begin, top, *_, end, bottom in curves:
        for text in root.iter(f"{SVG}text"):
            left, y = float(text.attrib["x"]), float(text.attrib["y"])
            right = left + len(text.text or "") * float(text.attrib["font-size"]) * ADVANCE
            if min(top, bottom) < y < max(top, bottom) + 14:
                assert right <= begin or left >= end, text.text
