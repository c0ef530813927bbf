"""Whatever is overwritten, the process lives, and every error is an OSError with an errno.

scullp and scullc with LDD3's mistakes write over each other's quanta and quantum sets, over slabs,
page tables and free frames of one small machine, which scullv and scull are on, too.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest

from scullvfs.fs.debugfs import _Validator as Validator
from scullvfs.fs.proc import listings
from scullvfs.fs.seq_file import Listing, text_of
from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.commands import Commands, Refused
from scullvfs.mm.workqueue import finish
from scullvfs.scull import DRIVERS, Module, ScullDev, posix, scull_ioctl
from scullvfs.scull.ioctl import commands

from ..thorough import rounds

STEPS = rounds(1500, 400)
WANTED = {errno.EFAULT, errno.EINVAL, errno.EIO, errno.ENOMEM, errno.ENXIO}
"""What a call may fail with."""


class Fuzz:
    """A machine with all members, and one of many calls after the other."""

    def __init__(self, seed: int, arch: str, **options: bool) -> None:
        self.random = Random(seed)
        self.machine = Machine(8 << 20, arch, shuffle=seed % 2 == 0, seed=seed, **options)
        self.modules = [
            Module(self.machine, DRIVERS["scullp"], quirk_ldd3=True, scullp_order=2, scullp_qset=3),
            Module(self.machine, DRIVERS["scullc"], quirk_ldd3=True, scullc_quantum=700),
            Module(self.machine, DRIVERS["scullv"], quirk_ldd3=True, scullv_order=1, scullv_qset=4),
            Module(self.machine, DRIVERS["scull"], quirk_ldd3=True, scull_quantum=900),
        ]
        self.devices = [device for module in self.modules for device in module.devices]
        self.listings = [listing for _, listing in listings(self.machine, self.modules).values()]
        self.commands = Commands(self.machine, 1 << 20)
        self.validator = Validator(self.machine, self.modules)
        self.errors: set[int] = set()
        self.written: list[int] = []

    def data(self) -> bytes:
        """Bytes of some kind: text, zeros, noise, or addresses that there are."""
        rng = self.random
        size = rng.choice((1, 8, 500, 4000, 4096, 5000, 8192, 16384, 40000))
        layout = self.machine.layout
        kind = rng.randrange(4)
        if kind == 0:
            return bytes([rng.choice(b"x\x00\xff")]) * size
        if kind == 1:
            return rng.randbytes(size)
        base = rng.choice((layout.page_offset, layout.vmalloc_start, 0, self.machine.pgtable.top))
        words = [
            (base + rng.randrange(0, 16 << 20, rng.choice((8, 64, PAGE_SIZE)))) | rng.getrandbits(1)
            for _ in range(size // layout.pointer_size + 1)
        ]
        width = layout.pointer_size
        return b"".join((w % (1 << 8 * width)).to_bytes(width, "little") for w in words)[:size]

    def step(self) -> None:
        """One call on something; what it fails with has an errno."""
        actions: list[tuple[Callable[[], object], int]] = [
            (self.write, 40),
            (self.read, 15),
            (self.ioctl, 4),
            (self.trim, 4),
            (self.truncate, 4),
            (self.posix, 10),
            (self.list, 3),
            (self.command, 6),
            (self.idle, 5),
            (self.check, 1),
        ]
        functions, weights = zip(*actions, strict=True)
        (function,) = self.random.choices(functions, weights)
        try:
            function()
        except OSError as error:
            self.errors.add(error.errno or 0)

    def place(self) -> tuple[ScullDev, int]:
        device = self.random.choice(self.devices)
        item, rest = self.random.randrange(4), self.random.randrange(device.itemsize)
        if self.random.random() < 0.7:
            rest = rest // device.quantum * device.quantum
        return device, (item * device.itemsize + rest) % (4 << 20)

    def write(self) -> None:
        device, pos = self.place()
        device.write(pos, self.data())

    def read(self) -> None:
        device, pos = self.place()
        bytes(device.read(pos, self.random.choice((1, 5000, 1 << 17))))

    def ioctl(self) -> None:
        device = self.random.choice(self.devices)
        names = commands(device.driver)
        name = self.random.choice([n for n in names if n[0] in "RT"])
        most = {"ORDER": 3, "UANTUM": 9000, "QSET": 40}
        limit = next((value for key, value in most.items() if key in name), 10)
        scull_ioctl(device, names[name], self.random.randrange(limit + 1), b"", lambda: True)

    def trim(self) -> None:
        device = self.random.choice(self.devices)
        device.open(os.O_WRONLY, later=self.random.random() < 0.7)

    def truncate(self) -> None:
        device, pos = self.place()
        finish(device.truncating(pos, later=self.random.random() < 0.7))

    def posix(self) -> None:
        device, pos = self.place()
        length = self.random.choice((1, 4096, 50000))
        calls: list[Callable[[], object]] = [
            lambda: posix.read_span(device, pos, length),
            lambda: posix.write_span(device, pos, self.data()),
            lambda: finish(posix.punch_hole(device, pos, length)),
            lambda: finish(posix.allocate(device, pos, length, keep_size=False)),
            lambda: finish(posix.zero_range(device, pos, length, keep_size=True)),
            lambda: finish(posix.seek_data(device, pos)),
            lambda: finish(posix.seek_hole(device, pos)),
        ]
        self.random.choice(calls)()

    def list(self) -> None:
        listing: Listing = self.random.choice(self.listings)
        size, text = listing.size(), text_of(listing)
        assert size == len(text)
        place, at = listing.seek(self.random.randrange(size + 1))
        assert text.encode()[at:] == b"".join(line for line, _ in listing.lines(place))

    def command(self) -> None:
        rng, names = self.random, "abcdef"
        name, other = rng.choice(names), rng.choice(names)
        size = rng.choice((16, 4096, 70000))
        line = rng.choice(
            (
                f"vmalloc {name} {size}",
                f"kmalloc {name} {size}",
                f"kvmalloc {name} {size}",
                f"get_free_pages {name} 1",
                f"vm_map_ram {name} 3 {other}",
                f"vmap {name} 3 {other}",
                f"free {name}",
                f"peek {name} 0 64",
                f"poke {name} 0 1 2 3",
                f"walk {name}",
                f"pfns {name}",
                f"sizes {size}",
                "purge",
                "settle",
                "buddy",
            )
        )
        with suppress(Refused):
            self.commands.do(line)

    def idle(self) -> None:
        for _ in range(self.random.randrange(1, 50)):
            self.machine.idle_work()

    def check(self) -> None:
        found = bool(self.machine.overruns.report())
        try:
            self.validator.store(1)
        except OSError as error:
            assert found
            self.errors.add(error.errno or 0)
        else:
            assert not found


@pytest.mark.long
@pytest.mark.parametrize("arch", ["x86_64", "i386", "arm64"])
@pytest.mark.parametrize("seed", range(2))
def test_random(seed: int, arch: str) -> None:
    """Many calls, most of which overwrite something."""
    fuzz = Fuzz(seed, arch)
    for _ in range(STEPS):
        fuzz.step()
    assert fuzz.machine.overruns.report()
    assert {errno.EFAULT} <= fuzz.errors <= WANTED
    books(fuzz)


def books(fuzz: Fuzz) -> None:
    """Once all is trimmed and freed, the books add up, but for what is overwritten for good."""
    for device in fuzz.devices:
        device.trim()
    for name, *_ in reversed(fuzz.commands.handles.state()):
        fuzz.commands.do(f"free {name}")
    machine = fuzz.machine
    machine.workqueue.flush()
    for part in (machine.page_alloc, machine.vm, machine.log, machine.workqueue):
        part.check()
    with suppress(AssertionError):
        machine.check()
        return
    with pytest.raises(AssertionError, match="overwritten"):
        machine.check()
