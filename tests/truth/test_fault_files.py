"""What the files of fault injection hold and answer, as recorded on a kernel of 6.12."""

from __future__ import annotations

import ast
import errno
import os
import re
import stat
from collections.abc import Iterator

import pytest

from scullvfs.fs.debugfs import debugfs
from scullvfs.fs.file import File
from scullvfs.fs.node import Directory, Node
from scullvfs.fs.proc import procfs
from scullvfs.mm import Machine
from scullvfs.mm.sched import Task

from .conftest import HERE

RECORDINGS = HERE / "text-debug"

KNOB = re.compile(
    r"(?P<path>\S+) <- (?P<data>b'.*'): (?P<result>ret \d+|E\w+); reads (?P<text>'.*')"
)
MODE = re.compile(r"(?P<mode>-[rwx-]{9}) .* (?P<name>\S+)")


class Files:
    """The files of debugfs on a fresh machine."""

    def __init__(self) -> None:
        self.machine = Machine(4 << 20)
        self.machine.running.current = Task(os.getpid(), 0, 0)
        self.root = debugfs(self.machine, [], 0, 0)

    def node(self, path: str) -> Node:
        """A file by its path below `sys/kernel/debug`."""
        node: Node = self.root
        for name in path.split("/"):
            assert isinstance(node, Directory)
            node = node.entries[name.encode()]
        return node

    def write(self, path: str, data: bytes) -> str:
        """What a write gives, in the recording's words."""
        node = self.node(path)
        assert isinstance(node, File)
        try:
            return f"ret {node.open(os.O_WRONLY).write(0, data, False)}"
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    def read(self, path: str) -> str:
        """What a file says."""
        node = self.node(path)
        assert isinstance(node, File)
        return bytes(node.open(os.O_RDONLY).read(0, 4096)).decode()


@pytest.fixture
def files() -> Files:
    """Of a fresh machine."""
    return Files()


def knob_steps() -> Iterator[tuple[int, str, bytes, str, str]]:
    """(Number of the line, path, data, result, what it says then) of each line."""
    text = (RECORDINGS / "knob_errnos.txt").read_text()
    for number, line in enumerate(text.splitlines(), start=1):
        match = KNOB.fullmatch(line)
        assert match is not None, line
        yield (
            number,
            match["path"],
            ast.literal_eval(match["data"]),
            match["result"],
            ast.literal_eval(match["text"]),
        )


def test_knobs(files: Files) -> None:
    """All that was written to knobs, sense and nonsense: the same result, the same value."""
    played = [step for step in knob_steps() if not step[1].startswith("/proc/")]
    assert len(played) > 370
    for number, path, data, result, text in played:
        assert (files.write(path, data), files.read(path)) == (result, text), number
    files.machine.faults.check()


COUNTED = {"999997": "1000000", "999990": "1000000", "13": "16"}
"""What `fail-nth` said there -> what it says here: there the opening, looking at and reading of the
file itself has counted, which here is the host kernel's matter."""
USED_UP = {b"1": "1", b"2": "2"}
"""Written -> what it says here: there that has used it up."""


def test_tasks(files: Files) -> None:
    """What was written to the files of a task; the same result, and the same value but for that."""
    proc = procfs(files.machine, [], 0, 0)
    played, before = 0, "0"
    for number, path, data, result, text in knob_steps():
        if not path.startswith("/proc/self/"):
            continue
        name = path.rpartition("/")[2]
        directory = proc.lookup(str(os.getpid()).encode())
        assert directory is not None
        node = directory.lookup(name.encode())
        assert isinstance(node, File)
        try:
            found = f"ret {node.open(os.O_WRONLY).write(0, data, False)}"
        except OSError as error:
            found = errno.errorcode[error.errno or 0]
        assert found == result, number
        value = text.rstrip("\n")
        if name == "fail-nth":
            value = COUNTED.get(value, value)
            if value == "0" and data != b"0":
                value = USED_UP.get(data, before)
        assert bytes(node.open(os.O_RDONLY).read(0, 99)).decode() == f"{value}\n", number
        before = value
        played += 1
    assert played == 20
    for name in ("fail-nth", "make-it-fail"):
        directory = proc.lookup(b"1")
        assert directory is not None
        node = directory.lookup(name.encode())
        assert node is not None
        line = f"{stat.filemode(node.mode)} 1 root root 0 Nov 25 20:52 /proc/self/{name}"
        assert line in (RECORDINGS / "proc_fail.txt").read_text()


def test_defaults(files: Files) -> None:
    """Which files there are, who may read and write them, and what they hold at first."""
    directory, modes, held = "", dict[str, str](), dict[str, str]()
    for line in (RECORDINGS / "fault_knobs.txt").read_text().splitlines():
        if line.startswith("== "):
            directory = line[3:]
        elif match := MODE.fullmatch(line):
            modes[f"{directory}/{match['name']}"] = match["mode"]
        elif line.startswith("/sys/"):
            path, _, value = line.removeprefix("/sys/kernel/debug/").partition(": ")
            held[path] = f"{value}\n"
    assert len(held) == 29
    assert {path: files.read(path) for path in held} == held
    assert {path: stat.filemode(files.node(path).mode) for path in modes} == modes
    for name in {path.partition("/")[0] for path in held}:
        node = files.node(name)
        assert isinstance(node, Directory)
        assert {f"{name}/{entry.decode()}" for entry in node.entries} == held.keys() & {
            path for path in held if path.startswith(f"{name}/")
        }


LONG = 1 << 20


@pytest.mark.parametrize("path", ["failslab/times", "fail_page_alloc/probability"])
@pytest.mark.parametrize(
    ("data", "result", "value"),
    [
        (b"1\0x", 3, 1),
        (b"\0" * 99, errno.EINVAL, None),
        (b"0" * LONG, LONG, 0),
        (b"7" * LONG, errno.ERANGE, None),
        (b"a" * LONG, errno.EINVAL, None),
        (b"+5", 2, 5),
        (b"\xff\xfe", errno.EINVAL, None),
        (b"1 2", errno.EINVAL, None),
    ],
)
def test_numbers(files: Files, path: str, data: bytes, result: int, value: int | None) -> None:
    """What the recording has nothing of: 23 bytes are looked at, up to a NUL."""
    assert files.write(path, b"9") == "ret 1"
    refused = value is None
    assert files.write(path, data) == (errno.errorcode[result] if refused else f"ret {result}")
    assert files.read(path) == ("9\n" if refused else f"{value}\n")


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"on", "Y"), (b"off", "N"), (b"oN", "Y"), (b"o", "-"), (b"\0y", "-"), (b"y" * LONG, "Y")],
)
def test_booleans(files: Files, data: bytes, value: str) -> None:
    """By the first letter or two; everything is taken."""
    for before in ("Y", "N"):
        files.write("failslab/task-filter", before.encode())
        assert files.write("failslab/task-filter", data) == f"ret {len(data)}"
        expected = before if value == "-" else value
        assert files.read("failslab/task-filter") == f"{expected}\n"
