"""`scullvfs lab`: each is set up, graded as it stands, and not passed with another's answers."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from scullvfs.cli.lab import ABOUT
from scullvfs.errors import ExitStatus
from scullvfs.labs.numbers import seed_of
from scullvfs.labs.titles import TITLES
from scullvfs.mounts.mountinfo import mount_at

from ..helpers import Scullvfs, mount_point
from ..troubles import refusal
from .elsewhere import OPEN_DEVICE, Elsewhere, needs_root
from .labs import LABS, UNREAD, solve, tasks_of

Begin = Callable[[int, str], tuple[Path, list[str]]]


@pytest.fixture
def begin(scullvfs: Scullvfs, tmp_path: Path) -> Iterator[Begin]:
    """Sets a lab up for a student; the mount, and what its tasks are."""
    with ExitStack() as stack:

        def begin(number: int, student: str) -> tuple[Path, list[str]]:
            mnt = stack.enter_context(mount_point(scullvfs, tmp_path / student))
            stack.callback(scullvfs.quickly, "umount", mnt)
            done = scullvfs.quickly("lab", number, "--seed", student, mnt)
            assert (done.returncode, done.stderr) == (0, "")
            return mnt, tasks_of(done.stdout)

        yield begin


def states(done: CompletedProcess[str]) -> str:
    """A letter for each task: `d`one or `m`issing."""
    assert done.stderr == ""
    return "".join(re.findall(r"^\d  (\w)", done.stdout, re.MULTILINE))


@pytest.mark.long
@pytest.mark.parametrize("number", TITLES)
def test_lab(scullvfs: Scullvfs, begin: Begin, number: int) -> None:
    """Nothing is done at first, all is in the end, and the answers are no other student's."""
    mnt, asked = begin(number, "ada")
    assert len(asked) >= 3
    done = scullvfs.quickly("lab", number, "--check", mnt)
    assert done.returncode == ExitStatus.FOUND
    missing = "".join("d" if task.startswith("Leave ") else "m" for task in asked)
    assert states(done) == missing
    assert solve(number, mnt, asked) == ""
    done = scullvfs.quickly("lab", number, "--check", "--seed", "ada", mnt)
    assert (done.returncode, states(done)) == (0, "d" * len(asked)), done.stdout

    other, theirs = begin(number, "grace")
    assert theirs != asked
    answers = 0
    for device in mnt.glob("scull[0-9]"):
        if device.stat().st_size and device.name != "scull0":
            (other / device.name).write_bytes(device.read_bytes())
            answers += 1
    assert answers
    done = scullvfs.quickly("lab", number, "--check", other)
    assert (done.returncode, states(done)) == (ExitStatus.FOUND, missing), done.stdout
    assert done.stdout.count("which is not right") == answers

    solve(number, other, asked)  # as if the numbers were these
    letters = states(scullvfs.quickly("lab", number, "--check", other))
    for place, (mine, others, letter) in enumerate(zip(asked, theirs, letters, strict=True), 1):
        if mine != others and (number, place) not in UNREAD:
            assert letter == "m", others


def test_every_lab_has_a_solution() -> None:
    """None is left out above."""
    assert [*LABS] == [*TITLES]


def left_behind() -> list[Path]:
    """Directories of experiments."""
    return [*Path(tempfile.gettempdir()).glob("scullvfs-lab-*")]


@pytest.mark.long
def test_fragmentation(scullvfs: Scullvfs) -> None:
    """scullp ends with ENOMEM and the kernel's words, the other three get all that they ask for."""
    done = scullvfs("lab", "fragmentation")
    assert (done.returncode, done.stderr) == (0, "")
    assert "error writing 'mnt/scullp2': Cannot allocate memory" in done.stdout
    assert re.search(r"dd: page allocation failure: order:4, mode:0xcc0\(GFP_KERNEL\)", done.stdout)
    quanta = dict(re.findall(r"/(scull\w)0?/scull\w+0/quanta:(\d+)", done.stdout))
    assert [quanta[name] for name in ("scullc", "scullv")] == ["100", "100"]
    assert done.stdout.count("100+0 records out") == 3
    assert left_behind() == []


