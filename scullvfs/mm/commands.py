"""A machine by hand: one command a line, such as `vmalloc a 65536`.

    line --> word and arguments (`command_line`) --> done, and an answer
               |                                       |
               +---- refused, and nothing is changed --+

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

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Any, Final, NamedTuple, TypedDict

from .command_line import MAX_PFNS, USAGE, CommandLine, Refused, Why, is_name
from .dump_stack import syscall_trace
from .errors import PageFault
from .fault import page_fault_oops
from .gfp import __GFP_NOWARN as NOWARN
from .gfp import GFP_KERNEL
from .handles import MAX_HANDLES, Handle, Handles, HandleState
from .layout import PAGE_SHIFT, PAGE_SIZE, PHYS_PFN, offset_in_page, page_align
from .machine import Machine
from .restoring import Claims, StateError

__all__ = ["MAX_BYTES", "Commands", "CommandsState", "Refused"]

MAX_BYTES: Final = 8 << 20
"""Of one allocation or mapping: to fill so much with zeros takes some milliseconds."""
CALLER: Final = "mm_command_write"
"""Who asks for an area, as the listing of areas shows it."""


class _Given(NamedTuple):
    """What an allocator has given."""

    address: int
    size: int
    phys: int | None = None
    pages: range = range(0)
    source: Handle | None = None


class CommandsState(TypedDict):
    """What has been done by hand."""

    handles: list[HandleState]
    last: int
    answer: str


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
        self._line: Final = CommandLine(self.handles, self._size_max)
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
            "kmem_cache_alloc": self._kmem_cache_alloc,
            "kmem_cache_alloc_nowarn": partial(self._kmem_cache_alloc, gfp=GFP_KERNEL | NOWARN),
            "get_free_pages": self._get_free_pages,
            "gfp": self._get_free_pages,
        }
        self._free: Final[dict[str, Callable[[Handle], None]]] = {
            "kvmalloc": lambda handle: vm.kvfree(handle.address),
            "vmap": lambda handle: vm.vunmap(handle.address),
            "vm_map_ram": self._vm_unmap_ram,
            "ioremap": lambda handle: vm.iounmap(handle.address),
            **dict.fromkeys(
                ("kmalloc", "kmalloc_nowarn", "kmem_cache_alloc", "kmem_cache_alloc_nowarn"),
                lambda handle: machine.slab.kfree(handle.address),
            ),
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

    def state(self) -> CommandsState:
        """The handles, and what the last command has said, as plain data."""
        handles = self.handles
        return {"handles": handles.state(), "last": handles.last, "answer": self.answer}

    def restore(self, state: CommandsState, claims: Claims) -> None:
        """Have these handles, on memory that is there already."""
        for handle in state["handles"]:
            if handle.kind not in self._allocators or not is_name(handle.name):
                raise StateError("a handle of no command")
        self.handles.restore(state["handles"], state["last"], claims)
        self.answer = state["answer"]

    def do(self, line: str) -> str:
        """Do the command of a line; returns its answer, and keeps it.

        Raises:
            Refused: it cannot be done, and nothing has changed.
        """
        try:
            word, arguments = self._line.parse(line)
            self.answer = self._do(word, arguments) + "\n"
        except Refused as refused:
            self.answer = f"{refused}\n"
            raise
        return self.answer

    def _do(self, word: str, arguments: Sequence[Any]) -> str:
        if word in self._allocators:
            return self._allocate(word, arguments[0], arguments[1:])
        return self._others[word](*arguments)

    # -- what gives memory ---------------------------------------------------------------------

    def _allocate(self, word: str, name: str, arguments: Sequence[Any]) -> str:
        """Have an allocator give memory, and keep it with what that has cost."""
        if len(self.handles) >= MAX_HANDLES:
            raise Refused(Why.TOO_MANY, f"there are {MAX_HANDLES} handles, and can be no more")
        self._settle()  # what others have left to do is not its cost
        machine = self._machine
        entries, free = machine.pgtable.entries_written, machine.page_alloc.nr_free
        try:
            given = self._allocators[word](*arguments)
        except PageFault as fault:  # a driver's mistake has overwritten what the allocators go by
            raise self._fault(fault, word) from fault
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

    def _kmem_cache_alloc(self, name: str, gfp: int = GFP_KERNEL) -> _Given | None:
        """An object of the cache that /proc/slabinfo lists under that name.

        That of the areas themselves no module can reach (Linux: mm/vmalloc.c:vmap_area_cachep).
        """
        slab, own = self._machine.slab, self._machine.vmap_space.vmap_areas.cache
        caches = {cache.name: cache for cache in slab.caches() if cache is not own}
        cache = caches.get(name)
        if cache is None:
            raise Refused(Why.INVALID, f"there is no cache {name}; there are {', '.join(caches)}")
        address = slab.kmem_cache_alloc(cache, gfp)
        return None if address is None else self._object(address)

    def _object(self, address: int) -> _Given:
        """What `kmalloc()` or a cache has given; no bytes are nowhere."""
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
        trace = [
            *fault.trace,
            f"mm_{function}",
            CALLER,
            *syscall_trace("write", self._machine.layout.name),
        ]
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
        try:
            address = slab.kmalloc(size)
        except PageFault as fault:
            raise self._fault(fault, "sizes") from fault
        given = slab.ksize(address)
        slab.kfree(address)
        return f"{given}"

    def _buddy(self) -> str:
        """Free blocks of each order."""
        zones = self._machine.page_alloc.free_by_order().items()
        return "\n".join(f"{name} {' '.join(map(str, counts))}" for name, counts in zones)
