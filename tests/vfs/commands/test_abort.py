"""The kernel's connection is cut: the daemon says so, ends with a failure, and leaves nothing."""

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scullvfs.errors import ExitStatus
from scullvfs.mounts.mountinfo import mount_at, read_mounts

from ..helpers import DEADLINE, Scullvfs, orphan, wait_until
from ..troubles import TROUBLES, fails_as
from .elsewhere import OPEN_DEVICE, Elsewhere, needs_root

pytestmark = needs_root


@pytest.fixture
def connections(tmp_path: Path) -> Iterator[Path]:
    """The control file system of FUSE, which need not be mounted (Linux: fs/fuse/control.c)."""
    path = tmp_path / "connections"
    path.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "fusectl", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


Abort = Callable[[Path], None]


@pytest.fixture
def abort(connections: Path) -> Abort:
    """Cuts the connection of the uppermost mount on a path."""

    def abort(path: Path) -> None:
        mount = mount_at(str(path))
        assert mount is not None
        (connections / mount.st_dev.partition(":")[2] / "abort").write_text("1")

    return abort


@pytest.fixture
def daemon(scullvfs: Scullvfs, mountpoint: Path) -> Iterator[subprocess.Popen[str]]:
    """A daemon in the foreground, whose mount is there."""
    with scullvfs.start("mount", "-f", "-o", "mem=16M", mountpoint) as daemon:
        wait_until(lambda: scullvfs.mounted(mountpoint) or daemon.poll() is not None, "mounted")
        os.stat(mountpoint)
        yield daemon
        if daemon.poll() is None:
            daemon.send_signal(signal.SIGTERM)


def ended(daemon: subprocess.Popen[str], *names: str) -> None:
    """The daemon has ended as after an abort, and logged the rows `names` after the first line."""
    _, said = daemon.communicate(timeout=DEADLINE)
    assert daemon.returncode == ExitStatus.FAILURE, said
    lines = [line.removeprefix("scullvfs: ") for line in said.splitlines()]
    assert len(lines) == 1 + len(names), said
    for name, line in zip(("log-mounted", *names), lines, strict=True):
        assert TROUBLES[name].fits(line), line


@pytest.mark.long
def test_abort(
    daemon: subprocess.Popen[str], scullvfs: Scullvfs, mountpoint: Path, abort: Abort
) -> None:
    """Even with a file open; the mount point can be used at once."""
    with orphan(mountpoint / "scullv0") as fd:
        os.write(fd, b"data")
        abort(mountpoint)
        ended(daemon, "log-aborted", "log-gone")
        assert not scullvfs.mounted(mountpoint)
        with fails_as("daemon-killed"):
            os.pread(fd, 4, 0)
    assert scullvfs("mount", "-o", "mem=16M", mountpoint).returncode == 0
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
def test_abort_in_the_background(scullvfs: Scullvfs, mounted: Path, abort: Abort) -> None:
    """It is the same without anybody to see the status."""
    abort(mounted)
    wait_until(lambda: not scullvfs.processes(), "the daemon is gone")
    assert not scullvfs.mounted(mounted)


@pytest.mark.long
def test_forced_unmount_of_a_mount_in_use(
    daemon: subprocess.Popen[str], scullvfs: Scullvfs, mountpoint: Path
) -> None:
    """umount -f fails, and has cut the connection all the same (Linux: fs/namespace.c)."""
    directory = os.open(mountpoint, os.O_RDONLY)
    try:
        assert subprocess.run(["umount", "-f", mountpoint], capture_output=True).returncode
        ended(daemon, "log-aborted", "log-gone")
        assert not scullvfs.mounted(mountpoint)
    finally:
        os.close(directory)


@pytest.mark.long
def test_abort_of_a_mount_with_two_names(
    daemon: subprocess.Popen[str],
    scullvfs: Scullvfs,
    mountpoint: Path,
    abort: Abort,
    tmp_path: Path,
) -> None:
    """Both go."""
    other = tmp_path / "other name"
    other.mkdir()
    subprocess.run(["mount", "--bind", mountpoint, other], check=True)
    abort(mountpoint)
    ended(daemon, "log-aborted", "log-gone")
    assert not scullvfs.mounted(other)
    assert not scullvfs.mounted(mountpoint)


