"""`mounted()` and `served()`: a mount begins, and whatever happens, it ends."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from scullvfs.daemon.sd_notify import forget_service_manager
from scullvfs.errors import FuseMissingError
from scullvfs.interrupts import put_off_interrupts, undisturbed
from scullvfs.mounts.mountpoint import temporary_mount_point
from scullvfs.mounts.place import resolve
from scullvfs.mounts.unmount import unmount_command
from scullvfs.options.optstring import escape

from .mount import Mount

__all__ = ["FLAGS", "mounted", "served"]

FLAGS: Final = {"allow_other", "remount_stale", "writeback"}
"""Mount options without a value, so that the table of all need not be imported."""

GUARD: Final = """
read -r pid && cd "/proc/$pid" || exit
if read -r answers; then read -r end; else set --; fi
[ -e stat ] && kill -TERM "$pid" && kill -CONT "$pid"
cd / && exec "$@"
"""
"""A shell's script: the end of what it reads is that of the process that writes there.

The daemon is told to end, even one that is stopped, or has not mounted yet.  A directory of /proc
that is entered is never that of another process, which may have got the same number since.
"""


@contextmanager
def mounted(
    *, mountpoint: str | os.PathLike[str] | None = None, **options: str | int
) -> Iterator[Mount]:
    """A mount that answers; at the end it is unmounted, and its daemon is gone.

    The mount ends with the context, whether by an exception, by Ctrl-C, or with the daemon
    dead already. If it is still in use then, it is unmounted lazily, with a
    `MountInUseWarning`. If this process is killed, the mount goes with it.

        >>> with mounted(scullv_devs=1, semantics="file") as mnt:
        ...     (mnt / "scullv0").write_text("hello")
        5

    Args:
        mountpoint: an empty directory; a temporary one, removed afterwards, if not given.
        options: mount options by name, as text or number; `mode=0o600`, `allow_other=True`,
            `drivers="scullv:scullp"`.

    Raises:
        ScullvfsError: there is no mount, in the words of `scullvfs mount`. The class says why:
            `scullvfs.errors` has them.
    """
    with ExitStack() as stack:
        if mountpoint is None:
            mountpoint = stack.enter_context(temporary_mount_point())
        command = [sys.executable, "-P", "-m", "scullvfs", "mount", "-f"]
        command += ["-o", _text(options), "--", os.fspath(mountpoint)]
        yield stack.enter_context(served(command, mountpoint))


@contextmanager
def served(command: Sequence[str], mountpoint: str | os.PathLike[str]) -> Iterator[Mount]:
    """The mount that `command` serves on `mountpoint` while it runs, as `mounted()` has it."""
    try:
        path = resolve(os.fspath(mountpoint))
    except OSError:  # the command says what is wrong with it
        path = os.fspath(mountpoint)
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        environment = dict(os.environ)
        forget_service_manager(environment)  # it is the test's, not the daemon's
        with put_off_interrupts():
            guard = stack.enter_context(_guard(path))  # which ends last
            # In a session (setsid(2)) of its own: Ctrl-C is for the test, which then unmounts.
            daemon = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
            mount = Mount(Path(path), daemon, log)
            stack.callback(undisturbed, mount.clean_up)
            guard(f"{daemon.pid}")
        mount.wait_until_it_answers()
        guard("answers")
        yield mount


def _text(options: Mapping[str, str | int]) -> str:
    """The options as `-o` takes them."""
    words = []
    for name, value in options.items():
        if name in FLAGS and isinstance(value, bool):
            words += [name] if value else []
        elif name == "mode" and isinstance(value, int):
            words.append(f"{name}={value:04o}")
        else:
            text = str(int(value) if isinstance(value, bool) else value)
            words.append(f"{name}={escape(text)}")
    return ",".join(words)


@contextmanager
def _guard(path: str) -> Iterator[Callable[[str], None]]:
    """What ends the mount on `path` if this process dies within the context, however it dies.

    Yields what tells it the process id of the daemon, and then, in whatever words, that the mount
    is this one; before that it may be somebody else's, because of which the daemon gives up.
    """
    try:
        unmount = [*unmount_command(lazy=True), path]
    except FuseMissingError:  # the daemon will say so
        unmount = []
    with subprocess.Popen(
        ["sh", "-c", GUARD, "sh", *unmount],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as guard:

        def tell(line: str) -> None:
            assert guard.stdin is not None
            with suppress(BrokenPipeError):  # somebody has ended it
                guard.stdin.write(f"{line}\n".encode())

        try:
            yield tell
        finally:
            guard.kill()
