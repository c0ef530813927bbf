"""`scullvfs record` and `scullvfs replay`: all that reaches a mount, and the same made again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from scullvfs.errors import ExitStatus
from scullvfs.mounts import recording as recording_of_mounts
from scullvfs.mounts.mountinfo import Mount, mount_at
from scullvfs.mounts.recording import RECORD

from ..helpers import Scullvfs, end, opened, shell, wait_until
from ..troubles import TROUBLES, fails_as, refusal

OPTIONS = "mem=64M,seed=9,order=1,drivers=scullv:scullp:scullc:scull"

EVERYTHING = """
cd "$mnt"; exec >/dev/null
dd if=/dev/urandom of=scullv0 bs=64k count=20
dd if=scullv0 bs=1M
cat proc/fs/scullvfs/status sys/kernel/debug/record
cat proc/scullvmem proc/vmallocinfo proc/slabinfo proc/buddyinfo
ls -lR proc sys/module sys/class
stat -f .
echo vmalloc > sys/kernel/tracing/set_event
echo 'vmalloc a 300000' > sys/kernel/debug/mm/command
head -c 100000 /dev/zero > scullp0
head -c 100000 /dev/zero | tee scullc0 scull0
echo 2 > sys/module/scullv/parameters/scullv_order
: > scullv0
truncate -s 500000 scullv1
truncate -s 100 scullv1
chmod 600 scullv2
touch scullv2
cp scullv0 scullv2
fallocate -l 300000 scullv3
echo 100 > sys/kernel/debug/failslab/probability
echo 3 > sys/kernel/debug/failslab/times
head -c 200000 /dev/zero > scullv1
cat proc/self/fail-nth proc/kmsg sys/kernel/tracing/trace
timeout 1 cat sys/kernel/tracing/trace_pipe
echo 1 > sys/kernel/debug/validate
echo 20000 > sys/kernel/debug/scull/scullv1/delay_us
head -c 100000 /dev/zero > scullv1
cat scullv1
"""
"""Something of all that can be done; some of it fails by some rules."""

MAPPING = """
import mmap, os, sys
for name in ("scullv0", "scullv1"):
    with open(f"{sys.argv[1]}/{name}", "r+b", buffering=0) as file:
        file.write(bytes(100_000))
        try:
            with mmap.mmap(file.fileno(), 4096) as mapped:
                mapped[50:60] = b"0123456789"
                mapped.flush()
                assert mapped[50:60] == b"0123456789"
        except OSError as error:
            print(error)
"""

HAMMER = """
import os, random, sys
rng = random.Random(int(sys.argv[2]))
for _ in range(60):
    name = rng.choice(["scullv0", "scullv1", "scullp0", "scullc0"])
    try:
        flags = rng.choice([os.O_RDWR, os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_TRUNC])
        fd = os.open(f"{sys.argv[1]}/{name}", flags)
        for _ in range(5):
            pos = rng.randrange(2_000_000)
            rng.choice([
                lambda: os.pwrite(fd, bytes(rng.randrange(50_000)), pos),
                lambda: os.pread(fd, 50_000, pos),
                lambda: os.ftruncate(fd, pos),
                lambda: os.posix_fallocate(fd, pos, 100_000),
            ])()
        os.close(fd)
    except OSError:
        pass
