"""`scullvfs map`: the command line of the picture of RAM and of the vmalloc window."""

from __future__ import annotations

import click

from scullvfs.errors import ExitStatus, UsageError

from .candidates import complete_mounts
from .hang import columns
from .help import Command

__all__ = ["map"]

MARGIN = 18
"""Columns that an address takes before a row of cells."""


class _Address(click.ParamType[int]):
    """An address, in hexadecimal with or without 0x."""

    name = "address"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Its number."""
        if isinstance(value, int):
            return value
        digits = value.lower().removeprefix("0x")
        if not digits or len(digits) > 16 or {*digits} - {*"0123456789abcdef"}:
            self.fail(f"{value!r} is no address such as ffffc90000000000", param, ctx)
        return int(digits, 16)


@click.command(
    cls=Command,
    examples=[
        ("scullvfs map /mnt/scullv", "Whose each frame of RAM is, and the window up to its end."),
        ("scullvfs map --from ffffc90000000000 --to ffffc90000040000 /mnt/scullv", "Page by page."),
        ("scullvfs map -o map.svg /mnt/scullv", "Into a file."),
    ],
    statuses=(ExitStatus.PERMISSION, ExitStatus.NOT_MOUNTED, ExitStatus.BUSY),
)
@click.option("--from", "first", type=_Address(), help="Where in the window the band begins.")
@click.option("--to", "last", type=_Address(), help="Where it ends.")
@click.option("--ascii", "ascii_only", is_flag=True, help="Draw with characters of ASCII only.")
@click.option("-o", "--output", metavar="FILE.svg", help="Draw into this file, as SVG.")
@click.argument("mountpoint", shell_complete=complete_mounts)
def map(
    first: int | None, last: int | None, ascii_only: bool, output: str | None, mountpoint: str
) -> None:
    """Draw the machine's RAM by owner, and its vmalloc window.

    Each frame of RAM has a letter: digits are free ones, by the order of their block, small letters
    the devices, capitals the kernel. Of the window there are areas, guard pages, what is lazily
    freed, and what is free.
    """
    from scullvfs.mounts.place import find_scullvfs
    from scullvfs.view.asked import ask_mount
    from scullvfs.view.marks import console, draw, marks
    from scullvfs.view.memory import ROWS, SVG_CELLS, Memory, read_memory
    from scullvfs.view.output import check_output, write_output

    if first is not None and last is not None and last <= first:
        raise UsageError(f"--to {last:x} is not behind --from {first:x}; nothing is in between")
    if output is not None:
        check_output(output, ".svg")
    screen = console(columns()) if output is None else None
    mount = find_scullvfs(mountpoint)
    nr_cells = SVG_CELLS if screen is None else ROWS * (screen.width - MARGIN)
    model = ask_mount(
        mount, Memory, lambda files: read_memory(files, first, last, nr_cells), mountpoint
    )
    if screen is None:
        from scullvfs.view.map_svg import memory_svg

        write_output(str(output), memory_svg(model, mount.path))
        return
    from scullvfs.view.map import draw_map, map_title

    picture = draw_map(model, screen.width, marks(ascii_only))
    draw(screen, map_title(mount.path), picture)
