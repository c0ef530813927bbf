"""The numbers of the architectures fit together."""

from __future__ import annotations

import pytest

from scullvfs.mm.layout import (
    LAYOUTS,
    PAGE_SHIFT,
    PFN_PHYS,
    PHYS_PFN,
    Layout,
    offset_in_page,
    page_align,
)

from .helpers import ARCHS, MIB, P

layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def test_layouts_are_the_three() -> None:
    """Each layout goes by its name."""
    assert sorted(LAYOUTS) == sorted(ARCHS)
    assert all(layout.name == name for name, layout in LAYOUTS.items())


@layouts
def test_levels_cut_an_address_without_gaps(layout: Layout) -> None:
    """Each level begins where the one below ends, a table fills a page, the last maps pages."""
    below = [*[level.shift for level in layout.levels[1:]], PAGE_SHIFT]
    assert layout.levels[-1].shift == PAGE_SHIFT
    for level, lower in zip(layout.levels[:-1], below[:-1], strict=True):
        assert level.shift == lower + layout.levels[-1].bits
    assert {layout.pointer_size << level.bits for level in layout.levels} == {P}


@layouts
def test_windows_do_not_overlap(layout: Layout) -> None:
    """Linear mapping and vmalloc window lie apart, in the address space, on whole pages."""
    window = range(layout.vmalloc_start, layout.vmalloc_end)
    linear = range(layout.page_offset, layout.page_offset + layout.lowmem)
    assert linear.stop <= window.start
    assert window.stop <= 1 << 8 * layout.pointer_size
    assert all(at % P == 0 for at in (window.start, window.stop, linear.start, linear.stop))
    assert layout.vmalloc_pages == (window.stop - window.start) // P


@layouts
def test_processes_and_kernel_do_not_overlap(layout: Layout) -> None:
    """A process's addresses end where the kernel's begin, or before."""
    assert layout.task_size % P == 0
    assert 1 << 31 < layout.task_size <= layout.page_offset


def test_task_size() -> None:
    """It is Linux's: 3 GiB, 48 bits, and 56 bits but a page."""
    sizes = {name: layout.task_size for name, layout in LAYOUTS.items()}
    assert sizes == {"x86_64": (1 << 56) - P, "i386": 3 << 30, "arm64": 1 << 48}


@layouts
def test_max_mem_is_what_an_entry_can_name(layout: Layout) -> None:
    """The last frame of the largest RAM can be mapped, and a physical address is no wider."""
    assert (layout.max_mem - P) & layout.phys_mask == layout.max_mem - P
    assert layout.max_mem == 1 << layout.phys_bits


@layouts
def test_entries_hold_a_frame_and_flags(layout: Layout) -> None:
    """An entry's flags and its physical address share no bit, and it fits a pointer."""
    for flags in (layout.table_flags, layout.page_kernel, layout.page_kernel_io):
        assert flags
        assert not flags & layout.phys_mask
        assert flags < 1 << 8 * layout.pointer_size
    last_frame = (1 << layout.phys_bits) - P
    assert last_frame & layout.phys_mask == last_frame
    assert layout.page_kernel != layout.page_kernel_io


def test_i386_has_a_small_window() -> None:
    """128 MiB of addresses for vmalloc."""
    assert LAYOUTS["i386"].vmalloc_pages * P == 128 * MIB
    assert LAYOUTS["i386"].pointer_digits == 8
    assert LAYOUTS["x86_64"].pointer_digits == 16


@pytest.mark.parametrize(
    ("size", "pages"), [(0, 0), (1, 1), (P - 1, 1), (P, 1), (P + 1, 2), (7 * P, 7)]
)
def test_page_align_rounds_up(size: int, pages: int) -> None:
    """To whole pages, and not further."""
    assert page_align(size) == pages * P


def test_pfn_and_phys_are_inverse() -> None:
    """A frame's address leads back to the frame, from any byte of it."""
    assert PFN_PHYS(5) == 5 * P
    assert PHYS_PFN(PFN_PHYS(5) + P - 1) == 5
    assert offset_in_page(5 * P + 7) == 7
