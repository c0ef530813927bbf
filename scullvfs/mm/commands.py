"""A machine by hand: one command a line, such as `vmalloc a 65536`.

    line --> words --> arguments, each as its place in USAGE says --> done, and an answer
               |          |                                             |
               +----------+----- refused, and nothing is changed -------+

The words are those of a kernel module's functions, and what they give stays under a name
(`handles`) until it is freed.  What a command says is in `Commands.answer`: an address, the bytes
that were read, or why it was refused.

Where others must not wait for long (`MAX_BYTES`), what is larger is refused, but for what the
kernel refuses at once, since there is not so much RAM.

Reading goes where a kernel module's would: from a handle's address to any other that is mapped,
and else to a page fault.  Writing goes to a handle's own bytes only, and to a page fault where
nothing is mapped: what lies elsewhere may be a page table, and the machine would not be one any
more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from itertools import cycle, islice
from typing import Any, Final, NamedTuple

from .errors import PageFault
from .fault import page_fault_oops
from .gfp import __GFP_NOWARN as NOWARN
from .gfp import GFP_KERNEL
from .handles import MAX_HANDLES, MAX_NAME, Handle, Handles
from .layout import PAGE_SHIFT, PAGE_SIZE, PHYS_PFN, offset_in_page, page_align
from .machine import Machine

__all__ = ["MAX_BYTES", "MAX_LINE", "USAGE", "Commands", "Refused", "Why"]

MAX_BYTES: Final = 8 << 20
"""Of one allocation or mapping: to fill so much with zeros takes some milliseconds."""
MAX_LINE: Final = 255
"""Characters of a command."""
MAX_PEEK: Final = 256
"""Bytes that are read at once."""
MAX_PFNS: Final = 512
"""Frames that are listed at once."""
CALLER: Final = "mm_command_write"
"""Who asks for an area, as the listing of areas shows it."""

_NAME: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_NAME}}}")
_NUMBER: Final = re.compile(r"(-?)(?:0[xX]([0-9a-fA-F]{1,16})|0([0-7]{1,22})|(0|[1-9][0-9]{0,19}))")
_U64_MAX: Final = (1 << 64) - 1

USAGE: Final = {
    "vmalloc": "NAME SIZE",
    "vzalloc": "NAME SIZE",
    "vmalloc_user": "NAME SIZE",
    "vmalloc_32": "NAME SIZE",
    "vmalloc_huge": "NAME SIZE",
    "kvmalloc": "NAME SIZE",
    "vmap": "NAME PAGES HANDLE",
    "vm_map_ram": "NAME PAGES HANDLE",
    "ioremap": "NAME PHYS SIZE",
    "kmalloc": "NAME SIZE",
    "kmalloc_nowarn": "NAME SIZE",
    "get_free_pages": "NAME ORDER",
    "gfp": "NAME ORDER",
    "free": "HANDLE",
    "purge": "",
    "settle": "",
    "peek": "HANDLE OFFSET [COUNT]",
    "poke": "HANDLE OFFSET BYTE...",
    "walk": "HANDLE [OFFSET]",
    "pfns": "HANDLE [COUNT]",
    "sizes": "SIZE",
    "buddy": "",
}
"""Word -> its arguments; those in brackets may be left out, of the last there may be more."""


class Why(Enum):
    """Why a command is refused."""

    INVALID = auto()
    """It is none, or its arguments are not what they should be."""
    NO_HANDLE = auto()
    NAME_IN_USE = auto()
    NAME_TOO_LONG = auto()
    HANDLE_IN_USE = auto()
    """Its frames are mapped by another one."""
    TOO_MANY = auto()
    """There are MAX_HANDLES."""
    TOO_LARGE = auto()
    """It would take too long."""
    NO_MEMORY = auto()
    """The function has given NULL."""
    FAULT = auto()
    """Nothing is mapped there; the kernel log has the report."""
    NOT_ITS_OWN = auto()
    """It would write into memory of others."""


class Refused(Exception):
    """A command that was not done; its text is for who has given it."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(text)
        self.why: Final = why


class _Given(NamedTuple):
    """What an allocator has given."""

    address: int
    size: int
    phys: int | None = None
    pages: range = range(0)
    source: Handle | None = None


