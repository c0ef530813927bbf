"""The picture: a panel for each call, rate over block size, both logarithmic.

Needs matplotlib, which is an extra of the package (`scullvfs[plot]`). `check()` is for the
start, so that nobody waits for a measurement whose picture cannot be drawn.
"""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from scullvfs.errors import ScullvfsError, UsageError
from scullvfs.options.parsers import format_size
from scullvfs.text import shown

from .dd import CALLS
from .results import Row

__all__ = ["check", "draw"]


KINDS: Final = (".png", ".svg", ".pdf")

MISSING: Final = (
    "--plot needs matplotlib; run 'pip install scullvfs[plot]' or 'pip install matplotlib'"
)


def check(path: str) -> None:
    """Whether the picture can be drawn.

    Raises:
        ScullvfsError: matplotlib is missing.
        UsageError: `path` names no kind of picture that it knows, or cannot be written.
    """
    if find_spec("matplotlib") is None:  # not imported: its threads would be there at the fork
        raise ScullvfsError(MISSING)
    if Path(path).suffix.lower() not in KINDS:
        known = ", ".join(KINDS)
        raise UsageError(
            f"--plot {shown(path)} is not possible; the name must end in one of {known}"
        )
    directory = os.path.dirname(path) or "."
    if os.path.isdir(path) or not os.access(directory, os.W_OK):
        raise UsageError(f"--plot {shown(path)} is not possible; you cannot write a file there")


def draw(rows: Sequence[Row], title: str, path: str) -> None:
    """Draw `rows` into the file `path`; bars show the spread."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ScullvfsError(MISSING) from None

    figure = Figure(figsize=(13, 5), layout="constrained")
    figure.suptitle(title, parse_math=False)  # a path may hold a $
    panels = figure.subplots(1, len(CALLS), sharey=True)
    sizes = sorted({row.size for row in rows})
    for axes, call in zip(panels, CALLS, strict=True):
        chosen = [row for row in rows if row.call == call]
        for target in chosen[0].cells:
            cells = [row.cells[target] for row in chosen]
            axes.errorbar(
                sizes,
                [cell.median for cell in cells],
                yerr=[cell.spread for cell in cells],
                marker=".",
                capsize=2,
                label=target,
            )
        axes.set_title(call)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sizes, [format_size(size) for size in sizes], rotation=60)
        axes.minorticks_off()
        axes.grid(visible=True, alpha=0.3)
        axes.set_xlabel("block size")
    panels[0].set_ylabel("MB/s")
    panels[0].legend()
    try:
        figure.savefig(path)
    except OSError as error:
        raise ScullvfsError(f"cannot write {shown(path)}: {error.strerror}") from None
