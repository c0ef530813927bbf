"""SLUB's caches: which slab an object comes from, and goes back to.

A slab is 2**order contiguous frames cut into objects of one size.  Its free objects are a list,
threaded through small numbers beside it: each free object's number tells the next one's.  What was
freed last is given first; in a new slab they come in rising order.

        kmalloc --> cpu slab  <--used up--  cpu partial list  <--used up--  node partial list
                       |                         ^                              ^    |
                 full: on no list ---kfree-------+----when it is too long-------+    +--> freed
                                                                    empty, beyond min_partial

The way of a slab is that of a kernel with one CPU, with CONFIG_SLUB_CPU_PARTIAL.  A kfree() into
the cpu slab is a matter of its list alone; one into a full slab puts that slab on the cpu's partial
list; empty slabs go back once `min_partial` others are on the node's list.

Confessed: the list lies beside the slab, not in the objects (what stands there in Linux is written
where it can be seen, see `unwiped_slab`); who overwrites the place where Linux has a pointer of it
breaks it all the same (`overrun`).  New slabs are not shuffled
(CONFIG_SLAB_FREELIST_RANDOM), and caches of the same size are not merged (slab_nomerge).
Linux: mm/slub.c
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypedDict

from .layout import PAGE_SHIFT, PAGE_SIZE
from .restoring import StateError
from .slab_order import calculate_alignment, calculate_order, get_order

__all__ = [
    "BAD",
    "END",
    "NO_SLAB",
    "USED",
    "CacheState",
    "CacheStatistics",
    "KmemCache",
    "ObjectRun",
    "SlabPage",
    "SlabState",
]

USED: Final = 0xFFFF
"""In place of the next free object's number: this one is allocated."""
END: Final = 0xFFFE
"""In place of a number: there is no further free object."""
BAD: Final = 0xFFFD
"""In place of a number: somebody has overwritten what leads to the next free object."""

MIN_PARTIAL: Final = 5
MAX_PARTIAL: Final = 10


class CacheStatistics(NamedTuple):
    """A cache's line in /proc/slabinfo (Linux: mm/slub.c:get_slabinfo())."""

    name: str
    active_objs: int
    """All but the free ones of slabs on the node's partial list, as Linux counts them."""
    num_objs: int
    objsize: int
    """Bytes from one object to the next."""
    objperslab: int
    pagesperslab: int
    active_slabs: int
    """The same as `num_slabs`, in Linux, too."""
    num_slabs: int


class SlabState(NamedTuple):
    """A slab, and what is free in it."""

    pfn: int
    order: int
    number: int
    """Its place in `KmemCache.slabs`."""
    head: int
    links: list[int]
    """Nothing for a slab that is full."""


class CacheState(TypedDict):
    """What a cache is, and which slab is on which of its lists, by their first frames."""

    name: str
    object_size: int
    align: int
    flags: int
    destroyed: bool
    cpu: int | None
    partial: list[int]
    node: list[int]
    unused: list[int]
    lost: int
    slabs: list[SlabState]


