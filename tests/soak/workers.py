"""What is done to a mount during a round: one function a worker, one thread each.

    owner       one a device: empties it, has fio fill and verify it, cuts it off, again
    geometry    sets order and qset, by every ioctl and by the parameters in sys/
    reader      reads every file of proc/ and sys/
    opener      opens devices in every way that empties none, looks about, and closes

Only its owner changes a device, so every byte has to be what fio or the owner has written.
The others meet it at any moment.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event

from scullvfs.scull import COMMANDS

from .errors import SoakError, expect
from .fio import run_fio

__all__ = ["Scene", "geometry", "opener", "owner", "reader"]

MIB = 1 << 20
HELD = 40
"""Files that an opener holds at once."""

MAX_ORDER = 6
MAX_QSET = 1000
"""The largest quantum is 256 KiB, and four full devices fit into RAM with any geometry."""


@dataclass
class Scene:
    """One mount in one round, as its workers see it."""

    path: Path
    semantics: str
    devices: list[Path]
    stop: Event
    """Set when the round is over."""
    kill: Event
    """Set when there is no time left even for what has begun."""
    counts: Counter[str] = field(default_factory=Counter)
    """What was done, for the summary.  A lost count among threads would be no harm."""

    def parameter(self, name: str) -> Path:
        """A parameter of the module."""
        return self.path / "sys/module/scullv/parameters" / name


# -- the owner of a device --------------------------------------------------------------------


def owner(scene: Scene, rng: Random, device: Path) -> None:
    """Empty, fill, verify, cut off."""
    while not scene.stop.is_set():
        _trim(scene, rng, device)
        scene.counts["bytes verified"] += run_fio(device, scene.semantics, rng, scene.kill)
        scene.counts["fio runs"] += 1
        for _ in range(rng.randrange(3)):
            if not scene.stop.is_set():
                _cut_off(scene, rng, device)


def _trim(scene: Scene, rng: Random, device: Path) -> None:
    """Empty a device in one of the ways there are; it takes over the module's geometry."""
    ways = ["truncate", "ftruncate", "O_TRUNC"] + ["O_WRONLY"] * (scene.semantics == "device")
    match rng.choice(ways):
        case "truncate":
            os.truncate(device, 0)
        case "ftruncate":
            with _opened(device, os.O_RDWR) as fd:
                os.ftruncate(fd, 0)
        case "O_TRUNC":
            _opened(device, os.O_RDWR | os.O_TRUNC).close()
        case "O_WRONLY":
            _opened(device, os.O_WRONLY).close()
    status = os.stat(device)
    expect((status.st_size, status.st_blocks) == (0, 0), f"{device} is not empty after a trim")
    scene.counts["devices emptied"] += 1


def _cut_off(scene: Scene, rng: Random, device: Path) -> None:
    """Make a device smaller, and larger again: what is before the end stays, the rest is gone."""
    before = _content(device)
    length = rng.randrange(len(before) + 1)
    with _opened(device, os.O_RDWR) as fd:
        os.ftruncate(fd, length)
        os.ftruncate(fd, len(before))
    after = _content(device)
    expect(after[:length] == before[:length], f"{device}: cut off at {length}, and it changed")
    expect(not any(after[length:]), f"{device}: not zeros behind {length}")
    scene.counts["devices cut off"] += 1
    if scene.semantics == "file":
        expect(len(after) == len(before), f"{device}: {len(after)} bytes for {len(before)}")


def _content(device: Path) -> bytes:
    """What is in the device up to the first hole, one read(2) after the other."""
    data = bytearray()
    with _opened(device, os.O_RDONLY) as fd:
        while part := os.pread(fd, MIB, len(data)):
            data += part
    return bytes(data)


class _opened:
    """A descriptor that is closed in any case."""

    def __init__(self, path: Path, flags: int) -> None:
        self._fd = os.open(path, flags)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


# -- order and qset ---------------------------------------------------------------------------


def geometry(scene: Scene, rng: Random) -> None:
    """Change order and qset in all ways, and try what must be refused."""
    ways = [_by_ioctl, _by_ioctl, _by_parameter, _reset, _refused]
    while not scene.stop.wait(rng.uniform(0.0, 0.05)):
        rng.choice(ways)(scene, rng)


def _choose(rng: Random) -> tuple[str, int]:
    """ORDER or QSET, and a value for it."""
    if rng.random() < 0.5:
        return "ORDER", rng.randint(0, MAX_ORDER)
    return "QSET", rng.choice([1, 2, rng.randint(1, MAX_QSET)])


