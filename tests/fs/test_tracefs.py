"""The files of `sys/kernel/tracing/`: what they say, what they do, and what they refuse."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from select import POLLIN, POLLRDNORM

import pytest

from scullvfs.fs.file import READY, File, Handle
from scullvfs.fs.node import Directory, Node
from scullvfs.fs.trace_files import COUNTED
from scullvfs.fs.tracefs import tracefs
from scullvfs.fs.tree import Tree
from scullvfs.fs.waiting import WouldWait
from scullvfs.mm import Machine
from scullvfs.mm.sched import Task
from scullvfs.mm.trace import MAX_MARKER
from scullvfs.mm.workqueue import finish

from ..scull.helpers import fails

MODES = {
    "README": 0o440,
    "available_events": 0o440,
    "available_tracers": 0o440,
    "buffer_size_kb": 0o640,
    "buffer_total_size_kb": 0o440,
    "current_tracer": 0o640,
    "saved_cmdlines": 0o440,
    "set_event": 0o640,
    "set_event_pid": 0o640,
    "trace": 0o640,
    "trace_clock": 0o640,
    "trace_marker": 0o220,
    "trace_options": 0o640,
    "trace_pipe": 0o440,
    "tracing_on": 0o640,
    "events/enable": 0o640,
    "events/kmem/enable": 0o640,
    "events/kmem/filter": 0o640,
    "events/kmem/kmalloc/enable": 0o640,
    "events/kmem/kmalloc/filter": 0o640,
    "events/kmem/kmalloc/format": 0o440,
    "events/kmem/kmalloc/id": 0o440,
    "per_cpu/cpu0/stats": 0o440,
}
"""Some of each kind, with the permissions that Linux gives them."""


class Tracing:
    """A machine and its tracefs."""

    def __init__(self) -> None:
        self.machine = Machine(4 << 20)
        self.machine.running.current = Task(os.getpid(), 0, 0)
        self.root = tracefs(self.machine.trace, self.machine.layout, 7, 8)
        Tree(self.root)

    def node(self, path: str) -> Node:
        """A file or directory."""
        node: Node = self.root
        for name in path.split("/"):
            assert isinstance(node, Directory)
            node = node.entries[name.encode()]
        return node

    def open(self, path: str, flags: int = os.O_RDONLY) -> Handle:
        """An open file."""
        node = self.node(path)
        assert isinstance(node, File)
        return node.open(flags)

    def read(self, path: str) -> str:
        """A file's text."""
        handle, text = self.open(path), b""
        while part := bytes(handle.read(len(text), 1 << 20)):
            text += part
        return text.decode("utf-8", "surrogateescape")

    def write(self, path: str, data: bytes, flags: int = 0) -> int:
        """Write to a file."""
        return self.open(path, os.O_WRONLY | flags).write(0, data, False)

    def kfree(self) -> None:
        """An event."""
        self.machine.slab.kfree(None)


@pytest.fixture
def tracing() -> Iterator[Tracing]:
    """A machine on which nothing is traced yet; its books are right at the end."""
    tracing = Tracing()
    yield tracing
    tracing.machine.check()


@pytest.mark.parametrize("path", MODES)
def test_modes(tracing: Tracing, path: str) -> None:
    """Who may read and write what, and whose it is."""
    node = tracing.node(path)
    assert (stat.S_IMODE(node.mode), node.uid, node.gid) == (MODES[path], 7, 8)
    assert stat.S_IMODE(tracing.root.mode) == 0o700


def files(directory: Directory, path: str = "") -> Iterator[str]:
    """The paths of all files below a directory."""
    for name, node in directory.entries.items():
        below = f"{path}{name.decode()}"
        if isinstance(node, Directory):
            yield from files(node, f"{below}/")
        else:
            yield below


NAMES = sorted(files(Tracing().root))
"""Of all files that there are."""


def test_sizes_are_true(tracing: Tracing) -> None:
    """What is looked up has the length of what is read then."""
    tracing.write("set_event", b":")
    tracing.machine.vm.vfree(tracing.machine.vm.vmalloc(9000))
    for path in set(NAMES) - {"trace_pipe", "trace_marker"}:
        node = tracing.node(path)
        assert isinstance(node, File)
        node.looked_up(1)
        size = node.size
        assert len(bytes(node.open(os.O_RDONLY, 1).read(0, 1 << 20))) == size, path


