"""`scullvfs report`: the command line of the report of a mount."""

from __future__ import annotations

from collections.abc import Iterator

import click

from scullvfs.errors import ExitStatus

from .candidates import complete_mounts
from .help import Command

__all__ = ["report"]


@click.command(
    cls=Command,
    examples=[
        ("scullvfs report -o report.html /mnt/scullv", "All that there is to see, in one file."),
    ],
    statuses=(ExitStatus.PERMISSION, ExitStatus.NOT_MOUNTED, ExitStatus.BUSY),
)
@click.option(
    "-o", "--output", metavar="FILE.html", required=True, help="The file to write, as HTML."
)
@click.argument("mountpoint", shell_complete=complete_mounts)
def report(output: str, mountpoint: str) -> None:
    """Write what a mount has into one HTML file.

    Options, pictures of devices and of memory, listings, kernel log, trace and versions, as they
    are now. The file needs nothing else, no network either; it prints well, and is light or dark as
    the reader's screen is. Of what is long it has the beginning and the end, and says how much it
    has left out.
    """
    from datetime import datetime

    from scullvfs.mounts.place import find_scullvfs
    from scullvfs.view.asked import ask_mount
    from scullvfs.view.output import check_output, write_output
    from scullvfs.view.report import Report, read_report

    check_output(output, ".html")
    mount = find_scullvfs(mountpoint)
    made = datetime.now().astimezone()
    model = ask_mount(mount, Report, read_report, mountpoint)

    from scullvfs.view.report_html import report_html

    write_output(output, report_html(model, mount, made, _versions()))


def _versions() -> Iterator[tuple[str, str]]:
    """Of the program, and of what it and a mount stand on."""
    import platform

    import scullvfs
    from scullvfs.host.versions import kernel, libfuse, package

    yield "scullvfs that made this page", scullvfs.__version__
    yield "Python", platform.python_version()
    yield "the host's kernel", kernel()
    for name in ("pyfuse3", "trio"):
        yield name, package(name) or "missing"
    yield "libfuse", libfuse()
