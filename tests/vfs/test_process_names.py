"""Programs of any name: Linux cuts it at 15 bytes, and it may be any bytes at all."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .troubles import refusal

Mount = Callable[[str], Path]

PR_SET_NAME = 15

FILL = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({PR_SET_NAME}, os.fsencode(sys.argv[2]), 0, 0, 0)
fd, step, pos = os.open(sys.argv[1], os.O_RDWR), int(sys.argv[3]), 0
try:
    while True:
        pos += os.pwrite(fd, bytes(step), pos)
except OSError as error:
    print(error.errno)
"""
"""Writes until it cannot, under another name."""

NAMES = {
    "тестовая": r"тестова\321",  # what Linux leaves of it
    "\udcff\udcfe": r"\377\376",
    "a\n<0>[ forged": r"a\012<0>[ forged",
    "\x1b[31mred": r"\033[31mred",
    "back\\slash": r"back\134slash",
    "": "",
    "two words": "two words",
}
"""Name -> how it is shown."""


def fill(device: Path, name: str, step: int) -> int:
    """The errno of a program that writes until it cannot."""
    command = [sys.executable, "-c", FILL, device, name, str(step)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.long
def test_enomem(mount: Mount) -> None:
    """The errno is ENOMEM whoever writes; the log names the first one within ten seconds."""
    path = mount("mem=4M")
    for name in NAMES:
        assert fill(path / "scullv0", name, 65536) == errno.ENOMEM
        os.truncate(path / "scullv0", 0)
    lines = (path / "proc/kmsg").read_text().splitlines()
    failures = [line.partition("] ")[2] for line in lines if ": vmalloc error: " in line]
    names = [line.partition(": vmalloc error: ")[0] for line in failures]
    assert names[:1] == [next(iter(NAMES.values()))]
    assert len(names) == 1 or "callbacks suppressed" in "".join(lines)


@pytest.mark.long
def test_overrun(mount: Mount) -> None:
    """The errno of an overrun is EFAULT whoever runs over, and the log names each in one line."""
    path = mount("mem=64M,quirks=ldd3,order=1,qset=1")
    for name in NAMES:
        assert fill(path / "scullv0", name, 8192) == errno.EFAULT
    text = (path / "proc/kmsg").read_text()
    assert re.findall(r"(?m)\] CPU: .* Comm: (.*) Tainted: ", text) == [*NAMES.values()]


@pytest.mark.long
def test_users_of_a_mount(scullvfs: Any, mounted: Path) -> None:
    """Who keeps a mount busy is named, and a name that looks like two is quoted."""
    libc = ctypes.CDLL(None)
    before = Path("/proc/self/comm").read_bytes().removesuffix(b"\n")
    try:
        with open(mounted / "scullv0", "rb"):
            for name, said in ((b"a (pid 1), b", "'a (pid 1), b'"), (b"\xff\n", r"$'\377\012'")):
                libc.prctl(PR_SET_NAME, name, 0, 0, 0)
                line = refusal(scullvfs("umount", mounted), "busy")
                assert f" is in use by {said} (pid {os.getpid()}); " in line
    finally:
        libc.prctl(PR_SET_NAME, before, 0, 0, 0)
