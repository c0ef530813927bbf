"""What the colours of a picture become where the page around it is dark.

A picture is drawn in the colours of day, which every program knows how to show.  For those that
know CSS it has the others, too (https://www.w3.org/TR/mediaqueries-5/#prefers-color-scheme); on
paper it is day.  What is far from the paper by day is far from it by night, and words can be read
on all that they are written on: a test measures it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FREE_FILLS", "NIGHT"]

FREE_FILLS: Final = ("#cfcfcf", "#d4d4d4", "#d9d9d9", "#dedede", "#e2e2e2", "#e6e6e6", "#eaeaea",
                     "#eeeeee", "#f1f1f1", "#f4f4f4", "#f7f7f7")  # fmt: skip
"""Of free frames, by the order of their block."""
FREE_NIGHT: Final = ("#4a4f5a", "#464b55", "#424751", "#3e434c", "#3a3f47", "#363a43", "#32363e",
                     "#2e3239", "#2a2d34", "#26292f", "#22252b")  # fmt: skip

NIGHT: Final = {
    **dict(zip(FREE_FILLS, FREE_NIGHT, strict=True)),
    # words, arrows, paper, guard pages
    "#1f2430": "#e3e6ec",
    "#5c6370": "#9aa3b2",
    "#ffffff": "#14171c",
    "#fdf0ef": "#3a1d1a",
    "#b3362c": "#e5786d",
    # of a device: virtual, tables, physical, quantum sets, and lines to frames
    "#d6eaf8": "#1d3c52",
    "#ebdef0": "#3d2a49",
    "#fdebd0": "#4a3516",
    "#f4f6f7": "#20242b",
    "#faf7fb": "#1b1a20",
    "#1b6ca8": "#6cb6ee",
    "#a04000": "#f0975a",
    "#1e8449": "#5fc98a",
    "#7d3c98": "#c79be0",
    "#b03a2e": "#f08a7f",
    "#5d6d7e": "#a5b4c4",
    # of memory: the kernel's, what is no page, and devices
    "#b7b7d7": "#4b4b78",
    "#9fc1c1": "#2f5c5c",
    "#c39bd3": "#6b4180",
    "#d5c7a3": "#5f5330",
    "#e4e1f2": "#33304a",
    "#e07a5f": "#a04028",
    "#f2b8b0": "#74403a",
    "#bde0fe": "#28517a",
    "#8ecae6": "#1f6585",
    "#ffb703": "#7f5800",
    "#95d5b2": "#2c6b4a",
    "#f4a6c0": "#8a3a58",
    "#cdb4db": "#5f4673",
    "#e9c46a": "#6e5816",
    "#a8dadc": "#2d6769",
}
"""Colour by day -> by night."""
