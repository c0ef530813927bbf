"""`mount.scullvfs`: what mount(8) runs for `mount -t scullvfs` and for a line of fstab.

mount(8) calls it as `mount.scullvfs SOURCE TARGET [-sfnv] [-N NAMESPACE] [-o OPTIONS]
[-t TYPE]`, with hardly any environment, and hands its exit status on. So the statuses are
those of mount(8), not those of `scullvfs`.
"""

import sys
from dataclasses import replace
from enum import IntEnum
from typing import Final, NoReturn

import click

from scullvfs.daemon.start import check, import_server, mount
from scullvfs.errors import ExitStatus, ScullvfsError
from scullvfs.mounts.namespace import enter_mount_namespace
from scullvfs.options.fstab import options_of_fstab
from scullvfs.snapshot.options import mount_options
from scullvfs.text import make_streams_safe, shown

from .fail import fail
from .mount import warn_of_large_quanta, warn_of_silence

__all__ = ["HelperStatus", "main"]


class HelperStatus(IntEnum):
    """The exit statuses of mount(8) that its helper uses."""

    SUCCESS = 0
    USAGE = 1
    """Incorrect invocation or permissions."""
    SYSTEM = 2
    """System error: out of memory."""
    INTERNAL = 4
    """Internal bug."""
    INTERRUPTED = 8
    """User interrupt."""
    FAILED = 32
    """Mount failure."""


_STATUSES: Final = {
    ExitStatus.FAILURE: HelperStatus.INTERNAL,
    ExitStatus.USAGE: HelperStatus.USAGE,
    ExitStatus.PERMISSION: HelperStatus.USAGE,
    ExitStatus.NO_MEMORY: HelperStatus.SYSTEM,
}
"""Of failures; those that are not here are a HelperStatus.FAILED."""


@click.command("mount.scullvfs", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-s", "sloppy", is_flag=True, help="Leave out options that do not exist.")
@click.option("-f", "fake", is_flag=True, help="Only check; mount nothing.")
@click.option("-n", "_no_mtab", is_flag=True, help="Nothing: no file of mounts is kept.")
@click.option("-v", "verbose", is_flag=True, help="Say what was mounted.")
@click.option("-N", "namespace", metavar="FILE", help="Mount in that mount namespace.")
@click.option("-o", "arguments", multiple=True, metavar="OPT[,OPT]...", help="Mount options.")
@click.option("-t", "_fstype", metavar="TYPE", help="Nothing: there is only one type.")
@click.argument("source")
@click.argument("target")  # not click.Path, which would look at it
def _helper(
    sloppy: bool,
    fake: bool,
    _no_mtab: bool,
    verbose: bool,
    namespace: str | None,
    arguments: tuple[str, ...],
    _fstype: str | None,
    source: str,
    target: str,
) -> None:
    """Mount the devices on TARGET for mount(8), which runs this program.

    SOURCE is any word, most often 'none'. The options are those of 'scullvfs mount', and
    those of mount(8) itself.
    """
    options = options_of_fstab(arguments, source=source, sloppy=sloppy, parse=mount_options)
    warn_of_large_quanta(options)
    warn_of_silence(target)
    if namespace is not None:
        import_server()  # from this namespace: in the other one it may be missing
        enter_mount_namespace(namespace)
    if fake:
        check(replace(options, remount_stale=False), target)  # nothing is to change
    else:
        mount(options, target, foreground=False, last=True)
    if verbose:
        done = f"{'can be ' if fake else ''}mounted on {shown(target)}"
        click.echo(f"mount.scullvfs: {shown(source)} {done}.")


def main() -> NoReturn:
    """Run the helper and exit with a status of mount(8); a failure is one line on stderr."""
    make_streams_safe()
    try:
        sys.exit(_helper.main(prog_name="mount.scullvfs", standalone_mode=False))
    except click.ClickException as error:
        fail("mount.scullvfs", error.format_message().rstrip("."), HelperStatus.USAGE)
    except ScullvfsError as error:
        fail("mount.scullvfs", str(error), _STATUSES.get(error.status, HelperStatus.FAILED))
    except (click.Abort, KeyboardInterrupt):
        fail("mount.scullvfs", "interrupted", HelperStatus.INTERRUPTED)
