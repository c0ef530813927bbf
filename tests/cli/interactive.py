"""A program at a terminal; a shell there, and what a TAB makes of a line."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

DEADLINE = 30.0

BASH = r"""
PS1='ready> '
bind 'set bell-style none'
bind 'set enable-bracketed-paste off'
bind -x '"\C-xp": printf "\n<<%s>>\n" "$READLINE_LINE"'
"""
"""C-x p prints the line as it is. M-* is readline's own: it inserts all that fits."""


def said_on_a_terminal(command: list[str], env: dict[str, str], columns: int = 80) -> str:
    """What `command` prints where its stdout is a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(command, stdout=theirs, env=env):
        os.close(theirs)
        said = b""
        with suppress(OSError):  # EIO: the other end is closed
            while part := os.read(ours, 1 << 16):
                said += part
    os.close(ours)
    return said.decode().replace("\r\n", "\n")


class Terminal:
    """The other end of a shell's terminal."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._read = ""
        """Printed, and not asked for yet."""

    def send(self, text: str) -> None:
        """Type `text`."""
        os.write(self._fd, text.encode())

    def read_until(self, end: str) -> str:
        """What is printed until `end`, without it."""
        deadline = time.monotonic() + DEADLINE
        while end not in self._read:
            timeout = max(0.0, deadline - time.monotonic())
            assert select.select([self._fd], [], [], timeout)[0], self._read
            self._read += os.read(self._fd, 1 << 16).decode()
        said, _, self._read = self._read.partition(end)
        return said

    def completed(self, line: str, key: str = "\t") -> str:
        """The line after `key` was typed behind `line`."""
        self.send(f"\x15{line}{key}\x18p")
        self.read_until("<<")
        return self.read_until(">>")


@contextmanager
def bash(script: str, env: dict[str, str]) -> Iterator[Terminal]:
    """An interactive bash that has run `script`."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**env, "TERM": "dumb", "COLUMNS": "500"},
    ) as shell:
        os.close(theirs)
        terminal = Terminal(ours)
        try:
            terminal.send(f" . {script}; echo ru''nning\n")
            terminal.read_until("running")
            yield terminal
        finally:
            shell.send_signal(signal.SIGKILL)
            os.close(ours)
