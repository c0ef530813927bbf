"""Page tables into which somebody has written who had no business there.

What the tables should say is known, and what they say is in RAM:

    entry           should be     is
    0x1f8c9000      frame 0x1f9   "xxxxxxxx"      damaged: leads nowhere
    0x1f8c9008      frame 0x1fb   frame 0x1fb
    0x1f8c9010      -             "xxxxxxxx"      damaged: leads nowhere

An access that comes by a damaged entry is a page fault, whose report shows what is there.  Whoever
maps or unmaps something has the tables as they should be meanwhile, and what it writes is as it
should be from then on; Linux frees an area's pages by its array of them, not by the tables.

Lists of the tables (debugfs, kpageflags) have them as they should be, too; a walk to one address
shows what is there.

Confessed: a real CPU takes a damaged entry for what it says, and if that happens to be a frame of
RAM, reads and writes there.  The tables of the linear mapping are not asked (`access`), so
damage to them does nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .layout import Level
from .pgtable import PageTables, PgtableState
from .restoring import Claims, StateError

__all__ = ["OverwrittenTables"]


class OverwrittenTables(PageTables):
    """What a machine's page tables become when they are overwritten for the first time.

    An object becomes one by `become()`, so that all others do without looking for damage.
    """

    _damage: dict[int, tuple[int, int]]
    """Place of a damaged entry -> what it should be, and what it is."""
    _mended: int
    """How many have the tables as they should be now, one within the other."""

    @staticmethod
    def become(pgtable: PageTables) -> OverwrittenTables:
        """Have some page tables look for damage from now on."""
        if not isinstance(pgtable, OverwrittenTables):
            pgtable.__class__ = OverwrittenTables
            assert isinstance(pgtable, OverwrittenTables)
            pgtable._damage = {}
            pgtable._mended = 0
        return pgtable

    def overwritten(self, tables: Mapping[int, list[int]]) -> None:
        """Somebody has written to some tables: frame of each -> its entries before."""
        for pfn, before in tables.items():
            start = pfn << self._table_bits
            for place, old in enumerate(before, start):
                now, (should_be, _) = self._words[place], self._damage.get(place, (old, old))
                self._damage[place] = should_be, now
                if now == should_be:
                    del self._damage[place]

    @property
    def nr_damaged(self) -> int:
        """Entries that are not what they should be."""
        return len(self._damage)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Have the tables as they should be for a while, in which nobody else is served."""
        words, damage = self._words, self._damage
        if not self._mended:
            for place, (should_be, _) in damage.items():
                words[place] = should_be
        self._mended += 1
        try:
            yield
        finally:
            self._mended -= 1
            if not self._mended:
                for place, (should_be, now) in list(damage.items()):
                    if words[place] == should_be:
                        words[place] = now
                    else:
                        del damage[place]

    def _forget_freed(self) -> None:
        for place in [at for at in self._damage if at >> self._table_bits not in self._entries]:
            del self._damage[place]

    # -- as the CPU sees them ------------------------------------------------------------------

    def _walk(self, address: int, create: bool = False, path: list[int] | None = None) -> int:
        if self._mended:
            return super()._walk(address, create, path)
        path = [] if path is None else path
        try:
            place = super()._walk(address, False, path)
        except IndexError:  # it led out of RAM
            place = -1
        return self._checked(place, path)

    def _walk_linear(self, address: int, path: list[int] | None) -> int:
        if self._mended:
            return super()._walk_linear(address, path)
        path = [] if path is None else path
        try:
            place = super()._walk_linear(address, path)
        except IndexError:
            place = -1
        return self._checked(place, path)

    def _checked(self, place: int, path: list[int]) -> int:
        """The place, -1 if an entry above it is damaged; the path has nothing out of RAM."""
        above = path[:-1] if place >= 0 else path
        if path[-1] >= len(self._words):
            path.pop()
            place = -1
        return -1 if any(at in self._damage for at in above) else place

    def lookup(self, address: int) -> int:
        """As that of tables that are whole; 0 where the entry is damaged."""
        if address < self._linear_end:
            return super().lookup(address)
        place = self._walk(address)
        return self._words[place] if place >= 0 and place not in self._damage else 0

    def _lookup_span(self, address: int, count: int) -> memoryview[int] | array[int]:
        entries = super()._lookup_span(address, count)
        place = self._walk(address)
        if self._mended or place < 0 or address < self._linear_end:
            return entries
        seen = array(self._none.typecode, entries.tolist())
        for at in range(count):
            if place + at in self._damage:
                seen[at] = 0
        return seen

    # -- as they should be ---------------------------------------------------------------------

    def map_pages(self, address: int, entries: array[int]) -> bool:
        """As that of tables that are whole."""
        with self.whole():
            return super().map_pages(address, entries)

    def unmap_pages(self, address: int, nr_pages: int) -> array[int]:
        """As that of tables that are whole."""
        with self.whole():
            return super().unmap_pages(address, nr_pages)

    def frames(self, address: int, nr_pages: int) -> array[int]:
        """As that of tables that are whole."""
        with self.whole():
            return super().frames(address, nr_pages)

    def free_empty_tables(self) -> None:
        """As that of tables that are whole."""
        with self.whole():
            super().free_empty_tables()
            self._forget_freed()

    def mappings(self) -> Iterator[tuple[int, int]]:
        """As that of tables that are whole."""
        with self.whole():
            return iter(list(super().mappings()))

    def leaves(self) -> Iterator[tuple[int, Level, int]]:
        """As that of tables that are whole."""
        with self.whole():
            return iter(list(super().leaves()))

    def state(self) -> PgtableState:
        """As that of tables that are whole, and what is damaged."""
        damage = [(place, *entries) for place, entries in self._damage.items()]
        return {**super().state(), "damage": damage}

    def restore(self, state: PgtableState, claims: Claims) -> None:
        """As that of tables that are whole."""
        self._damage = {place: (should_be, now) for place, should_be, now in state["damage"]}
        if any(self._words[place] != now for place, (_, now) in self._damage.items()):
            raise StateError("an entry of a page table is not what it is said to be")
        with self.whole():
            super().restore(state, claims)

    def check(self) -> set[int]:
        """As that of tables that are whole, and no entry is damaged."""
        with self.whole():
            found = super().check()
        assert not self._damage, "a page table is overwritten"
        return found
