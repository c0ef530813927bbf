"""`scullvfs.testing`: mounts for the tests of others, and that nothing is left of them."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from scullvfs.errors import BusyError, FuseMissingError, MountPointError, UsageError
from scullvfs.mounts.mountinfo import read_mounts
from scullvfs.options.table import OPTIONS
from scullvfs.testing import Mount, MountInUseWarning, ScullvfsError, mounted, served
from scullvfs.testing.start import FLAGS

from ..scull.helpers import fails
from .helpers import DEADLINE, SOURCE, opened, wait_until


@pytest.fixture(autouse=True)
def here(scullvfs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary directories are made; no mount, directory or process may be left."""
    name, _, value = scullvfs.mark.partition("=")
    monkeypatch.setenv(name, value)  # in each process that the test starts
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield directory
    wait_until(lambda: not mounts_below(directory), "all mounts are gone")
    assert list(directory.iterdir()) == []


def mounts_below(directory: Path) -> list[str]:
    """The mount points in the directory."""
    return [m.path for m in read_mounts() if m.path.startswith(f"{directory}/")]


@pytest.fixture
def script(here: Path, tmp_path: Path) -> Iterator[Any]:
    """Starts a Python script whose stdout can be read."""
    started = []

    def start(text: str) -> subprocess.Popen[str]:
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(text))
        pipe = subprocess.PIPE
        command = [sys.executable, str(path)]
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended_by_itself(mnt: Mount) -> bool:
    """Whether its daemon came to a good end, and was not killed."""
    return mnt._daemon.returncode == 0


# What a mount offers


@pytest.mark.long
def test_mounted() -> None:
    """The mount answers at once, is what it says, and is gone afterwards, with its directory."""
    with mounted(mem="16M") as mnt:
        assert (mnt / "scullv0").write_bytes(b"hello") == 5
        assert (mnt / "scullv0").read_bytes() == b"hello"
        assert os.path.ismount(mnt)
        assert os.fspath(mnt) == str(mnt) == str(mnt.path)
        assert int((mnt / "proc/fs/scullvfs/pid").read_text()) == mnt.pid
        assert mnt.devices == [mnt / f"scullv{number}" for number in range(4)]
        assert mnt.kmsg().count("\n") == 1
        assert mnt.meminfo()["MemTotal"] == (16 << 10) - 4
        assert mnt.log() == f"scullvfs: mounted on {mnt}: 4 devices, mem=16M, arch=x86_64\n"
    assert not mnt.path.exists()
    assert ended_by_itself(mnt)


@pytest.mark.long
def test_mounted_options() -> None:
    """Every kind of value: number, text, truth, and permission bits as Python writes them."""
    with mounted(scullv_devs=11, order=2, semantics="file", shuffle=False, mode=0o600) as mnt:
        assert [path.name for path in mnt.devices] == [f"scullv{number}" for number in range(11)]
        status = os.stat(mnt / "scullv10")
        assert (status.st_blksize, stat.S_IMODE(status.st_mode)) == (4 << 12, 0o600)
        assert "fresh page frames" in mnt.kmsg()
        (mnt / "scullv0").open("a").close()
        assert os.lseek(os.open(mnt / "scullv0", os.O_RDONLY), 0, os.SEEK_END) == 0
        warnings.simplefilter("ignore", MountInUseWarning)


@pytest.mark.long
def test_mounted_drivers() -> None:
    """The devices of all of them, scullv's first, or of one; also where scullv is not."""
    with mounted(drivers="scullp:scullv", scullp_devs=11, scullv_devs=1, mem="16M") as mnt:
        names = [path.name for path in mnt.devices]
        assert names == ["scullv0", *(f"scullp{number}" for number in range(11))]
        assert mnt.devices_of("scullp") == mnt.devices[1:]
        assert mnt.devices_of("scull") == []
    with mounted(drivers="scull", scull_nr_devs=2, mem="16M") as mnt:
        assert mnt.devices == [mnt / "scull0", mnt / "scull1"]


@pytest.mark.long
@pytest.mark.parametrize("allowed", [False, True])
def test_mounted_flag(allowed: bool) -> None:
    """An option without a value is given or left out."""
    with mounted(allow_other=allowed) as mnt:
        (options,) = [m.super_options for m in read_mounts() if m.path == str(mnt)]
        assert ("allow_other" in options) == allowed


