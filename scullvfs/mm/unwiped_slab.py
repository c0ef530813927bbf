"""kmalloc without zeros: an object has what its last owner left in it, but for eight bytes.

SLUB keeps its list of free objects in the objects themselves, in the middle of each, where an
overrun from the object before does not reach it:

    a freed object    |<-- what was there -->|next|<-- what was there -->|
                      0                    offset                   object_size

So who gets the object sees that pointer there.  With CONFIG_SLAB_FREELIST_HARDENED, as in Debian's
kernels, it is obfuscated: next ^ a random number of the cache ^ its own address, bytes swapped.

Only with `init_on_alloc=0` anybody can see this in memory that was allocated, and only there the
pointers are written; what the list is stands beside the slab either way (`slub`).

Linux: mm/slub.c
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from .gfp import __GFP_ZERO as GFP_ZERO
from .layout import Layout
from .object_numbers import ObjectNumbers
from .page_alloc import PageAllocator
from .printk import KernelLog
from .ram import Ram
from .restoring import Claims, StateError, random_state, restore_random
from .slab import AllSlabsState, Slab
from .slub import END, KmemCache, SlabPage

__all__ = ["UnwipedNumbers", "UnwipedSlab"]


class UnwipedNumbers(ObjectNumbers):
    """As `ObjectNumbers`, with the pointers of free objects in RAM.

    Args:
        freed: writes the pointer of an object, given its slab, its place, and the next free one's.
    """

    def __init__(
        self,
        cache: KmemCache,
        next_slab: Callable[[KmemCache, int], bool],
        discard: Callable[[SlabPage], None],
        ram: Ram,
        freed: Callable[[SlabPage, int, int], None],
    ) -> None:
        super().__init__(cache, next_slab, discard)
        self._ram: Final = ram
        self._freed: Final = freed

    def alloc(self, gfp: int) -> int:
        """As `ObjectNumbers.alloc()`; with __GFP_ZERO it is filled with zeros."""
        number = super().alloc(gfp)
        if number and gfp & GFP_ZERO:
            at = self.address(number) - self.cache.page_offset
            self._ram.bytes[at : at + self.cache.object_size] = self.cache.zeros
        return number

    def free(self, number: int) -> None:
        """As `ObjectNumbers.free()`; the object gets its place in the list."""
        page = self._slabs[number >> self._shift]
        head = page.head
        super().free(number)
        self._freed(page, number & self._mask, head)

    def free_bulk(self, numbers: Iterable[int]) -> None:
        """`free()` of each."""
        for number in numbers:
            UnwipedNumbers.free(self, number)


class UnwipedSlab(Slab):
    """As `Slab`, with the pointers of free objects in RAM.

    Args:
        seed: of the caches' random numbers.
    """

    def __init__(
        self,
        page_alloc: PageAllocator,
        ram: Ram,
        layout: Layout,
        log: KernelLog,
        cpus: int,
        seed: int,
    ) -> None:
        super().__init__(page_alloc, ram, layout, log, cpus)
        self._pointer_size: Final = layout.pointer_size
        self._rng: Final = Random(f"slub {seed}")
        self._randoms: Final[dict[KmemCache, int]] = {}
        """Cache that has had a slab -> its random number (Linux: struct kmem_cache, random)."""

    def put(self, address: int) -> None:
        """As `Slab.put()`; the object gets its place in the list (Linux: set_freepointer())."""
        page = self._slabs.get(self._pfn(address))
        head = END if page is None else page.head
        super().put(address)
        if page is not None:
            self._set_freepointer(page, address, head)

    def numbers(self, cache: KmemCache) -> ObjectNumbers:
        """As `Slab.numbers()`; these objects get their places in the list, too."""
        return UnwipedNumbers(cache, self._next_slab, self._discard_slab, self._ram, self._freed)

    def _freed(self, page: SlabPage, index: int, head: int) -> None:
        self._set_freepointer(page, page.address + index * page.cache.size, head)

    def _new_slab(self, cache: KmemCache, gfp: int) -> bool:
        """As `Slab` has it, with all objects of the slab in the list."""
        if not super()._new_slab(cache, gfp):
            return False
        page = cache.cpu
        address = page.address
        for link in page.links:
            self._set_freepointer(page, address, link)
            address += cache.size
        return True

    def _set_freepointer(self, page: SlabPage, address: int, link: int) -> None:
        """Write where the next free object is, that of the number `link`.

        Linux: mm/slub.c:freelist_ptr_encode()
        """
        cache, size = page.cache, self._pointer_size
        random = self._randoms.get(cache)
        if random is None:
            random = self._randoms[cache] = self._rng.getrandbits(8 * size)
        following = 0 if link == END else page.address + link * cache.size
        at = address + cache.offset
        swapped = int.from_bytes(at.to_bytes(size, "little"), "big")
        word = (at - self._page_offset) // size
        self._ram.words[word] = following ^ random ^ swapped

    def state(self) -> AllSlabsState:
        """As `Slab.state()`, with the random numbers."""
        places = {cache: place for place, cache in enumerate(self._all)}
        return {
            **super().state(),
            "random": random_state(self._rng),
            "randoms": [
                (places[cache], random)
                for cache, random in self._randoms.items()
                if cache in places  # else it is no more
            ],
        }

    def restore(self, state: AllSlabsState, claims: Claims) -> None:
        """As `Slab.restore()`, with the random numbers."""
        super().restore(state, claims)
        restore_random(self._rng, state["random"])
        self._randoms.clear()
        self._randoms.update((self._all[place], random) for place, random in state["randoms"])
        if any(random >> 8 * self._pointer_size for random in self._randoms.values()):
            raise StateError("a random number that is no pointer's")
