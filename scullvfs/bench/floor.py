"""The floor: `floor.c`, compiled into a temporary directory, mounted, and ended by its pid.

Used by `scullvfs bench` and by the benchmarks of the repository.
"""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from scullvfs.errors import ScullvfsError
from scullvfs.interrupts import put_off_interrupts, undisturbed
from scullvfs.mounts.fusermount import find_fusermount
from scullvfs.mounts.mountinfo import mount_at
from scullvfs.mounts.mountpoint import temporary_mount_point

from .targets import FLOOR, PREFIX, UNCACHED, Target

__all__ = ["compiled", "floor", "floor_missing", "served"]

SOURCE: Final = Path(__file__).with_name("floor.c")

FILE: Final = "data"
"""The one file of the server."""

READY_TIMEOUT: Final = 10.0
"""Seconds until the mount is there, and until the server is gone after SIGTERM."""


def floor_missing() -> str | None:
    """Why there can be no floor; None if it can be tried."""
    for program, package in (("cc", "gcc libc6-dev"), ("pkg-config", "pkg-config")):
        if shutil.which(program) is None:
            return f"{program} is missing; run 'apt install {package}'"
    if _pkg_config("--exists").returncode != 0:
        return "the headers of libfuse 3 are missing; run 'apt install libfuse3-dev'"
    return None


@contextmanager
def floor(cache: str = UNCACHED) -> Iterator[Target]:
    """Compile the server and mount it on a directory of its own.

    Args:
        cache: how the page cache is used, as by the target that it is compared with.

    Raises:
        ScullvfsError: it cannot be compiled or does not mount, and why.
    """
    with (
        compiled() as program,
        temporary_mount_point(PREFIX) as directory,
        served(program, directory, cache) as pid,
    ):
        yield Target(FLOOR, os.path.join(directory, FILE), pid, keeps=False, cache=cache)


@contextmanager
def compiled() -> Iterator[str]:
    """The path of the server's program, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as directory:
        program = os.path.join(directory, "floor")
        flags = shlex.split(_pkg_config("--cflags", "--libs").stdout)
        done = subprocess.run(
            ["cc", "-O2", "-o", program, os.fspath(SOURCE), *flags],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode != 0:
            raise ScullvfsError(f"cc does not compile the floor: {_first_error(done.stderr)}")
        yield program


@contextmanager
def served(program: str, directory: str, cache: str = UNCACHED) -> Iterator[int]:
    """The server's pid, while `program` serves a mount on `directory`."""
    options = ",".join(filter(None, ("fsname=scullvfs-floor", cache)))
    with ExitStack() as stack:
        said = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
        with put_off_interrupts():
            server = subprocess.Popen(
                [program, "-f", "-o", options, directory],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # Ctrl-C is for us, who then end it
            )
            stack.callback(undisturbed, _end, server, directory)
        deadline = time.monotonic() + READY_TIMEOUT
        while mount_at(directory) is None:
            if server.poll() is not None or time.monotonic() > deadline:
                said.seek(0)
                words = said.read().strip().replace("\n", "; ") or "no word why"
                raise ScullvfsError(f"the floor does not mount: {words}")
            time.sleep(0.005)
        yield server.pid


def _end(server: subprocess.Popen[bytes], directory: str) -> None:
    """SIGTERM makes it unmount and end; if not so, it is killed, and its mount taken away."""
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(READY_TIMEOUT)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    fusermount = find_fusermount()
    if fusermount is not None and mount_at(directory) is not None:
        subprocess.run([fusermount, "-u", "-z", "-q", directory])


def _pkg_config(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["pkg-config", *options, "fuse3"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )


def _first_error(said: str) -> str:
    lines = said.splitlines()
    return next((line for line in lines if "error" in line), lines[0] if lines else "no word why")