def test_size_is_true_of_as_many_others(tracing: Tracing) -> None:
    """Records that came after all were thrown away are longer than as many before them."""
    node = tracing.node("trace")
    assert isinstance(node, File)
    for text in (b"short", b"a good deal longer"):
        tracing.write("trace", b"", os.O_TRUNC)
        tracing.write("trace_marker", text)
        assert node.size == len(tracing.read("trace"))


def test_session(tracing: Tracing) -> None:
    """Events on, something happens, it is read twice, taken, and thrown away."""
    assert tracing.write("set_event", b"kfree\n") == 6
    tracing.kfree()
    tracing.kfree()
    text = tracing.read("trace")
    assert "entries-in-buffer/entries-written: 2/2   #P:1\n" in text
    assert len(re.findall(r"\d: kfree: call_site=kfree ptr=0{16}\n", text)) == 2
    assert tracing.read("trace") == text
    pipe = tracing.open("trace_pipe")
    assert bytes(pipe.read(0, 4096)).decode() == "".join(text.splitlines(keepends=True)[-2:])
    assert " 0/2 " in tracing.read("trace")
    tracing.kfree()
    finish(tracing.node("trace").truncate(0))  # which throws nothing away, as recorded
    assert " 1/3 " in tracing.read("trace")
    assert tracing.write("trace", b"\n", os.O_TRUNC) == 1
    assert " 0/0 " in tracing.read("trace")


def test_trace_is_read_in_parts(tracing: Tracing) -> None:
    """Wherever a read ends, the next one goes on there."""
    tracing.write("set_event", b"kfree\n")
    for _ in range(20):
        tracing.kfree()
    whole = tracing.read("trace")
    handle, parts = tracing.open("trace"), []
    while part := bytes(handle.read(sum(map(len, parts)), 37)):
        parts.append(part)
    assert b"".join(parts).decode() == whole
    assert bytes(tracing.open("trace").read(1000, 50)).decode() == whole[1000:1050]


def test_trace_of_many_records_has_no_size(tracing: Tracing) -> None:
    """To count all of it would hold others up; Linux's has none either."""
    tracing.write("set_event", b"kfree\n")
    for _ in range(COUNTED):
        tracing.kfree()
    assert tracing.node("trace").size > 70_000
    tracing.kfree()
    assert tracing.node("trace").size == 0
    assert len(tracing.read("trace").splitlines()) == COUNTED + 1 + 12


