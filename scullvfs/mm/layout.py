"""Address-space layouts: where Linux puts things on each architecture.

Here and only here are the numbers of an architecture: the levels of its page tables,
where its linear mapping and its vmalloc window lie, and which part of RAM the linear
mapping reaches.  Everything else in `mm` reads them from a `Layout`.

The addresses are those of a kernel without address randomisation (nokaslr), so that
two runs print the same ones.
"""

from sys import byteorder
from typing import Final, NamedTuple

__all__ = [
    "LAYOUTS",
    "PAGE_MASK",
    "PAGE_SHIFT",
    "PAGE_SIZE",
    "PFN_PHYS",
    "PHYS_PFN",
    "Layout",
    "Level",
    "offset_in_page",
    "page_align",
]

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT
PAGE_MASK: Final = ~(PAGE_SIZE - 1)
MAX_LEAF_SHIFT: Final = 30
"""log2 of the largest page that an entry maps, 1 GiB."""


def PFN_PHYS(pfn: int) -> int:
    """The physical address of page frame `pfn`."""
    return pfn << PAGE_SHIFT


def PHYS_PFN(phys: int) -> int:
    """The number of the page frame that physical address `phys` lies in."""
    return phys >> PAGE_SHIFT


def offset_in_page(address: int) -> int:
    """How many bytes `address` lies behind the start of its page."""
    return address & (PAGE_SIZE - 1)


def page_align(size: int) -> int:
    """`size` in bytes, rounded up to whole pages (Linux: PAGE_ALIGN())."""
    return (size + PAGE_SIZE - 1) & PAGE_MASK


class Level(NamedTuple):
    """One level of a radix page table."""

    name: str
    """What Linux calls a table of this level: pgd, pud, pmd, pte."""
    shift: int
    """log2 of the bytes that one entry covers."""
    bits: int
    """log2 of the entries in a table."""


