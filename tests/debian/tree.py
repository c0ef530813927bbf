"""A Debian in a directory, and systemd-nspawn to run commands in it.

All that it makes lies below one temporary directory, and all processes live in the
container's pid namespace, which ends with its first process.  Used by `tests/debian/run.py`
and `tests/systemd`.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PATH", "ROOT", "Debian", "Unavailable", "directory", "leftovers", "nspawn", "why_not"]

ROOT = Path(__file__).resolve().parents[2]
MIRROR = os.environ.get("MIRROR", "http://deb.debian.org/debian")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OF_THE_TREE = ("/etc", "/home", "/root", "/tmp", "/usr", "/usr/local", "/var")
"""What no directory of this machine may stand in for."""
WITHOUT_OURS = 'umount --all --lazy --types fuse.scullvfs; exec "$@"'
NSPAWN_STATE = Path("/run/systemd/nspawn")
UNWANTED = (".git", ".venv", "venv", "build", "dist", "*.so", "*.egg-info", "__pycache__")
"""What may lie about in a checkout."""


class Unavailable(Exception):
    """The Debian cannot be fetched here and now."""


def why_not(*devices: str) -> str | None:
    """Why this machine cannot run a container with these devices, or None."""
    if os.geteuid() != 0:
        return "only root can run a container; run it with sudo"
    for command in ("debootstrap", "systemd-nspawn", "nsenter"):
        if shutil.which(command) is None:
            return f"{command} is not installed"
    for device in devices:
        if not os.path.exists(device):
            return f"{device} is missing"
    return None


@contextmanager
def directory(name: str) -> Iterator[Path]:
    """A directory for a tree, whose name is the container's; removed with all that is in it.

    It is below /var/tmp, or where TMPDIR says: /tmp may be RAM.
    """
    # No underscore, which mkdtemp() may choose.
    where = os.environ.get("TMPDIR", "/var/tmp")
    path = Path(where, f"scullvfs-{name}-{secrets.token_hex(4)}")
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        # nspawn leaves something of the container outside of it, too.
        for left in (path, *NSPAWN_STATE.glob(f"*/{path.name}*")):
            subprocess.run(["rm", "-rf", "--one-file-system", left], check=False)


def leftovers(directory: Path) -> list[str]:
    """What is still there of a container whose directory has been removed."""
    left = [f"file {directory}"] if directory.exists() else []
    left += [
        f"process {link.parent.name}"
        for link in Path("/proc").glob("[0-9]*/root")
        if _target(link).startswith(str(directory))
    ]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    left += [f"mount {line}" for line in mounts if directory.name in line]
    left += [f"file {path}" for path in NSPAWN_STATE.glob(f"*/{directory.name}*")]
    return left


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:  # it has ended
        return ""


def nspawn(tree: Path, *arguments: str) -> list[str]:
    """The command that runs something in *tree*; it leaves the host's own systemd alone.

    A container keeps copies of the mounts that there are when it starts, and a daemon cannot
    end before all copies of its mount are gone; so it starts where none of ours is.
    """
    alone = ["unshare", "--mount", "sh", "-c", WITHOUT_OURS, "sh"]
    machine = f"--machine={tree.parent.name}"
    keep = ("--register=no", "--keep-unit", "--console=pipe", "--quiet", machine)
    return [*alone, "systemd-nspawn", *keep, f"--directory={tree}", *arguments]


def with_pip() -> list[str]:
    """Arguments of nspawn that let pip reach its index from within a tree as it does here."""
    binds = [f"--bind-ro={path}" for path in sorted(_of_pip())]
    return [*binds, *(f"--setenv={name}={value}" for name, value in _pip_environment().items())]


def run(command: list[str]) -> None:
    """Run a command that has to succeed; what it says matters only when it does not."""
    done = _quietly(command)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed with {done.returncode}:\n{done.stdout[-3000:]}")


def copy_checkout(to: Path) -> None:
    """Copy this checkout without what was built in it."""
    shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns(*UNWANTED), symlinks=True)


@dataclass(frozen=True)
class Debian:
    """A release of Debian, debootstrap's minbase and a few packages more."""

    suite: str
    """Its code name."""
    packages: tuple[str, ...]

    def build(self, directory: Path, cache: Path | None, seconds: float = 3600) -> Path:
        """Make one in a directory, or unpack what the cache has; returns its root directory.

        Args:
            cache: a directory that keeps it for the next time.
            seconds: what each of the two steps of fetching it may take.

        Raises:
            Unavailable: it cannot be fetched.
        """
        tree = directory / "tree"
        tree.mkdir()
        kept = None if cache is None else cache / f"scullvfs-{self.suite}-{self._key}.tar"
        if kept is not None and kept.exists():
            subprocess.run(["tar", "-C", tree, "-xf", kept], check=True)
            return tree
        self._fetch(tree, seconds)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_suffix(".part")
            subprocess.run(["tar", "-C", tree, "-cf", part, "."], check=True)
            part.rename(kept)
        return tree

    @property
    def _key(self) -> str:
        parts = (self.suite, MIRROR, *self.packages)
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]

    def _fetch(self, tree: Path, seconds: float) -> None:
        # A mirror may be behind, and unstable's lists are good for a week only.
        stale = "echo 'Acquire::Check-Valid-Until \"false\";' >/etc/apt/apt.conf.d/90stale"
        # Not --include: debootstrap does not know alternatives among dependencies.
        install = f"""
            export DEBIAN_FRONTEND=noninteractive
            {stale} && apt-get -q update &&
            apt-get -qy install --no-install-recommends {" ".join(self.packages)} &&
            apt-get clean
        """
        for command in (
            ["debootstrap", "--variant=minbase", self.suite, str(tree), MIRROR],
            nspawn(tree, "sh", "-c", install),
        ):
            done = _quietly(["timeout", "--kill-after=9", f"{seconds:.0f}", *command])
            if done.returncode != 0:
                raise Unavailable(f"Debian's {self.suite} from {MIRROR}:\n{done.stdout[-1000:]}")


def _quietly(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


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