"""


@contextmanager
def recording(
    scullvfs: Scullvfs, mount: Path, file: Path, *words: object
) -> Iterator[subprocess.Popen[str]]:
    """Record a mount; at the end the recording is told to end."""
    with scullvfs.start("record", *words, mount, "-o", file) as process:
        wait_until(
            lambda: (file.exists() and file.stat().st_size) or process.poll() is not None,
            "the recording has begun",
        )
        if process.poll() is not None:
            assert process.stderr is not None
            raise AssertionError(process.stderr.read())
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


@pytest.mark.long
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("semantics=device", ()),
        ("semantics=file", ("--data",)),
        ("semantics=file,page_owner=on", ()),
        ("semantics=file,writeback", ("--data",)),
        ("quirks=ldd3", ()),
        ("init_on_alloc=0,arch=i386", ()),
    ],
)
def test_everything(
    scullvfs: Scullvfs,
    mount: Callable[[str], Path],
    tmp_path: Path,
    more: str,
    words: tuple[str, ...],
) -> None:
    """Whatever was done comes to the same, in a process that knows nothing of the mount."""
    mnt, file = mount(f"{OPTIONS},{more}"), tmp_path / "run.scull"
    with recording(scullvfs, mnt, file, *words) as process:
        shell(EVERYTHING, mnt=mnt)
        subprocess.run([sys.executable, "-c", MAPPING, mnt], check=True)
        process.terminate()
        out, err = process.communicate()
    assert (process.returncode, err) == (0, f"recording {mnt}\n")
    calls = int(re.fullmatch(rf"(\d+) calls are in {file}\n", out)[1])  # type: ignore[index]
    done = scullvfs("replay", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{calls} calls made again: no difference\n"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    made = {line.get("call") for line in lines}
    assert made >= {"lookup", "open", "read", "write", "truncate", "notify_change", "release"}
    if "file" in more:
        assert made >= {"write_pages", "fallocate"}
    assert lines[0]["data"] == (bool(words) or not more.startswith("semantics"))


@pytest.mark.long
@pytest.mark.parametrize("semantics", ["device", "file", "file,writeback"])
def test_many_at_once(
    scullvfs: Scullvfs, mount: Callable[[str], Path], tmp_path: Path, semantics: str
) -> None:
    """Programs that work at the same time, some of which are killed, in the order that it came."""
    mnt, file = mount(f"{OPTIONS},semantics={semantics}"), tmp_path / "run.scull"
    with recording(scullvfs, mnt, file):
        programs = [
            subprocess.Popen([sys.executable, "-c", HAMMER, mnt, f"{number}"])
            for number in range(4)
        ]
        wait_until(lambda: file.stat().st_size > 100_000, "there are some calls")
        programs[0].kill()
        for program in programs:
            program.wait()
    done = scullvfs("replay", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(" calls made again: no difference\n")


@pytest.mark.long
def test_to_a_call_and_mounted(
    scullvfs: Scullvfs, mount: Callable[[str], Path], tmp_path: Path
) -> None:
    """The state at a call is there to be looked at, and goes on from there."""
    mnt, file = mount(OPTIONS), tmp_path / "run.scull"
    with recording(scullvfs, mnt, file, "--data"):
        (mnt / "scullv0").write_bytes(b"first")
        listing = (mnt / "proc/scullvmem").read_text()
        (mnt / "scullv0").write_bytes(b"second")
    writes = [
        line
        for line in map(json.loads, file.read_text().splitlines())
        if line.get("call") == "write"
    ]
    there = tmp_path / "there"
    there.mkdir()
    done = scullvfs("replay", "--to", writes[0]["n"], "--mount", there, file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    try:
        assert (there / "scullv0").read_bytes() == b"first"
        assert (there / "proc/scullvmem").read_text() == listing
        fd = os.open(there / "scullv0", os.O_RDWR)
        os.pwrite(fd, b"other", 0)
        os.close(fd)
        assert (there / "scullv0").read_bytes() == b"other"
        (there / "sys/kernel/debug/validate").write_text("1")
        again = scullvfs("record", there, "-o", tmp_path / "again")
        assert again.returncode == ExitStatus.BUSY
        done = scullvfs("snapshot", "save", there, "-o", tmp_path / "saved")  # as that advises
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        assert scullvfs("umount", there).returncode == 0
    assert scullvfs("mount", "-o", f"restore={tmp_path}/saved", there).returncode == 0
    try:
        with recording(scullvfs, there, tmp_path / "again"):
            assert (there / "scullv0").read_bytes() == b"other"
    finally:
        assert scullvfs("umount", there).returncode == 0
    assert scullvfs("replay", tmp_path / "again").returncode == 0


@pytest.mark.long
def test_used_or_open(scullvfs: Scullvfs, mounted: Path, tmp_path: Path) -> None:
    """What a recording cannot begin with is one line that says what to do, and makes no file."""
    file = tmp_path / "run.scull"
    with opened(mounted / "scullv0", os.O_RDONLY):
        refusal(scullvfs("record", mounted, "-o", file), "record-busy")
    with recording(scullvfs, mounted, tmp_path / "other"):
        assert scullvfs("record", mounted, "-o", file).returncode == ExitStatus.BUSY
    (mounted / "scullv0").write_bytes(b"x")
    refusal(scullvfs("record", mounted, "-o", file), "record-used")
    assert not file.exists()
    file.touch()
    refusal(scullvfs("record", mounted, "-o", file), "record-used")
    assert file.exists()  # it was there before
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    refusal(scullvfs("record", mounted, "-o", link), "record-used")
    assert link.is_symlink()
    assert not link.exists()


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_before_it_begins(
    scullvfs: Scullvfs, mounted: Path, tmp_path: Path, number: int
) -> None:
    """A signal that comes while it asks whether it may begin leaves no file behind."""
    file = tmp_path / "run.scull"
    with (
        opened(mounted / "scullv0", os.O_RDONLY),
        scullvfs.start("record", mounted, "-o", file) as process,
    ):
        wait_until(file.exists, "it is about to begin")
        process.send_signal(number)
        _, err = process.communicate()
    assert (process.returncode, err) == (ExitStatus.INTERRUPTED, "\nscullvfs: interrupted\n")
    assert not file.exists()


@pytest.mark.long
def test_two_into_one_file(
    scullvfs: Scullvfs, mount: Callable[[str], Path], tmp_path: Path
) -> None:
    """Of two mounts that are recorded into one file the second one's is refused."""
    file = tmp_path / "run.scull"
    one, other = mount(OPTIONS), mount(OPTIONS)
    with recording(scullvfs, one, file):
        refusal(scullvfs("record", other, "-o", file), "record-twice")
        (one / "scullv0").write_bytes(b"x")
    assert scullvfs("replay", file).returncode == 0