def test_mounted_does_not_speak_for_the_test(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A service manager that waits for the test hears nothing of the daemon."""
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        with mounted():
            pass
        with pytest.raises(BlockingIOError):
            manager.recv(1)


def test_flags() -> None:
    """The options without a value are those of the table."""
    assert {option.name for option in OPTIONS if option.parse is None} == FLAGS


@pytest.mark.long
def test_mounted_mountpoint(mountpoint: Path, tmp_path: Path) -> None:
    """A directory of the caller's stays, and a link to it is followed."""
    (tmp_path / "link").symlink_to(mountpoint)
    for path in (mountpoint, tmp_path / "link"):
        with mounted(mountpoint=path) as mnt:
            assert mnt.path == mountpoint
            assert os.path.ismount(mountpoint)
        assert list(mountpoint.iterdir()) == []


@pytest.mark.long
def test_mounted_side_by_side() -> None:
    """Two mounts have nothing in common, and end in any order."""
    with mounted(devs=1) as one, mounted(devs=2) as two:
        (one / "scullv0").write_bytes(b"one")
        assert (two / "scullv0").read_bytes() == b""
        two.unmount()
        assert (one / "scullv0").read_bytes() == b"one"


@pytest.mark.long
def test_mounted_in_a_thread() -> None:
    """It does not need the main thread."""
    read: list[bytes] = []

    def work() -> None:
        with mounted() as mnt:
            (mnt / "scullv0").write_bytes(b"x")
            read.append((mnt / "scullv0").read_bytes())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert read == [b"x"]


# Errors are those of the command line


@pytest.mark.parametrize(
    ("error", "options", "text"),
    [
        (UsageError, {"ordr": 3}, "ordr=3"),
        (UsageError, {"order": 19}, "order=19"),
        (UsageError, {"shuffle": "yes"}, "shuffle=yes"),
        (UsageError, {"order": 2, "scullv_order": 3}, "order=2,scullv_order=3"),
        (MountPointError, {"mountpoint": "/etc"}, None),
        (MountPointError, {"mountpoint": "/no/such/directory"}, None),
        (MountPointError, {"mountpoint": ""}, None),
    ],
)
def test_mounted_refused(
    scullvfs: Any, mountpoint: Path, error: type[Exception], options: Any, text: str | None
) -> None:
    """The words of `scullvfs mount`, as an exception."""
    path = options.get("mountpoint", mountpoint)
    done = scullvfs("mount", "-o", text or "order=4", path)
    with pytest.raises(error) as refused, mounted(**options):
        pass
    assert f"scullvfs: {refused.value}\n" == done.stderr
    assert done.returncode == error.status  # type: ignore[attr-defined]


def test_served_by_what_is_killed(mountpoint: Path) -> None:
    """A daemon that dies before it mounts is an error, not a wait."""
    with pytest.raises(ScullvfsError, match=r"was killed by SIGKILL$"):
        served(["sh", "-c", "kill -KILL $$"], mountpoint).__enter__()


def test_served_by_what_says_nothing(mountpoint: Path) -> None:
    """The error has at least the status."""
    with pytest.raises(ScullvfsError, match=r"mount point ended with status 9$"):
        served(["sh", "-c", "exit 9"], mountpoint).__enter__()


@pytest.mark.long
def test_served_by_what_never_mounts(mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended."""
    monkeypatch.setattr("scullvfs.testing.daemon.READY_TIMEOUT", 0.1)
    with pytest.raises(BusyError, match=r"^nothing is mounted on "):
        served(["sleep", "1000"], mountpoint).__enter__()


# Nothing is left


@pytest.mark.long
def test_exception_in_the_body() -> None:
    """It goes on, and the mount does not."""
    with pytest.raises(ZeroDivisionError), mounted() as mnt:
        assert mnt.pid / 0
    assert not mnt.path.exists()


def test_daemon_killed() -> None:
    """The dead mount is cleared away without a word."""
    with mounted() as mnt:
        os.kill(mnt.pid, signal.SIGKILL)
        wait_until(lambda: fails_to_answer(mnt), "the mount is dead")
        with fails(errno.ENOTCONN):
            mnt.kmsg()


def fails_to_answer(mnt: Mount) -> bool:
    """Whether the daemon is gone."""
    try:
        os.stat(mnt / "scullv0")
    except OSError:
        return True
    return False


@pytest.mark.long
def test_daemon_stopped() -> None:
    """A daemon that hangs is no reason to hang, too."""
    with mounted() as mnt:
        os.kill(mnt.pid, signal.SIGSTOP)
    assert ended_by_itself(mnt)


@pytest.mark.long
def test_daemon_stuck(mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not end when it should is killed."""
    monkeypatch.setattr("scullvfs.testing.daemon.END_TIMEOUT", 0.1)
    program = shlex.join([sys.executable, "-P", "-m", "scullvfs", "mount", "-f", str(mountpoint)])
    with served(["sh", "-c", f"trap '' TERM; {program}; sleep 1000 & wait"], mountpoint) as mnt:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(mnt.pid, 0)


@pytest.mark.long
def test_file_left_open() -> None:
    """It says so, the name goes, the file is dead, and the daemon has ended."""
    with pytest.warns(MountInUseWarning) as warned, mounted() as mnt:
        fd = os.open(mnt / "scullv0", os.O_RDWR)
    try:
        comm = Path("/proc/self/comm").read_text().strip()
        assert str(warned[0].message) == (
            f"scullvfs: {mnt} was still in use by {comm} (pid {os.getpid()}) at its end; "
            "unmounted lazily, and what is open there gives ENOTCONN now"
        )
        with fails(errno.ENOTCONN):
            os.read(fd, 1)
        assert ended_by_itself(mnt)
    finally:
        os.close(fd)


@pytest.mark.long
def test_file_left_open_where_warnings_are_errors() -> None:
    """The warning comes when all is cleaned up."""
    with pytest.raises(MountInUseWarning), mounted() as mnt:
        fd = os.open(mnt / "scullv0", os.O_RDWR)
    os.close(fd)


@pytest.mark.long
def test_unmount_early() -> None:
    """A mount can be ended before the test; twice is fine."""
    with mounted() as mnt:
        mnt.unmount()
        assert not os.path.ismount(mnt)
        mnt.unmount()


@pytest.mark.long
def test_unmount_early_in_use() -> None:
    """As `scullvfs umount` it refuses, and the mount stays."""
    with mounted() as mnt:
        with opened(mnt / "scullv0"), pytest.raises(BusyError, match=rf"pid {os.getpid()}\)$"):
            mnt.unmount()
        assert os.path.ismount(mnt)


@pytest.mark.long
def test_unmounted_from_outside(scullvfs: Any) -> None:
    """It does not matter who has unmounted."""
    with mounted() as mnt:
        assert scullvfs("umount", mnt).returncode == 0


@pytest.mark.long
def test_mounted_over() -> None:
    """Another mount, on the same temporary directory, goes too."""
    with mounted() as mnt:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mnt], check=True)
    assert ended_by_itself(mnt)


