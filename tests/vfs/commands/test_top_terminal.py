"""`scullvfs top` as a program: in tmux, and where it cannot be."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from scullvfs.errors import ExitStatus

from ..helpers import QUANTUM, Scullvfs, wait_until


class Tmux:
    """A terminal of 80x24 with one program."""

    def __init__(self, directory: Path, env: dict[str, str]) -> None:
        self._env = {**env, "TMUX_TMPDIR": str(directory)}
        for name in ("COLUMNS", "LINES"):  # which go before what the terminal has
            self._env.pop(name, None)

    def __call__(self, *words: str) -> str:
        command = ["tmux", "-f", "/dev/null", *words]
        return subprocess.run(
            command, env=self._env, check=True, capture_output=True, text=True
        ).stdout

    def start(self, script: str) -> None:
        """Run a script of the shell."""
        self("new-session", "-d", "-x", "80", "-y", "24", f"{script}; exec cat")

    def keys(self, *keys: str) -> None:
        """Press them."""
        self("send-keys", *keys)

    def seen(self) -> str:
        """The screen."""
        return self("capture-pane", "-p")

    def until(self, pattern: str) -> str:
        """Wait until the screen has that, and return it."""
        shown = ""

        def there() -> bool:
            nonlocal shown
            shown = self.seen()
            return re.search(pattern, shown, re.MULTILINE) is not None

        try:
            wait_until(there, f"there is {pattern}")
        except AssertionError:
            raise AssertionError(f"no {pattern} in\n{shown}") from None
        return shown


@pytest.fixture
def tmux(tmp_path: Path, scullvfs: Scullvfs) -> Iterator[Tmux]:
    """One that ends with the test, and what runs in it."""
    tmux = Tmux(tmp_path, scullvfs.env)
    yield tmux
    sessions = {*map(int, tmux("list-panes", "-a", "-F", "#{pane_pid}").split())}
    tmux("kill-server")
    wait_until(lambda: not sessions & {*sessions_of_all()}, "what ran in tmux is gone")


def sessions_of_all() -> Iterator[int]:
    """The session of each process."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield os.getsid(int(process.name))


def top(*words: object) -> str:
    """The command, with its status after it."""
    command = shlex.join([sys.executable, "-m", "scullvfs", "top", *map(str, words)])
    return f"{command}; echo status $?"


@pytest.mark.long
def test_in_tmux(mounted: Path, tmux: Tmux) -> None:
    """It fills the screen, and heeds keys and sizes."""
    (mounted / "scullv1").write_bytes(bytes(QUANTUM))
    tmux.start(f"echo before; {top('--interval', '0.2', mounted)}")
    shown = tmux.until(r"^scullv1 +64K +1 +64K +0 +0 +0 +\d$")
    assert len(shown.splitlines()) == 24
    assert "before" not in shown
    assert shown.rstrip().endswith("F Faults ? Help Q Quit")
    tmux.keys("Down", "Enter")
    tmux.until(r"^scullv1 in\b")
    tmux.keys("Escape")
    tmux.until(r"^DEVICE")
    tmux("resize-window", "-x", "20", "-y", "5")
    tmux.until("top takes")
    tmux("resize-window", "-x", "130", "-y", "30")
    tmux.until("the last looks")
    tmux.keys("q")
    tmux.until("status 0")


@pytest.mark.long
@pytest.mark.parametrize(
    ("end", "status"), [("C-c", 0), (signal.SIGTERM, int(ExitStatus.INTERRUPTED))]
)
def test_ends(mounted: Path, tmux: Tmux, end: str | signal.Signals, status: int) -> None:
    """By Ctrl-C as by Q; by a signal with its status; each time the terminal is as it was."""
    tmux.start(f"echo before; sh -c 'echo $$ >{tmux_pid(mounted)}; exec \"$@\"' sh {top(mounted)}")
    tmux.until("^DEVICE")
    if isinstance(end, str):
        tmux.keys(end)
    else:
        os.kill(int(tmux_pid(mounted).read_text()), end)
    shown = tmux.until(f"status {status}")
    assert "before" in shown
    assert "QUANTA" not in shown
    assert ("interrupted" in shown) == bool(status)
    tmux("send-keys", "echoed", "Enter")
    tmux.until("^echoed$\n^echoed$")


def tmux_pid(mounted: Path) -> Path:
    """Where the pid of the program is."""
    return mounted.parent / "pid"


