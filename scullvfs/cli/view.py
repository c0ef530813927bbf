"""`scullvfs view`: the command line of the live page of a mount."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from scullvfs.errors import ExitStatus

from .candidates import complete_mounts
from .help import Command

if TYPE_CHECKING:
    from scullvfs.view.server import Server

__all__ = ["view"]


@click.command(
    cls=Command,
    examples=[
        ("scullvfs view /mnt/scullv", "Serve the page, and open it."),
        ("scullvfs view --no-browser --port 8080 /mnt/scullv", "Only print its address."),
    ],
    statuses=(ExitStatus.PERMISSION, ExitStatus.NOT_MOUNTED, ExitStatus.BUSY),
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="The port of 127.0.0.1 to listen at; by default, and with 0, any that is free.",
)
@click.option("--no-browser", is_flag=True, help="Open no browser.")
@click.argument("mountpoint", shell_complete=complete_mounts)
def view(port: int, no_browser: bool, mountpoint: str) -> None:
    """Show a mount in a browser, as it changes.

    Serves a page on 127.0.0.1 with the devices, RAM and the vmalloc window, and prints its address,
    which is a secret: who has it can see the mount, and nobody else. Where there is a display, the
    browser opens it. Click a quantum, and its area, the way through the page tables and its frames
    light up. Ctrl-C ends it, with status 0.
    """
    from scullvfs.mounts.place import find_scullvfs
    from scullvfs.view.asked import ask_mount
    from scullvfs.view.live import Glance, glance
    from scullvfs.view.serve import listen, open_browser, serve

    mount = find_scullvfs(mountpoint)
    ask_mount(mount, Glance, glance, mountpoint)  # what is wrong from the start ends it
    listener = listen(port)

    def ready(page: Server) -> None:
        click.echo(page.address)
        if sys.stdout.isatty():
            click.echo("Ctrl-C ends it.")
        sys.stdout.flush()
        if not no_browser and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            open_browser(page.once)

    serve(listener, mount.path, ready)
