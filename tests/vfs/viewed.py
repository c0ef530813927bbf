"""A page that `scullvfs view` serves, for the tests that ask for it and those that look at it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .helpers import DEADLINE, Scullvfs


@contextmanager
def viewed(
    scullvfs: Scullvfs, mount: Path, *words: object, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server and the address; interrupted at the end, it ends without a word."""
    with subprocess.Popen(
        [*scullvfs.command, "view", "--no-browser", *map(str, words), str(mount)],
        env={**scullvfs.env, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=DEADLINE)
            said = (process.returncode, out, err)
            assert said == (0, "", ""), said  # not rewritten here, so pytest would not show it
        finally:
            process.kill()