@pytest.mark.long
@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours(mounted: Path, tmux: Tmux, no_color: str) -> None:
    """There are some, unless NO_COLOR is set and not empty; ASCII if that is asked for."""
    tmux.start(f"export NO_COLOR={no_color}; {top('--ascii', mounted)}")
    tmux.until("^DEVICE")
    shown = tmux("capture-pane", "-p", "-e")
    assert shown.isascii()
    assert bool(re.search(r"\x1b\[[0-9;]*3[1-7]m", shown)) != bool(no_color)


def said(
    scullvfs: Scullvfs, *words: object, size: tuple[int, int] = (80, 24), **variables: str
) -> tuple[int, str]:
    """Exit status and output of `scullvfs top` at a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "scullvfs", "top", *map(str, words)],
        env={**scullvfs.env, "TERM": "xterm", **variables},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        output = b""
        with suppress(OSError):  # EIO: the other end is closed
            while part := os.read(ours, 1 << 16):
                output += part
        status = process.wait()
    os.close(ours)
    return status, output.decode()


def one_line(answer: tuple[int, str], status: ExitStatus, words: str) -> None:
    """It is that status and one line."""
    assert answer[0] == status, answer
    assert len(answer[1].splitlines()) == 1, answer
    assert answer[1].startswith("scullvfs: ")
    assert words in answer[1]


def test_no_terminal(scullvfs: Scullvfs, mounted: Path) -> None:
    """What is for programs is named."""
    done = scullvfs("top", mounted)
    assert (done.returncode, done.stdout) == (ExitStatus.USAGE, "")
    words = f"top takes a terminal, and here is none; 'scullvfs status --json '{mounted}'' is for"
    assert done.stderr.startswith(f"scullvfs: {words} programs")
    words = "top takes a terminal that can move its cursor (TERM)"
    one_line(said(scullvfs, mounted, TERM="dumb"), ExitStatus.USAGE, words)


@pytest.mark.long
def test_small_terminal(scullvfs: Scullvfs, mounted: Path) -> None:
    """Of 20x5 there is no use."""
    words = "top takes a terminal of 77x12, and this one has 20x5"
    one_line(said(scullvfs, mounted, size=(20, 5)), ExitStatus.USAGE, words)


@pytest.mark.long
def test_intervals(scullvfs: Scullvfs, mounted: Path) -> None:
    """A number of seconds in its range."""
    for interval in ("0", "0.01", "3601", "nan", "now"):
        one_line(said(scullvfs, "--interval", interval, mounted), ExitStatus.USAGE, interval)


@pytest.mark.long
def test_no_mount(scullvfs: Scullvfs, mounted: Path, tmp_path: Path) -> None:
    """A path without one, and one in a mount."""
    for path in (tmp_path / "nothing", tmp_path, mounted / "proc"):
        one_line(said(scullvfs, path), ExitStatus.NOT_MOUNTED, "is not mounted")


@pytest.mark.long
def test_dead_and_hung(scullvfs: Scullvfs, mounted: Path) -> None:
    """As `show` and `map` have them."""
    pid = scullvfs.pid(mounted)
    os.kill(pid, signal.SIGSTOP)
    try:
        one_line(said(scullvfs, mounted), ExitStatus.BUSY, "does not answer within 10 s")
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "it has ended")
    one_line(said(scullvfs, mounted), ExitStatus.NOT_MOUNTED, "is dead; 'scullvfs umount ")
    assert scullvfs("umount", mounted).returncode == 0


@pytest.mark.long
def test_missing_library(scullvfs: Scullvfs, mounted: Path, tmp_path: Path) -> None:
    """What to install is said in one line."""
    (tmp_path / "textual.py").write_text("raise ImportError\n")
    path = f"{tmp_path}:{scullvfs.env.get('PYTHONPATH', '')}"
    words = "top needs Textual; run 'pip install scullvfs[view]' or 'pip install textual'"
    one_line(said(scullvfs, mounted, PYTHONPATH=path), ExitStatus.FAILURE, words)


@pytest.mark.long
def test_terminal_that_goes(mounted: Path, tmux: Tmux) -> None:
    """It goes, too, whatever it was about to write: the fixture waits for that."""
    tmux.start(top("--interval", "0.1", mounted))
    tmux.until("^DEVICE")
