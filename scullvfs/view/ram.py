"""Whose each frame of RAM is, as the files of a mount have it.

    proc/kpageflags    free, in a slab or large object, reserved
    proc/kcore         page tables, and from the devices' quantum sets on the frames of each quantum
    proc/zoneinfo      where zones begin, over whose bounds no free block goes
    proc/meminfo       MemTotal, MemFree, Cached; proc/slabinfo: the caches

A frame has one letter: the digits are free ones, by the order of their block; small letters are the
devices, by name; capitals are the kernel.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from scullvfs.mm.layout import PAGE_SHIFT, PAGE_SIZE
from scullvfs.scull.driver import Driver
from scullvfs.scull.family import DRIVERS, MAX_PAGE_ORDER
from scullvfs.text import shown

from .core import NONE, Core
from .files import Files, nonsense
from .listing import Area, listed_devices

__all__ = [
    "FREE",
    "GUARD",
    "KERNEL",
    "LARGE",
    "LETTERS",
    "OTHER",
    "RESERVED",
    "SLAB",
    "TABLES",
    "VMALLOC",
    "Cache",
    "Devices",
    "Owner",
    "Ram",
    "read_caches",
    "read_devices",
    "read_flags",
    "read_ram",
]

FREE: Final = "0123456789X"
"""By order."""
TABLES: Final = "T"
SLAB: Final = "S"
LARGE: Final = "K"
VMALLOC: Final = "V"
RESERVED: Final = "R"
OTHER: Final = "?"
GUARD: Final = "|"
KERNEL: Final = {
    SLAB: "slabs: objects of the kernel's caches",
    LARGE: "large objects of kmalloc",
    TABLES: "page tables",
    VMALLOC: "areas that are no device's",
    OTHER: "anything else",
    RESERVED: "reserved, no part of MemTotal",
}
"""Letter -> whose it is."""
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
"""Of devices; those that come too late for one of their own share the last."""

FLAGS: Final = (
    (0, 0x80, 1),  # SLAB
    (1, 0x04, 2),  # BUDDY
    (1, 0x80, 4),  # COMPOUND_HEAD
    (2, 0x01, 4),  # COMPOUND_TAIL
    (4, 0x01, 8),  # RESERVED
)
"""Byte of eight, bit in it -> bit here."""


class Owner(NamedTuple):
    """Who has frames."""

    letter: str
    name: str
    frames: int


class Cache(NamedTuple):
    """A slab cache."""

    name: str
    frames: int


class Ram(NamedTuple):
    """All frames."""

    letters: str
    """One for each frame."""
    owners: tuple[Owner, ...]
    """Those that have any: free by order, devices, the kernel."""
    caches: tuple[Cache, ...]
    """The largest first."""
    free: int
    """MemFree, frames: with those on per-cpu lists, which are among `anything else`."""
    cached: int
    """Cached, frames: of files, which are among it, too."""


class Devices(NamedTuple):
    """The quanta of all devices that have some."""

    names: dict[str, str]
    """Letter -> name."""
    quanta: list[tuple[Driver, int, str, list[int]]]
    """Driver, bytes of a quantum, letter, addresses."""

    def owners(self) -> dict[int, str]:
        """Address of an area -> letter of the device whose quantum it is."""
        return {
            address: letter
            for driver, _, letter, addresses in self.quanta
            if driver.areas
            for address in addresses
        }


def read_devices(files: Files, core: Core) -> Devices:
    """Find the quanta of all devices, but for those in items that a listing leaves out.

    Raises:
        OSError: as read(2); EBADMSG, what is said does not fit together.
    """
    found = Devices({}, [])
    for name, driver in sorted(DRIVERS.items()):
        if not files.has(f"sys/class/{name}"):
            continue
        for device in listed_devices(files, driver.listings[0]):
            quantum = device.quantum(driver)
            addresses = [
                pointer
                for item in device.items
                if item.qset
                for pointer in core.pointers(item.qset, device.qset)
                if pointer
            ]
            if not addresses:
                continue
            letter = LETTERS[min(len(found.quanta), len(LETTERS) - 1)]
            many = letter in found.names
            found.names[letter] = "more devices" if many else f"{name}{device.number}"
            found.quanta.append((driver, quantum, letter, addresses))
    return found


def read_flags(files: Files) -> bytearray:
    """A letter for each frame, as far as its flags tell: free ones are of order 0 all.

    Raises:
        OSError: as read(2); EBADMSG, it is no such file.
    """
    marks = [
        (byte, bytes(ours if value & bit else 0 for value in range(256)))
        for byte, bit, ours in FLAGS
    ]
    letters = bytes(
        ord(
            RESERVED
            if bits & 8
            else FREE[0]
            if bits & 2
            else SLAB
            if bits & 1
            else LARGE
            if bits & 4
            else OTHER
        )
        for bits in range(256)
    )
    told = bytearray()
    for part in files.parts("proc/kpageflags"):
        if len(part) % 8:
            raise nonsense("proc/kpageflags has no whole numbers")
        found = 0
        for byte, words in marks:
            found |= int.from_bytes(part[byte::8].translate(words), "little")
        told += found.to_bytes(len(part) // 8, "little").translate(letters)
    if not told:
        raise nonsense("proc/kpageflags is empty")
    return told


def read_ram(
    files: Files, core: Core, letters: bytearray, devices: Devices, others: Iterable[Area]
) -> Ram:
    """Find whose each frame is.

    Args:
        letters: what `read_flags` says; they become those of the owners.
        others: areas in use that are no device's.

    Raises:
        OSError: as read(2); EBADMSG, what is said does not fit together.
    """
    nr_frames = len(letters)
    _orders(letters, [0, *_zone_starts(files), nr_frames])
    for pfn in core.all_tables():
        if pfn < nr_frames:
            letters[pfn] = ord(TABLES)
    for area in others:
        for _, frames in core.mapped(area.start, (area.end - area.start) >> PAGE_SHIFT):
            _mark(letters, frames, VMALLOC)
    for driver, size, letter, addresses in devices.quanta:
        for each in _frames(core, driver, size, addresses):
            _mark(letters, each, letter)
    names = {
        **{digit: f"free, in blocks of order {FREE.index(digit)}" for digit in reversed(FREE)},
        **devices.names,
        **KERNEL,
    }
    counts = {letter: letters.count(letter.encode()) for letter in names}
    known = _meminfo(files)
    if nr_frames - counts[RESERVED] != known["MemTotal"]:
        raise nonsense("MemTotal is another number of frames")
    waiting = known["MemFree"] - sum(counts[digit] for digit in FREE)
    if counts[OTHER] == waiting:
        names[OTHER] = "free, on per-cpu lists"
    return Ram(
        letters=letters.decode("ascii"),
        owners=tuple(Owner(each, names[each], n) for each, n in counts.items() if n),
        caches=tuple(read_caches(files)),
        free=known["MemFree"],
        cached=known["Cached"],
    )


def _mark(letters: bytearray, frames: Iterable[int], letter: str) -> None:
    """Have some frames be of that letter, those that are RAM."""
    number, behind = ord(letter), len(letters)
    for pfn in frames:
        if NONE < pfn < behind:
            letters[pfn] = number


def _frames(core: Core, driver: Driver, size: int, addresses: list[int]) -> Iterator[Iterable[int]]:
    """The frames that each of some quanta is in."""
    nr_pages = -(-size // PAGE_SIZE)
    if driver.areas:
        for address in addresses:
            yield core.frames(address, nr_pages)
        return
    offset = core.layout.page_offset
    for address in addresses:
        first = (address - offset) >> PAGE_SHIFT
        yield range(first, ((address - offset + size - 1) >> PAGE_SHIFT) + 1)


def _orders(letters: bytearray, bounds: list[int]) -> None:
    """Have free frames say the order of their block.

    Two free buddies are always one block, so a run of free frames is cut in one way only: each time
    the largest block that begins there and fits.
    """
    digits = [bytes((ord(digit),)) * (1 << order) for order, digit in enumerate(FREE)]
    for begin, end in itertools.pairwise(bounds):
        for run in re.finditer(b"0+", memoryview(letters[begin:end])):
            at, behind = begin + run.start(), begin + run.end()
            while at < behind:
                order = min((at & -at or 1 << MAX_PAGE_ORDER).bit_length() - 1, MAX_PAGE_ORDER)
                while at + (1 << order) > behind:
                    order -= 1
                if order:
                    letters[at : at + (1 << order)] = digits[order]
                at += 1 << order


def _zone_starts(files: Files) -> list[int]:
    """The first frame of each zone."""
    text = files.read("proc/zoneinfo")
    return sorted(int(each) for each in re.findall(rb"start_pfn: +([0-9]{1,15})\n", text))


def _meminfo(files: Files) -> dict[str, int]:
    """Some fields, in frames."""
    text = files.read("proc/meminfo")
    known = {}
    for name in ("MemTotal", "MemFree", "Cached"):
        found = re.search(rb"^%b: +([0-9]{1,15}) kB$" % name.encode(), text, re.MULTILINE)
        if found is None:
            raise nonsense(f"proc/meminfo has no {name}")
        known[name] = (int(found[1]) << 10) >> PAGE_SHIFT
    return known


def read_caches(files: Files) -> list[Cache]:
    """Those that have slabs, the largest first.

    Raises:
        OSError: as read(2).
    """
    caches = []
    for line in files.lines("proc/slabinfo"):
        words = line.split()
        if len(words) == 16 and words[5].isdigit() and words[14].isdigit():
            caches.append(Cache(shown(words[0]), int(words[5]) * int(words[14])))
    return sorted((c for c in caches if c.frames), key=lambda cache: -cache.frames)
