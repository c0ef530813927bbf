"""Listings that are made as they are read: every position, while nothing and while much changes."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from random import Random

import pytest

from scullvfs.fs.proc import Vmallocinfo, listings
from scullvfs.fs.seq_file import Place, SeqFile, text_of
from scullvfs.mm import Machine
from scullvfs.mm.areas import CHUNK
from scullvfs.scull import Module, procmem

from ..scull.helpers import fails

P = 4096
FILES = ["kmsg", "scullvmem", "vmallocinfo"]


@pytest.fixture
def module(fresh: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch) -> Module:
    """A machine with something of everything, in more than one chunk."""
    machine = fresh(panic_on_warn=False)
    module = Module(machine, scullv_devs=3, scullv_order=0, scullv_qset=12_000)
    monkeypatch.setattr(procmem, "LISTED", 20)
    first = module.devices[0]
    for number in (*range(3 * CHUNK // 2), *range(9990, 10_010), 11_999):
        first.write(number * P, b"x")
    module.parameters["scullv_qset"] = 3
    module.devices[2].trim()
    for number in range(100):
        module.devices[2].write(number * 2 * P, b"x")
    machine.vm.ioremap(1 << 30, 3 * P, "f [m]")
    kept = [machine.vm.vmalloc(pages * P, "g") for pages in (1, 700, 3000)]
    machine.vm.vfree(kept[0])
    for _ in range(20):
        machine.vm.vfree(kept[0])  # a warning each
    return module


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, module: Module) -> SeqFile:
    """One of the listings."""
    return SeqFile(listings(module.machine, [module])[request.param][1], 0o444, 1, 2)


@pytest.mark.parametrize("count", [1, 100, 4096, 1 << 20])
def test_read_on(file: SeqFile, count: int) -> None:
    """However much a read takes, all of them together are the text, and its size is true."""
    text, handle, got = text_of(file.listing).encode(), file.open(0), b""
    assert file.size == len(text)
    text = text[: 2000 * count]
    while part := bytes(handle.read(len(got), count)):
        got += part
        if len(got) >= len(text):
            break
    assert got[: len(text)] == text


@pytest.mark.long
def test_read_anywhere(file: SeqFile) -> None:
    """Every position has the bytes of the text, at the end and behind it, too."""
    text, handle, rng = text_of(file.listing).encode(), file.open(0), Random(1)
    positions = [rng.randrange(len(text)) for _ in range(500)]
    for pos in (*positions, 0, len(text) - 1, len(text), len(text) + 5000, 7):
        count = rng.choice([1, 50, 5000])
        assert bytes(handle.read(pos, count)) == text[pos : pos + count]
        at = pos + count
        assert bytes(handle.read(at, 60)) == text[at : at + 60]


def test_nothing_is_kept(file: SeqFile) -> None:
    """Of a listing of many lines an open file keeps one at most."""
    handle = file.open(0)
    while part := handle.read(handle._pos, 1000):  # type: ignore[attr-defined]
        assert len(part) <= 1000
        assert len(handle._rest) < 200  # type: ignore[attr-defined]


def test_whole_lines_while_it_changes(module: Module) -> None:
    """An area that comes or goes between two reads is there or not; no line is a mixture."""
    file = SeqFile(listings(module.machine, [module])["vmallocinfo"][1], 0o400, 1, 2)
    handle, text, rng = file.open(0), b"", Random(2)
    device = module.devices[0]
    while part := bytes(handle.read(len(text), 777)):
        text += part
        item, s_pos = divmod(rng.randrange(700), device.qset)
        device.free_quanta(item, s_pos, 1)
        device.fill(rng.randrange(11_000) * P)
    lines = text.decode().splitlines()
    assert all(re.fullmatch(r"0x[0-9a-f]{16}-0x[0-9a-f]{16} +\d+ \S.*", line) for line in lines)
    busy = [line for line in lines if "unpurged" not in line]
    assert busy == sorted(set(busy))


def test_page_cache_gets_the_lines_that_fit(module: Module) -> None:
    """The kernel takes no more than the size that it knows, so the text ends with a line there."""
    file = SeqFile(listings(module.machine, [module])["scullvmem"][1], 0o444, 1, 2)
    handle, size = file.open(0), file.size
    before = text_of(file.listing).encode()
    for device in module.devices:
        device.write(device.size, b"x")
    text = bytes(handle.read_pages(0, 1 << 20))
    assert size - 60 < len(text) <= size < len(text_of(file.listing))
    assert text.endswith(b"\n")
    assert text.count(b"\n") <= before.count(b"\n")


def test_a_trimmed_device_ends_the_listing(module: Module) -> None:
    """Places behind the end of what a device still has are no error."""
    file = SeqFile(listings(module.machine, [module])["scullvmem"][1], 0o444, 1, 2)
    handle = file.open(0)
    text = bytes(handle.read(0, 20_000))
    module.parameters["scullv_qset"] = 1
    for device in module.devices:
        device.trim()
    rest = bytes(handle.read(20_000, 1 << 20))
    assert (text + rest).endswith(b"qset at 0000000000000000\n")


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR])
def test_refuses_writing(file: SeqFile, flags: int) -> None:
    """It can only be read."""
    with fails(errno.EACCES):
        file.open(flags)


def test_page_cache_asks_again_for_a_page(module: Module) -> None:
    """What the kernel has of a page that the listing ended in stays, and goes on from there."""
    file = SeqFile(listings(module.machine, [module])["vmallocinfo"][1], 0o400, 1, 2)
    handle, size = file.open(0), file.size
    text = bytes(handle.read_pages(0, size))
    module.devices[2].trim()  # what comes before is another text now
    module.devices[0].write(11_000 * P, b"x")
    assert file.size != size
    begin = len(text) & -P
    text = text[:begin] + bytes(handle.read_pages(begin, P))
    assert all(re.fullmatch(r"0x[0-9a-f]{16}-.*\S", line) for line in text.decode().splitlines())
    assert len(text) >= size


class Counted(Vmallocinfo):
    """Counts the lines that it makes, and the unpurged areas that it measures."""

    made = measured = 0

    def lines(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """As they are."""
        for line in super().lines(place):
            self.made += 1
            yield line

    def _unpurged_length(self, size: int) -> int:
        self.measured += 1
        return super()._unpurged_length(size)


def test_work_does_not_grow_with_the_listing(fresh: Callable[..., Machine]) -> None:
    """Size, a read and a jump make some hundred lines at the most, of however many areas.

    The unpurged ones, which are not many, are measured for the size, and once more at a jump.
    """
    machine = fresh()
    areas = [machine.vm.vmalloc(P) for _ in range(8 * CHUNK)]
    kept, freed = areas[: 5 * CHUNK], areas[5 * CHUNK :]
    for address in freed:
        machine.vm.vfree(address)
    listing = Counted(machine)
    file = SeqFile(listing, 0o444, 1, 2)
    size, unpurged = file.size, len(machine.vmap_space.lazy)
    assert unpurged == len(freed)
    assert (listing.made, listing.measured) == (0, unpurged)

    text, length = text_of(Vmallocinfo(machine)).encode(), len(text_of(listing))
    assert size == length == len(text)
    listing.made = listing.measured = 0
    for pos in (0, size // 3, size // 2, size - 3 * P, size - 10):
        handle = file.open(os.O_RDONLY)
        assert bytes(handle.read(pos, P)) == text[pos : pos + P]
        assert listing.made <= CHUNK + P // 60, pos
        listing.made = 0
    assert (file.size, listing.measured) == (size, unpurged)

    listing.measured = 0
    machine.vm.vfree(kept[0])
    assert file.size == len(text_of(Vmallocinfo(machine)))
    assert (listing.made, listing.measured) == (0, 1)
    machine.vm.vm_unmap_aliases()
    assert file.size == len(text_of(Vmallocinfo(machine)))
    assert (listing.made, listing.measured) == (0, 1)