class Commands:
    """Does commands on a machine, one after the other.

    Args:
        max_bytes: of one allocation or mapping, if nobody is to wait for long.
    """

    def __init__(self, machine: Machine, max_bytes: int | None = None) -> None:
        self._machine = machine
        self._max_bytes = max_bytes
        self.handles: Final = Handles(machine)
        self.answer = "".join(f"{word} {usage}".rstrip() + "\n" for word, usage in USAGE.items())
        """What the last command has said, in lines; before the first one all that there are."""
        vm = self._vm = machine.vm
        self._size_max: Final = (1 << 8 * machine.layout.pointer_size) - 1
        self._page_offset: Final = machine.layout.page_offset
        self._pointer: Final = machine.layout.pointer
        self._ram: Final = machine.page_alloc.totalram_pages << PAGE_SHIFT
        self._allocators: Final[dict[str, Callable[..., _Given | None]]] = {
            "vmalloc": partial(self._vmalloc, vm.vmalloc),
            "vzalloc": partial(self._vmalloc, vm.vzalloc),
            "vmalloc_user": partial(self._vmalloc, vm.vmalloc_user),
            "vmalloc_32": partial(self._vmalloc, vm.vmalloc_32),
            "vmalloc_huge": partial(self._vmalloc, vm.vmalloc_huge),
            "kvmalloc": partial(self._vmalloc, vm.kvmalloc),
            "vmap": partial(self._map, partial(vm.vmap, caller=CALLER)),
            "vm_map_ram": partial(self._map, vm.vm_map_ram),
            "ioremap": self._ioremap,
            "kmalloc": self._kmalloc,
            "kmalloc_nowarn": partial(self._kmalloc, gfp=GFP_KERNEL | NOWARN),
            "get_free_pages": self._get_free_pages,
            "gfp": self._get_free_pages,
        }
        self._free: Final[dict[str, Callable[[Handle], None]]] = {
            "kvmalloc": lambda handle: vm.kvfree(handle.address),
            "vmap": lambda handle: vm.vunmap(handle.address),
            "vm_map_ram": self._vm_unmap_ram,
            "ioremap": lambda handle: vm.iounmap(handle.address),
            "kmalloc": lambda handle: machine.slab.kfree(handle.address),
            "kmalloc_nowarn": lambda handle: machine.slab.kfree(handle.address),
            "get_free_pages": self._free_pages,
            "gfp": self._free_pages,
        }
        """Where it is not vfree()."""
        self._others: Final[dict[str, Callable[..., str]]] = {
            "free": self._do_free,
            "purge": self._purge,
            "settle": self._settle,
            "peek": self._peek,
            "poke": self._poke,
            "walk": self._walk,
            "pfns": self._pfns,
            "sizes": self._sizes,
            "buddy": self._buddy,
        }
        self._parsers: Final[dict[str, Callable[[str], Any]]] = {
            "NAME": self._new_name,
            "HANDLE": self._handle,
            "SIZE": lambda text: _number(text, 0, self._size_max),
            "PHYS": lambda text: _number(text, 0, _U64_MAX),
            "ORDER": lambda text: _number(text, 0, (1 << 32) - 1),
            "PAGES": lambda text: _number(text, 0, (1 << 32) - 1),
            "OFFSET": lambda text: _number(text, -self._size_max, self._size_max),
            "COUNT": lambda text: _number(text, 1, MAX_PFNS),
            "BYTE": lambda text: _number(text, 0, 0xFF),
        }

    def do(self, line: str) -> str:
        """Do the command of a line; returns its answer, and keeps it.

        Raises:
            Refused: it cannot be done, and nothing has changed.
        """
        try:
            self.answer = self._do(line) + "\n"
        except Refused as refused:
            self.answer = f"{refused}\n"
            raise
        return self.answer

    def _do(self, line: str) -> str:
        if len(line) > MAX_LINE or not (line.isascii() and line.isprintable()):
            raise Refused(Why.INVALID, f"a command is a line of {MAX_LINE} characters at the most")
        word, *words = line.split() or [""]
        usage = USAGE.get(word)
        if usage is None:
            raise Refused(Why.INVALID, f"unknown command; there are {', '.join(USAGE)}")
        arguments = self._arguments(f"{word} {usage}".rstrip(), usage.split(), words)
        if word in self._allocators:
            return self._allocate(word, arguments[0], arguments[1:])
        return self._others[word](*arguments)

    def _arguments(self, usage: str, places: Sequence[str], words: Sequence[str]) -> list[Any]:
        required = sum(not place.startswith("[") for place in places)
        most = MAX_LINE if places and places[-1].endswith("...") else len(places)
        if not required <= len(words) <= most:
            raise Refused(Why.INVALID, f"usage: {usage}")
        arguments = []
        for number, text in enumerate(words):
            place = places[min(number, len(places) - 1)].strip("[].")
            try:
                arguments.append(self._parsers[place](text))
            except ValueError as error:
                raise Refused(Why.INVALID, f"{place}: {error}; usage: {usage}") from None
        return arguments

    def _new_name(self, text: str) -> str:
        if len(text) > MAX_NAME:
            raise Refused(Why.NAME_TOO_LONG, f"a name has {MAX_NAME} characters at the most")
        if not _NAME.fullmatch(text):
            raise ValueError(f"{text!r} is no name of letters, digits, '_', '.' and '-'")
        if text in self.handles:
            raise Refused(Why.NAME_IN_USE, f"{text} is in use")
        return text

    def _handle(self, text: str) -> Handle:
        handle = self.handles.find(text)
        if handle is None:
            raise Refused(Why.NO_HANDLE, f"there is no {text}")
        return handle

    # -- what gives memory ---------------------------------------------------------------------

    def _allocate(self, word: str, name: str, arguments: Sequence[Any]) -> str:
        """Have an allocator give memory, and keep it with what that has cost."""
        if len(self.handles) >= MAX_HANDLES:
            raise Refused(Why.TOO_MANY, f"there are {MAX_HANDLES} handles, and can be no more")
        self._settle()  # what others have left to do is not its cost
        machine = self._machine
        entries, free = machine.pgtable.entries_written, machine.page_alloc.nr_free
        given = self._allocators[word](*arguments)
        if given is None:
            raise Refused(Why.NO_MEMORY, "NULL")
        address, size, phys, pages, source = given
        handle = Handle(
            name,
            word,
            address,
            size,
            pages=pages,
            phys=phys,
            source=source,
            entries=machine.pgtable.entries_written - entries,
            frames=free - machine.page_alloc.nr_free,
        )
        self.handles.add(handle)
        return self._pointer(address)

    def _bound(self, nbytes: int, most: int) -> None:
        """Refuse what takes too long, but not above `most`, which the kernel refuses at once."""
        if self._max_bytes is not None and self._max_bytes < nbytes <= most:
            text = f"{nbytes} bytes; one command takes {self._max_bytes} at the most"
            raise Refused(Why.TOO_LARGE, text)

    def _vmalloc(self, function: Callable[..., int | None], size: int) -> _Given | None:
        self._bound(size, self._ram)
        address = function(size, caller=CALLER)
        if address is None:
            return None
        area = self._vm.find_vm_area(address)
        if area is None:  # kvmalloc() has had it of kmalloc()
            return self._object(address)
        return _Given(address, area.nr_pages << PAGE_SHIFT)

    def _map(
        self, function: Callable[[Sequence[int]], int | None], nr_pages: int, source: Handle
    ) -> _Given | None:
        """Map so many frames of another handle, over again from its first if it has fewer."""
        self._bound(nr_pages << PAGE_SHIFT, self._ram)
        frames = list(self.handles.frames_of(source))
        if not frames:
            raise Refused(Why.INVALID, f"{source.name} has no frames of its own")
        if nr_pages << PAGE_SHIFT > self._ram:
            return None
        address = function(list(islice(cycle(frames), nr_pages)))
        if address is None:
            return None
        return _Given(address, nr_pages << PAGE_SHIFT, source=source)

    def _ioremap(self, phys: int, size: int) -> _Given | None:
        self._bound(size, self._machine.layout.max_mem - phys)
        address = self._vm.ioremap(phys, size, CALLER)
        if address is None:
            return None
        offset = offset_in_page(phys)
        return _Given(address, page_align(size + offset) - offset, phys)

    def _kmalloc(self, size: int, gfp: int = GFP_KERNEL) -> _Given | None:
        address = self._machine.slab.kmalloc(size, gfp)
        return None if address is None else self._object(address)

    def _object(self, address: int) -> _Given:
        """What `kmalloc()` has given; no bytes are nowhere."""
        size = self._machine.slab.ksize(address)
        return _Given(address, size, address - self._page_offset if size else None)

    def _get_free_pages(self, order: int) -> _Given | None:
        address = self._machine.page_alloc.get_free_pages(GFP_KERNEL, order)
        if address is None:
            return None
        phys = address - self._page_offset
        first = PHYS_PFN(phys)
        return _Given(address, PAGE_SIZE << order, phys, range(first, first + (1 << order)))

    # -- what frees it -------------------------------------------------------------------------

    def _do_free(self, handle: Handle) -> str:
        if handle.users:
            raise Refused(Why.HANDLE_IN_USE, f"{handle.name} has frames that others map")
        self.handles.remove(handle)
        free = self._free.get(handle.kind)
        if free is None:
            self._vm.vfree(handle.address)
        else:
            free(handle)
        return "ok"

    def _vm_unmap_ram(self, handle: Handle) -> None:
        self._vm.vm_unmap_ram(handle.address, handle.size >> PAGE_SHIFT)

    def _free_pages(self, handle: Handle) -> None:
        order = len(handle.pages).bit_length() - 1
        self._machine.page_alloc.free_pages(handle.address, order)

    def _purge(self) -> str:
        self._vm.vm_unmap_aliases()
        return "ok"

    def _settle(self) -> str:
        """Do what waits for later."""
        if self._machine.workqueue.pending:
            self._machine.workqueue.flush()
        return "ok"

    # -- what looks ----------------------------------------------------------------------------

    def _peek(self, handle: Handle, offset: int, count: int = 1) -> str:
        """Read bytes, sixteen a line."""
        if count > MAX_PEEK:
            raise Refused(Why.INVALID, f"{MAX_PEEK} bytes can be read at once")
        start = handle.address + offset & self._size_max
        try:
            data = bytes(self._machine.memory.read(start, count))
        except PageFault as fault:
            raise self._fault(fault, "peek") from fault
        return "\n".join(
            f"{self._pointer(start + at & self._size_max)}: {data[at : at + 16].hex(' ')}"
            for at in range(0, count, 16)
        )

    def _poke(self, handle: Handle, offset: int, *values: int) -> str:
        """Write bytes."""
        data, memory = bytes(values), self._machine.memory
        start = handle.address + offset & self._size_max
        try:
            if not 0 <= offset <= handle.size - len(data):
                memory.translate(start, len(data), write=True)
                text = f"{handle.name} has {handle.size} bytes; what lies elsewhere is not its own"
                raise Refused(Why.NOT_ITS_OWN, text)
            memory.write(start, data)
        except PageFault as fault:
            raise self._fault(fault, "poke") from fault
        return "ok"

    def _fault(self, fault: PageFault, function: str) -> Refused:
        trace = (f"mm_{function}", CALLER, "vfs_write", "ksys_write", "do_syscall_64")
        page_fault_oops(self._machine, fault, trace)
        return Refused(Why.FAULT, f"page fault at {self._pointer(fault.address)}")

    def _walk(self, handle: Handle, offset: int = 0) -> str:
        """The entries on the way down the page tables, to what maps an address or to none."""
        address = handle.address + offset & self._size_max
        entries = self._machine.pgtable.walk(address)
        return "\n".join(f"{level} {self._pointer(entry)}" for level, entry in entries)

    def _pfns(self, handle: Handle, count: int | None = None) -> str:
        """The frames behind a handle's pages, "-" where there is none."""
        if count is None:
            count = min(max(page_align(handle.size) >> PAGE_SHIFT, 1), MAX_PFNS)
        return " ".join(self._pfn(handle.address + (at << PAGE_SHIFT)) for at in range(count))

    def _pfn(self, address: int) -> str:
        try:
            ((phys, _),) = self._machine.memory.translate(address & self._size_max, 1, write=False)
        except PageFault:
            return "-"
        return f"{PHYS_PFN(phys)}"

    def _sizes(self, size: int) -> str:
        """The bytes that `kmalloc()` gives for so many; of NULL they are none."""
        slab = self._machine.slab
        address = slab.kmalloc(size)
        given = slab.ksize(address)
        slab.kfree(address)
        return f"{given}"

    def _buddy(self) -> str:
        """Free blocks of each order."""
        zones = self._machine.page_alloc.free_by_order().items()
        return "\n".join(f"{name} {' '.join(map(str, counts))}" for name, counts in zones)


def _number(text: str, least: int, most: int) -> int:
    """A number as the kernel reads it: decimal, 0x or octal.

    Raises:
        ValueError: it is none, or not in the range.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no number")
    sign, hexadecimal, octal, decimal = match.groups()
    digits, base = (hexadecimal, 16) if hexadecimal else (octal, 8) if octal else (decimal, 10)
    value = int(f"{sign}{digits}", base)
    if not least <= value <= most:
        raise ValueError(f"{text} is not from {least} to {most}")
    return value
