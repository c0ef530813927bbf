"""Who is running: names of all kinds, and of those who have none."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.sched import IDLE, NOBODY, Task


@contextmanager
def process(name: bytes) -> Iterator[int]:
    """The pid of a process of this name."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with open("/proc/self/comm", "wb", buffering=0) as comm:
            comm.write(name)
        os.write(write, b"x")
        signal.pause()
    try:
        os.read(read, 1)
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(
    ("name", "said"),
    [(b"dd", "dd"), (b"two words", "two words"), (b"\xff\xfe", r"\377\376"), (b"a\nb", r"a\012b")],
)
def test_comm(name: bytes, said: str) -> None:
    """Any bytes, in one line."""
    with process(name) as pid:
        assert Task(pid, 1, 2).comm == said


def test_comm_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who is gone, the host's kernel, and /proc of another pid namespace."""
    with process(b"dd") as pid:
        task = Task(pid, 1, 2)
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: pid)
            assert task.comm == "(unknown)"
    assert task.comm == "(gone)"
    assert NOBODY.comm == "(gone)"


def test_current() -> None:
    """The idle task at first, then who is said to be, for all parts of the machine."""
    machine = Machine(4 << 20)
    assert machine.current is IDLE
    machine.running.current = NOBODY
    assert machine.current is NOBODY
    machine.running.current = IDLE
    machine.log.warn_alloc("nothing")
    assert any(r.text.startswith("swapper/0: nothing") for r in machine.log.records())
