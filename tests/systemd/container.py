"""A Debian with scullvfs in a directory, and systemd-nspawn to boot it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..debian.tree import PATH, Debian, copy_checkout, nspawn, run, with_pip

SUITE = os.environ.get("SUITE", "bookworm")
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd"),
    *("fuse3", "gcc", "libc6-dev", "pkg-config", "libfuse3-dev", "python3-dev", "python3-venv"),
)
VENV = "/usr/local/lib/scullvfs"
USER = "ada"
UID = 1000

INSTALL = f"""
set -e
python3 -m venv {VENV}
cp -r /mnt /tmp/source
{VENV}/bin/pip install --quiet --disable-pip-version-check /tmp/source
rm -r /tmp/source
ln -s {VENV}/bin/scullvfs {VENV}/bin/mount.scullvfs /usr/local/bin/
ln -s /usr/local/bin/mount.scullvfs /usr/sbin/mount.scullvfs
ln -s mount.scullvfs /usr/sbin/mount.fuse.scullvfs
cp {VENV}/lib/systemd/system/* /etc/systemd/system/
cp {VENV}/lib/systemd/user/* /etc/systemd/user/
cp {VENV}/share/doc/scullvfs/examples/*mount /etc/systemd/system/
useradd --create-home --uid {UID} {USER}
"""


def wait_until(state: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait for a state; without it, the step that waits has failed."""
    deadline = time.monotonic() + seconds
    while not state():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain until {what}"
        time.sleep(0.05)


def build(directory: Path, cache: Path | None) -> Path:
    """Make a Debian with scullvfs, as docs/operations.md says, and its units.

    Args:
        directory: where it goes.
        cache: a directory that keeps the Debian without scullvfs for the next time.
    """
    tree = Debian(SUITE, PACKAGES).build(directory, cache)
    source = directory / "source"
    copy_checkout(source)
    run(nspawn(tree, *with_pip(), f"--bind-ro={source}:/mnt", "sh", "-c", INSTALL))
    return tree


class Container:
    """A booted tree. Commands run in its namespaces, but in none of its units."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __call__(
        self, command: str, *, user: str = "root", status: int | None = 0, seconds: float = 60
    ) -> str:
        """Run a shell command and return what it prints; fails on another exit *status*."""
        into = f"nsenter --target={self._first} --mount --uts --ipc --net --pid --cgroup --root"
        environment = ["env", "-i", f"PATH={PATH}", "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0"]
        become = []
        if user != "root":
            become = ["runuser", "-u", user, "--"]
            environment += [f"XDG_RUNTIME_DIR=/run/user/{UID}", f"HOME=/home/{user}"]
        done = subprocess.run(
            [*into.split(), "--wd", *become, *environment, "sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
        )
        said = done.stdout.strip()
        assert status in (None, done.returncode), f"'{command}': {done.returncode}: {said}"
        return said

    def until(self, command: str, what: str, seconds: float = 30) -> None:
        """Wait until *command* succeeds."""
        asked = f"if {command}; then echo yes; fi"
        wait_until(lambda: self(asked, status=None).endswith("yes"), what, seconds)

    def write(self, path: str, text: str) -> None:
        """Write a file of the container, and let systemd know."""
        script = 'mkdir -p "$(dirname "$0")" && printf %s "$1" >"$0"'
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in (path, text))
        self(f"sh -c '{script}' {quoted}; systemctl daemon-reload")


@contextmanager
def booted(tree: Path) -> Iterator[Container]:
    """Boot the tree, and halt it at the end; fails when it does not halt by itself."""
    log = tree.parent / "console"
    environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    with open(log, "wb") as console:
        process = subprocess.Popen(
            nspawn(tree, "--boot", "--bind=/dev/autofs"),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
    try:
        wait_until(lambda: _first_process(process), "systemd-nspawn has started systemd")
        container = Container(_first_process(process))
        up = "systemctl is-system-running | grep -qE 'running|degraded'"
        container.until(up, "systemd is up", seconds=120)
        # The host's may be closed to ordinary users.
        container("test -e /dev/fuse || mknod -m 666 /dev/fuse c 10 229")
        yield container
    finally:
        process.send_signal(signal.SIGTERM)  # nspawn tells systemd to halt
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            print("FAIL halt: the container did not halt within 60 s")


def _first_process(nspawn: subprocess.Popen[bytes]) -> int:
    """The container's systemd, seen from here; 0 if there is none yet."""
    if nspawn.poll() is not None:
        raise SystemExit(f"systemd-nspawn ended with status {nspawn.returncode}")
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
    for child in children:
        try:
            if os.readlink(f"/proc/{child}/exe").endswith("/systemd"):
                return int(child)
        except OSError:  # it has ended, or is not there yet
            continue
    return 0
