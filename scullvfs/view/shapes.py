"""A picture of rectangles, lines and words, written as SVG.

Words are in a font of one width, so that their length is known before they are drawn, and nothing
needs to overlap or to be cut.  Jinja2 escapes all of them.
"""

from __future__ import annotations

import textwrap
from typing import Final, NamedTuple

from scullvfs.errors import ScullvfsError

from .marks import MISSING
from .night import NIGHT

__all__ = ["Canvas"]

ADVANCE: Final = 0.6021
"""Width of a character, as a part of the size of its font (DejaVu Sans Mono, Menlo, Consolas)."""
SIZE: Final = 13
INK: Final = "#1f2430"
QUIET: Final = "#5c6370"
PAPER: Final = "#ffffff"
HATCH: Final = ("#fdf0ef", "#b3362c")
"""What is hatched, and with what."""

TEMPLATE: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{{ width }}" height="{{ height }}"
 viewBox="0 0 {{ width }} {{ height }}" role="img">
<title>{{ title }}</title>
<style>
@media screen and (prefers-color-scheme: dark) {
{% for day, night in colours -%}
[fill="{{ day }}"] { fill: {{ night }} } [stroke="{{ day }}"] { stroke: {{ night }} }
{% endfor -%}
}
</style>
<defs>
<marker id="tip-{{ name }}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
 orient="auto"><path d="M0 0L8 4L0 8z" fill="{{ ink }}"/></marker>
<pattern id="hatch-{{ name }}" width="6" height="6" patternUnits="userSpaceOnUse"
 patternTransform="rotate(45)"><rect width="6" height="6" fill="{{ hatch[0] }}"/>
<path d="M0 0V6" stroke="{{ hatch[1] }}" stroke-width="2"/></pattern>
</defs>
<rect width="100%" height="100%" fill="{{ paper }}"/>
<g font-family="DejaVu Sans Mono, Menlo, Consolas, Liberation Mono, monospace">
{% for box in boxes -%}
<rect x="{{ box.x }}" y="{{ box.y }}" width="{{ box.width }}" height="{{ box.height }}"
 fill="{{ box.fill }}"{% if box.stroke %} stroke="{{ box.stroke }}"{% endif %}/>
{% endfor -%}
{% for line in lines -%}
<path d="{{ line.path }}" fill="none" stroke="{{ line.stroke }}" stroke-width="{{ line.width }}"
{%- if line.tip %} marker-end="url(#tip-{{ name }})"{% endif %}/>
{% endfor -%}
{% for words in texts -%}
<text x="{{ words.x }}" y="{{ words.y }}" font-size="{{ words.size }}" fill="{{ words.fill }}"
 xml:space="preserve"
{%- if words.bold %} font-weight="bold"{% endif %}
{%- if words.length %} textLength="{{ words.length }}"{% endif %}>{{ words.text }}</text>
{% endfor -%}
</g>
</svg>
"""


class Box(NamedTuple):
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    stroke: str


class Line(NamedTuple):
    """A path."""

    path: str
    stroke: str
    width: float
    tip: bool
    """Whether it ends in an arrow's head."""


class Words(NamedTuple):
    """A line of text."""

    x: float
    y: float
    text: str
    size: float
    fill: str
    bold: bool
    length: float
    """To be spread over that; 0 for as it comes."""


class Canvas:
    """What is drawn, `width` units wide and as high as it becomes.

    Boxes are below lines, and lines below words.  Where the page around it is dark, the colours are
    those of `night`.

    Args:
        name: which picture of a page it is: what has an id in it has that in it.
    """

    def __init__(self, name: str, width: int, title: str) -> None:
        self.name: Final = name
        self.width: Final = width
        self.title: Final = title
        self.boxes: Final[list[Box]] = []
        self.lines: Final[list[Line]] = []
        self.texts: Final[list[Words]] = []

    def box(
        self, x: float, y: float, width: float, height: float, fill: str = PAPER, stroke: str = INK
    ) -> None:
        """A rectangle."""
        self.boxes.append(Box(round(x, 2), round(y, 2), round(width, 2), height, fill, stroke))

    def line(self, path: str, stroke: str = INK, width: float = 1.2, *, tip: bool = False) -> None:
        """A path, in SVG's words."""
        self.lines.append(Line(path, stroke, width, tip))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = SIZE,
        fill: str = INK,
        *,
        bold: bool = False,
        length: float = 0,
    ) -> None:
        """A line of text that begins at (x, y), its baseline."""
        self.texts.append(Words(round(x, 2), y, text, size, fill, bold, round(length, 2)))

    def right(self, x: float, y: float, text: str, size: float = SIZE, fill: str = INK) -> None:
        """One that ends there."""
        self.text(x - self.extent(text, size), y, text, size, fill)

    def centred(self, x: float, y: float, text: str, size: float = SIZE, fill: str = INK) -> None:
        """One around that place."""
        self.text(x - self.extent(text, size) / 2, y, text, size, fill)

    def paragraph(self, x: float, y: float, text: str, width: float, fill: str = INK) -> float:
        """Text in lines that are no wider; returns where the next one begins."""
        for line in textwrap.wrap(text, int(width / (SIZE * ADVANCE))):
            self.text(x, y, line, fill=fill)
            y += SIZE * 1.5
        return y

    @staticmethod
    def extent(text: str, size: float = SIZE) -> float:
        """How wide some words are."""
        return len(text) * size * ADVANCE

    @property
    def hatch(self) -> str:
        """What a guard page is filled with."""
        return f"url(#hatch-{self.name})"

    def svg(self, height: float) -> str:
        """All of it.

        Raises:
            ScullvfsError: Jinja2 is not installed.
        """
        try:
            from jinja2 import Environment
        except ImportError:
            raise ScullvfsError(MISSING) from None
        used = {box.fill for box in self.boxes} | {box.stroke for box in self.boxes}
        used |= {line.stroke for line in self.lines} | {words.fill for words in self.texts}
        colours = sorted({*HATCH, INK, PAPER, *used} - {self.hatch, ""})
        template = Environment(autoescape=True).from_string(TEMPLATE)
        return template.render(
            name=self.name,
            width=self.width,
            height=round(height),
            title=self.title,
            ink=INK,
            paper=PAPER,
            hatch=HATCH,
            colours=[(colour, NIGHT[colour]) for colour in colours],
            boxes=self.boxes,
            lines=self.lines,
            texts=self.texts,
        )
