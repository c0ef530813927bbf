"""The colours of pictures: words can be read on all of them, by day and by night."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from scullvfs.view import map_svg, show_svg
from scullvfs.view.night import NIGHT
from scullvfs.view.shapes import INK, PAPER, QUIET, Canvas

LEAST = 4.5
"""https://www.w3.org/TR/WCAG22/#contrast-minimum"""

FILLS = {*map_svg.FILLS.values(), show_svg.VIRTUAL, show_svg.TABLES, show_svg.PHYSICAL}
PAIRS = (
    *((INK, fill) for fill in sorted(FILLS)),
    *((ink, PAPER) for ink in (INK, QUIET, *show_svg.INKS)),
)


def luminance(colour: str) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("words", "ground"), PAIRS)
def test_contrast(words: str, ground: str) -> None:
    """It is enough for small print."""
    for pair in ((words, ground), (NIGHT[words], NIGHT[ground])):
        dark, light = sorted(map(luminance, pair))
        assert (light + 0.05) / (dark + 0.05) >= LEAST, pair


def test_night_has_all_that_is_drawn() -> None:
    """Each colour of a picture has another by night, and none that is not drawn is written."""
    canvas = Canvas("name", 100, "")
    canvas.box(0, 0, 10, 10, show_svg.VIRTUAL, "")
    canvas.box(0, 0, 10, 10, canvas.hatch)
    text = canvas.svg(100)
    root = ElementTree.fromstring(text)
    style = "".join(root.itertext())
    for element in root.iter():
        for name in ("fill", "stroke"):
            colour = element.get(name, "")
            if colour.startswith("#"):
                assert f'[{name}="{colour}"] {{ {name}: {NIGHT[colour]} }}' in style
    assert show_svg.TABLES not in text
    assert {*re.findall(r"#[0-9a-f]{6}", text)} <= {*NIGHT, *NIGHT.values()}


def test_ids_are_of_one_picture() -> None:
    """Two on one page have none in common, and each refers to its own."""
    for name in ("scullv0", "memory"):
        canvas = Canvas(name, 100, "")
        canvas.line("M0 0H10", tip=True)
        canvas.box(0, 0, 10, 10, canvas.hatch)
        text = canvas.svg(100)
        ids = re.findall(r'id="([^"]*)"', text)
        assert ids == [f"tip-{name}", f"hatch-{name}"]
        assert sorted(re.findall(r"url\(#([^)]*)\)", text)) == sorted(ids)
