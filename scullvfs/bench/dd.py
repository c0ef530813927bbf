"""One run of dd: its command line, and what it says of itself.

Every number of a benchmark is dd's own: the bytes and the seconds of the line

    1048576 bytes (1.0 MB, 1.0 MiB) copied, 0.00123 s, 852 MB/s

so that whoever types the same command sees the same. dd starts its clock after it has opened
both files, so what a write-only open or O_TRUNC frees is not part of it, nor is the start
of the process.

A rewrite is `seek=1 conv=notrunc`: dd opens for reading and writing only if it seeks, and a
write-only open would empty a device that goes by the driver's rules. So it leaves out the
first block.
"""

import os
import re
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from scullvfs.errors import ScullvfsError
from scullvfs.interrupts import put_off_interrupts
from scullvfs.options.parsers import format_size
from scullvfs.text import mangled, shell_word

__all__ = ["CALLS", "Outcome", "command", "parse", "run"]

CALLS: Final = ("cold", "write", "rewrite", "read")
"""What is measured, in the order in which it must run on one file; `cold` is a write, too, of a
file that has been empty for a while."""

COPIED: Final = re.compile(r"^(\d+) bytes?\b.* copied, (\S+) s(?:econds)?\b", re.MULTILINE)
"""coreutils: src/dd.c:print_xfer_stats(); busybox writes the unit out."""

RECORDS: Final = re.compile(r"^(\d+)\+(\d+) records (in|out)$", re.MULTILINE)

TIMEOUT: Final = 300.0
"""Seconds after which a run hangs. A daemon that is stopped never answers."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What dd said at its end."""

    bytes: int
    seconds: float
    full: int
    """Reads that gave a whole block."""
    partial: int
    """Reads that gave less."""

    @property
    def rate(self) -> float:
        """Megabytes (10^6) a second."""
        return self.bytes / self.seconds / 1e6


def command(call: str, file: str, size: int, blocks: int) -> list[str]:
    """The command line that measures `call` on `blocks` blocks of `size` bytes of `file`."""
    bs = f"bs={format_size(size)}"
    if call == "read":  # to the end of the file: a short read counts as a block for count=
        return ["dd", f"if={file}", "of=/dev/null", bs]
    write = ["dd", "if=/dev/zero", f"of={file}", bs]
    if call == "rewrite":
        return [*write, f"count={blocks - 1}", "seek=1", "conv=notrunc"]
    return [*write, f"count={blocks}"]


def run(call: str, file: str, size: int, blocks: int) -> Outcome:
    """Run dd to its end.

    Raises:
        ScullvfsError: it failed, hangs, or moved other than it was told to.
    """
    arguments = command(call, file, size, blocks)
    status, said = _output(arguments)
    line = " ".join(map(shell_word, arguments))
    if status != 0:
        raise ScullvfsError(f"'{line}' failed: {_why(said)}")
    outcome = parse(said)
    if outcome is None:
        raise ScullvfsError(f"'{line}' says nothing of its speed; bench needs GNU or busybox dd")
    expected = size * (blocks - 1 if call == "rewrite" else blocks)
    if outcome.bytes != expected:
        raise ScullvfsError(
            f"'{line}' moved {outcome.bytes} bytes instead of {expected}; does another program "
            "use the file?"
        )
    return outcome


def parse(said: str) -> Outcome | None:
    """What dd's stderr says; None if it does not say it, or too short a time to have a rate."""
    copied = COPIED.search(said)
    records = next((found for found in RECORDS.finditer(said) if found[3] == "in"), None)
    try:
        seconds = float(copied[2]) if copied is not None else 0.0
    except ValueError:
        return None
    if copied is None or records is None or seconds <= 0:
        return None
    return Outcome(int(copied[1]), seconds, int(records[1]), int(records[2]))


def _output(arguments: list[str]) -> tuple[int, str]:
    """Exit status and stderr. However this is left, the process is gone."""
    with ExitStack() as stack:
        try:
            with put_off_interrupts():  # which would cut what starts it from what ends it
                process = subprocess.Popen(
                    arguments,
                    env={**os.environ, "LC_ALL": "C"},  # its words are translated
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="surrogateescape",
                    start_new_session=True,  # Ctrl-C is for us
                )
                stack.enter_context(process)
                stack.callback(process.kill)  # nothing, once it has ended
        except FileNotFoundError:
            raise ScullvfsError("dd is missing; run 'apt install coreutils'") from None
        try:
            _, said = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise ScullvfsError(
                f"'{' '.join(map(shell_word, arguments))}' takes more than {TIMEOUT:g} s"
            ) from None
    return process.returncode, said


def _why(said: str) -> str:
    """dd's first complaint, without its name."""
    lines = [line for line in said.splitlines() if line.startswith("dd: ")]
    return mangled(lines[0].removeprefix("dd: ") if lines else said.strip().replace("\n", "; "))