class Layout(NamedTuple):
    """One architecture's kernel address space.  All addresses are absolute."""

    name: str
    levels: tuple[Level, ...]
    """Top level first; the last one's entries map pages."""
    pointer_size: int
    """Bytes in a pointer, and in a page-table entry."""
    phys_mask: int
    """The bits of a page-table entry that are a physical address."""
    table_flags: int
    """Set in an entry that points to a lower table."""
    page_kernel: int
    """Set in an entry that maps a page of RAM (PAGE_KERNEL)."""
    page_kernel_io: int
    """Set in an entry that maps device memory (PAGE_KERNEL_NOCACHE, PROT_DEVICE_nGnRE)."""
    page_kernel_large: int
    """Set in an entry that maps a large page of RAM (PAGE_KERNEL_LARGE; a block on arm64)."""
    leaf_bits: tuple[int, int]
    """(mask, value): what tells such an entry from one that points to a lower table."""
    page_offset: int
    """PAGE_OFFSET: where physical address 0 appears in the linear mapping."""
    lowmem: int
    """The linear mapping reaches physical addresses below this."""
    vmalloc_start: int
    vmalloc_end: int
    """The first address behind the window (Linux's VMALLOC_END is the last one on x86_64)."""
    phys_bits: int
    """Width of a physical address: what ioremap() accepts."""
    ioremap_max_order: int
    """log2 of the largest alignment that an ioremap() area gets (IOREMAP_MAX_ORDER)."""
    task_size: int
    """TASK_SIZE_MAX: the first address that is no process's (Linux: access_ok())."""
    vmemmap: int
    """Where the struct pages are, that of frame 0 first."""
    page_struct_size: int
    """Bytes of a struct page."""
    vmap_area_size: int
    """Bytes of a struct vmap_area."""
    vm_struct_size: int
    """Bytes of a struct vm_struct."""
    nr_cpus: int
    """NR_CPUS: how many CPUs Debian's kernel is built for."""
    numa: bool
    """Whether a distribution's kernel has CONFIG_NUMA: some texts name the node then."""
    huge_vmap_shift: int | None = None
    """log2 of the huge pages that vmalloc_huge() asks for (HAVE_ARCH_HUGE_VMALLOC), if any."""

    @property
    def pointer_digits(self) -> int:
        """Hexadecimal digits of a pointer in the kernel's listings."""
        return self.pointer_size * 2

    def pointer(self, address: int) -> str:
        """An address in the kernel's listings (Linux: lib/vsprintf.c:pointer_string())."""
        return f"{address:0{self.pointer_digits}x}"

    @property
    def vmalloc_limit(self) -> int:
        """VMALLOC_END as Linux has and prints it: the last address of the window on x86_64."""
        return self.vmalloc_end - (self.name == "x86_64")

    @property
    def va_bits(self) -> int:
        """How many bits of an address the page tables look at; those above are all the same."""
        return self.levels[0].shift + self.levels[0].bits

    @property
    def leaf_levels(self) -> tuple[Level, ...]:
        """Where an entry may map RAM itself, the largest pages first, single pages last."""
        return tuple(level for level in self.levels if level.shift <= MAX_LEAF_SHIFT)

    def is_leaf(self, entry: int) -> bool:
        """Whether an entry above the lowest level maps a large page."""
        mask, value = self.leaf_bits
        return entry != 0 and entry & mask == value

    def page_of(self, word: int) -> int:
        """A page full of one word, as a number: what many words are computed with at once."""
        count = PAGE_SIZE // self.pointer_size
        return int.from_bytes(word.to_bytes(self.pointer_size, byteorder) * count, byteorder)

    @property
    def max_mem(self) -> int:
        """The most RAM that a machine can have, in bytes: all that can be addressed."""
        return 1 << self.phys_bits

    @property
    def vmap_block_pages(self) -> int:
        """Pages of a block of vm_map_ram() (Linux: mm/vmalloc.c:VMAP_BBMAP_BITS)."""
        bits = self.pointer_size * 8
        pages = (128 << (30 if bits == 64 else 20)) >> PAGE_SHIFT
        return min(1024, max(2 * bits, pages // (1 << (self.nr_cpus - 1).bit_length()) // 16))

    @property
    def vmalloc_pages(self) -> int:
        """Size of the vmalloc window in pages."""
        return (self.vmalloc_end - self.vmalloc_start) >> PAGE_SHIFT


_FOUR_LEVELS: Final = (
    Level("pgd", 39, 9),
    Level("pud", 30, 9),
    Level("pmd", 21, 9),
    Level("pte", 12, 9),
)

LAYOUTS: Final[dict[str, Layout]] = {
    layout.name: layout
    for layout in (
        # Linux: Documentation/arch/x86/x86_64/mm.rst, four-level tables
        Layout(
            name="x86_64",
            levels=_FOUR_LEVELS,
            pointer_size=8,
            phys_mask=0x000F_FFFF_FFFF_F000,
            table_flags=0x63,
            page_kernel=0x8000_0000_0000_0163,
            page_kernel_io=0x8000_0000_0000_0173,
            page_kernel_large=0x8000_0000_0000_01E3,
            leaf_bits=(0x80, 0x80),
            page_offset=0xFFFF_8880_0000_0000,
            lowmem=1 << 46,
            vmalloc_start=0xFFFF_C900_0000_0000,
            vmalloc_end=0xFFFF_E900_0000_0000,
            phys_bits=46,
            ioremap_max_order=30,
            # Where processes end under five-level tables, as on the machine whose driver was
            # recorded; the kernel's own half has four levels here.
            # Linux: arch/x86/include/asm/page_64_types.h
            task_size=(1 << 56) - PAGE_SIZE,
            vmemmap=0xFFFF_EA00_0000_0000,
            page_struct_size=64,
            vmap_area_size=72,
            vm_struct_size=72,
            nr_cpus=8192,
            huge_vmap_shift=21,
            numa=True,
        ),
        # Linux: arch/x86/include/asm/pgtable_32_areas.h, without PAE.  A real i386 leaves a hole of
        # 8 MiB (VMALLOC_OFFSET) between lowmem and the window; here lowmem ends that much
        # lower, as if booted with vmalloc=136M, and all of the 128 MiB can be had.
        Layout(
            name="i386",
            levels=(Level("pgd", 22, 10), Level("pte", 12, 10)),
            pointer_size=4,
            phys_mask=0xFFFF_F000,
            table_flags=0x63,
            page_kernel=0x163,
            page_kernel_io=0x173,
            page_kernel_large=0x1E3,
            leaf_bits=(0x80, 0x80),
            page_offset=0xC000_0000,
            lowmem=0x36FF_E000,
            vmalloc_start=0xF77F_E000,
            vmalloc_end=0xFF7F_E000,
            phys_bits=32,
            ioremap_max_order=22,
            task_size=0xC000_0000,
            # Not a place of the architecture's: somewhere at the end of low memory (mem_map).
            vmemmap=0xF4FF_E000,
            page_struct_size=32,
            # The same members as on 64 bits, but for vm_struct's page_order, which goes with
            # HAVE_ARCH_HUGE_VMALLOC: nine words each.
            vmap_area_size=36,
            vm_struct_size=36,
            nr_cpus=32,
            numa=False,
        ),
        # Linux: Documentation/arch/arm64/memory.rst, 4 KiB pages, 48-bit addresses.  RAM begins at
        # physical address 0 here, where boards put it higher (PHYS_OFFSET).  The linear mapping is
        # that of a kernel booted with rodata=on, which may use blocks; rodata=full maps each page.
        Layout(
            name="arm64",
            levels=_FOUR_LEVELS,
            pointer_size=8,
            phys_mask=0x0000_FFFF_FFFF_F000,
            table_flags=0x3,
            page_kernel=0x0068_0000_0000_0703,
            page_kernel_io=0x0068_0000_0000_0713,
            page_kernel_large=0x0068_0000_0000_0701,
            leaf_bits=(0x2, 0),
            page_offset=0xFFFF_0000_0000_0000,
            lowmem=1 << 46,
            vmalloc_start=0xFFFF_8000_8000_0000,
            vmalloc_end=0xFFFF_FBFF_F000_0000,
            phys_bits=48,
            ioremap_max_order=30,
            # Linux: arch/arm64/include/asm/processor.h
            task_size=1 << 48,
            vmemmap=0xFFFF_FC00_0000_0000,
            page_struct_size=64,
            vmap_area_size=72,
            vm_struct_size=72,
            nr_cpus=512,
            huge_vmap_shift=21,
            numa=True,
        ),
    )
}
