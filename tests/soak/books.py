"""What a daemon takes: its memory and descriptors by psutil, its machine's RAM by its own books.

At a rest, all devices are empty.  Then the books have to be those of the first rest, but for
what Linux keeps, too: some empty slabs of each kmalloc cache, and the page tables of addresses
that were freed and not yet purged.
"""

from __future__ import annotations

import fcntl
import os
import statistics
import time
from dataclasses import dataclass, field

import psutil

from scullvfs.scull import COMMANDS
from scullvfs.testing import Mount

from ..fs.books import assert_books_add_up
from .errors import SoakError, expect

__all__ = ["Books", "Rest"]

MIB = 1 << 20

SETTLED = MIB // 4
"""Bytes of resident memory by which two samples of a daemon at rest may differ."""
SETTLE_TIMEOUT = 20.0
"""Seconds that a daemon has to give freed memory back to the host."""

MAX_SLAB = 1024
"""kB of slabs at rest: the devices' own, and the empty ones that each cache keeps."""
MAX_PAGE_TABLES = 512
"""kB of page tables at rest: 32 MiB of addresses may wait for a purge, wherever they are."""
MAX_GROWTH = 16 * MIB
"""Bytes by which resident memory may grow from the first rest after the warm-up to the last."""


@dataclass(frozen=True)
class Rest:
    """One rest of a mount."""

    seconds: float
    """Since the start of the soak."""
    rss: int
    """Resident memory of the daemon in bytes."""
    fds: int
    """Its open descriptors."""
    slab: int
    page_tables: int
    """Of the machine, in kB."""


@dataclass
class Books:
    """The books of one mount over the whole soak."""

    mount: Mount
    start: float
    """When the soak began, by time.monotonic()."""
    rests: list[Rest] = field(default_factory=list)
    peak_rss: int = 0
    most_fds: int = 0
    validations: int = 0

    def __post_init__(self) -> None:
        self._daemon = psutil.Process(self.mount.pid)

    def sample(self) -> None:
        """Note what the daemon takes now, under load."""
        self.peak_rss = max(self.peak_rss, self._daemon.memory_info().rss)
        self.most_fds = max(self.most_fds, self._daemon.num_fds())

    def rest(self) -> None:
        """Empty all devices, let the mount check itself, and compare its books.

        Raises:
            SoakError: something is not there any more, or too much.
        """
        with open(self.mount / "scullv0") as file:
            fcntl.ioctl(file, COMMANDS["RESET"])
        for device in self.mount.devices:
            os.truncate(device, 0)
        self._wait_for_vfree()
        self._validate()
        try:
            meminfo = assert_books_add_up(lambda name: (self.mount / "proc" / name).read_text())
        except AssertionError as error:
            raise SoakError(f"the books do not add up: {error}") from None
        expect(meminfo["Slab"] <= MAX_SLAB, f"{meminfo['Slab']} kB of slabs at rest")
        counted = ("MemFree", "Slab", "VmallocUsed")
        tables = meminfo["MemTotal"] - sum(meminfo[name] for name in counted)
        expect(tables <= MAX_PAGE_TABLES, f"{tables} kB of page tables at rest")
        warnings = [line for line in self.mount.kmsg().splitlines() if not line.startswith("<6>")]
        expect(not warnings, "the kernel log says:\n" + "\n".join(warnings))
        seconds = time.monotonic() - self.start
        rss = self._settled_rss()
        fds = self._daemon.num_fds()
        self.rests.append(Rest(seconds, rss, fds, meminfo["Slab"], tables))
        expect(fds == self.rests[0].fds, f"{self.rests[0].fds} descriptors have become {fds}")

    def growth(self) -> tuple[int, float]:
        """Bytes of resident memory from the first rest after the warm-up to the last one, and
        the slope of the line through them in bytes per hour.

        Raises:
            SoakError: it has grown too much.
        """
        rests = self.warm()
        if not rests:
            return 0, 0.0
        grown = rests[-1].rss - rests[0].rss
        expect(grown <= MAX_GROWTH, f"resident memory has grown by {grown / MIB:.1f} MiB")
        if len(rests) < 2:
            return grown, 0.0
        line = statistics.linear_regression([r.seconds for r in rests], [r.rss for r in rests])
        return grown, line.slope * 3600

    def warm(self) -> list[Rest]:
        """The rests after the warm-up: not the one before all rounds, nor the first fifth."""
        return self.rests[max(1, len(self.rests) // 5) :] or self.rests

    def _wait_for_vfree(self) -> None:
        """Areas are freed between requests, so they may take a moment; but all of them go."""
        deadline = time.monotonic() + SETTLE_TIMEOUT
        while (used := self.mount.meminfo()["VmallocUsed"]) and time.monotonic() < deadline:
            time.sleep(0.01)
        expect(used == 0, f"{used} kB of areas have leaked")

    def _validate(self) -> None:
        try:
            (self.mount / "sys/kernel/debug/validate").write_text("1")
        except OSError as error:
            words = self.mount.kmsg().splitlines()[-1]
            raise SoakError(f"the mount's check of itself: {error.strerror}\n{words}") from None
        self.validations += 1

    def _settled_rss(self) -> int:
        """Resident memory, once freed memory has gone back to the host."""
        deadline = time.monotonic() + SETTLE_TIMEOUT
        before, now = 0, self._daemon.memory_info().rss
        while abs(before - now) > SETTLED and time.monotonic() < deadline:
            time.sleep(0.25)
            before, now = now, self._daemon.memory_info().rss
        return now
