"""`scullvfs show`: the command line of the picture of a device."""

from __future__ import annotations

import click

from scullvfs.errors import ExitStatus, UsageError
from scullvfs.text import shown

from .candidates import complete_file
from .hang import columns
from .help import Command

__all__ = ["show"]

MOST = 16
"""Quanta that one picture has."""


@click.command(
    cls=Command,
    examples=[
        ("scullvfs show /mnt/scullv/scullv0", "The list, and the way to the first quantum."),
        ("scullvfs show --quantum 3 /mnt/scullv/scullv0", "The way to that one."),
        ("scullvfs show --at 200000 -o dev.svg /mnt/scullv/scullv0", "To a byte, in a file."),
    ],
    statuses=(ExitStatus.PERMISSION, ExitStatus.NOT_MOUNTED, ExitStatus.BUSY),
)
@click.option(
    "--quantum",
    "numbers",
    type=click.IntRange(min=0, max=(1 << 63) - 1),
    multiple=True,
    metavar="N",
    help="The quantum with that number, counted from 0 through the whole device; more than once "
    "for more of them.",
)
@click.option(
    "--at",
    "bytes_at",
    type=click.IntRange(min=0, max=(1 << 63) - 1),
    multiple=True,
    metavar="BYTE",
    help="The quantum with that byte of the device, and the way to the byte.",
)
@click.option("--ascii", "ascii_only", is_flag=True, help="Draw with characters of ASCII only.")
@click.option(
    "-o",
    "--output",
    metavar="FILE.svg",
    help="Draw into this file, as SVG.",
)
@click.argument("device", shell_complete=complete_file)
def show(
    numbers: tuple[int, ...],
    bytes_at: tuple[int, ...],
    ascii_only: bool,
    output: str | None,
    device: str,
) -> None:
    """Draw a device, down to page tables and frames.

    List items, quantum sets and quanta of DEVICE, such as /mnt/scullv/scullv0, and of one quantum
    the way on: its address, the page tables, the page frames in RAM. Without --quantum and --at
    it is the first one that there is.
    """
    from scullvfs.view.asked import ask_mount, find_device
    from scullvfs.view.device import Device, read_device
    from scullvfs.view.marks import console, draw, marks
    from scullvfs.view.output import check_output, write_output

    if len(numbers) + len(bytes_at) > MOST:
        raise UsageError(f"one picture has {MOST} quanta at most")
    if output is not None:
        check_output(output, ".svg")
    screen = console(columns()) if output is None else None
    mount, name = find_device(device)
    model = ask_mount(
        mount, Device, lambda files: read_device(files, name, numbers, bytes_at), device
    )
    for byte in bytes_at:
        if byte >= model.size:
            raise UsageError(f"byte {byte} is behind the end of {shown(device)}, {model.size}")
    if screen is None:
        from scullvfs.view.show_svg import device_svg

        write_output(str(output), device_svg(model, mount.path))
        return
    from scullvfs.view.show import device_title, draw_device

    picture = draw_device(model, screen.width, marks(ascii_only))
    draw(screen, device_title(model, mount.path), picture)