@pytest.mark.long
def test_mounted_elsewhere_too() -> None:
    """A mount namespace with a copy of the mount does not keep the daemon."""
    command = ["unshare", "--mount", "sh", "-c", "echo ready; exec sleep 1000"]
    with ExitStack() as stack:
        early, late = stack.enter_context(mounted()), stack.enter_context(mounted())
        with subprocess.Popen(command, stdout=subprocess.PIPE) as container:
            assert container.stdout is not None
            assert container.stdout.readline() == b"ready\n"
            early.unmount()
            stack.close()
            assert (ended_by_itself(early), ended_by_itself(late)) == (True, True)
            container.kill()


@pytest.mark.long
def test_mounted_again(scullvfs: Any, mountpoint: Path) -> None:
    """Another mount on the directory of the caller's is the caller's."""
    with mounted(mountpoint=mountpoint) as mnt:
        mnt.unmount()
        assert scullvfs("mount", mountpoint).returncode == 0
    assert os.path.ismount(mountpoint)
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted(script: Any, here: Path, interrupt: signal.Signals) -> None:
    """Ctrl-C ends the mount with the program, and even a kill does not leave the mount there."""
    process = script("""
        import time
        from scullvfs.testing import mounted
        with mounted() as mnt:
            print(mnt, flush=True)
            time.sleep(1000)
    """)
    path = Path(process.stdout.readline().strip())
    assert path.parent == here
    assert path.is_mount()
    process.send_signal(interrupt)
    _, stderr = process.communicate(timeout=DEADLINE)
    assert process.returncode == -interrupt
    assert ("KeyboardInterrupt" in stderr) == (interrupt == signal.SIGINT)
    wait_until(lambda: not mounts_below(here), "it is unmounted")
    if interrupt != signal.SIGINT:  # nobody was left to remove the directory
        path.rmdir()


@pytest.mark.long
@pytest.mark.parametrize("moment", ["Popen", "resolve", "mount_at", "take_down"])
def test_interrupted_at_a_bad_moment(script: Any, moment: str) -> None:
    """Wherever Ctrl-C comes while it mounts or unmounts, nothing is left."""
    process = script(f"""
        import os, signal, subprocess
        from scullvfs import testing
        from scullvfs.mounts import mountinfo
        from scullvfs.testing import daemon, start
        where = {{"Popen": subprocess, "mount_at": mountinfo, "resolve": start}}.get(
            {moment!r}, daemon
        )
        function = getattr(where, {moment!r})

        def interrupted(*args, **kwargs):
            result = function(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGINT)
            return result

        setattr(where, {moment!r}, interrupted)
        with testing.mounted() as mnt:
            pass
    """)
    _, stderr = process.communicate(timeout=DEADLINE)
    assert stderr.endswith("KeyboardInterrupt\n")


