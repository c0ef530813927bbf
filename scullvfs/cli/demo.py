"""`scullvfs demo`: a first tour, with real commands on a mount in a temporary directory.

Nothing here is a transcript: what is printed comes from the commands, and a step whose
outcome is not what the text says ends the tour. However the tour ends, the mount and the
directory are gone afterwards.
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

from scullvfs.errors import ExitStatus, ScullvfsError
from scullvfs.interrupts import interruptible, put_off_interrupts
from scullvfs.mounts.mountinfo import mount_at

from .help import Command

__all__ = ["demo"]

TIMEOUT = 60
"""Seconds after which a command hangs; each takes less than one."""


@click.command(
    cls=Command,
    examples=[("scullvfs demo", "Takes a second, and leaves nothing behind.")],
    statuses=ExitStatus,  # those of the commands that it runs
)
def demo() -> None:
    """Show what scullvfs does, on a temporary mount."""
    with _temporary_directory() as directory:
        show = _Shell(directory).show
        _tell(
            "scullvfs serves the devices of the scullv driver from Linux Device Drivers, on an "
            "emulated vmalloc. This tour mounts them in a directory of its own, and removes it."
        )
        with put_off_interrupts():
            show("scullvfs mount mnt")
        show("ls mnt")
        _tell("The devices, and proc, where the emulated machine can be looked into.")

        show("head -c 1M /dev/urandom >original")
        show("dd if=original of=mnt/scullv0 bs=64k")
        _tell(
            "One MiB went into scullv0: 16 calls of write(2), and for each the driver took a "
            "quantum of 64 KiB from vmalloc."
        )

        expected = show("sha256sum <original")
        if show("cat mnt/scullv0 | sha256sum") != expected:
            raise ScullvfsError("demo: what was read back is not what was written")
        _tell("The same sum: what was read back is what was written.")

        if "0+16 records in" not in show("dd if=mnt/scullv0 of=/dev/null bs=1M"):
            raise ScullvfsError("demo: dd did not get 16 short reads")
        _tell(
            '"0+16" counts no full record and 16 short ones: dd asks for 1 MiB each time, but as '
            "in the real driver a read ends at its quantum."
        )

        show("head -n 8 mnt/proc/scullvmem")
        _tell(
            "The driver's own listing: the device, its list item, and the address of each quantum."
        )

        show("head -n 8 mnt/proc/vmallocinfo")
        _tell(
            "The emulated kernel's listing: an area of 16 pages takes the addresses of 17. The "
            "last is its guard page, and nothing is mapped there."
        )

        show(": >>mnt/scullv0")
        if show("stat -c '%n: %s bytes' mnt/scullv0").split()[-2:] != ["0", "bytes"]:
            raise ScullvfsError("demo: a write-only open did not empty the device")
        _tell(
            "On an ordinary file >> alone changes nothing. This driver empties the device at every "
            "write-only open, and gives all its quanta back with vfree."
        )

        show("scullvfs umount mnt")
        _tell("That was all. To go on: scullvfs mount --help")


def _tell(text: str) -> None:
    click.echo(textwrap.fill(text, 78) + "\n")


class _Shell:
    """Runs commands in one directory, and shows them as a terminal would."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def show(self, command: str) -> str:
        """Show the command and what it prints; return the latter.

        Raises:
            ScullvfsError: it failed, or it hangs.
        """
        click.secho(f"$ {command}", bold=True)
        status, output = self.run(command)
        click.echo(output, nl=False)
        if status != 0:
            raise ScullvfsError(f"demo: {command!r} failed with exit status {status}")
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
                raise ScullvfsError(f"demo: {command!r} took more than {TIMEOUT} s") from None
            except BaseException:
                _kill_group(process)
                raise
        return process.returncode, output


def _kill_group(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):  # it may have ended by itself
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _temporary_directory() -> Iterator[str]:
    """Make a directory with the mount point `mnt`; at the end unmount and remove it."""
    with interruptible():
        directory = os.path.realpath(tempfile.mkdtemp(prefix="scullvfs-demo-"))
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
            _Shell(directory).run(command)
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, "original"))
    with suppress(FileNotFoundError):
        os.rmdir(mount_point)
    os.rmdir(directory)
