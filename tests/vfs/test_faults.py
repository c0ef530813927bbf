"""Faults on a mount, as a shell and a program inject them."""

from __future__ import annotations

import errno
import json
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..truth import test_fail_nth as recording
from .helpers import QUANTUM, Scullvfs, foreground, opened, shell
from .troubles import fails_as, refusal

DEBUG = "sys/kernel/debug"
KNOBS = (
    *("interval", "probability", "space", "task-filter", "times", "verbose"),
    *("verbose_ratelimit_burst", "verbose_ratelimit_interval_ms"),
)


@pytest.fixture
def mnt(mount: Callable[[str], Path]) -> Path:
    """A mount with all drivers."""
    return mount("mem=64M,drivers=scullv:scullp:scullc:scull")


def log(mnt: Path) -> list[str]:
    """The kernel log, without levels and times."""
    return [line.partition("] ")[2] for line in (mnt / "proc/kmsg").read_text().splitlines()]


def set_knobs(mnt: Path, name: str, **knobs: object) -> None:
    """Write to the files of a fault."""
    for knob, value in knobs.items():
        file = knob if knob.startswith("verbose_") else knob.replace("_", "-")
        (mnt / DEBUG / name / file).write_text(f"{value}\n")


@pytest.mark.long
def test_session(mnt: Path, scullvfs: Scullvfs) -> None:
    """What a reader would type: nothing is to be had, the log says who forced it, and it ends."""
    done = shell(
        """
        cd $MNT/sys/kernel/debug/fail_page_alloc
        echo 100 > probability; echo -1 > times
        echo N > ignore-gfp-highmem; echo N > ignore-gfp-wait; echo 0 > min-order
        dd if=/dev/zero of=$MNT/scullv0 bs=64k count=10
        """,
        MNT=mnt,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Cannot allocate memory\n" in done.stderr
    lines = log(mnt)
    begin = lines.index("FAULT_INJECTION: forcing a failure.")
    assert lines[begin + 1] == (
        "name fail_page_alloc, interval 1, probability 100, space 0, times -1"
    )
    assert lines[begin + 2].startswith("CPU: 0 UID: ")
    assert " Comm: dd Tainted: G " in lines[begin + 2]
    assert " scullv_write [scullv]" in lines[begin:]
    told = scullvfs.quickly("status", mnt).stdout
    assert "\n  faults    fail_page_alloc armed, injected " in told
    set_knobs(mnt, "fail_page_alloc", probability=0)
    device = mnt / "scullv0"
    device.write_bytes(b"x" * QUANTUM)
    assert device.read_bytes() == b"x" * QUANTUM
    told = scullvfs.quickly("status", mnt).stdout
    assert "\n  faults    fail_page_alloc injected " in told


@pytest.mark.long
def test_status_says_nothing(mnt: Path, scullvfs: Scullvfs) -> None:
    """Where nothing is armed and nothing was injected."""
    assert "faults" not in scullvfs.quickly("status", mnt).stdout
    (report,) = json.loads(scullvfs.quickly("status", "--json", mnt).stdout)
    assert report["faults"] == {}


@pytest.mark.long
def test_status_says_fail_nth(mnt: Path, scullvfs: Scullvfs) -> None:
    """A request of one process that is to fail makes a mount one with faults on, until it has."""
    nth = mnt / "proc/self/fail-nth"
    nth.write_text("5")
    assert "\n  faults    fail-nth armed\n" in scullvfs.quickly("status", mnt).stdout
    nth.write_text("0")
    assert "faults" not in scullvfs.quickly("status", mnt).stdout


WRITE = """
import os, sys
mnt, nth, prepare = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "quantum set there"
fd = os.open(f"{mnt}/scullv0", os.O_WRONLY)
if prepare:
    os.pwrite(fd, b"x", 1 << 20)
data = b"x" * 65536
nth_fd = os.open(f"{mnt}/proc/self/fail-nth", os.O_WRONLY)
os.write(nth_fd, b"%d" % nth)
try:
    print("ret", os.pwrite(fd, data, 0))
except OSError as error:
    print(error.errno)
print(os.fstat(fd).st_size)
print(open(f"{mnt}/proc/self/fail-nth").read(), end="")
"""


@pytest.mark.long
def test_one_request_of_one_process(mount: Callable[[str], Path]) -> None:
    """As recorded on a real kernel, whichever of a write's requests fails.

    Where a slab or a page table has been used up there is one request more, which the tests of the
    driver alone (`truth.test_fail_nth`) have none of; so a line may be that of the number before.
    """
    mnt = mount("mem=64M,page_owner=on")
    set_knobs(mnt, "failslab", ignore_gfp_wait="N", verbose=1)
    set_knobs(mnt, "fail_usercopy", verbose=1)
    set_knobs(
        mnt, "fail_page_alloc", ignore_gfp_wait="N", ignore_gfp_highmem="N", min_order=0, verbose=1
    )
    for _ in range(3):
        (mnt / "scullv0").write_bytes(b"x" * QUANTUM)
    lines = recording.recorded()
    anew = 0
    for (device, nth), expected in lines.items():
        if (device, nth) in recording.OTHERWISE:
            continue
        before = len(log(mnt))
        done = subprocess.run(
            [sys.executable, "-c", WRITE, str(mnt), str(nth), device],
            capture_output=True,
            text=True,
            check=True,
        )
        result, size, left = done.stdout.splitlines()
        if result.isdigit():
            result = errno.errorcode[int(result)]
        forced = [line for line in log(mnt)[before:] if line.startswith("name ")]
        injected = ", ".join(line.split()[1].strip(",") for line in forced)
        found = recording.Outcome(result, int(size), injected)
        allowed = {expected, lines.get((device, nth - 1), expected)}
        if found not in allowed:  # or a new slab was asked for anew
            assert (result, injected) == ("ret 65536", ""), (device, nth, found)
            anew += 1
        assert left == "0" or nth > 20
    assert anew < len(lines) / 10  # few slabs are used up by so many writes
    set_knobs(mnt, "failslab", probability=0)
    assert (mnt / DEBUG / "validate").write_text("1") == 1


def test_task_filter(mnt: Path) -> None:
    """Only the one that is made to fails, and what it executes; what it has forked does not."""
    set_knobs(mnt, "failslab", ignore_gfp_wait="N", probability=100, times=-1, task_filter="Y")
    command = """
        dd if=/dev/zero of=$MNT/scullv0 bs=64k count=1 status=none || exit 1
        echo 1 > $MNT/proc/self/make-it-fail
        dd if=/dev/zero of=$MNT/scullv0 bs=64k count=1 status=none || exit 2
        exec dd if=/dev/zero of=$MNT/scullv0 bs=64k count=1 status=none
    """
    done = shell(command, MNT=mnt)
    assert done.returncode == 1
    assert done.stderr.endswith("scullv0': Cannot allocate memory\n")
    (mnt / "scullv0").write_bytes(b"x")


def test_fail_function(mnt: Path) -> None:
    """A driver's function fails with what one says, as often as one says."""
    done = shell(
        """
        cd $MNT/sys/kernel/debug/fail_function
        echo scullp_write > inject
        echo 0xffffffffffffffe4 > scullp_write/retval
        cat inject scullp_write/retval
        echo 100 > probability; echo 1 > times; echo 1 > verbose
        echo hello > $MNT/scullp1; echo $?
        echo hello > $MNT/scullv1; echo $?
        echo hello > $MNT/scullp1; echo $?
        echo > inject; ls scullp_write
        """,
        MNT=mnt,
    )
    assert done.stdout == "scullp_write [scullp]\nffffffffffffffe4\n1\n0\n0\n"
    first, second = done.stderr.splitlines()
    assert first.endswith("write error: No space left on device")
    assert second == "ls: cannot access 'scullp_write': No such file or directory"
    forced = [line for line in log(mnt) if line.startswith("name fail_function")]
    assert forced == ["name fail_function, interval 1, probability 100, space 0, times 1"]


@pytest.mark.parametrize("operation", ["open", "read", "ioctl"])
def test_fail_function_of_other_calls(mnt: Path, operation: str) -> None:
    """So do open(2), read(2) and ioctl(2), each with a name of its own."""
    (mnt / "scull0").write_bytes(b"x" * 100)
    directory = mnt / DEBUG / "fail_function"
    (directory / "inject").write_text(f"scull_{operation}")
    set_knobs(mnt, "fail_function", probability=100, times=1)
    done = shell(CALLS[operation], MNT=mnt, RESET=RESET.format(mnt))
    assert done.returncode != 0
    assert "Invalid argument" in done.stderr
    assert shell(CALLS[operation], MNT=mnt, RESET=RESET.format(mnt)).returncode == 0


RESET = "import fcntl, os; fcntl.ioctl(os.open('{}/scull0', os.O_RDONLY), 0x6b00)"
CALLS = {
    "open": "dd if=/dev/null of=$MNT/scull0 conv=notrunc status=none",
    "read": "dd if=$MNT/scull0 of=/dev/null status=none",
    "ioctl": f'{sys.executable} -c "$RESET"',
}


def test_usercopy(mnt: Path) -> None:
    """EFAULT, by reading and by writing; then all is as before, or zeros."""
    (mnt / "scullv0").write_bytes(b"x" * 100)
    set_knobs(mnt, "fail_usercopy", probability=100, times=2, verbose=1)
    with opened(mnt / "scullv0") as fd:
        for call in (lambda: os.pread(fd, 10, 0), lambda: os.pwrite(fd, b"y" * 10, 0)):
            with pytest.raises(OSError, match="Bad address"):
                call()
        assert os.pread(fd, 100, 0) == bytes(10) + b"x" * 90


def test_usercopy_by_the_rules_of_files(mount: Callable[[str], Path]) -> None:
    """The page cache copies, not the driver: what it writes back is no copy from a process."""
    mnt = mount("mem=64M,semantics=file")
    (mnt / "scullv0").write_bytes(b"old " * 5000)
    set_knobs(mnt, "fail_usercopy", probability=100, times=-1)
    with opened(mnt / "scullv0") as fd, mmap.mmap(fd, 20000) as pages:
        pages[:3] = b"new"
        pages.flush()
        assert os.pwrite(fd, b"new", 4000) == 3
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(fd, 8, 0) == b"new old "
        assert os.pread(fd, 8, 4000) == b"new old "


def test_no_such_operation(mnt: Path) -> None:
    """ENOSYS of one open would end all opens of the mount: it is EIO, and the next one opens."""
    directory = mnt / "sys/kernel/debug/fail_function"
    (directory / "inject").write_text("scullv_open")
    (directory / "scullv_open/retval").write_text(f"{-errno.ENOSYS & (1 << 64) - 1:#x}")
    set_knobs(mnt, "fail_function", probability=100)
    with pytest.raises(OSError, match="Input/output error"):
        (mnt / "scullv0").read_bytes()
    (mnt / "scullv0").write_bytes(b"x")
    assert (mnt / "scullv0").read_bytes() == b"x"


def test_trace(mnt: Path) -> None:
    """Who has forced it, with what, and the call that got it."""
    (mnt / "sys/kernel/tracing/set_event").write_text("scull")
    set_knobs(mnt, "failslab", ignore_gfp_wait="N", probability=100)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        (mnt / "scullv0").write_bytes(b"x")
    lines = (mnt / "sys/kernel/tracing/trace").read_text().splitlines()
    events = [line.split(": ", 1)[1] for line in lines if not line.startswith("#")]
    assert events[-2:] == [
        "fault_inject: name=failslab function=should_failslab result=-ENOMEM",
        "scull_write: dev=scullv0 pos=0 count=1 ret=-12",
    ]


def test_option(mount: Callable[[str], Path], scullvfs: Scullvfs) -> None:
    """In force from the start, the knobs that spare all requests off; then as if set by hand."""
    mnt = mount("mem=64M,failslab=40:100:0:-1,fail_page_alloc=1000:0:7:1")
    said = {
        f"{name}/{knob}": (mnt / DEBUG / name / knob).read_text().strip()
        for name in ("failslab", "fail_page_alloc")
        for knob in ("interval", "probability", "space", "times", "ignore-gfp-wait")
    }
    assert [*said.values()] == ["40", "100", "0", "-1", "N", "1000", "0", "7", "1", "N"]
    assert (mnt / DEBUG / "fail_page_alloc/min-order").read_text() == "0\n"
    errors = []
    for _ in range(40):
        with opened(mnt / "scullv0") as fd:
            os.truncate(fd, 0)
            try:
                os.pwrite(fd, b"x", 0)
            except OSError as error:
                errors.append(error.errno)
    assert 3 <= len(errors) <= 5
    assert {*errors} == {errno.ENOMEM}
    assert "failslab=40:100:0:-1" in scullvfs.quickly("status", mnt).stdout


@pytest.mark.long
def test_option_that_fails_the_mount(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """It says so, and nothing is mounted."""
    done = scullvfs("mount", "-o", "mem=16M,failslab=1:100:0:1", mountpoint)
    refusal(done, "fault-at-mount")
    assert not scullvfs.mounted(mountpoint)


HOSTILE = [
    *(b"", b"\n", b" ", b"nonsense\n", b"-1\n", b"-99999999999999999999", b"0x10", b"9" * 30),
    *(b"1.5", b"\0", b"1\0", b"\0" * 5000, b"\xff\xfe\xfd", b"a" * (1 << 20), b"9" * (1 << 20)),
    *(b" " * (1 << 20), b"!" * 4000, b"%s%n", b"scullv_write" * 99, b"!scullv_read"),
]
REFUSED = {errno.EINVAL, errno.ERANGE, errno.ENOENT, errno.EBUSY}


def fault_files(mnt: Path) -> Iterator[Path]:
    """Every file of these that can be written."""
    for name in ("failslab", "fail_page_alloc", "fail_usercopy", "fail_function"):
        yield from (mnt / DEBUG / name / knob for knob in KNOBS)
    yield mnt / DEBUG / "failslab/cache-filter"
    for name in ("failslab", "fail_page_alloc"):
        yield mnt / DEBUG / name / "ignore-gfp-wait"
    yield from (mnt / DEBUG / "fail_page_alloc" / n for n in ("ignore-gfp-highmem", "min-order"))
    yield mnt / DEBUG / "fail_function/inject"
    yield mnt / DEBUG / "fail_function/scullv_read/retval"
    yield mnt / "sys/kernel/slab/kmalloc-64/failslab"
    yield from (mnt / "proc/1" / name for name in ("make-it-fail", "fail-nth"))


@pytest.mark.long
def test_bad_input(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """Taken, or refused with an errno and nothing has changed; and never a traceback."""
    command = [*scullvfs.command, "mount", "-f", "-o", "mem=32M", str(mountpoint)]
    with foreground(scullvfs, mountpoint, command) as daemon:
        inject = mountpoint / DEBUG / "fail_function/inject"
        inject.write_text("scullv_read")
        files = [*fault_files(mountpoint)]
        assert len(files) == 42
        for path in files:
            assert path.stat().st_size == len(path.read_bytes()) > 0, path
            for data in HOSTILE:
                before = path.read_bytes()
                refused, taken = 0, 0
                try:
                    with opened(path, os.O_WRONLY) as fd:
                        taken = os.write(fd, data)
                except OSError as error:
                    refused = error.errno or -1
                assert refused in {0, *REFUSED}, (path, data[:20])
                assert 0 <= taken <= len(data)
                if refused:
                    assert path.read_bytes() == before, (path, data[:20])
                elif path == inject and not path.read_bytes():
                    inject.write_text("scullv_read")
        for path in files:
            path.read_bytes()
        assert (mountpoint / DEBUG / "validate").write_text("1") == 1
        daemon.terminate()
        said = daemon.communicate(timeout=30)[1]
    assert "Traceback" not in said
    assert daemon.returncode == 0


@pytest.mark.parametrize(
    ("trouble", "path", "text"),
    [
        ("fault-knob", "failslab/times", "x"),
        ("fault-knob", "fail_page_alloc/probability", "-1"),
        ("fault-knob-large", "failslab/times", "99999999999999999999"),
        ("fault-function", "fail_function/inject", "scullp_read"),
        ("fault-function-fixed", "fail_function/inject", "vmap"),
        ("fault-function-chosen", "fail_function/inject", "scullv_read"),
        ("fault-function-not-chosen", "fail_function/inject", "!scullv_write"),
        ("fault-retval", "fail_function/scullv_read/retval", "-5"),
    ],
)
def test_troubles(mount: Callable[[str], Path], trouble: str, path: str, text: str) -> None:
    """Each with the errno that the page says."""
    mnt = mount("mem=16M")
    (mnt / DEBUG / "fail_function/inject").write_text("scullv_read")
    with fails_as(trouble):
        (mnt / DEBUG / path).write_text(text)


def test_trouble_of_a_forced_failure(mnt: Path) -> None:
    """An allocation that was made to fail is as one that has failed."""
    set_knobs(mnt, "failslab", ignore_gfp_wait="N", probability=100, times=1)
    with opened(mnt / "scullv0") as fd, fails_as("fault-forced"):
        os.write(fd, b"x")
    set_knobs(mnt, "fail_usercopy", probability=100, times=1)
    with opened(mnt / "scullv0") as fd, fails_as("fault-usercopy"):
        os.write(fd, b"x")


def test_proc_of_tasks(mnt: Path) -> None:
    """Who is alive has a directory; `self` is who looks."""
    done = shell("cd $MNT/proc/self && pwd -P && echo $$ && cat fail-nth make-it-fail", MNT=mnt)
    path, pid, *numbers = done.stdout.splitlines()
    assert (path, numbers) == (f"{mnt}/proc/{pid}", ["0", "0"])
    assert os.readlink(mnt / "proc/self") == os.readlink(mnt / "proc/thread-self")
    assert not (mnt / f"proc/{pid}").exists()
    own = mnt / f"proc/{os.getpid()}/fail-nth"
    own.write_text("100")
    assert str(os.getpid()) in os.listdir(mnt / "proc")
    assert re.fullmatch(r"\d+\n", own.read_text())
    own.write_text("0")
    assert str(os.getpid()) not in os.listdir(mnt / "proc")
