"""A machine whose memory is used up, but for what an exact number of bytes on a device takes.

    1  the bytes are written           device: n quanta   the rest of the memory: free
    2  what is free is taken           device: n quanta   taken, to the last frame and object
    3  the device is emptied           empty, and the memory of n quanta is free
    4  the bytes are written again     n quanta           is there anything to be taken now?
       if so back to 3; if not it is emptied, and done

What n quanta take is more than their bytes: quantum sets, page tables, slabs that come and go.
Nothing of that is computed here.  Step 4 is the proof: with the bytes written nothing can be had by
anyone, so the next byte has none.

All of it goes by the mount's own files: `sys/kernel/debug/mm/command` takes memory, quietly, so
that the kernel log has no failure that the test did not cause.
"""

import errno
import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from scullvfs.errors import ScullvfsError
from scullvfs.scull.family import driver_of_device

from .daemon import Daemon
from .knobs import whole
from .undo import Undo, is_gone

__all__ = ["Fill"]

PAGE_SIZE: Final = 4096
MAX_BYTES: Final = 8 << 20
"""The most that one command allocates."""
SMALL: Final = 512
"""Pages of an area that takes no addresses but its own: its array of pages fits into one."""
SPARE: Final = 256
"""Frames that are left to be taken block by block: what an area needs beside its pages is less."""
BLOCKS: Final = [PAGE_SIZE << order for order in reversed(range(11))]
"""Sizes of blocks, the largest first."""
MAX_ROUNDS: Final = 20
"""How often it is emptied and filled again until nothing is left over."""
TAIL: Final = 1 << 16
"""Bytes at the end of the listing of areas that are looked at for free addresses."""

_serial: Final = itertools.count()