LOOKER = """
import os, sys, time
os.open(sys.argv[1], os.O_RDONLY)
print(flush=True)
time.sleep(0.45)
"""
"""Has a file open for a moment, in which a command comes as far as to ask for it to be closed."""


@pytest.mark.long
def test_beside_a_looker(scullvfs: Scullvfs, mounted: Path, tmp_path: Path) -> None:
    """Who looks at a mount, as a page of view does, keeps no recording from beginning."""
    file = tmp_path / "run.scull"
    command = [sys.executable, "-c", LOOKER, mounted / "proc/meminfo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as looker:
        assert looker.stdout is not None
        looker.stdout.readline()
        with recording(scullvfs, mounted, file):
            (mounted / "scullv0").write_bytes(b"x")
    assert scullvfs("replay", file).returncode == 0


def test_somebody_looks_in_between(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused between the look whether it could begin and the beginning begins again."""
    tries = []

    def begin_reader(mount: Mount, name: str) -> subprocess.Popen[bytes]:
        tries.append(name)
        with opened(mounted / "proc/meminfo", os.O_RDONLY) if len(tries) == 1 else nullcontext():
            reader = reader_of(mount, name)
            if len(tries) == 1:
                reader.wait()
            return reader

    reader_of = recording_of_mounts.begin_reader
    monkeypatch.setattr(recording_of_mounts, "begin_reader", begin_reader)
    mount = mount_at(str(mounted))
    assert mount is not None
    with recording_of_mounts.begin_recording(mount, False) as reader:
        assert reader.stdout is not None
        assert json.loads(reader.stdout.readline())["scullvfs"]
        recording_of_mounts.end_recording(mount)
        reader.stdout.read()
    assert len(tries) == 2


def test_errnos(mounted: Path) -> None:
    """What the file refuses, by hand."""
    record = mounted / RECORD
    with opened(record, os.O_WRONLY) as fd:
        with fails_as("recording-none"):
            os.write(fd, b"0")
        with fails_as("recording-value"):
            os.write(fd, b"1")
    with fails_as("recording-used"):
        os.open(record, os.O_RDONLY)


def test_errno_of_a_second_one(mounted: Path) -> None:
    """One at a time."""
    with opened(mounted / RECORD, os.O_RDONLY), fails_as("recording-busy"):
        os.open(mounted / f"{RECORD}_data", os.O_RDONLY)


@pytest.mark.long
@pytest.mark.parametrize("place", ["", "nowhere/run.scull"])
def test_file_that_cannot_be(scullvfs: Scullvfs, mounted: Path, place: str) -> None:
    """A file that cannot be written, or that is in the mount itself."""
    done = scullvfs("record", mounted, "-o", Path("/proc/none") / place)
    refusal(done, "record-file")
    refusal(scullvfs("record", mounted, "-o", mounted / "scullv0"), "record-in-mount")
    assert scullvfs("record", "/", "-o", "/dev/null").returncode == ExitStatus.NOT_MOUNTED


@pytest.mark.long
def test_a_second_recorder_spoils_nothing(
    scullvfs: Scullvfs, mount: Callable[[str], Path], tmp_path: Path
) -> None:
    """Refused, it leaves the file alone that the first one is writing."""
    mnt, file = mount(OPTIONS), tmp_path / "run.scull"
    with recording(scullvfs, mnt, file):
        for _ in range(50):
            (mnt / "scullv0").write_bytes(b"x")
        has_a_write(file)
        refusal(scullvfs("record", mnt, "-o", file), "record-twice")
    done = scullvfs("replay", file)
    assert (done.returncode, done.stderr) == (0, "")
    with recording(scullvfs, mount(OPTIONS), file):
        pass  # and of a longer one nothing is left behind its end
    assert scullvfs("replay", file).returncode == 0


@pytest.mark.long
def test_end_of_the_mount_ends_it(
    scullvfs: Scullvfs, mount: Callable[[str], Path], tmp_path: Path
) -> None:
    """A daemon that is told to end gives an end mark; one that is killed cannot."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        mnt, file = mount(OPTIONS), tmp_path / f"{number}"
        pid = scullvfs.pid(mnt)
        with recording(scullvfs, mnt, file) as process:
            (mnt / "scullv0").write_bytes(b"x")
            has_a_write(file)
            end(pid, number)
            _, err = process.communicate()
        done = scullvfs("replay", file)
        if number == signal.SIGTERM:
            assert (process.returncode, done.returncode) == (0, 0)
        else:
            said = subprocess.CompletedProcess([], process.returncode, "", err.split("\n", 1)[1])
            refusal(said, "record-cut")
            refusal(done, "replay-cut")
            scullvfs("umount", mnt)


def has_a_write(file: Path) -> None:
    """Wait until it has one."""
    wait_until(lambda: b'"call":"write"' in file.read_bytes(), "it has the write")


@pytest.mark.long
def test_by_hand(scullvfs: Scullvfs, mounted: Path, tmp_path: Path) -> None:
    """cat and echo make the same."""
    done = shell(
        """
        cat "$mnt/sys/kernel/debug/record" > "$file" &
        until [ -s "$file" ]; do sleep 0.01; done
        echo hello > "$mnt/scullv0"
        echo 0 > "$mnt/sys/kernel/debug/record"
        wait
        """,
        mnt=mounted,
        file=tmp_path / "run.scull",
    )
    assert done.returncode == 0, done.stderr
    done = scullvfs("replay", tmp_path / "run.scull")
    assert (done.returncode, done.stderr) == (0, "")


def damaged(file: Path, change: Callable[[bytes], bytes]) -> Path:
    """Another file with something else in it."""
    other = file.with_name("damaged")
    other.write_bytes(change(file.read_bytes()))
    return other


@pytest.mark.long
def test_damaged_different_and_others(
    scullvfs: Scullvfs, mount: Callable[[str], Path], tmp_path: Path
) -> None:
    """Each with its status and one line, and no more memory than a replay takes."""
    mnt, file = mount(OPTIONS), tmp_path / "run.scull"
    with recording(scullvfs, mnt, file):
        (mnt / "scullv0").write_bytes(bytes(100_000))

    def says(name: str, change: Callable[[bytes], bytes]) -> None:
        refusal(scullvfs("replay", damaged(file, change)), name)

    says("replay-cut", lambda text: text[:-10])
    says("replay-damaged", lambda text: text[:40])
    says("replay-damaged", lambda text: text.replace(b'"n":2,', b'"n":3,'))
    says("replay-none", lambda text: b"")
    says("replay-format", lambda text: text.replace(b'"recording":1', b'"recording":2'))
    says("replay-behind", lambda text: text + b"\n")
    says("replay-options", lambda text: summed(text.replace(b"mem=64M", b"mem=64m,mum=1")))
    says("replay-call", lambda text: summed(text.replace(b'"n":2,', b'"n":3,')))
    says("replay-lost", lambda text: summed(re.sub(rb'{"end":\d+', b'{"lost":true', text)))
    refusal(scullvfs("replay", "--to", 10**6, file), "replay-to")
    for path in (tmp_path / "nowhere", tmp_path):
        refusal(scullvfs("replay", path), "replay-file")
    other = damaged(file, lambda text: with_version(text, "0.0.7"))
    done = scullvfs("replay", other)
    assert done.returncode == ExitStatus.SUCCESS
    assert done.stderr.startswith("scullvfs: warning: ")
    assert "was recorded by scullvfs 0.0.7, and this is" in done.stderr
    different = damaged(file, with_other_frames)
    done = scullvfs("replay", different)
    assert (done.returncode, done.stderr) == (ExitStatus.DIFFERENT, "")
    first, *rest = done.stdout.splitlines()
    assert TROUBLES["replay-different"].fits(first)
    assert re.search(r" write\(.*\) of scullv0$", first)
    assert [re.sub(r" .*?:| \d+", "", line).split()[:2] for line in rest] == [
        ["recorded", "frames"],
        ["got", "frames"],
    ]
    huge = tmp_path / "huge"
    with huge.open("wb") as hole:
        hole.write(file.read_bytes()[:-10])
        hole.truncate(1 << 40)
    done, peak = scullvfs.peak("replay", huge)
    refusal(done, "replay-line")
    assert peak < 200_000  # KiB


def with_version(text: bytes, version: str) -> bytes:
    """As if another scullvfs had made it."""
    return summed(re.sub(rb'(?<="scullvfs":")[^"]*', version.encode(), text, count=1))


def with_other_frames(text: bytes) -> bytes:
    """As if there had been other frames."""
    return summed(re.sub(rb"(?<=frames )\d+", b"77", text, count=1))


def summed(text: bytes) -> bytes:
    """With the sums that it would have, had it been written so."""
    from scullvfs.recording.lines import Sums

    sums = Sums()
    bodies = [line[: line.rindex(b',"sum":')] for line in text.splitlines()]
    return b"".join(sums.line(body.decode()) for body in bodies)