@pytest.mark.long
def test_abort_of_a_mount_below_another(
    daemon: subprocess.Popen[str],
    scullvfs: Scullvfs,
    mountpoint: Path,
    abort: Abort,
    tmp_path: Path,
) -> None:
    """What somebody has mounted on top of it stays, and so does what is below, as the log says."""
    with orphan(mountpoint / "scullv0") as fd:
        device = mount_at(str(mountpoint))
        connection = tmp_path / "connections" / str(device and device.st_dev).partition(":")[2]
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mountpoint], check=True)
        try:
            (mountpoint / "mine").write_text("kept")
            (connection / "abort").write_text("1")
            ended(daemon, "log-aborted", "log-left")
            assert (mountpoint / "mine").read_text() == "kept"
        finally:
            subprocess.run(["umount", mountpoint], check=True)
        with fails_as("daemon-killed"):
            os.pread(fd, 1, 0)
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
def test_unmounted_and_mounted_anew(
    daemon: subprocess.Popen[str], scullvfs: Scullvfs, mountpoint: Path, abort: Abort
) -> None:
    """A mount that was taken off its place before it was aborted touches nothing that is there."""
    with orphan(mountpoint / "scullv0") as fd:
        connection = mount_at(str(mountpoint))
        assert connection is not None
        number = connection.st_dev.partition(":")[2]
        assert scullvfs("umount", "--lazy", mountpoint).returncode == 0
        assert scullvfs("mount", "-o", "mem=16M", mountpoint).returncode == 0
        (mountpoint / "scullv0").write_bytes(b"new")
        (mountpoint.parent / "connections" / number / "abort").write_text("1")
        _, said = daemon.communicate(timeout=DEADLINE)
        assert daemon.returncode == 0, said
        with fails_as("daemon-killed"):
            os.pread(fd, 1, 0)
    assert (mountpoint / "scullv0").read_bytes() == b"new"
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("background", [False, True])
def test_abort_by_an_ordinary_user(
    elsewhere: Elsewhere, scratch: Path, theirs: Path, background: bool
) -> None:
    """Who has mounted may abort it, too, and then fusermount3 takes it away."""
    script = f"""
        set +e
        mkdir {scratch}/connections && mount -t fusectl fusectl {scratch}/connections
        line() {{ grep ' {theirs} ' /proc/self/mountinfo; }}
        nobody mount {"" if background else "-f"} -o mem=16M {theirs} {"" if background else "&"}
        until line >{scratch}/line; do :; done
        cut -d ' ' -f 3 {scratch}/line | cut -d : -f 2 >{scratch}/number
        setpriv --reuid=65534 --regid=65534 --clear-groups \\
            sh -c "echo 1 >{scratch}/connections/$(cat {scratch}/number)/abort"
        {"" if background else "wait $!"}
        echo $?
        while line >{scratch}/line; do :; done
    """
    done = elsewhere(OPEN_DEVICE, script)
    status = ExitStatus.SUCCESS if background else ExitStatus.FAILURE
    assert (done.returncode, done.stdout) == (0, f"{status:d}\n"), done.stderr
    if not background:
        lines = [line.removeprefix("scullvfs: ") for line in done.stderr.splitlines()]
        for name, line in zip(("log-mounted", "log-aborted", "log-gone"), lines, strict=True):
            assert TROUBLES[name].fits(line), line
    assert not [mount for mount in read_mounts() if mount.path == str(theirs)]


CANNOT_UNMOUNT = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* of an older libfuse, as Debian 12 has it */
int umount2(const char *target, int flags)
{
	if (strstr(program_invocation_short_name, "fusermount"))
		return syscall(SYS_umount2, target, flags);
	errno = EIO;
	return -1;
}

/* in the child in which newer ones have umount(8) do it, with an empty environment */
int execle(const char *path, const char *arg, ...)
{
	char *argv[16];
	char **envp;
	va_list more;
	int i = 0;

	if (!strcmp(basename(path), "umount")) {
		dprintf(STDERR_FILENO, "umount: %s\n", strerror(EIO));
		_exit(1);
	}
	va_start(more, arg);
	for (argv[i] = (char *)arg; argv[i] && i < 15; i++)
		argv[i + 1] = va_arg(more, char *);
	envp = va_arg(more, char **);
	va_end(more);
	return execve(path, argv, envp);
}
"""


@pytest.mark.long
def test_libfuse_cannot_unmount(scullvfs: Scullvfs, mountpoint: Path, tmp_path: Path) -> None:
    """libfuse tells nobody of it, so the daemon looks, and does it as `scullvfs umount` does."""
    library = tmp_path / "cannot-unmount.so"
    compiler = ["cc", "-shared", "-fPIC", "-o", library, "-x", "c", "-"]
    subprocess.run(compiler, input=CANNOT_UNMOUNT, text=True, check=True)
    with scullvfs.start_command(
        ["env", f"LD_PRELOAD={library}", *scullvfs.command, "mount", "-f", str(mountpoint)]
    ) as daemon:
        wait_until(lambda: scullvfs.mounted(mountpoint) or daemon.poll() is not None, "mounted")
        os.stat(mountpoint)
        daemon.terminate()
        assert daemon.stderr is not None
        said = daemon.stderr.read()
    assert os.strerror(errno.EIO) in said
    assert (daemon.returncode, scullvfs.mounted(mountpoint)) == (0, False), said
