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

from collections.abc import Callable, Iterable
from typing import Final

from .errors import KernelBug
from .gfp import GFP_RECLAIM_MASK
from .slub import BAD, END, NO_SLAB, USED, KmemCache, SlabPage

__all__ = ["ObjectNumbers"]


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
