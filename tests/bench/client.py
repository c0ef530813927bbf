"""The client (client.c) that makes the calls whose cost is measured."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KIB = 1 << 10
MIB = 1 << 20


@contextmanager
def compiled_client() -> Iterator[str]:
    """The path of its program."""
    with tempfile.TemporaryDirectory() as directory:
        program = os.path.join(directory, "client")
        source = Path(__file__).with_name("client.c")
        subprocess.run(["cc", "-O2", "-o", program, source], check=True)
        yield program


def microseconds(client: str, file: str, call: str, size: int, calls: int, span: int) -> float:
    """What a call costs: `read`, `write`, or `first`, which empties the file and then writes."""
    done = subprocess.run(
        [client, file, call, str(size), str(calls), str(span)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout) / 1000
