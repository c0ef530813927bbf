"""What programs do to a device that they open for writing only: docs/semantics.md has a table."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from pathlib import Path

import pytest

from .helpers import opened, shell

PROGRAMS: dict[str, tuple[int, int]] = {
    'touch "$path"': (0, 200_000),
    'touch -a -d 2001-01-01 "$path"': (0, 200_000),
    'touch -r /etc/hostname "$path"': (0, 200_000),
    'touch -c -a -d 2001-01-01 "$path"': (200_000, 200_000),
    'head -c 1000 /dev/zero | cp /dev/stdin "$path"': (1000, 1000),
    'cp --attributes-only /etc/hostname "$path"': (0, 200_000),
    'truncate -s 1000 "$path"': (1000, 1000),
    'truncate -s +5 "$path"': (5, 200_005),
    'dd if=/dev/zero of="$path" bs=4k count=1 conv=notrunc': (4096, 200_000),
    'dd if=/dev/zero of="$path" bs=4k count=1 conv=notrunc seek=1': (200_000, 200_000),
    'echo x | tee -a "$path"': (2, 200_002),
    'shred -n 1 "$path"': (0, 262_144),
    'sort -o "$path" "$path"': (0, 200_001),
    'cat "$path" >> "$path" || true': (0, 200_000),
    'tar -cf "$path" -C / etc/hostname && tar -rf "$path" -C / etc/hostname && '
    'tar -tf "$path" | wc -l | grep -x 2': (10_240, 10_240),
}
"""Command -> the size of a device of 200000 bytes after it, by the two sets of rules."""


@pytest.mark.parametrize("semantics", ["device", "file"])
def test_programs(mount: Callable[[str], Path], semantics: str) -> None:
    """Each of them ends with status 0, whatever is left."""
    path = mount(f"mem=16M,semantics={semantics}") / "scullv0"
    for command, sizes in PROGRAMS.items():
        path.write_bytes((b"line\n" * 40_000)[:-1] + b"x")
        done = shell(command, path=path)
        size = os.stat(path).st_size
        assert (done.returncode, size) == (0, sizes[semantics == "file"]), (command, done.stderr)


@pytest.mark.parametrize("semantics", ["device", "file"])
def test_poll(mount: Callable[[str], Path], semantics: str) -> None:
    """A device is always ready, to epoll, too."""
    with opened(mount(f"mem=16M,semantics={semantics}") / "scullv0") as fd:
        both = select.EPOLLIN | select.EPOLLOUT
        with select.epoll() as epoll:
            epoll.register(fd, both)
            assert epoll.poll(0) == [(fd, both)]
        poll = select.poll()
        poll.register(fd, both)
        assert poll.poll(0) == [(fd, both)]
