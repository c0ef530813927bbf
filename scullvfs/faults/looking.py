"""What is done to a mount around the command: something stored, a fault armed, all looked at.

All of it is system calls on the files of the mount, for a process that may be left behind.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

from scullvfs.errors import UsageError
from scullvfs.scull.family import driver_of_device

from .books import Books, differences, read_books

__all__ = ["KNOBS", "devices", "examine", "prepare"]

DEBUG: Final = "sys/kernel/debug"

KNOBS: Final = {
    "failslab": {"ignore-gfp-wait": "N"},
    "fail_page_alloc": {"ignore-gfp-wait": "N", "ignore-gfp-highmem": "N", "min-order": "0"},
}
"""Fault -> what has to be set for it to reach all requests."""

STORED: Final = bytes(range(1, 252)) * 40
"""What is stored before: no zeros, and nothing that repeats at the sizes of pages."""
PROBE: Final = STORED[7:2000]
"""What is written afterwards, less than the smallest of default quanta."""


def devices(mount: str) -> list[str]:
    """The paths of the devices, in the order of their names."""
    names = [name for name in os.listdir(mount) if re.search(r"\d$", name)]
    return [f"{mount}/{name}" for name in sorted(names) if driver_of_device(name) is not None]


def prepare(mount: str, fault: str, nth: int) -> Books:
    """Store something on the last device, and have the `nth` request fail from now on, 0 for none.

    Returns:
        The books, with what is stored.

    Raises:
        UsageError: there is but one device.
        OSError: what the mount says against it.
    """
    *others, keeper = devices(mount)
    if not others:
        raise UsageError("one device is not enough: on the last one something is stored before")
    _write(keeper, STORED)
    _settle(mount)
    books = read_books(mount)
    if nth:
        knobs = {**KNOBS[fault], "interval": str(nth), "times": "1", "probability": "100"}
        for knob, value in knobs.items():
            _set(mount, f"{fault}/{knob}", value)
    return books


def examine(mount: str, fault: str, before: Books) -> tuple[bool, list[str]]:
    """Have no more requests fail, and see how the mount is; its devices are empty then.

    Returns:
        Whether the request was reached, and what is not as it has to be.

    Raises:
        OSError: the daemon is gone.
    """
    with open(f"{mount}/{DEBUG}/{fault}/times") as file:
        reached = file.read() == "0\n"
    _set(mount, f"{fault}/probability", "0")
    return reached, [*_found(mount, before)]


def _found(mount: str, before: Books) -> Iterator[str]:
    *others, keeper = devices(mount)
    yield from _validated(mount)
    if _read(keeper) != STORED:
        yield f"{os.path.basename(keeper)}: what was stored there has changed"
    for device in others:
        os.truncate(device, 0)
        yield from _goes_on(device)
        os.truncate(device, 0)
    _settle(mount)
    yield from differences(before, read_books(mount))
    yield from _validated(mount)


def _goes_on(device: str) -> Iterator[str]:
    name = os.path.basename(device)
    try:
        _write(device, PROBE)
        if _read(device) != PROBE:
            yield f"{name} does not give back what is written"
    except OSError as error:
        yield f"{name} cannot be written and read any more: {error.strerror}"


def _validated(mount: str) -> Iterator[str]:
    try:
        _set(mount, "validate", "1")
    except OSError:
        with open(f"{mount}/proc/kmsg") as file:
            yield file.read().rstrip("\n").rpartition("] ")[2]


def _settle(mount: str) -> None:
    """Have done at once what Linux puts off: what is freed is free, its addresses and slabs, too.

    All objects of the slab that a cpu has count as used in slabinfo, until the cache is shrunk.
    """
    for command in ("settle", "purge"):
        _set(mount, "mm/command", command)
    for cache in os.listdir(f"{mount}/sys/kernel/slab"):
        _set(mount, f"../slab/{cache}/shrink", "1")


def _set(mount: str, name: str, value: str) -> None:
    fd = os.open(f"{mount}/{DEBUG}/{name}", os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _write(device: str, data: bytes) -> None:
    """Write all of `data`, and to the device itself, not only to a page cache."""
    fd = os.open(device, os.O_RDWR)
    try:
        pos = 0
        while pos < len(data):
            pos += os.pwrite(fd, data[pos:], pos)
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(device: str) -> bytes:
    """What the device holds, not what a page cache does."""
    fd = os.open(device, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        found = b""
        while part := os.pread(fd, 1 << 20, len(found)):
            found += part
        return found
    finally:
        os.close(fd)
