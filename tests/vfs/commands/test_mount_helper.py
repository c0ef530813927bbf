"""`mount.scullvfs` as mount(8) runs it: with its arguments, its statuses, and no environment."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scullvfs.cli.mount_helper import HelperStatus
from scullvfs.mounts.mountinfo import mount_at

from ..helpers import DEADLINE, SOURCE

PROGRAM = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); "
PROGRAM += "from scullvfs.cli.mount_helper import main; main()"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts without PATH")


def helper(scullvfs: Any, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `mount.scullvfs`; its environment is only the mark by which the test finds it."""
    name, _, value = scullvfs.mark.partition("=")
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        env={name: value},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def refusal(done: subprocess.CompletedProcess[str], status: HelperStatus) -> str:
    """The one line of a helper that failed with `status`."""
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("mount.scullvfs: ")
    return line.removeprefix("mount.scullvfs: ")


@pytest.mark.long
@needs_root
def test_mount_helper(scullvfs: Any, mountpoint: Path) -> None:
    """A mount that answers, with the source that was given, and flags that the kernel knows."""
    options = "rw,noexec,noatime,scullv_devs=8,mem=16M,nofail,_netdev,x-systemd.automount"
    done = helper(scullvfs, "none", mountpoint, "-o", options, "-t", "scullvfs")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (mountpoint / "scullv7").exists()
    shown = subprocess.run(
        ["findmnt", "-n", "-t", "fuse.scullvfs", "-o", "SOURCE,VFS-OPTIONS", "-T", mountpoint],
        capture_output=True,
        text=True,
        check=True,
    )
    source, flags = shown.stdout.split()
    assert source == "none"
    assert set(flags.split(",")) == {"rw", "nosuid", "nodev", "noexec", "noatime"}
    subprocess.run(["umount", mountpoint], env={}, check=True)


@pytest.mark.long
def test_mount_helper_read_only(scullvfs: Any, mountpoint: Path) -> None:
    """`ro` is the kernel's: nothing in the mount can be written."""
    assert helper(scullvfs, "none", mountpoint, "-o", "ro,mem=16M").returncode == 0
    with pytest.raises(OSError, match="Read-only file system"):
        (mountpoint / "scullv0").write_bytes(b"")
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("source", ["a,b", "back\\slash", "two words", "scullv#1"])
def test_mount_helper_source(scullvfs: Any, mountpoint: Path, source: str) -> None:
    """Any word is a source, whatever libfuse makes of its characters elsewhere."""
    assert helper(scullvfs, source, mountpoint, "-o", "mem=16M").returncode == 0
    table = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    (shown,) = [row[0] for row in table if row[1] == str(mountpoint).replace(" ", "\\040")]
    assert shown == source.replace("\\", "\\134").replace(" ", "\\040").replace("#", "\\043")
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("word", ["fake", "verbose"])
def test_mount_helper_fake(scullvfs: Any, mountpoint: Path, word: str) -> None:
    """-f checks everything and mounts nothing; -v says so."""
    flags = {"fake": "-fn", "verbose": "-sfnv"}[word]
    done = helper(scullvfs, "none", mountpoint, flags, "-o", "mem=16M")
    said = f"mount.scullvfs: none can be mounted on {mountpoint}.\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said * (word == "verbose"), "")
    assert mount_at(str(mountpoint)) is None
    (mountpoint / "file").touch()
    done = helper(scullvfs, "none", mountpoint, flags, "-o", "mem=16M")
    assert "is not empty" in refusal(done, HelperStatus.FAILED)


@pytest.mark.parametrize(
    ("options", "words", "status"),
    [
        ("ordr=3", "unknown option 'ordr'; did you mean 'order'?", HelperStatus.USAGE),
        ("order=19", "order=19 is not possible", HelperStatus.USAGE),
        ("remount,ro", "'mount -i'", HelperStatus.USAGE),
        ("remount,order=2", "'scullvfs reload'", HelperStatus.USAGE),
        ("mem=64T", "more than this host can give", HelperStatus.SYSTEM),
    ],
)
def test_mount_helper_options(
    scullvfs: Any, mountpoint: Path, options: str, words: str, status: HelperStatus
) -> None:
    """What cannot be is one line, with the status that mount(8) has for it."""
    assert words in refusal(helper(scullvfs, "none", mountpoint, "-o", options), status)


@pytest.mark.long
def test_mount_helper_in_the_way(scullvfs: Any, mounted: Path) -> None:
    """A mount that is there already is a failure to mount."""
    done = helper(scullvfs, "none", mounted, "-o", "mem=16M")
    assert "already mounted" in refusal(done, HelperStatus.FAILED)


def test_mount_helper_usage(scullvfs: Any) -> None:
    """Called in another way than mount(8) does."""
    assert "TARGET" in refusal(helper(scullvfs, "none"), HelperStatus.USAGE)


@pytest.mark.long
@needs_root
def test_mount_helper_namespace(scullvfs: Any, mountpoint: Path) -> None:
    """-N mounts in the other namespace, and not in this one."""
    other = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", "echo there; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"there\n"
        namespace = f"/proc/{other.pid}/ns/mnt"
        done = helper(scullvfs, "none", mountpoint, "-N", namespace, "-o", "mem=16M")
        assert (done.returncode, done.stderr) == (0, "")
        assert (
            str(mountpoint).replace(" ", "\\040") in Path(f"/proc/{other.pid}/mounts").read_text()
        )
        assert mount_at(str(mountpoint)) is None
        subprocess.run(["nsenter", f"--mount={namespace}", "umount", mountpoint], check=True)
        assert other.stdin is not None
        other.stdin.write(b"\n")


@pytest.mark.long
def test_mount_helper_no_namespace(scullvfs: Any, mountpoint: Path) -> None:
    """-N with a file that is none, or no file."""
    done = helper(scullvfs, "none", mountpoint, "-N", "/no/such/file")
    assert "No such file" in refusal(done, HelperStatus.USAGE)
    done = helper(scullvfs, "none", mountpoint, "-N", "/dev/null")
    assert "cannot enter the namespace /dev/null" in refusal(done, HelperStatus.USAGE)
