"""`scullvfs doctor` where all is well, and where something is missing.

What is missing is hidden in a mount namespace of the test's own; the ordinary user is
`nobody`.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scullvfs.cli.checks import CHECKS
from scullvfs.mounts.mountinfo import read_mounts

from .elsewhere import AS_NOBODY, OPEN_DEVICE
from .test_refusals import ROOT, without_package

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide things")

FUSERMOUNT = 'fusermount=$(command -v fusermount3); cp "$fusermount" {scratch}/fusermount3\n'
NO_MODULE = "echo nodev tmpfs >{scratch}/f && mount --bind {scratch}/f /proc/filesystems"
BIND_FUSERMOUNT = 'mount --bind {scratch}/fusermount3 "$fusermount"\n'


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory that every user can reach, which pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def findings(done: Any) -> dict[str, tuple[str, str]]:
    """Name -> verdict and text, of `doctor --json`."""
    return {f["name"]: (f["verdict"], f["text"]) for f in json.loads(done.stdout)}


def elsewhere(scullvfs: Any, scratch: Path, change: str, user: str = "scullvfs") -> Any:
    """Run `doctor --json` where `change` holds, as root or as `nobody`."""
    script = (
        f"set -e; cd {shlex.quote(os.getcwd())}\n"
        f'scullvfs() {{ {shlex.join(scullvfs.command)} "$@"; }}\n'
        f'nobody() {{ {shlex.join([sys.executable, "-c", AS_NOBODY])} "$@"; }}\n'
        f"{change.format(scratch=scratch)}\n{user} doctor --json"
    )
    return scullvfs.run(["unshare", "--mount", "sh", "-c", script])


@pytest.mark.long
def test_doctor(scullvfs: Any, tmp_path: Path) -> None:
    """One line each, and a real mount at the end, of which nothing is left."""
    scullvfs.env["TMPDIR"] = str(tmp_path)
    done = scullvfs("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert [name for _, name, _ in lines] == [*(name for name, _ in CHECKS), "mount"]
    assert {verdict for verdict, _, _ in lines} <= {"ok", "warn"}
    assert lines[-1] == ["ok", "mount", "a temporary mount answered, and is gone again"]
    assert list(tmp_path.iterdir()) == []
    assert not [mount for mount in read_mounts() if mount.path.startswith(str(tmp_path))]
    assert scullvfs.processes() == []


@pytest.mark.long
def test_doctor_no_mount(scullvfs: Any, tmp_path: Path) -> None:
    """It only looks, and finds out without a mount whether the extension hooks in."""
    scullvfs.env["TMPDIR"] = str(tmp_path / "missing")
    done = scullvfs("doctor", "--no-mount", "--json")
    assert done.returncode == 0
    found = findings(done)
    assert list(found) == [name for name, _ in CHECKS]
    assert found["extension"] == ("ok", "ioctl, SEEK_DATA and fallocate hook in")


def test_doctor_extension_goes_by(scullvfs: Any, tmp_path: Path) -> None:
    """Where pyfuse3 was loaded before it, the extension is there and does not hook in."""
    (tmp_path / "sitecustomize.py").write_text("import pyfuse3\n")
    scullvfs.env["PYTHONPATH"] = f"{tmp_path}:{scullvfs.env['PYTHONPATH']}"
    done = scullvfs("doctor", "--json", "--no-mount")
    assert done.returncode == 0
    verdict, text = findings(done)["extension"]
    assert verdict == "warn"
    assert text.startswith("it is built, but does not hook in: the low-level operations are not")


@pytest.mark.long
def test_doctor_extension_missing(scullvfs: Any, tmp_path: Path) -> None:
    """Where it was never built, it says so; a mount works without."""
    for entry in (ROOT / "scullvfs").rglob("*.py"):
        copy = tmp_path / entry.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(entry)
    scullvfs.env["PYTHONPATH"] = str(tmp_path)
    scullvfs.command = [sys.executable, "-P", "-m", "scullvfs"]  # not from the working directory
    done = scullvfs("doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = findings(done)
    assert found["extension"][0] == "warn"
    assert found["extension"][1].startswith("it is not built: ")
    assert found["mount"][0] == "ok"


@pytest.mark.long
@pytest.mark.parametrize("name", ["pyfuse3", "trio"])
def test_doctor_package_missing(scullvfs: Any, tmp_path: Path, name: str) -> None:
    """A missing package is named, with its command, and no mount is tried."""
    packages = tmp_path / "packages"
    packages.mkdir()
    without_package(name, packages)
    scullvfs.env["PYTHONPATH"] = f"{packages}:{ROOT}"
    scullvfs.command = [sys.executable, "-S", "-m", "scullvfs"]
    done = scullvfs("doctor", "--json")
    assert done.returncode == 4
    found = findings(done)
    text = f"the Python package {name} is missing; run 'pip install {name}'"
    assert found[name] == ("missing", text)
    assert found["extension"] == ("missing", text)
    assert "mount" not in found


@pytest.mark.long
@needs_root
@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ("mount -t tmpfs tmpfs /dev", "/dev/fuse", "/dev/fuse is missing; run 'modprobe fuse'"),
        ("mount --bind /dev/null /dev/fuse", "/dev/fuse", "/dev/fuse is another device; "),
        (NO_MODULE, "fuse", "the kernel has no fuse; run 'modprobe fuse'"),
    ],
)
def test_doctor_device_missing(
    scullvfs: Any, scratch: Path, change: str, name: str, words: str
) -> None:
    """As the mount would exit, with its words."""
    done = elsewhere(scullvfs, scratch, change)
    assert done.returncode == 4, done.stderr
    verdict, text = findings(done)[name]
    assert verdict == "missing"
    assert text.startswith(words)


@pytest.mark.long
@needs_root
@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ('mount --bind /dev/null "$(command -v fusermount3)"', "fusermount3", "fusermount3 is mis"),
        (FUSERMOUNT + BIND_FUSERMOUNT, "fusermount3", "/usr/bin/fusermount3 is not setuid root"),
        ("rm /etc/mtab", "/etc/mtab", "/etc/mtab is missing"),
    ],
)
def test_doctor_what_only_users_need(
    scullvfs: Any, scratch: Path, change: str, name: str, words: str
) -> None:
    """Missing for an ordinary user, who is told how to get it; only a warning for root."""
    done = elsewhere(scullvfs, scratch, OPEN_DEVICE + change)
    assert (done.returncode, findings(done)[name][0]) == (0, "warn"), done.stderr
    for path in ("etc", "dev"):  # OPEN_DEVICE makes them anew
        os.rename(scratch / path, scratch / f"{path}.1")
    done = elsewhere(scullvfs, scratch, OPEN_DEVICE + change, "nobody")
    assert done.returncode == 4, done.stderr
    verdict, text = findings(done)[name]
    assert verdict == "missing"
    assert text.startswith(words)


@pytest.mark.long
@needs_root
@pytest.mark.usefixtures("open_to_others")
def test_doctor_ordinary_user(scullvfs: Any, scratch: Path) -> None:
    """With all of it there, an ordinary user's mount is tried, too."""
    change = OPEN_DEVICE + "echo user_allow_other >>/etc/fuse.conf"
    done = elsewhere(scullvfs, scratch, change, "nobody")
    assert done.returncode == 0, done.stdout
    found = findings(done)
    assert found["mount"][0] == "ok"
    assert found["/etc/fuse.conf"][0] == "ok"


@pytest.mark.long
@needs_root
def test_doctor_device_closed(scullvfs: Any, scratch: Path) -> None:
    """Another reason, another status."""
    done = elsewhere(scullvfs, scratch, OPEN_DEVICE + "chmod 600 /dev/fuse", "nobody")
    assert done.returncode == 5
    assert findings(done)["/dev/fuse"][0] == "missing"


@pytest.mark.long
@needs_root
def test_doctor_mount_fails(scullvfs: Any, scratch: Path) -> None:
    """What only the mount itself finds out is a finding like the others, and leaves nothing."""
    (scratch / "tmp").mkdir()
    scullvfs.env["TMPDIR"] = str(scratch / "tmp")
    script = shlex.join([*scullvfs.command, "doctor", "--json"])
    done = scullvfs.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount --bind /dev/null "$(command -v fusermount3)"; '
            f"exec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin {script}",
        ]
    )
    assert done.returncode != 0
    assert findings(done)["mount"][0] == "missing"
    assert list((scratch / "tmp").iterdir()) == []