class ObjectRun(NamedTuple):
    """Objects of one cache that fill 2**`order` contiguous frames."""

    address: int
    """Of the first object, at the start of a page."""
    order: int
    size: int
    """Of an object, in bytes; none crosses a page boundary."""

    @property
    def nr_objects(self) -> int:
        """How many objects there are."""
        return PAGE_SIZE // self.size << self.order

    def object(self, index: int) -> int:
        """The address of one of them."""
        page, place = divmod(index, PAGE_SIZE // self.size)
        return self.address + (page << PAGE_SHIFT) + place * self.size


class SlabPage:
    """One slab (Linux: struct slab)."""

    # There may be thousands of them: what follows from the others is no attribute.
    __slots__ = ("cache", "head", "inuse", "links", "number", "objects", "on_node", "pfn")

    def __init__(self, cache: KmemCache, pfn: int, order: int) -> None:
        self.cache = cache
        self.pfn = pfn
        self.objects = (PAGE_SIZE << order) // cache.size
        self.links = cache.links_of(self.objects)
        """For each object USED, or the number of the next free one, or END, or BAD.

        That of a full slab on no list is the cache's, and must not be written."""
        self.head = 0
        """The number of the first free object, or END."""
        self.inuse = 0
        """How many objects are allocated."""
        self.number = 0
        """That of its first object among all of the cache's."""
        self.on_node = False
        """Whether it is on the node's partial list."""

    @property
    def address(self) -> int:
        """Of the first object."""
        return self.cache.page_offset + (self.pfn << PAGE_SHIFT)

    @property
    def order(self) -> int:
        """log2 of its frames."""
        cache = self.cache
        return cache.order if self.objects == cache.objects else cache.min_order

    def allocated(self) -> Iterator[int]:
        """The addresses of the objects that are allocated."""
        size, address = self.cache.size, self.address
        return (address + i * size for i, link in enumerate(self.links) if link == USED)

    def lose_free(self) -> None:
        """Have no free object any more, as nothing leads to them; they count as allocated."""
        for index, link in enumerate(self.links):
            if link != USED:
                self.links[index] = USED
        self.cache.nr_lost += self.objects - self.inuse
        self.head, self.inuse = END, self.objects

    def __repr__(self) -> str:
        return f"<SlabPage pfn={self.pfn} {self.inuse} of {self.objects} in use>"

    def state(self) -> SlabState:
        """Where it is, and what is free in it, as plain data."""
        links = [] if self.inuse == self.objects else self.links.tolist()
        return SlabState(self.pfn, self.order, self.number >> self.cache.shift, self.head, links)

    @classmethod
    def restored(cls, cache: KmemCache, state: SlabState) -> SlabPage:
        """The slab of a state."""
        pfn, order, number, head, links = state
        if order not in (cache.order, cache.min_order):
            raise StateError(f"{cache.name} has no slab of order {order}")
        page = cls(cache, pfn, order)
        page.links = array("H", links or [USED] * page.objects)
        page.head, page.number = head, number << cache.shift
        page.inuse = page.links.count(USED)
        left = page.objects - page.inuse
        while head < page.objects and left >= 0 and page.links[head] != USED:
            head, left = page.links[head], left - 1
        if len(page.links) != page.objects or not ((head == END and not left) or head == BAD):
            raise StateError(f"no list of free objects in the slab of {cache.name} at frame {pfn}")
        return page


class _NoSlab(SlabPage):
    """Stands where a cpu has no slab, or a number has none: no object is free, none allocated."""

    __slots__ = ()

    def __init__(self) -> None:
        self.head, self.inuse, self.objects = END, 0, 0
        self.on_node = False
        self.links = array("H", [END] * (PAGE_SIZE // 8))

    def __repr__(self) -> str:
        return "<no slab>"


NO_SLAB: Final = _NoSlab()


class KmemCache:
    """A cache of objects of one size (Linux: struct kmem_cache).

    Args:
        name: shown in /proc/slabinfo.
        object_size: bytes of an object.
        align: objects begin at multiples of it; 0 for that of a pointer.
        flags: SLAB_HWCACHE_ALIGN, or 0.
        pointer_size: bytes of a pointer, what sizes are rounded up to.
        cpus: how many the machine has; more of them make larger slabs.
        page_offset: where the linear mapping begins.
        usersize: bytes of an object, from its start on, that may be copied to or from a process.
    """

    def __init__(
        self,
        name: str,
        object_size: int,
        align: int,
        flags: int,
        pointer_size: int,
        cpus: int,
        page_offset: int,
        usersize: int = 0,
    ) -> None:
        self.name: Final = name
        self.page_offset: Final = page_offset
        self.object_size: Final = object_size
        self.zeros: Final = bytes(object_size)
        """What an object is filled with."""
        self.flags: Final = flags
        self.usersize: Final = usersize
        self.offset: Final = object_size // 2 // pointer_size * pointer_size
        """Where in a free object Linux has the pointer to the next one."""
        self.align: Final = calculate_alignment(object_size, align, flags, pointer_size)
        # Linux: mm/slub.c:calculate_sizes(), set_min_partial(), set_cpu_partial()
        size = -(-object_size // pointer_size) * pointer_size
        self.size: Final = -(-size // self.align) * self.align
        """Bytes from one object to the next."""
        self.order: Final = calculate_order(self.size, cpus)
        self.min_order: Final = get_order(self.size)
        """Of the smallest slab, made where there is no block of `order`."""
        self.objects: Final = (PAGE_SIZE << self.order) // self.size
        """In a slab of `order`."""
        half_log = (self.size.bit_length() - 1) // 2
        self.min_partial: Final = max(MIN_PARTIAL, min(MAX_PARTIAL, half_log))
        """So many slabs stay on the node's partial list, even when they are empty."""
        self.cpu_partial: Final = next(
            count
            for limit, count in ((PAGE_SIZE, 6), (1024, 24), (256, 52), (0, 120))
            if self.size >= limit
        )
        self.cpu_partial_slabs: Final = -(-self.cpu_partial * 2 // self.objects)
        """So many slabs may be on the cpu's partial list."""
        self.cpu: SlabPage = NO_SLAB
        """What objects are allocated from."""
        self.cpu_address = 0
        """The address of its first object."""
        self.partial: list[SlabPage] = []
        """The cpu's partial list; the last one is used first."""
        self.node: OrderedDict[SlabPage, None] = OrderedDict()
        """The node's partial list; the first one is used first."""
        self.node_free = 0
        """Free objects on it."""
        self.shift: Final = (self.objects - 1).bit_length()
        """An object's number is that of its slab, shifted by so many bits, and its place there."""
        self.slabs: Final[list[SlabPage]] = [NO_SLAB]
        """By number; the first slab is number 1."""
        self._unused: Final[list[int]] = []
        """Numbers of slabs that are no more."""
        self.nr_slabs = 0
        self.nr_objects = 0
        """That its slabs have room for."""
        self.run_slabs = 0
        """Slabs that runs count for."""
        self.run_objects = 0
        self.nr_full = 0
        """Full slabs, on no list."""
        self.nr_lost = 0
        """Objects that count as allocated, and nobody has them (`SlabPage.lose_free()`)."""
        self.destroyed = False
        self._links: dict[int, array[int]] = {}
        self._used: dict[int, array[int]] = {}

    def links_of(self, objects: int) -> array[int]:
        """The list of a slab of so many objects that are all free."""
        links = self._links.get(objects)
        if links is None:
            links = self._links[objects] = array("H", [*range(1, objects), END])
        return links[:]

    def add_slab(self, page: SlabPage) -> None:
        """Have a new slab as the cpu's, which has none with a free object."""
        if self._unused:
            number = self._unused.pop()
            self.slabs[number] = page
        else:
            number = len(self.slabs)
            self.slabs.append(page)
        page.number = number << self.shift
        self.nr_objects += page.objects
        self.nr_slabs += 1
        self._set_cpu(page)

    def remove_slab(self, page: SlabPage) -> None:
        """An empty slab on no list is no more."""
        number = page.number >> self.shift
        self.slabs[number] = NO_SLAB
        self._unused.append(number)
        self.nr_objects -= page.objects
        self.nr_slabs -= 1

    @property
    def grows_by_a_frame(self) -> bool:
        """Whether a new slab comes next, of one frame, when the cpu's has no free object."""
        return not (self.order or self.partial or self.node or self.destroyed)

    def remove_last_slab(self, before: SlabPage, nr_numbers: int) -> None:
        """Have the cpu's slab, the last one added and empty, as if it had never been.

        Args:
            before: what was the cpu's, and full.
            nr_numbers: how long `slabs` was.
        """
        self.remove_slab(self.cpu)
        if len(self.slabs) > nr_numbers:
            self.slabs.pop()
            self._unused.pop()
        self.nr_full -= 1
        before.links = before.links[:]
        self._set_cpu(before)

    def _set_cpu(self, page: SlabPage) -> None:
        self.cpu = page
        self.cpu_address = page.address

    def _set_full(self, page: SlabPage) -> None:
        """A full slab is on no list from now on; all of them have their links in common."""
        self.nr_full += 1
        links = self._used.get(page.objects)
        if links is None:
            links = self._used[page.objects] = array("H", [USED] * page.objects)
        page.links = links

    def next_slab(self) -> bool:
        """Have a slab with a free object in place of the cpu's, which is full.

        Returns False when no list has one.  Linux: mm/slub.c:___slab_alloc()
        """
        if self.cpu is not NO_SLAB:
            self._set_full(self.cpu)
            self.cpu = NO_SLAB
        if self.partial:
            self._set_cpu(self.partial.pop())
        elif self.node:
            self._get_partial()
        return self.cpu is not NO_SLAB

    def _get_partial(self) -> None:
        """Take the first slab of the node's list, and some more for the cpu's.

        Linux: mm/slub.c:get_partial_node()
        """
        self._set_cpu(self._remove_partial(next(iter(self.node))))
        for _ in range(self.cpu_partial_slabs // 2 + 1):
            if not self.node:
                break
            self.partial.append(self._remove_partial(next(iter(self.node))))

    def _add_partial(self, page: SlabPage, tail: bool = True) -> None:
        self.node[page] = None
        if not tail:
            self.node.move_to_end(page, last=False)
        page.on_node = True
        self.node_free += page.objects - page.inuse

    def _remove_partial(self, page: SlabPage) -> SlabPage:
        del self.node[page]
        page.on_node = False
        self.node_free -= page.objects - page.inuse
        return page

    def slab_free(self, page: SlabPage, index: int, discard: Callable[[SlabPage], None]) -> None:
        """Free an allocated object of a slab that is not the cpu's, by its place there.

        Linux: mm/slub.c:__slab_free()
        """
        head = page.head
        if head == END:
            page.links = page.links[:]
        page.links[index] = head
        page.head = index
        page.inuse -= 1
        if head == END:  # it was full
            self.nr_full -= 1
            if len(self.partial) >= self.cpu_partial_slabs:  # put_cpu_partial()
                self._put_partials(discard)
            self.partial.append(page)
        elif page.on_node:
            self.node_free += 1
            if not page.inuse and len(self.node) >= self.min_partial:
                discard(self._remove_partial(page))

    def _put_partials(self, discard: Callable[[SlabPage], None]) -> None:
        """Move the cpu's partial list to the node's; empty slabs beyond `min_partial` are freed.

        Linux: mm/slub.c:__put_partials()
        """
        empty = []
        while self.partial:
            page = self.partial.pop()
            if not page.inuse and len(self.node) >= self.min_partial:
                empty.append(page)
            else:
                self._add_partial(page)
        for page in reversed(empty):  # as a stack, there
            discard(page)

    def flush(self, discard: Callable[[SlabPage], None]) -> None:
        """The cpu lets go of its slabs (Linux: mm/slub.c:flush_cpu_slab())."""
        page, self.cpu = self.cpu, NO_SLAB
        if page is not NO_SLAB:
            if page.head == END:
                self._set_full(page)
            elif not page.inuse and len(self.node) >= self.min_partial:
                discard(page)
            else:
                self._add_partial(page, tail=False)
        self._put_partials(discard)

    def free_partial(self, discard: Callable[[SlabPage], None]) -> list[SlabPage]:
        """Free the empty slabs of the node's list; returns the others on it.

        Linux: mm/slub.c:free_partial()
        """
        for page in [page for page in self.node if not page.inuse][::-1]:  # as a stack, there
            discard(self._remove_partial(page))
        return list(self.node)

    @property
    def nr_used(self) -> int:
        """Objects allocated from slabs, and not freed."""
        free = sum([page.objects - page.inuse for page in self.partial])
        return self.nr_objects - self.node_free - free - self.cpu.objects + self.cpu.inuse

    def statistics(self) -> CacheStatistics:
        """The line of /proc/slabinfo as it stands now."""
        objects, slabs = self.nr_objects + self.run_objects, self.nr_slabs + self.run_slabs
        return CacheStatistics(
            name=self.name,
            active_objs=objects - self.node_free,
            num_objs=objects,
            objsize=self.size,
            objperslab=self.objects,
            pagesperslab=1 << self.order,
            active_slabs=slabs,
            num_slabs=slabs,
        )

    def __repr__(self) -> str:
        return f"<KmemCache {self.name} size={self.size} objects={self.nr_used}>"

    def state(self) -> CacheState:
        """What it is, and its slabs, as plain data."""
        return {
            "name": self.name,
            "object_size": self.object_size,
            "align": self.align,
            "flags": self.flags,
            "destroyed": self.destroyed,
            "cpu": None if self.cpu is NO_SLAB else self.cpu.pfn,
            "partial": [page.pfn for page in self.partial],
            "node": [page.pfn for page in self.node],
            "unused": list(self._unused),
            "lost": self.nr_lost,
            "slabs": [page.state() for page in self.slabs if page is not NO_SLAB],
        }

    def restore(self, state: CacheState) -> list[SlabPage]:
        """Have these slabs, and no run; returns them."""
        what = state["name"], state["object_size"], state["align"], state["flags"]
        if what != (self.name, self.object_size, self.align, self.flags):
            raise StateError(f"another cache than {self.name}")
        pages = [SlabPage.restored(self, each) for each in state["slabs"]]
        self.destroyed, self.nr_lost = state["destroyed"], state["lost"]
        self.run_slabs = self.run_objects = self.nr_full = self.node_free = 0
        self.nr_slabs, self.nr_objects = len(pages), sum(page.objects for page in pages)
        self._restore_numbers(pages, state["unused"])
        self._restore_lists({page.pfn: page for page in pages}, state)
        return pages

    def _restore_numbers(self, pages: list[SlabPage], unused: list[int]) -> None:
        count = len(pages) + len(unused)
        numbers = [page.number >> self.shift for page in pages] + unused
        if sorted(numbers) != [*range(1, count + 1)]:
            raise StateError(f"numbers of slabs of {self.name} that cannot be")
        self._unused[:] = unused
        self.slabs[:] = [NO_SLAB] * (count + 1)
        for page in pages:
            self.slabs[page.number >> self.shift] = page

    def _restore_lists(self, pages: dict[int, SlabPage], state: CacheState) -> None:
        """Each of the slabs is the cpu's, or on a list, or full."""
        self.cpu, self.cpu_address = NO_SLAB, 0
        if state["cpu"] is not None:
            self._set_cpu(pages.pop(state["cpu"]))
        self.partial = [pages.pop(pfn) for pfn in state["partial"]]
        self.node = OrderedDict()
        for pfn in state["node"]:
            self._add_partial(pages.pop(pfn))
        if any(page.head == END for page in (*self.partial, *self.node)):
            raise StateError(f"a slab of {self.name} is full, and on a list")
        for page in pages.values():
            if page.head != END:
                raise StateError(f"a slab of {self.name} is on no list")
            self._set_full(page)

    def check(self, pages: list[SlabPage]) -> None:
        """Assert the invariants, of all its slabs.  Slow: for tests.

        - a slab's list has each of its free objects once, and no other; the slab is at its number
        - a slab is the cpu's, on one of the lists, or full; none on a list is full
        - the books are what is there
        """
        for page in pages:
            assert self.slabs[page.number >> self.shift] is page
            free, index = set(), page.head
            while index != END:
                assert index not in free
                assert index != BAD, "the list of free objects is overwritten"
                free.add(index)
                index = page.links[index]
            assert free == {i for i, link in enumerate(page.links) if link != USED}
            assert page.objects - page.inuse == len(free)
            assert page.on_node == (page in self.node)
        listed = [*self.partial, *self.node]
        assert all(page.head != END for page in listed)
        if self.cpu is not NO_SLAB:
            listed.append(self.cpu)
            assert self.cpu_address == self.cpu.address
        assert len(set(listed)) == len(listed)
        assert set(listed) <= set(pages)
        full = [page for page in set(pages) - set(listed) if page.head == END]
        assert self.nr_full == len(full) == len(pages) - len(listed)
        assert self.nr_slabs == len(pages)
        assert self.nr_objects == sum(page.objects for page in pages)
        assert self.node_free == sum(page.objects - page.inuse for page in self.node)
        assert self.nr_used == sum(page.inuse for page in pages)
