"""SLUB's caches: how large their slabs are, and which slab an object comes from.

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

Confessed: the list lies beside the slab, not in the objects.  New slabs are not shuffled
(CONFIG_SLAB_FREELIST_RANDOM), and caches of the same size are not merged (slab_nomerge).
Linux: mm/slub.c
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from .layout import PAGE_SHIFT, PAGE_SIZE

__all__ = [
    "END",
    "NO_SLAB",
    "SLAB_HWCACHE_ALIGN",
    "USED",
    "CacheStatistics",
    "KmemCache",
    "ObjectRun",
    "SlabPage",
    "calculate_order",
    "get_order",
]

SLAB_HWCACHE_ALIGN: Final = 1 << 4
"""`flags` of a cache whose objects begin at a cache line, or at a fraction of one."""

USED: Final = 0xFFFF
"""In place of the next free object's number: this one is allocated."""
END: Final = 0xFFFE
"""In place of a number: there is no further free object."""

CACHE_LINE: Final = 64
MIN_PARTIAL: Final = 5
MAX_PARTIAL: Final = 10
SLUB_MAX_ORDER: Final = 3


def get_order(size: int) -> int:
    """The smallest order whose block holds `size` bytes (Linux: get_order())."""
    return max((size - 1) >> PAGE_SHIFT, 0).bit_length()


def calculate_order(size: int, cpus: int = 1) -> int:
    """The order of the slabs for objects of `size` bytes, on a machine with so many CPUs.

    At least eight objects (more with more CPUs) shall fit, and a sixteenth be wasted at the most,
    if that goes in eight frames; less is asked for if it does not.
    Linux: mm/slub.c:calculate_order()
    """
    max_objects = max((PAGE_SIZE << SLUB_MAX_ORDER) // size, 1)
    min_objects = min(4 * (cpus.bit_length() + 1), max_objects)
    min_order = get_order(min_objects * size)
    for fraction in (16, 8, 4, 2):
        for order in range(min_order, SLUB_MAX_ORDER + 1):
            nbytes = PAGE_SIZE << order
            if nbytes % size <= nbytes // fraction:
                return order
    return get_order(size)


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

    __slots__ = ("address", "cache", "head", "inuse", "links", "objects", "on_node", "order", "pfn")

    def __init__(self, cache: KmemCache, address: int, pfn: int, order: int) -> None:
        self.cache = cache
        self.address = address
        """Of the first object."""
        self.pfn = pfn
        self.order = order
        self.objects = (PAGE_SIZE << order) // cache.size
        self.links = cache.links_of(self.objects)
        """For each object USED, or the number of the next free one, or END."""
        self.head = 0
        """The number of the first free object, or END."""
        self.inuse = 0
        """How many objects are allocated."""
        self.on_node = False
        """Whether it is on the node's partial list."""

    def allocated(self) -> Iterator[int]:
        """The addresses of the objects that are allocated."""
        size, address = self.cache.size, self.address
        return (address + i * size for i, link in enumerate(self.links) if link == USED)

    def __repr__(self) -> str:
        return f"<SlabPage pfn={self.pfn} {self.inuse} of {self.objects} in use>"

    def state(self) -> list[Any]:
        """Where it is, and what is free in it, as plain data."""
        return [self.cache.name, self.pfn, self.order, self.head, self.links.tolist()]


class _NoSlab(SlabPage):
    """Stands where a cpu has no slab: it has no free object."""

    __slots__ = ()

    def __init__(self) -> None:
        self.head, self.inuse, self.objects = END, 0, 0

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
    """

    def __init__(
        self,
        name: str,
        object_size: int,
        align: int,
        flags: int,
        pointer_size: int,
        cpus: int,
    ) -> None:
        self.name: Final = name
        self.object_size: Final = object_size
        self.flags: Final = flags
        self.align: Final = _calculate_alignment(object_size, align, flags, pointer_size)
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
        self.partial: list[SlabPage] = []
        """The cpu's partial list; the last one is used first."""
        self.node: OrderedDict[SlabPage, None] = OrderedDict()
        """The node's partial list; the first one is used first."""
        self.node_free = 0
        """Free objects on it."""
        self.nr_slabs = 0
        self.nr_objects = 0
        """That its slabs have room for."""
        self.run_slabs = 0
        """Slabs that runs count for."""
        self.run_objects = 0
        self.nr_full = 0
        """Full slabs, on no list."""
        self.destroyed = False
        self._links: dict[int, array[int]] = {}

    def links_of(self, objects: int) -> array[int]:
        """The list of a slab of so many objects that are all free."""
        links = self._links.get(objects)
        if links is None:
            links = self._links[objects] = array("H", [*range(1, objects), END])
        return links[:]

    def next_slab(self) -> bool:
        """Have a slab with a free object in place of the cpu's, which is full.

        Returns False when no list has one.  Linux: mm/slub.c:___slab_alloc()
        """
        if self.cpu is not NO_SLAB:
            self.nr_full += 1
            self.cpu = NO_SLAB
        if self.partial:
            self.cpu = self.partial.pop()
        elif self.node:
            self._get_partial()
        return self.cpu is not NO_SLAB

    def _get_partial(self) -> None:
        """Take the first slab of the node's list, and some more for the cpu's.

        Linux: mm/slub.c:get_partial_node()
        """
        self.cpu = self._remove_partial(next(iter(self.node)))
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

    def object_freed(self, page: SlabPage, discard: Callable[[SlabPage], None]) -> None:
        """An object of a slab that is not the cpu's has been freed.

        Linux: mm/slub.c:__slab_free()
        """
        if page.inuse == page.objects - 1:  # it was full
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
                self.nr_full += 1
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

    def state(self) -> dict[str, Any]:
        """Which slabs are on which list, by their first frames, as plain data."""
        return {
            "name": self.name,
            "cpu": None if self.cpu is NO_SLAB else self.cpu.pfn,
            "partial": [page.pfn for page in self.partial],
            "node": [page.pfn for page in self.node],
        }

    def check(self, pages: list[SlabPage]) -> None:
        """Assert the invariants, of all its slabs.  Slow: for tests.

        - a slab's list has each of its free objects once, and no other
        - a slab is the cpu's, on one of the lists, or full; none on a list is full
        - the books are what is there
        """
        for page in pages:
            free, index = set(), page.head
            while index != END:
                assert index not in free
                free.add(index)
                index = page.links[index]
            assert free == {i for i, link in enumerate(page.links) if link != USED}
            assert page.objects - page.inuse == len(free)
            assert page.on_node == (page in self.node)
        listed = [*self.partial, *self.node]
        assert all(page.head != END for page in listed)
        if self.cpu is not NO_SLAB:
            listed.append(self.cpu)
        assert len(set(listed)) == len(listed)
        assert set(listed) <= set(pages)
        full = [page for page in set(pages) - set(listed) if page.head == END]
        assert self.nr_full == len(full) == len(pages) - len(listed)
        assert self.nr_slabs == len(pages)
        assert self.nr_objects == sum(page.objects for page in pages)
        assert self.node_free == sum(page.objects - page.inuse for page in self.node)
        assert self.nr_used == sum(page.inuse for page in pages)


def _calculate_alignment(size: int, align: int, flags: int, pointer_size: int) -> int:
    """Linux: mm/slab_common.c:calculate_alignment()"""
    if flags & SLAB_HWCACHE_ALIGN:
        line = CACHE_LINE
        while size <= line // 2:
            line //= 2
        align = max(align, line)
    return -(-max(align, 8) // pointer_size) * pointer_size