def test_a_name_looked_up_formats_few_records(
    tracing: Tracing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a ring that is full, of its usual size, none: each lookup of `trace` asks for its size."""
    tracing.write("set_event", b"kfree\n")
    trace = tracing.machine.trace
    for _ in range(trace.capacity + 1):
        tracing.kfree()
    assert trace.entries == trace.capacity
    formatted = []
    monkeypatch.setattr(trace, "line", formatted.append)
    assert (tracing.node("trace").size, formatted) == (0, [])


def test_trace_pipe_would_wait(tracing: Tracing) -> None:
    """Until there is something, which who waits is told; a line is cut by the reader alone."""
    tracing.write("set_event", b"kfree\n")
    pipe = tracing.open("trace_pipe")
    with pytest.raises(WouldWait) as caught:
        pipe.read(0, 4096)
    assert caught.value.errno == errno.EAGAIN
    woken: list[int] = []
    caught.value.waiting[lambda: woken.append(1)] = None
    tracing.kfree()
    tracing.kfree()
    assert woken == [1]
    first = bytes(pipe.read(0, 10))
    assert len(first) == 10
    rest = bytes(pipe.read(10, 4096))
    assert rest.endswith(b"\n")
    assert rest.count(b"\n") == 1
    assert bytes(pipe.read(0, 4096)).count(b"\n") == 1
    with pytest.raises(WouldWait):
        pipe.read(0, 4096)


def test_trace_pipe_ends_when_tracing_is_off(tracing: Tracing) -> None:
    """For who has read something; who has not waits on."""
    tracing.write("set_event", b"kfree\n")
    pipe, other = tracing.open("trace_pipe"), tracing.open("trace_pipe")
    tracing.kfree()
    pipe.read(0, 4096)
    woken: list[int] = []
    tracing.machine.trace.waiting[lambda: woken.append(1)] = None
    tracing.write("tracing_on", b"0")
    assert woken == [1]
    assert bytes(pipe.read(0, 4096)) == b""
    with pytest.raises(WouldWait):
        other.read(0, 4096)
    tracing.write("tracing_on", b"1")
    with pytest.raises(WouldWait):
        pipe.read(0, 4096)


def test_trace_pipe_polls(tracing: Tracing) -> None:
    """Readable when there is something, and told once; a closed file is told no more."""
    tracing.write("set_event", b"kfree\n")
    pipe, told = tracing.open("trace_pipe"), list[int]()
    assert pipe.poll(lambda: told.append(1)) == 0
    assert pipe.poll(lambda: told.append(2)) == 0
    tracing.kfree()
    assert told == [2]
    assert pipe.poll(None) == POLLIN | POLLRDNORM
    pipe.read(0, 4096)
    assert pipe.poll(lambda: told.append(3)) == 0
    pipe.release()
    assert not tracing.machine.trace.waiting
    assert tracing.open("set_event").poll(None) == READY


def test_trace_pipe_that_is_readable_polls(tracing: Tracing) -> None:
    """Who has found it readable is told of the next record, too, as epoll's edges need it."""
    tracing.write("set_event", b"kfree\n")
    pipe, told = tracing.open("trace_pipe"), list[int]()
    tracing.kfree()
    assert pipe.poll(lambda: told.append(1)) == POLLIN | POLLRDNORM
    assert told == []
    tracing.kfree()
    tracing.kfree()
    assert told == [1]
    pipe.release()
    assert not tracing.machine.trace.waiting


def test_two_readers_share(tracing: Tracing) -> None:
    """What one has taken the other does not see."""
    tracing.write("set_event", b"kfree\n")
    readers = [tracing.open("trace_pipe") for _ in range(2)]
    taken = []
    for number in range(6):
        tracing.kfree()
        taken.append(bytes(readers[number % 2].read(0, 1)) + bytes(readers[number % 2].read(0, 99)))
    assert len(set(taken)) == 6


def test_lost_events_are_told(tracing: Tracing) -> None:
    """In the pipe by a line, in the heading, and in the books."""
    tracing.write("buffer_size_kb", b"1")
    tracing.write("set_event", b"kfree\n")
    capacity = tracing.machine.trace.capacity
    for _ in range(capacity + 3):
        tracing.kfree()
    assert f": {capacity}/{capacity + 3}   #P:1" in tracing.read("trace")
    stats = dict(line.split(": ") for line in tracing.read("per_cpu/cpu0/stats").splitlines())
    assert (stats["entries"], stats["overrun"], stats["read events"]) == (str(capacity), "3", "0")
    pipe = tracing.open("trace_pipe")
    assert bytes(pipe.read(0, 1)) == b"C"
    assert b"CPU:0 [LOST 3 EVENTS]\n" not in bytes(pipe.read(0, 1 << 20))


def test_filter_of_a_subsystem(tracing: Tracing) -> None:
    """Each event with the fields takes it; at the others stands what is wrong."""
    assert tracing.write("events/kmem/filter", b"bytes_req > 100\n") == 16
    assert tracing.read("events/kmem/kmalloc/filter") == "bytes_req > 100\n"
    assert "parse_error: Field not found" in tracing.read("events/kmem/kfree/filter")
    assert tracing.read("events/kmem/filter").startswith("### global filter ###\n")
    tracing.write("events/kmem/filter", b"0\n")
    assert tracing.read("events/kmem/kfree/filter") == "none\n"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"bytes_req == 1)", errno.EPERM),
        (b"bytes_req == 1 x", errno.EPERM),
        (b"(bytes_req == 1", errno.ENOENT),
        (b"comm == 'x", errno.ESRCH),
        (b"\xff\xfe == 1", errno.EPERM),
        (b"x" * 4096, errno.EINVAL),
        (b"bytes_req == 1" + b" " * 4096, errno.EINVAL),
    ],
)
def test_filter_errnos(tracing: Tracing, text: bytes, number: int) -> None:
    """The kernel's own, odd as they are; then there is no filter."""
    tracing.write("events/kmem/kmalloc/filter", b"bytes_req == 5")
    with fails(number):
        tracing.write("events/kmem/kmalloc/filter", text)
    shown = bytes(tracing.open("events/kmem/kmalloc/filter").read(0, 1 << 20))
    assert shown.startswith(text.rstrip() if len(text) < 4096 else b"bytes_req == 5\n")