def test_list(scullvfs: Scullvfs) -> None:
    """Without a name, and in the help."""
    said = scullvfs.quickly("lab").stdout
    assert said.splitlines() == [f"{name}  {about}" for name, about in ABOUT.items()]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fragmentatio",), "unknown lab 'fragmentatio'; did you mean 'fragmentation'?"),
        (("x",), "unknown lab 'x'; 'scullvfs lab' lists them all"),
        (("--check",), "name a lab; 'scullvfs lab' lists them all"),
        (("--seed", "ada"), "name a lab; 'scullvfs lab' lists them all"),
        (("fragmentation", "--check"), "fragmentation runs by itself, and takes nothing else"),
        (("fragmentation", "x"), "fragmentation runs by itself, and takes nothing else"),
    ],
)
def test_words_that_cannot_be(scullvfs: Scullvfs, words: tuple[str, ...], said: str) -> None:
    """One line."""
    done = scullvfs.quickly("lab", *words)
    assert (done.returncode, done.stdout) == (ExitStatus.USAGE, "")
    assert done.stderr == f"scullvfs: {said}\n"
    assert left_behind() == []


@pytest.mark.long
def test_directory(scullvfs: Scullvfs, tmp_path: Path) -> None:
    """It is made where there is none; without a name it is that of the lab, here."""
    script = (
        f"cd {tmp_path}; {' '.join(scullvfs.command)} lab 1 && {' '.join(scullvfs.command)} lab 1"
    )
    done = scullvfs.run(["sh", "-c", script])
    try:
        assert done.returncode == ExitStatus.MOUNT_POINT
        assert "scullvfs is already mounted on lab1" in done.stderr
        assert scullvfs.quickly("lab", 1, "--check", tmp_path / "lab1").returncode == 9
    finally:
        assert scullvfs.quickly("umount", tmp_path / "lab1").returncode == 0
    refusal(scullvfs.quickly("lab", 1, tmp_path / "no/such"), "lab-directory")


@pytest.mark.long
def test_nothing_is_left_when_it_fails(scullvfs: Scullvfs, tmp_path: Path) -> None:
    """No mount, no directory, no daemon."""
    program = """
import sys
from scullvfs.errors import ScullvfsError
from scullvfs.labs.begin import begin
from scullvfs.labs.table import LABS

def prepare(mnt, numbers):
    open(mnt + "/scullv0", "wb").close()
    raise OSError(12, "Cannot allocate memory")

LABS[1] = LABS[1]._replace(prepare=prepare)
try:
    begin(1, sys.argv[1], "")
except ScullvfsError as error:
    print(error)
"""
    done = scullvfs.run([sys.executable, "-c", program, str(tmp_path / "lab")])
    assert done.stdout == (
        f"cannot fill the devices of {tmp_path}/lab: Cannot allocate memory\n"
    ), done.stderr
    assert [*tmp_path.iterdir()] == []


@pytest.mark.long
def test_anything_may_be_an_answer(scullvfs: Scullvfs, begin: Begin) -> None:
    """It is one line of letters that print, and no answer."""
    mnt, _ = begin(1, "ada")
    for answer in (b"\x1b[31m\xff\0" * 100, b"1 2", b"-1", b"0x10", "\u0663".encode(), b"9" * 99):
        (mnt / "scull1").write_bytes(answer)
        done = scullvfs.quickly("lab", 1, "--check", mnt)
        assert (done.returncode, states(done)) == (ExitStatus.FOUND, "mmm")
        assert done.stdout.replace("\n", "").isprintable()
        assert len(done.stdout.splitlines()) == 7


