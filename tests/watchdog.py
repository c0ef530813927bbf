"""A test that hangs at a mount: no signal interrupts it, so its daemon is ended in its place.

A call that the daemon has read waits for the answer, whatever happens to the caller (Linux:
fs/fuse/dev.c:request_wait_answer()); pytest-timeout's signal is heard only after it. Some time
later the daemons of this process are killed, all their calls fail, and so does the test, with
the place where it hung.
"""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

VARIABLE = "SCULLVFS_TESTS_OF"
GRACE = 1.5
"""How many times its own timeout a test may take."""


def mark_children() -> None:
    """Let all that this process starts be known by its environment."""
    os.environ[VARIABLE] = str(uuid.uuid4())


def daemons() -> list[int]:
    """The pids of all that this process has started and that serves a mount."""
    mark = f"{VARIABLE}={os.environ[VARIABLE]}".encode()
    return [
        int(process.name)
        for process in Path("/proc").glob("[0-9]*")
        if mark in _read(process / "environ").split(b"\0") and _serves(process)
    ]


@contextmanager
def watched(item: pytest.Item) -> Iterator[None]:
    """Let no daemon hold a test up for ever."""
    seconds = _timeout(item)
    if not seconds:
        yield
        return
    timer = threading.Timer(seconds * GRACE, _release, [item])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _timeout(item: pytest.Item) -> float:
    """Seconds; 0 for none."""
    marker = item.get_closest_marker("timeout")
    if marker is not None:
        return float(marker.args[0] if marker.args else marker.kwargs["timeout"])
    given = item.config.getoption("timeout")
    return float(item.config.getini("timeout") if given is None else given)


def _release(item: pytest.Item) -> None:
    hung = daemons()
    said = "".join(f"killed daemon {pid}, which {_waits(pid)}\n" for pid in hung)
    item.add_report_section("call", "watchdog", said or "no daemon to kill\n")
    for pid in hung:
        os.kill(pid, signal.SIGKILL)


def _waits(pid: int) -> str:
    state = dict(
        line.split(":\t", 1) for line in _read(Path(f"/proc/{pid}/status")).decode().splitlines()
    )
    where = _read(Path(f"/proc/{pid}/wchan")).decode()
    return f"was {state.get('State', 'gone')} in {where or '?'}"


def _serves(process: Path) -> bool:
    try:
        return any(os.readlink(fd) == "/dev/fuse" for fd in (process / "fd").iterdir())
    except OSError:
        return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