def _by_ioctl(scene: Scene, rng: Random) -> None:
    """Set, Tell, eXchange, sHift."""
    what, value = _choose(rng)
    letter = rng.choice("STXH")
    argument: int | bytes = struct.pack("i", value) if letter in "SX" else value
    with _opened(rng.choice(scene.devices), os.O_RDONLY) as fd:
        result = fcntl.ioctl(fd, COMMANDS[letter + what], argument)
    old = struct.unpack("i", result)[0] if isinstance(result, bytes) else result
    expect(letter != "T" or old == 0, f"{letter}{what} gave {old}")
    expect(0 <= old <= MAX_QSET, f"{letter}{what}: the old one was {old}")
    scene.counts["ioctl calls"] += 1
    scene.counts["changes of order or qset"] += 1


def _by_parameter(scene: Scene, rng: Random) -> None:
    what, value = _choose(rng)
    scene.parameter(f"scullv_{what.lower()}").write_text(f"{value}\n")
    scene.counts["changes of order or qset"] += 1


def _reset(scene: Scene, rng: Random) -> None:
    with _opened(rng.choice(scene.devices), os.O_RDONLY) as fd:
        fcntl.ioctl(fd, COMMANDS["RESET"])
    scene.counts["ioctl calls"] += 1
    scene.counts["changes of order or qset"] += 1


def _refused(scene: Scene, rng: Random) -> None:
    """A value that cannot be, and a command that there is none."""
    with _opened(rng.choice(scene.devices), os.O_RDONLY) as fd:
        for command, value, error in (
            (COMMANDS["TORDER"], 19, errno.EINVAL),
            (COMMANDS["TQSET"], 0, errno.EINVAL),
            (0x4B0D, 0, errno.ENOTTY),
        ):
            try:
                fcntl.ioctl(fd, command, value)
            except OSError as refusal:
                expect(refusal.errno == error, f"ioctl {command:#x} {value}: {refusal}")
            else:
                raise SoakError(f"ioctl {command:#x} {value} is not refused")
            scene.counts["ioctl calls"] += 1


# -- proc/ and sys/ ---------------------------------------------------------------------------


def reader(scene: Scene, rng: Random) -> None:
    """Read every file of proc/ and sys/; what one shows adds up at any moment.

    But for those that wait for somebody, or cannot be read, and RAM itself, alone or with the rest.
    """
    others = {"trace_pipe", "trace_marker", "reset", "kcore"}
    others |= {"snapshot", "record", "record_data"}
    while not scene.stop.wait(rng.uniform(0.0, 0.1)):
        for top in ("proc", "sys"):
            for directory, _, names in os.walk(scene.path / top):
                for name in {*names} - others:
                    Path(directory, name).read_bytes()
                    scene.counts["files of proc and sys read"] += 1
        _meminfo_adds_up((scene.path / "proc/meminfo").read_text())


def _meminfo_adds_up(text: str) -> None:
    kb = {name.rstrip(":"): int(value) for name, value, *_ in map(str.split, text.splitlines())}
    parts = kb["MemFree"] + kb["Slab"] + kb["PageTables"] + kb["VmallocUsed"]
    expect(parts < kb["MemTotal"], f"meminfo does not add up:\n{text}")  # the boot's tables


# -- opens and closes -------------------------------------------------------------------------


def opener(scene: Scene, rng: Random) -> None:
    """Hold files open for a while, and use them so that nothing changes."""
    flags = [os.O_RDONLY, os.O_RDWR, os.O_ACCMODE, os.O_RDONLY | os.O_DIRECT]
    if scene.semantics == "file":
        flags += [os.O_WRONLY, os.O_WRONLY | os.O_APPEND]
    held: list[tuple[int, int]] = []
    try:
        while not scene.stop.wait(rng.uniform(0.0, 0.01)):
            if len(held) < rng.randrange(1, HELD):
                how = rng.choice(flags)
                held.append((os.open(rng.choice(scene.devices), how), how))
                scene.counts["opens and closes"] += 1
            else:
                fd, _ = held.pop(rng.randrange(len(held)))
                os.close(fd)
            if held:
                _look_about(scene, rng, *rng.choice(held))
    finally:
        for fd, _ in held:
            os.close(fd)


def _look_about(scene: Scene, rng: Random, fd: int, flags: int) -> None:
    """Size, position, an ioctl, and a read where it may be."""
    size = os.fstat(fd).st_size
    os.lseek(fd, 0, os.SEEK_END)
    fcntl.ioctl(fd, COMMANDS[rng.choice(["QORDER", "QQSET"])])
    fcntl.ioctl(fd, COMMANDS[rng.choice(["GORDER", "GQSET"])], bytes(4))
    scene.counts["ioctl calls"] += 2
    if flags in (os.O_RDONLY, os.O_RDWR):
        os.pread(fd, rng.choice([1, 4096, MIB]), rng.randrange(size + 1))