@pytest.mark.long
@pytest.mark.parametrize("moment", ["wait_until_it_answers", "must_answer", "clean_up"])
def test_killed_at_a_bad_moment(scullvfs: Any, script: Any, here: Path, moment: str) -> None:
    """Before the mount is there, while it is stopped, and when it is about to be unmounted."""
    process = script(f"""
        import os, signal
        from scullvfs.testing import Mount, mounted

        def killed(mnt):
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(Mount, {moment!r}, killed)
        with mounted() as mnt:
            if {moment!r} == "must_answer":
                with mnt.stalled():
                    mnt.kmsg()
    """)
    _, stderr = process.communicate(timeout=DEADLINE)
    assert (process.returncode, stderr) == (-signal.SIGKILL, "")
    wait_until(lambda: not scullvfs.processes(), "the daemon has ended")
    assert mounts_below(here) == []
    (path,) = here.iterdir()
    path.rmdir()


@pytest.mark.long
def test_killed_where_another_mount_is(scullvfs: Any, script: Any, mountpoint: Path) -> None:
    """One that is not its own stays."""
    assert scullvfs("mount", mountpoint).returncode == 0
    process = script(f"""
        import os, signal
        from scullvfs.testing import Mount, served

        Mount.wait_until_it_answers = lambda mnt: os.kill(os.getpid(), signal.SIGKILL)
        with served(["sleep", "1000"], {str(mountpoint)!r}):
            pass
    """)
    process.communicate(timeout=DEADLINE)
    assert process.returncode == -signal.SIGKILL
    wait_until(lambda: len(scullvfs.processes()) == 1, "only the daemon of that one is left")
    assert (mountpoint / "scullv0").exists()
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
def test_imports() -> None:
    """Neither FUSE nor anything that steps between it and others gets into the test's process."""
    code = """
        import sys
        from scullvfs.testing import mounted
        with mounted() as mnt:
            mnt.kmsg()
        print(*{"pyfuse3", "trio", "click", "scullvfs.fuse"} & set(sys.modules))
        print(open("/proc/self/maps").read().count("fuse"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n0\n"


# The ordinary user, and the machine without FUSE


def elsewhere(change: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command in a mount namespace of its own, once *change* is done there."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-e", "-c", f"{change}\n{command}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


@pytest.mark.long
def test_ordinary_user(here: Path) -> None:
    """Anyone who may open /dev/fuse mounts without root."""
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:  # pytest's are closed to others
        os.chmod(scratch, 0o1777)
        for name in ("dev", "etc", "python", "source", "packages"):
            (Path(scratch) / name).mkdir()
        # All of it may lie where only root gets in.
        change = f"""
            cd {scratch}
            mount -t tmpfs tmpfs etc
            cp -a /etc/. etc && ln -sf /proc/self/mounts etc/mtab && mount --bind etc /etc
            mount --bind {shlex.quote(sys.base_prefix)} python
            cp -a {shlex.quote(str(SOURCE / "scullvfs"))} source && chmod -R go+rX source
            mount --bind {shlex.quote(sysconfig.get_path("platlib"))} packages
            mount -t tmpfs tmpfs dev && mknod dev/fuse c 10 229 && chmod 666 dev/fuse
            mount --bind dev/fuse /dev/fuse
        """
        code = (
            "import os\n"
            "from scullvfs.testing import mounted\n"
            "with mounted() as mnt:\n"
            "    (mnt / 'scullv0').write_bytes(b'mine')\n"
            "    print(os.stat(mnt / 'scullv0').st_uid, (mnt / 'scullv0').read_bytes())\n"
            "print(mnt.path.exists())\n"
        )
        nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
        env = (
            f"env TMPDIR={scratch} PYTHONPATH={scratch}/source:{scratch}/packages "
            f"LD_LIBRARY_PATH={scratch}/python/lib"
        )
        python = f"{scratch}/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
        done = elsewhere(change, f"{nobody} {env} {python} -B -P -c {shlex.quote(code)}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "65534 b'mine'\nFalse\n"


def test_no_fuse(scullvfs: Any) -> None:
    """Where /dev/fuse is missing, that is the error."""
    code = "from scullvfs.testing import mounted; mounted().__enter__()"
    python = shlex.quote(sys.executable)
    done = elsewhere(
        "mount -t tmpfs tmpfs /dev && mknod /dev/null c 1 3", f"{python} -c {shlex.quote(code)}"
    )
    last = done.stderr.splitlines()[-1]
    name = f"{FuseMissingError.__module__}.{FuseMissingError.__qualname__}"
    assert last.startswith(f"{name}: /dev/fuse is missing; run 'modprobe fuse'")
