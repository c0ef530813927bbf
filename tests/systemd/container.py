"""A Debian with scullvfs in a directory, and systemd-nspawn to boot it.

All that it makes lies below one temporary directory, and all processes live in the
container's pid namespace, which ends with its first process.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITE = os.environ.get("SUITE", "bookworm")
MIRROR = os.environ.get("MIRROR", "http://deb.debian.org/debian")
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd"),
    *("fuse3", "gcc", "libc6-dev", "pkg-config", "libfuse3-dev", "python3-dev", "python3-venv"),
)
VENV = "/usr/local/lib/scullvfs"
USER = "ada"
UID = 1000
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OF_THE_TREE = ("/etc", "/home", "/root", "/tmp", "/usr", "/usr/local", "/var")
"""What no directory of this machine may stand in for."""
WITHOUT_OURS = 'umount --all --lazy --types fuse.scullvfs; exec "$@"'
NSPAWN_STATE = Path("/run/systemd/nspawn")

APT = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get -q update && apt-get -qy install --no-install-recommends {" ".join(PACKAGES)} &&
apt-get clean
"""
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


def nspawn(tree: Path, *arguments: str) -> list[str]:
    """The command that runs something in *tree*; it leaves the host's own systemd alone.

    A container keeps copies of the mounts that there are when it starts, and a daemon cannot
    end before all copies of its mount are gone; so it starts where none of ours is.
    """
    alone = ["unshare", "--mount", "sh", "-c", WITHOUT_OURS, "sh"]
    machine = f"--machine={tree.parent.name}"
    keep = ("--register=no", "--keep-unit", "--console=pipe", "--quiet", machine)
    return [*alone, "systemd-nspawn", *keep, f"--directory={tree}", *arguments]


def build(directory: Path, cache: Path | None) -> Path:
    """Make a Debian with scullvfs and its units; returns its root directory.

    Args:
        directory: where it goes.
        cache: a directory that keeps the Debian without scullvfs for the next time.
    """
    tree = directory / "tree"
    tree.mkdir()
    key = hashlib.sha256(" ".join((SUITE, MIRROR, *PACKAGES)).encode()).hexdigest()[:12]
    kept = None if cache is None else cache / f"scullvfs-{SUITE}-{key}.tar"
    if kept is not None and kept.exists():
        subprocess.run(["tar", "-C", tree, "-xf", kept], check=True)
    else:
        _run(["debootstrap", "--variant=minbase", SUITE, str(tree), MIRROR])
        # Not --include: debootstrap does not know alternatives among dependencies.
        _run(nspawn(tree, "sh", "-c", APT))
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_suffix(".part")
            subprocess.run(["tar", "-C", tree, "-cf", part, "."], check=True)
            part.rename(kept)
    _install(tree)
    return tree


def _install(tree: Path) -> None:
    """Put this checkout into a virtual environment of the tree, as docs/operations.md says."""
    source = tree.parent / "source"
    unwanted = (".git", ".venv", "venv", "build", "dist", "*.so", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*unwanted), symlinks=True)
    binds = [f"--bind-ro={path}" for path in sorted(_of_pip())]
    variables = [f"--setenv={name}={value}" for name, value in _pip_environment().items()]
    _run(nspawn(tree, *binds, *variables, f"--bind-ro={source}:/mnt", "sh", "-c", INSTALL))


def _run(command: list[str]) -> None:
    """Run a command that has to succeed; what it says matters only when it does not."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed with {done.returncode}:\n{done.stdout[-3000:]}")


def _pip_environment() -> dict[str, str]:
    """How pip reaches its index here: what it and the TLS library take from the environment."""
    names = re.compile(r"PIP_.*|SSL_CERT_.*|(https?|no|all)_proxy", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if names.fullmatch(name)}


def _of_pip() -> set[Path]:
    """pip's configuration files, and the directories of the files that it is told to use."""
    files = {Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf"}
    files = {file for file in files if file.exists()}
    words = [*_pip_environment().values(), *(file.read_text() for file in files)]
    paths = {Path(path) for word in words for path in re.findall(r"(?<![\w.:/])/[\w./-]+", word)}
    paths |= {Path(path) for word in words for path in re.findall(r"file://(/[\w./-]+)", word)}
    paths = {path for path in paths if path.exists() and len(path.parts) > 2}
    return files | {path if str(path.parent) in OF_THE_TREE else path.parent for path in paths}


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


def remove(directory: Path) -> None:
    """Remove the tree, and what nspawn leaves of the container outside of it."""
    for path in (directory, *NSPAWN_STATE.glob(f"*/{directory.name}*")):
        subprocess.run(["rm", "-rf", "--one-file-system", path], check=False)


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
