"""What a tour is made of: real commands in a temporary directory, shown with what they print.

A step that does not end as the tour says ends it.  However it ends, the mount and the directory are
gone afterwards.  Used by `demo` and `fragmentation`.
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from scullvfs.errors import ScullvfsError
from scullvfs.interrupts import interruptible, put_off_interrupts
from scullvfs.mounts.mountinfo import mount_at

__all__ = ["Shell", "tell", "temporary_directory"]

TIMEOUT = 60
"""Seconds after which a command hangs; each takes less than ten."""


def tell(text: str) -> None:
    """Print a paragraph."""
    click.echo(textwrap.fill(text, 78) + "\n")


class Shell:
    """Runs commands in one directory, and shows them as a terminal would.

    Args:
        tour: its name, for what goes wrong.
    """

    def __init__(self, tour: str, directory: str) -> None:
        self.tour = tour
        self.directory = directory

    def show(self, command: str, status: int = 0) -> str:
        """Show the command and what it prints; return the latter.

        Raises:
            ScullvfsError: it ends with another exit status, or it hangs.
        """
        click.secho(f"$ {command}", bold=True)
        ended, output = self.run(command)
        click.echo(output, nl=False)
        if ended != status:
            raise ScullvfsError(f"{self.tour}: {command!r} ended with exit status {ended}")
        return output

    def run(self, command: str) -> tuple[int, str]:
        """Return the command's exit status and what it printed, errors included."""
        if command.startswith("scullvfs "):
            # The program that runs this tour, which need not be the one on PATH, if any is.
            command = shlex.join([sys.executable, "-m"]) + " " + command
        # In a session (setsid(2)) of its own: Ctrl-C is for the tour, which then ends all of it.
        with subprocess.Popen(
            ["sh", "-c", command],
            cwd=self.directory,
            env={**os.environ, "LC_ALL": "C"},  # dd's words are translated
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=TIMEOUT)
            except subprocess.TimeoutExpired:
                _kill_group(process)
                raise ScullvfsError(
                    f"{self.tour}: {command!r} took more than {TIMEOUT} s"
                ) from None
            except BaseException:
                _kill_group(process)
                raise
        return process.returncode, output


def _kill_group(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):  # it may have ended by itself
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def temporary_directory(tour: str) -> Iterator[str]:
    """Make a directory with the mount point `mnt`; at the end unmount and remove it."""
    with interruptible():
        directory = os.path.realpath(tempfile.mkdtemp(prefix=f"scullvfs-{tour}-"))
        try:
            os.mkdir(os.path.join(directory, "mnt"))
            yield directory
        finally:
            with put_off_interrupts():
                _remove(directory)


def _remove(directory: str) -> None:
    """Unmount what is mounted, and remove the directory without ever looking into a mount."""
    mount_point = os.path.join(directory, "mnt")
    # The second is for a daemon that does not answer.
    for command in ("scullvfs umount mnt", "fusermount3 -u -z mnt"):
        if mount_at(mount_point):
            Shell("", directory).run(command)
    with suppress(FileNotFoundError):
        os.rmdir(mount_point)
    for entry in os.scandir(directory):
        if entry.is_file(follow_symlinks=False):
            os.unlink(entry)
    os.rmdir(directory)
