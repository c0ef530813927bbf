"""The memory manager of an emulated Linux machine.

Pure Python, with no FUSE, no event loop and no driver in it; useful on its own:

    >>> from scullvfs.mm import Machine
    >>> machine = Machine(mem=64 << 20)
    >>> address = machine.vm.vmalloc(3 * 4096)
    >>> [machine.vm.vmalloc_to_pfn(address + i * 4096) for i in range(4)][-1] is None
    True

(The fourth page is the guard page.)  Each module is one part of `mm/` in Linux, and bears its name
where there is one:

    machine              all of it, wired together
    ram, layout          the bytes; the numbers of an architecture
    page_alloc, zone     page frames, singly and in blocks (`buddy`, `free_list`, `pcp`)
    pcp_map, free_map    what blocks those on a per-cpu list would make; counting them
    fragment             free frames in small pieces from the start
    deck, watermark      in which order they come; how many are kept back
    slab, slub           kmalloc and caches of objects; their slabs
    slab_order           how large these are
    unwiped_slab         the same where what is allocated is not zeros
    slab_common          what these share with objects by the page (`object_runs`)
    object_numbers       a cache's objects by number, for who has two of each area
    iomem                what lies at physical addresses, and a device of registers
    pgtable, access      page tables; reading and writing through them, `scatterlist` what is read
    ptdump               what is mapped how, for who lists it
    page_owner           who holds which frames, where that is kept
    linear_mapping       which large pages map all of low memory
    vmalloc, ioremap     areas, by what they are mapped to; frames that a caller has: `vmap_pages`
    vmalloc_ahead        areas made before they are asked for; `objects_ahead` their objects
    vm_map_ram           and for a short time, out of a block (`vmap_block`)
    kvfree_rcu           what is freed a grace period later
    percpu               what each CPU has a copy of, out of a chunk (`percpu_chunk`)
    vm_area, vmap        what these share; their addresses, in use (`areas`) and free (`free_areas`)
    rbtree               the tree of the free ones
    vm_struct, errors    what is known of an area; what can go wrong
    frame_words          page-table entries, and addresses of struct pages, of many frames at once
    gfp                  the flags of an allocation
    printk, workqueue    the kernel log; work in steps
    restoring            what all parts have in common that are made again of their state
    fault, show_mem      reports: of a page fault, of where the memory is; `bad_free` of garbage
    vmstat               how fragmented free memory is
    usercopy             what may be copied to and from processes
    overrun              who has written to whose memory; `overwritten_tables`: a page table
    dump_stack           what is in all reports; `ratelimit` says how often there is one
    sched                who is running, as reports and traces name them
    outside              what is asked of the world around: the time, and who callers are
    touched              what a call was given and has given back, for a recording
    call_trace           which functions have led there
    fault_inject         what is made to fail, each by the rule of a `fault_attr`
    fault_tasks          of which task
    failslab             objects that are refused, and `fail_page_alloc` page frames
    fail_function        functions that fail as they are entered
    fault_points         where all that is
    trace, tracepoints   records of what happens, in a `ring_buffer`; where it happens
    replacing            what stands in the place of methods while it is traced, or may fail
    trace_events         what can happen, and how it reads; `trace_format` says how C reads it
    trace_output         lines of it, and pointers in them
    trace_filter         which of it is wanted
    commands, handles    all of it by hand: a command a line, and what that has given
    command_line         what such a line means

What follows Linux follows 6.12, and says so with the place in its sources.

Called by the drivers (`scull`), by the files that show it (`fs`), and by who wants a machine
without a mount.  Must not import anything of the rooms above, pyfuse3, trio or libfuse: it knows
neither errno nor user.  Every call is done when it returns, and there is one thread, so nothing
races; what takes long comes as steps, after each of which all is consistent.  Nobody here asks for
the time but the log, so the same calls give the same frames and addresses.
"""

from typing import TYPE_CHECKING, Any

from .errors import KernelBug, PageFault
from .layout import LAYOUTS, PAGE_SIZE, Layout

if TYPE_CHECKING:
    from .machine import Machine

__all__ = ["LAYOUTS", "PAGE_SIZE", "KernelBug", "Layout", "Machine", "PageFault"]


def __getattr__(name: str) -> Any:
    """The machine, which is all of this package, comes when it is first asked for.

    Most commands of `scullvfs` only need to know the layouts' names and the size of a page.
    """
    if name == "Machine":
        from .machine import Machine

        return Machine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
