"""What the files of tracefs answer to sense and nonsense, and what they say then, as recorded."""

from __future__ import annotations

import ast
import errno
import os
import re

import pytest

from scullvfs.fs.file import File
from scullvfs.fs.node import Directory, Node
from scullvfs.fs.tracefs import tracefs
from scullvfs.mm import Machine

from .test_texts import recorded

LINE = re.compile(
    r"(?P<what>write|read) (?P<path>\S+?):? (?P<data>b?['\"].*['\"])"
    r"(?: \((?P<size>\d+) bytes\): (?P<result>.*))?"
)

WITH_TRUNC = (38, 43)
"""Lines of the recording in which `set_event` was opened with O_TRUNC."""

OTHERWISE = {
    "current_tracer": "there is no other tracer than nop",
    "error_log": "there is none",
    "trace": "what it says depends on the machine, and writing to it does nothing",
}
"""Files whose lines are left out."""


def steps() -> list[tuple[int, str, str, str, int, str]]:
    """(Number of the line, read or write, path, data, size, result) of each line."""
    found = []
    for number, line in enumerate(recorded("tracing_errnos").splitlines(), start=1):
        match = LINE.fullmatch(line)
        if match is not None and match["path"] not in OTHERWISE:
            found.append(
                (
                    number,
                    match["what"],
                    match["path"],
                    match["data"],
                    int(match["size"] or 0),
                    match["result"] or "",
                )
            )
    return found


class Files:
    """The files of a fresh machine."""

    def __init__(self) -> None:
        machine = Machine(4 << 20)
        self.root = tracefs(machine.trace, machine.layout, 0, 0)

    def node(self, path: str) -> File:
        """A file by its path."""
        node: Node = self.root
        for name in path.split("/"):
            assert isinstance(node, Directory)
            node = node.entries[name.encode()]
        assert isinstance(node, File)
        return node

    def write(self, path: str, data: bytes, flags: int = 0) -> str:
        """What a write gives, in the recording's words."""
        try:
            handle = self.node(path).open(os.O_WRONLY | flags)
            return f"ret {handle.write(0, data, False)}"
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    def read(self, path: str) -> str:
        """What a file says."""
        return bytes(self.node(path).open(os.O_RDONLY).read(0, 1 << 20)).decode()


@pytest.fixture
def files() -> Files:
    """As the recording begins: the ring has its size."""
    files = Files()
    assert files.write("set_event", b"kmem") == "ret 4"
    assert files.write("set_event", b"!kmem") == "ret 5"
    return files


def test_recording(files: Files) -> None:
    """All of it, line by line: the same result, or the same text."""
    played = steps()
    assert len(played) > 200
    assert len({path for _, _, path, *_ in played}) >= 14
    for number, what, path, data, size, result in played:
        if what == "write":
            written = ast.literal_eval(data)
            written += written[-1:] * (size - len(written))  # a long one is not recorded whole
            flags = os.O_TRUNC if WITH_TRUNC[0] <= number < WITH_TRUNC[1] else 0
            assert files.write(path, written, flags) == result, number
            continue
        text = ast.literal_eval(data)
        every = text.startswith("9p:")  # every event that there is
        assert files.read(path) == (files.read("available_events") if every else text), number