def test_set_event_pid(tracing: Tracing) -> None:
    """Each write adds some, all or none; O_TRUNC clears."""
    assert tracing.write("set_event_pid", b"7 0x10\n12\n") == 10
    assert tracing.read("set_event_pid") == "7\n12\n16\n"
    for bad in (b"-1", b"x", b"5 x", b"08", b"1073741824", b"9" * 40, b"9" * 200):
        with fails(errno.EINVAL):
            tracing.write("set_event_pid", bad)
    assert tracing.read("set_event_pid") == "7\n12\n16\n"
    tracing.write("set_event", b"kfree")
    tracing.kfree()
    assert tracing.machine.trace.written == 0
    tracing.write("set_event_pid", b"\n", os.O_TRUNC)
    assert tracing.read("set_event_pid") == ""
    tracing.kfree()
    assert tracing.machine.trace.written == 1


def test_saved_cmdlines(tracing: Tracing) -> None:
    """The names of who was seen, by pid."""
    tracing.write("set_event", b"kfree")
    tracing.kfree()
    comm = Path("/proc/self/comm").read_text()
    assert tracing.read("saved_cmdlines") == f"{os.getpid()} {comm}"


def test_trace_marker(tracing: Tracing) -> None:
    """It takes as many bytes as go into a record, and none while tracing is off."""
    assert tracing.write("trace_marker", b"y" * 5000) == MAX_MARKER
    tracing.write("tracing_on", b"0")
    with fails(errno.EBADF):
        tracing.write("trace_marker", b"hello")
    tracing.write("tracing_on", b"1")
    tracing.write("trace_options", b"nomarkers\n")
    with fails(errno.EINVAL):
        tracing.write("trace_marker", b"hello")
    with fails(errno.EINVAL):
        tracing.read("trace_marker")


def test_options(tracing: Tracing) -> None:
    """Real pointers, if somebody asks for them."""
    tracing.write("set_event", b"kmalloc")
    tracing.write("trace_options", b"nohash-ptr\n")
    address = tracing.machine.slab.kmalloc(100)
    assert f" ptr={address:x} " in tracing.read("trace")
    assert "\nnohash-ptr\n" in tracing.read("trace_options")


def test_clock(tracing: Tracing) -> None:
    """The one that is chosen stands in brackets; records can be numbered in place of times."""
    assert tracing.read("trace_clock").startswith("[local] global counter ")
    tracing.write("trace_clock", b"counter\n")
    assert "[counter]" in tracing.read("trace_clock")
    tracing.write("set_event", b"kfree")
    tracing.kfree()
    assert re.search(r"\.{5} {12}1: kfree: ", tracing.read("trace"))
    assert "now ts: 1\n" in tracing.read("per_cpu/cpu0/stats")


HOSTILE = [
    *(
        b"",
        b"\n",
        b" ",
        b"nonsense\n",
        b"-1\n",
        b"0x10",
        b"9" * 30,
        b"-9223372036854775809",
        b"1.5",
    ),
    *(b"\0", b"1\0", b"\0" * 5000, b"\xff\xfe\xfd", b"a" * (1 << 20), b"9" * (1 << 20)),
    *(b" " * (1 << 20), b"kmem " * 3000, b"(" * 4000, b"!" * 4000, b"%s%n", b"bytes_req" * 99),
]


REFUSED = (errno.EINVAL, errno.ERANGE, errno.ENOMEM, errno.EPERM, errno.ENOENT, errno.ESRCH)


@pytest.mark.parametrize("path", MODES)
def test_bad_input(tracing: Tracing, path: str) -> None:
    """Taken, or refused with an errno; every file can be read after it, and so can the trace."""
    for data in HOSTILE:
        refused, taken = 0, 0
        try:
            taken = tracing.open(path, os.O_RDWR | os.O_TRUNC).write(0, data, False)
        except OSError as error:
            refused = error.errno or -1
        assert refused in (0, *REFUSED), data[:10]
        assert 0 <= taken <= len(data)
        if tracing.node(path).mode & 0o444 and path != "trace_pipe":
            tracing.read(path)
    for name in set(NAMES) - {"trace_pipe", "trace_marker"}:
        tracing.read(name)
