"""Objects of a cache by number: for parts of the kernel itself, which have very many of them.

A part that keeps its books in slab memory has as many objects as it has things, and never looks
into them here: what Linux keeps there stands in columns of numbers.  So what it remembers of an
object is not its address but a number of less than 32 bits, from which slab and place follow:

    number    |  slab, from 1 on  |  place in it  |
                                   <-- shift ---->

They are objects like any other: the same lists, the same order, and `kfree()` takes them, too.

Nothing that waits in the workqueue is finished here: who comes here has done so, and what it has
scheduled itself since then is for the next one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from typing import Final

from .errors import KernelBug
from .gfp import GFP_RECLAIM_MASK
from .layout import PAGE_SIZE
from .slub import BAD, END, NO_SLAB, USED, KmemCache, SlabPage

__all__ = ["ObjectNumbers"]


_PLACES: Final = array("H", range(PAGE_SIZE))
_ALL_USED: Final = array("H", [USED]) * PAGE_SIZE


def _run(links: array[int], index: int, step: int, most: int) -> int:
    """How many places from `index` on are linked each to the one a step from it."""
    count = 1
    while count < most and links[index] == index + step:
        index += step
        count += 1
    return min(count, most)


class ObjectNumbers:
    """The objects of one cache.

    Args:
        next_slab: has a slab with a free object as the cpu's, with the flags of an allocation, or
            returns False.
        discard: gives an empty slab's frames back.
    """

    def __init__(
        self,
        cache: KmemCache,
        next_slab: Callable[[KmemCache, int], bool],
        discard: Callable[[SlabPage], None],
    ) -> None:
        self.cache: Final = cache
        self._next_slab = next_slab
        self._discard = discard
        self._slabs = cache.slabs
        self._shift = cache.shift
        self._mask = (1 << cache.shift) - 1

    def alloc(self, gfp: int) -> int:
        """The number of an object, or 0 when there is no memory; of the flags some count.

        What is in it is left as it was, where nobody could see it.

        Raises:
            PageFault: somebody has overwritten the list of the cache's free objects.

        Linux: mm/slub.c:kmem_cache_alloc_node_noprof()
        """
        cache = self.cache
        page = cache.cpu
        index = page.head
        if index >= BAD:  # or END
            if not self._next_slab(cache, gfp & GFP_RECLAIM_MASK):
                return 0
            page = cache.cpu
            index = page.head
        links = page.links
        page.head = links[index]
        links[index] = USED
        page.inuse += 1
        return page.number + index

    @property
    def nr_free(self) -> int:
        """How many free objects the cpu's slab has."""
        page = self.cache.cpu
        return page.objects - page.inuse

    def next_listed(self, most: int) -> range:
        """The numbers of the next objects, `most` at the most: the cpu's slab's, side by side.

        They are what so many calls of `alloc()` would give, whether they rise or fall.
        """
        page = self.cache.cpu
        links, index, count = page.links, page.head, min(page.objects - page.inuse, most)
        first, step = page.number + index, 1
        if count > 1 and links[index] == index - 1:
            step, low = -1, index - count + 1
            if low < 0 or links[low + 1 : index + 1] != _PLACES[low:index]:
                count = _run(links, index, step, count)
        elif links[index : index + count - 1] != _PLACES[index + 1 : index + count]:
            count = _run(links, index, step, count)
        return range(first, first + count * step, step)

    def refill(self, gfp: int, may_grow: bool) -> bool:
        """Have a slab with a free object as the cpu's, as `alloc()` has, if that cannot fail.

        Args:
            may_grow: there are single frames for new slabs.
        """
        cache, head = self.cache, self.cache.cpu.head
        if head < BAD:
            return True
        has_slab = cache.partial or cache.node or (may_grow and not cache.order)
        return bool(head != BAD and has_slab and self._next_slab(cache, gfp & GFP_RECLAIM_MASK))

    def alloc_listed(self, numbers: range) -> None:
        """Allocate the first ones of `next_listed()`; what is in them is left as it was."""
        page, count = self.cache.cpu, len(numbers)
        last = numbers[-1] - page.number
        low = min(page.head, last)
        page.head = page.links[last]
        page.links[low : low + count] = _ALL_USED[:count]
        page.inuse += count

    def free_listed(self, numbers: range) -> None:
        """Undo `alloc_listed()` of these, or of the last ones, as if it had never been."""
        page, count = self.cache.cpu, len(numbers)
        if not count:
            return
        first, last = numbers[0] - page.number, numbers[-1] - page.number
        low = min(first, last)
        following = low + 1 if numbers.step > 0 else low - 1
        if low or numbers.step > 0:
            page.links[low : low + count] = _PLACES[following : following + count]
        else:
            page.links[1:count] = _PLACES[: count - 1]
        page.links[last] = page.head
        page.head = first
        page.inuse -= count

    def addresses(self, numbers: range) -> range:
        """Where some objects of the cpu's slab are."""
        page, size = self.cache.cpu, self.cache.size
        base = page.address - page.number * size
        return range(base + numbers.start * size, base + numbers.stop * size, numbers.step * size)

    def free(self, number: int) -> None:
        """Free an object.

        Raises:
            KernelBug: it is free already.

        Linux: mm/slub.c:kmem_cache_free()
        """
        cache = self.cache
        page = self._slabs[number >> self._shift]
        index = number & self._mask
        links = page.links
        if links[index] != USED:
            where = f"{self.address(number):#x}" if page is not NO_SLAB else "of no slab"
            raise KernelBug(f"{cache.name}: Object {where} already free")
        if page is cache.cpu:
            links[index] = page.head
            page.head = index
            page.inuse -= 1
        else:
            cache.slab_free(page, index, self._discard)

    def free_bulk(self, numbers: Iterable[int]) -> None:
        """`free()` of each, which is quicker (Linux: mm/slub.c:kmem_cache_free_bulk())."""
        cache, slabs, shift, mask = self.cache, self._slabs, self._shift, self._mask
        cpu = cache.cpu  # nothing that is freed makes another one the cpu's
        for number in numbers:
            page = slabs[number >> shift]
            index = number & mask
            links, head = page.links, page.head
            if (page is not cpu and (page.on_node or head == END)) or links[index] != USED:
                ObjectNumbers.free(self, number)
                continue
            links[index] = head
            page.head = index
            page.inuse -= 1

    def address(self, number: int) -> int:
        """Where an object is."""
        page = self._slabs[number >> self._shift]
        return page.address + (number & self._mask) * self.cache.size

    def is_allocated(self, number: int) -> bool:
        """Whether there is an object of that number, and it is not free."""
        slab, index = number >> self._shift, number & self._mask
        if not 0 < slab < len(self._slabs) or self._slabs[slab] is NO_SLAB:
            return False
        page = self._slabs[slab]
        return index < page.objects and page.links[index] == USED

    def __repr__(self) -> str:
        return f"<ObjectNumbers of {self.cache!r}>"
