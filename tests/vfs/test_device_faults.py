"""Devices that fail, as programs find them: dd, cat, cp and Python on a real mount."""

from __future__ import annotations

import json
import mmap
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scullvfs.mounts.health import STATUS_FILE
from scullvfs.scull.family import DRIVERS

from .faults import CALLS, DATA, calling, everything, faults, fill, put
from .helpers import mount_point, mounted_on, opened, program, read_all, shell

MEMBERS = tuple(DRIVERS)
PAGE = 4096


@pytest.fixture(scope="module", params=["device", "file"])
def semantics(request: pytest.FixtureRequest) -> str:
    """Whose rules the devices follow."""
    rules: str = request.param
    return rules


@pytest.fixture(scope="module")
def shared(semantics: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A mount of all drivers by each set of rules."""
    options = f"mem=64M,drivers={':'.join(MEMBERS)},semantics={semantics}"
    with (
        program() as scullvfs,
        mount_point(scullvfs, tmp_path_factory.mktemp("faults") / "mnt") as path,
        mounted_on(scullvfs, path, options),
    ):
        yield path


@pytest.fixture
def mnt(shared: Path) -> Iterator[Path]:
    """The mount, its devices empty and without faults."""
    for device in shared.glob("scull*0"):
        os.truncate(device, 0)
    yield shared
    everything(shared)


@pytest.fixture
def scullv0(mnt: Path) -> Path:
    """The first device."""
    return mnt / "scullv0"


def times(mount: Path, operation: str) -> str:
    """How often it is still to fail."""
    return (faults(mount) / operation / "times").read_text().strip()


def injected(mount: Path) -> dict[str, dict[str, object]]:
    """What the status says of faults."""
    status = json.loads((mount / STATUS_FILE).read_bytes())
    found: dict[str, dict[str, object]] = status["faults"]
    return found


# the shell's sessions


@pytest.mark.parametrize("member", MEMBERS)
def test_third_write_fails(mnt: Path, member: str) -> None:
    """Of any driver's, by either rules; the two before it are stored, and the next is as ever."""
    put(mnt, {"write/at": "call 3", "write/errno": "ENOSPC"}, f"{member}0")
    device = mnt / f"{member}0"
    done = shell('dd if=/dev/zero of="$device" bs=1000 count=5', device=device)
    assert "No space left on device" in done.stderr
    assert "2+0 records out" in done.stderr
    assert device.stat().st_size == 2000
    with opened(device) as fd:
        assert os.pwrite(fd, b"x" * 1000, 2000) == 1000
    assert read_all(device) == bytes(2000) + b"x" * 1000


@pytest.mark.parametrize("bs", [4096, 65536, 100_000, 131_071, 131_072, 131_073, 1 << 20])
def test_exactly_byte_131072(scullv0: Path, mnt: Path, bs: int) -> None:
    """Whatever the block size: up to it everything is in, the byte is not."""
    put(mnt, {"write/at": 131_072, "write/errno": "EIO"})
    command = 'dd if=/dev/urandom of="$device" bs=$bs count=$((400000 / $bs + 1)) iflag=fullblock'
    done = shell(command, device=scullv0, bs=bs)
    assert "Input/output error" in done.stderr
    assert "\n131072 bytes" in done.stderr
    assert scullv0.stat().st_size == 131_072
    assert len(read_all(scullv0)) == 131_072
    assert times(mnt, "write") == "0"


def test_read_at_a_byte(scullv0: Path, mnt: Path, semantics: str) -> None:
    """What lies before it is read; by the rules of files up to the page that it is in."""
    fill(scullv0)
    put(mnt, {"read/at": "byte 100000", "read/errno": "EIO", "read/times": -1})
    done = shell('cat "$device" | wc -c; cat "$device" > /dev/null', device=scullv0)
    assert "Input/output error" in done.stderr
    whole = 100_000 if semantics == "device" else 100_000 // PAGE * PAGE
    assert int(done.stdout) == whole
    put(mnt, {"read/at": len(DATA)})
    assert read_all(scullv0) == DATA


@pytest.mark.parametrize("at", [5000, 100_000, 140_000, 200_000])
@pytest.mark.parametrize("bs", [4096, 512])
def test_single_failure_of_a_byte(
    scullv0: Path, mnt: Path, semantics: str, at: int, bs: int
) -> None:
    """What the page cache reads ahead behind the byte does not use the failure up."""
    fill(scullv0)
    put(mnt, {"read/at": at, "read/errno": "EIO"})
    done = shell('dd if="$device" of=/dev/null bs=$bs', device=scullv0, bs=bs)
    assert "Input/output error" in done.stderr
    whole = at if semantics == "device" else at // PAGE * PAGE
    assert f"\n{whole} bytes" in done.stderr
    assert times(mnt, "read") == "0"
    assert read_all(scullv0) == DATA


def test_read_fails_once(scullv0: Path, mnt: Path) -> None:
    """One failure is one failure, though the page cache asks for a page twice."""
    for size in (10, PAGE, PAGE + 1, 10 * PAGE):
        os.truncate(scullv0, 0)
        fill(scullv0, DATA[:size])
        put(mnt, {"read/errno": "EIO"})
        with opened(scullv0, os.O_RDONLY) as fd:
            with pytest.raises(OSError, match="Input/output error"):
                os.pread(fd, PAGE, 0)
            assert os.pread(fd, PAGE, 0) == DATA[: min(size, PAGE)]
        assert read_all(scullv0) == DATA[:size]


CKSUM = subprocess.run(
    ["cksum"], input=DATA[:2000], capture_output=True, check=True
).stdout.decode()


def test_one_byte_reads(scullv0: Path, mnt: Path, semantics: str) -> None:
    """`cat` gets all of it, a byte at a time; the page cache is filled all the same."""
    fill(scullv0, DATA[:2000])
    put(mnt, {"short_read": 1})
    assert shell('cat "$device" | cksum', device=scullv0).stdout == CKSUM
    assert read_all(scullv0) == DATA[:2000]
    with opened(scullv0, os.O_RDONLY) as fd:
        assert len(os.read(fd, 100)) == (1 if semantics == "device" else 100)


@pytest.mark.long
@pytest.mark.parametrize("most", [1, 777, "random"])
def test_short_writes(scullv0: Path, mnt: Path, most: object) -> None:
    """Programs that go on have stored all in the end; each call took no more than it may."""
    put(mnt, {"short_write": most})
    with opened(scullv0) as fd:
        counts = [os.pwrite(fd, b"abcdef" * 200, 0) for _ in range(20)]
        if most == "random":
            assert all(1 <= count <= 1200 for count in counts)
            assert len(set(counts)) > 3
        else:
            assert set(counts) == {most}
    os.truncate(scullv0, 0)
    fill(scullv0, DATA[:5000])
    everything(mnt)
    assert read_all(scullv0) == DATA[:5000]


@pytest.mark.long
def test_random_is_by_the_seed(mount: Callable[[str], Path]) -> None:
    """The same calls are cut short in the same places, with another seed in others."""
    found = []
    for seed in (1, 1, 2):
        path = mount(f"mem=16M,seed={seed}")
        put(path, {"short_write": "random"})
        with opened(path / "scullv0") as fd:
            found.append([os.pwrite(fd, bytes(1000), 0) for _ in range(20)])
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("call", CALLS)
def test_each_operation_fails(mnt: Path, scullv0: Path, call: str) -> None:
    """With its errno, and once; nothing has changed, and others go on."""
    fill(scullv0, DATA[:PAGE])
    put(mnt, {f"{call}/errno": "EDQUOT"})
    with calling(scullv0, call, PAGE // 2) as caller:
        assert caller.result() == "EDQUOT"
    assert times(mnt, call) == "0"
    assert read_all(scullv0) == DATA[:PAGE]
    with calling(scullv0, call, PAGE // 2) as caller:
        assert caller.result() != "EDQUOT"


def test_open_that_fails_empties_nothing(mnt: Path, scullv0: Path) -> None:
    """`> scullv0` with an error leaves what is there."""
    fill(scullv0, DATA[:PAGE])
    put(mnt, {"open/errno": "EBUSY"})
    done = shell('> "$device"', device=scullv0)
    assert "Device or resource busy" in done.stderr
    assert read_all(scullv0) == DATA[:PAGE]


def test_open_files_have_them_too(mnt: Path, scullv0: Path) -> None:
    """Those that are open when it is set, and after it is put back again."""
    with opened(scullv0) as fd:
        assert os.pwrite(fd, b"before", 0) == 6
        put(mnt, {"write/errno": "EIO", "write/times": -1})
        for _ in range(3):
            with pytest.raises(OSError, match="Input/output error"):
                os.pwrite(fd, b"during", 0)
        put(mnt, {"reset": 1})
        assert os.pwrite(fd, b"after", 6) == 5
    assert read_all(scullv0) == b"beforeafter"


def test_other_devices_do_not_fail(mnt: Path) -> None:
    """A fault is of one device."""
    put(mnt, {"write/errno": "EIO", "write/times": -1})
    for member in MEMBERS:
        fill(mnt / f"{member}1", DATA[:100])


def test_cp_says_so(mnt: Path, scullv0: Path) -> None:
    """As from a medium with a bad sector."""
    fill(scullv0)
    put(mnt, {"read/at": "byte 65536", "read/errno": "EIO", "read/times": -1})
    done = shell('cp "$device" "$mnt/scullv1"', device=scullv0, mnt=mnt)
    assert done.returncode == 1
    assert "Input/output error" in done.stderr
    assert (mnt / "scullv1").stat().st_size == 65_536
    assert read_all(mnt / "scullv1") == DATA[:65_536]


# how they go together


def test_short_write_up_to_a_byte(mnt: Path, scullv0: Path, semantics: str) -> None:
    """Each call takes little, until the byte is reached; of the page cache each request does."""
    put(mnt, {"short_write": 3000, "write/at": "byte 10000", "write/errno": "EIO"})
    with opened(scullv0) as fd:
        counts = [0]
        while sum(counts) < 10_000:
            counts.append(os.pwrite(fd, bytes(1 << 16), sum(counts)))
        with pytest.raises(OSError, match="Input/output error"):
            os.pwrite(fd, bytes(1 << 16), sum(counts))
    assert sum(counts) == 10_000
    assert max(counts) <= (3000 if semantics == "device" else PAGE)


def test_append(mnt: Path, scullv0: Path) -> None:
    """The place of a call that appends is the end."""
    fill(scullv0, DATA[:1000])
    put(mnt, {"write/at": "byte 1500", "write/errno": "EIO"})
    with opened(scullv0, os.O_RDWR | os.O_APPEND) as fd:
        assert os.write(fd, bytes(1000)) == 500
        with pytest.raises(OSError, match="Input/output error"):
            os.write(fd, bytes(500))
        assert os.write(fd, bytes(500)) == 500
    assert scullv0.stat().st_size == 2000


def test_interval_and_times(mnt: Path, scullv0: Path) -> None:
    """Every third call from the fifth on, twice."""
    put(mnt, {"write/interval": 3, "write/times": 2, "write/at": "call 5", "write/errno": "EIO"})
    found = ""
    with opened(scullv0) as fd:
        for _ in range(15):
            try:
                os.pwrite(fd, b"x", 0)
                found += "."
            except OSError:
                found += "E"
    assert found == "......E..E....."


def test_space(mnt: Path, scullv0: Path) -> None:
    """So many bytes are let through first."""
    put(mnt, {"write/space": 2500, "write/errno": "EIO"})
    with opened(scullv0) as fd:
        for pos in (0, 1000):
            assert os.pwrite(fd, bytes(1000), pos) == 1000
        with pytest.raises(OSError, match="Input/output error"):
            os.pwrite(fd, bytes(1000), 2000)


def test_delay_first_then_the_failure(mnt: Path, scullv0: Path) -> None:
    """It takes its time, and then fails."""
    put(mnt, {"write/delay_us": 300_000, "write/errno": "EIO"})
    done = shell('time -p dd if=/dev/zero of="$device" bs=1 count=1 conv=notrunc', device=scullv0)
    assert "Input/output error" in done.stderr
    assert float(re.findall(r"real (\S+)", done.stderr)[0]) >= 0.3


def test_written_again_it_comes_again(mnt: Path, scullv0: Path) -> None:
    """One `echo` is one failure, each time."""
    with opened(scullv0) as fd:
        for _ in range(3):
            put(mnt, {"write/errno": "-5"})
            with pytest.raises(OSError, match="Input/output error"):
                os.pwrite(fd, b"x", 0)
            assert os.pwrite(fd, b"x", 0) == 1


def test_task_filter(mnt: Path, scullv0: Path) -> None:
    """Only who has make-it-fail set."""
    put(mnt, {"write/task-filter": "Y", "write/errno": "EIO", "write/times": -1})
    task = mnt / "proc/thread-self/make-it-fail"
    with opened(scullv0) as fd:
        assert os.pwrite(fd, b"x", 0) == 1
        task.write_text("1")
        with pytest.raises(OSError, match="Input/output error"):
            os.pwrite(fd, b"x", 0)
        task.write_text("0")
        assert os.pwrite(fd, b"x", 0) == 1


# what the page cache does


def test_mapped_reads_and_writes(mnt: Path, scullv0: Path, semantics: str) -> None:
    """A page that cannot be written back is heard of by msync(2); a short write is no loss."""
    if semantics == "device":
        pytest.skip("devices cannot be mapped for writing there")
    fill(scullv0, DATA[: 8 * PAGE])
    put(mnt, {"short_write": 7})
    with opened(scullv0) as fd, mmap.mmap(fd, 8 * PAGE) as area:
        area[:] = b"m" * 8 * PAGE
        area.flush()
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert read_all(fd) == b"m" * 8 * PAGE
        everything(mnt)
        put(mnt, {"write/errno": "EIO"})
        area[:PAGE] = b"n" * PAGE
        with pytest.raises(OSError, match="Input/output error"):
            area.flush()
    assert times(mnt, "write") == "0"


# where it is seen


def test_log_trace_and_status(mnt: Path, scullv0: Path) -> None:
    """The report, the driver's record, and the books, which a reset leaves."""
    tracing = mnt / "sys/kernel/tracing"
    (tracing / "set_event").write_text("scull")
    (tracing / "trace").write_text("")
    before = injected(mnt).get("scullv0/write", {}).get("injected", 0)
    assert isinstance(before, int)
    put(mnt, {"write/errno": "EIO", "write/times": 2})
    assert injected(mnt)["scullv0/write"]["armed"] is True
    with opened(scullv0) as fd, pytest.raises(OSError, match="Input/output error"):
        os.pwrite(fd, b"x" * 10, 7)
    text = (tracing / "trace").read_text()
    (tracing / "set_event").write_text("")
    assert "scull_write: dev=scullv0 pos=7 count=10 ret=-5\n" in text
    assert re.search(r" fault_inject: .*scullv0/write", text)
    log = (mnt / "proc/kmsg").read_text()
    assert "name scullv0/write, interval 1, probability 100, space 0, times 2\n" in log
    found = re.findall(r"should_fail_ex\n<4>\[.*\]  (.*)\n<4>\[.*\]  (.*)\n", log)
    assert found[-1] == ("scullv_write [scullv]", "vfs_write")
    everything(mnt)
    assert injected(mnt)["scullv0/write"] == {"injected": before + 1, "armed": False}


@pytest.mark.parametrize(
    ("call", "record"),
    [
        ("open", "scull_open: dev=scullv0 flags=0x"),
        ("read", "scull_read: dev=scullv0 pos=0 count="),
        ("ioctl", "scull_ioctl: dev=scullv0 cmd=0x"),
    ],
)
def test_records(mnt: Path, scullv0: Path, call: str, record: str) -> None:
    """Other operations that have an event of the drivers'."""
    fill(scullv0, DATA[:PAGE])
    tracing = mnt / "sys/kernel/tracing"
    (tracing / "set_event").write_text("scull")
    (tracing / "trace").write_text("")
    put(mnt, {f"{call}/errno": "EIO"})
    with calling(scullv0, call) as caller:
        assert caller.result() == "EIO"
    lines = (tracing / "trace").read_text().splitlines()
    (tracing / "set_event").write_text("")
    assert any(record in line and line.endswith(" ret=-5") for line in lines)