@pytest.mark.long
def test_student_may_be_any_word(scullvfs: Scullvfs, tmp_path: Path) -> None:
    """The source of the mount has it, as it is."""
    student = "ada \\, \n\x1b[31m;x"
    with mount_point(scullvfs, tmp_path / "mnt") as path:
        assert scullvfs.quickly("lab", 2, "--seed", student, path).returncode == 0
        mount = mount_at(str(path))
        assert mount is not None
        assert mount.source == f"lab2:{student}"
        done = scullvfs.quickly("lab", 2, "--check", "--seed", student, path)
        assert (done.returncode, states(done)) == (ExitStatus.FOUND, "mmmm")
        assert scullvfs.quickly("umount", path).returncode == 0


@pytest.mark.long
def test_mounts_that_are_not_meant(scullvfs: Scullvfs, begin: Begin) -> None:
    """Another student's, another lab's, one by hand, a dead one, none: a line, and its status."""
    mnt, _ = begin(3, "ada")
    refusal(scullvfs.quickly("lab", 3, "--seed", "grace", "--check", mnt), "other-student")
    refusal(scullvfs.quickly("lab", 2, "--check", mnt), "other-lab")
    os.kill(scullvfs.pid(mnt), signal.SIGKILL)
    done = scullvfs.quickly("lab", 3, "--check", mnt)
    assert (done.returncode, done.stdout) == (ExitStatus.NOT_MOUNTED, "")
    assert done.stderr.startswith(f"scullvfs: the mount on {mnt} is dead; 'scullvfs umount ")
    assert scullvfs.quickly("umount", mnt).returncode == 0
    refusal(scullvfs.quickly("lab", 3, "--check", mnt), "not-mounted")
    options = f"seed={seed_of('ada')},mem=64M,drivers=scullv:scull,fsname=lab7:ada"
    assert scullvfs.quickly("mount", "-o", options, mnt).returncode == 0
    refusal(scullvfs.quickly("lab", 7, "--check", mnt), "other-lab")


@pytest.mark.long
@needs_root
@pytest.mark.usefixtures("open_to_others")
def test_ordinary_user(elsewhere: Elsewhere, theirs: Path) -> None:
    """It takes no root; and root can check a mount that is closed to all but its user."""
    script = f"""
        nobody lab 4 --seed ada {theirs}
        nobody lab 4 --check {theirs} || echo "status $?"
        scullvfs lab 4 --check --seed ada {theirs} || echo "status $?"
        scullvfs umount {theirs}
    """
    done = elsewhere(OPEN_DEVICE, script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("lab 4: 0 of 3 done\nstatus 9\n") == 2


@pytest.mark.long
def test_hung_mount(scullvfs: Scullvfs, begin: Begin) -> None:
    """It has three seconds."""
    mnt, _ = begin(1, "ada")
    pid = scullvfs.pid(mnt)
    os.kill(pid, signal.SIGSTOP)
    try:
        done = scullvfs.quickly("lab", 1, "--check", mnt)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.returncode == ExitStatus.BUSY
    assert done.stderr == f"scullvfs: the daemon of {mnt} does not answer within 3 s\n"


@pytest.mark.long
def test_spoilt(scullvfs: Scullvfs, begin: Begin) -> None:
    """What the lab has put there is gone, and that is said."""
    mnt, _ = begin(4, "ada")
    for name in ("scullv0", "scullp0"):
        (mnt / name).write_bytes(b"")
    for name in ("scull1", "scull2"):
        (mnt / name).write_text("1")
    done = scullvfs.quickly("lab", 4, "--check", mnt)
    assert (done.returncode, states(done)) == (ExitStatus.FOUND, "mmm")
    assert done.stdout.count(" any more; begin anew") == 2


def test_failing_device(scullvfs: Scullvfs, begin: Begin) -> None:
    """A device that was made to fail is one line."""
    mnt, _ = begin(1, "ada")
    (mnt / "sys/kernel/debug/scull/scull1/read/errno").write_text("EIO")
    done = scullvfs.quickly("lab", 1, "--check", mnt)
    assert (done.returncode, done.stdout) == (ExitStatus.FAILURE, "")
    assert done.stderr == f"scullvfs: {mnt}: Input/output error\n"