class Fill(Undo):
    """The memory that `Mount.fill()` has taken, until it is freed."""

    def __init__(self, mount: Daemon, device: Path, leave: int) -> None:
        self._mount = mount
        self._prefix = f"fill-{os.getpid()}-{next(_serial)}-"
        self._names: list[str] = []
        """Of the handles, the oldest first."""
        self._command = -1
        """The file that commands are written to, while it is open."""
        driver = driver_of_device(device.name)
        assert driver is not None
        self._driver: Final = driver
        self._sysfs: Final = mount.path / "sys/class" / driver.name / device.name
        self.device: Final = device
        """The device that has room."""
        self.leave: Final = whole("leave", leave)
        """Bytes that can be written to it, from its beginning, when it is empty."""

    def fill(self) -> None:
        """Take what there is, as `Mount.fill()` says."""
        if self._value("quanta") or self._value("size"):
            raise ValueError(f"{self.device.name} is not empty; os.truncate() it to 0 before")
        self._empty()  # so that it goes by the module's parameters
        caches = (self._mount.path / "proc/slabinfo").read_text().splitlines()
        self._has_cache = any(line.split()[0] == self._driver.name for line in caches)
        self._quantum = self._driver.quantum(self._value(self._driver.word))
        rest = self.leave % self._quantum
        if self.leave < 0 or rest:
            near = [n for n in (self.leave - rest, self.leave - rest + self._quantum) if n >= 0]
            raise ValueError(
                f"leave={self.leave} is no multiple of a quantum of {self.device.name}, which has "
                f"{self._quantum} bytes; {' or '.join(map(str, near))} is, and order= or "
                "quantum= of the mount sets another one"
            )
        try:
            self._fill()
        except BaseException:
            self.undo()
            with suppress(OSError):
                self._empty()
            raise

    def _fill(self) -> None:
        if not self._write():
            raise ValueError(f"{self.leave} bytes are more than the machine has memory for now")
        with self._commands():
            self._take()
            for _ in range(MAX_ROUNDS):
                self._start_again()
                if not self._write():
                    break
                if not self._take():
                    self._start_again()
                    return
        raise ScullvfsError(
            f"the memory of {self._mount} cannot be filled to the byte: what {self.leave} bytes on "
            f"{self.device.name} take differs from one time to the next; mount anew before"
        )

    def again(self) -> None:
        """Empty the device, and let as many bytes as before be written to it.

        A program that empties it by itself has the same room, but for scullv: as in the kernel
        the addresses of what vfree() has freed, and their page tables, come back later only, so
        a second time some quanta at the end may find no memory for a page table.
        """
        with self._commands():
            self._start_again()

    def undo(self) -> None:
        """Free what was taken; a second time does nothing."""
        if not self._names:
            return
        try:
            with self._commands():
                while self._names:
                    with suppress(FileNotFoundError):  # it was asked for in vain
                        self._do(f"free {self._names[-1]}")
                    self._names.pop()
        except OSError as error:
            if not is_gone(error):
                raise
            self._names.clear()

    free = undo

    # -- the device ------------------------------------------------------------------------

    def _value(self, name: str) -> int:
        return int((self._sysfs / name).read_text())

    def _empty(self) -> None:
        os.close(os.open(self.device, os.O_WRONLY | os.O_TRUNC))

    def _start_again(self) -> None:
        self._empty()
        self._do("purge")

    def _write(self) -> bool:
        """Have `leave` bytes of quanta on the device; whether there was memory for all of them."""
        fd = os.open(self.device, os.O_RDWR)
        try:
            for pos in range(0, self.leave, self._quantum):
                os.pwrite(fd, b"\0", pos)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            return False
        finally:
            os.close(fd)
        return True

    # -- the memory ------------------------------------------------------------------------

    def _take(self) -> bool:
        """Take all that can be had; whether there was anything."""
        before = len(self._names)
        self._take_highmem()
        for size in BLOCKS:
            self._take_areas()
            while self._have("kmalloc_nowarn", size):
                pass
        while self._have("kmalloc_nowarn", min(self._quantum, PAGE_SIZE)):
            pass
        while self._has_cache and self._have("kmem_cache_alloc_nowarn", self._driver.name):
            pass
        return len(self._names) > before

    def _take_highmem(self) -> None:
        """The frames that only areas can have; where addresses run out first, these."""
        while (pages := self._frames("HighMem")) > 0:
            room = self._largest_range() // PAGE_SIZE - 1
            if room < 1:
                return
            if not self._have("vmalloc", min(pages, room, SMALL) * PAGE_SIZE):
                return

    def _take_areas(self) -> None:
        """Most of what is left of the other frames, wherever they lie, if there are addresses."""
        while (pages := self._frames("Normal") - SPARE) > 0:
            if self._largest_range() < 2 * pages * PAGE_SIZE:
                return
            if not self._have("vmalloc", min(pages * PAGE_SIZE, MAX_BYTES)):
                return

    def _frames(self, zone: str) -> int:
        """Frames of a zone that can be had: those above its lowest watermark."""
        found = re.search(
            rf"zone +{zone}$.*?pages free +(\d+)$.*?^ +min +(\d+)$",
            (self._mount.path / "proc/zoneinfo").read_text(),
            re.MULTILINE | re.DOTALL,
        )
        return int(found[1]) - int(found[2]) if found else 0

    def _largest_range(self) -> int:
        """Bytes of addresses that are free and follow each other."""
        with open(self._mount.path / "sys/kernel/debug/vmap_areas", "rb") as listing:
            listing.seek(max(0, listing.seek(0, os.SEEK_END) - TAIL))
            sizes = re.findall(rb"(\d+) free$", listing.read(), re.MULTILINE)
        return max(map(int, sizes), default=0)

    @contextmanager
    def _commands(self) -> Iterator[None]:
        """Have the file open that commands are written to."""
        self._mount.must_answer()
        self._command = os.open(self._mount.path / "sys/kernel/debug/mm/command", os.O_WRONLY)
        try:
            yield
        finally:
            os.close(self._command)

    def _have(self, word: str, argument: int | str) -> bool:
        """Keep what an allocator gives; False when it has nothing."""
        name = f"{self._prefix}{len(self._names)}"
        self._names.append(name)  # before it is there, so that an interrupt does not lose it
        try:
            self._do(f"{word} {name} {argument}")
        except OSError as error:
            self._names.pop()
            if error.errno == errno.ENOSPC:
                raise ValueError(
                    f"the free memory of {self._mount} is in too many pieces for commands by hand "
                    "to take; mount with less mem=, or without fragment="
                ) from None
            if error.errno != errno.ENOMEM:
                raise
            return False
        return True

    def _do(self, command: str) -> None:
        os.write(self._command, command.encode())
