"""What can be traced: each event's name and fields, and what a record of it reads like.

    kmalloc: call_site=vmap_init ptr=00000000cbc2d59a bytes_req=4000 bytes_alloc=4096 ...
    |        +-- `show`, of the values that were recorded, one for each of the fields
    name

Names, numbers, fields and texts are those of Linux, so a record reads as one of its does.  Where
and when something is recorded is the matter of `tracepoints`.

Linux: include/trace/events/kmem.h, include/trace/events/vmalloc.h
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from .buddy import PAGEBLOCK_ORDER
from .gfp import __GFP_ACCOUNT, gfp_flags_string

__all__ = ["EVENTS", "FIRST_OWN_ID", "NO_PFN", "PRINT", "Field", "Printer", "TraceEvent", "Values"]

Values = tuple[Any, ...]
"""What was recorded: for each field a number, or a text."""


class Printer(Protocol):
    """Prints what is special to a machine."""

    def pointer(self, address: int) -> str:
        """An address, as the kernel shows one (%p)."""

    def page(self, pfn: int) -> str:
        """The address of a frame's struct page, likewise."""


NO_PFN: Final = -1
"""In place of a frame's number: there was none."""

FIRST_OWN_ID: Final = 2000
"""Numbers from here on are for events that Linux has not."""

_ACCOUNT: Final = __GFP_ACCOUNT
_gfp_flags: Final = lru_cache(256)(gfp_flags_string)
"""There are a dozen of them, in a thousand records."""


class Field(NamedTuple):
    """A part of a record."""

    type: str
    """As C has it."""
    name: str

    @property
    def is_string(self) -> bool:
        """Whether it is a text, not a number."""
        return "char" in self.type

    @property
    def is_signed(self) -> bool:
        """Whether it may be less than 0."""
        return self.type in ("int", "long", "s64", "loff_t", "ssize_t")

    def size(self, pointer_size: int) -> int:
        """Its bytes in a record of Linux."""
        if "*" in self.type or "long" in self.type or self.type in ("size_t", "ssize_t"):
            return pointer_size
        return _SIZES.get(self.type, 4)


_SIZES: Final = {
    "s64": 8,
    "u64": 8,
    "loff_t": 8,
    "unsigned short": 2,
    "unsigned char": 1,
    "bool": 1,
}


class TraceEvent(NamedTuple):
    """An event that can be traced (Linux: struct trace_event_call)."""

    system: str
    name: str
    id: int
    """Its number; of Linux's events the one that they had where they were recorded."""
    fields: tuple[Field, ...]
    print_fmt: str
    """How C prints a record, for programs that read the file `format`."""
    show: Callable[[Values, Printer], str]
    """How it reads."""


def _fields(text: str) -> tuple[Field, ...]:
    """The fields of `type name; type name`."""
    return tuple(Field(*part.strip().rsplit(" ", 1)) for part in text.split(";"))


# -- kmem ------------------------------------------------------------------------------------


def _alloc(values: Values, printer: Printer) -> str:
    call_site, ptr, bytes_req, bytes_alloc, gfp, node = values[:6]
    return (
        f"call_site={call_site} ptr={printer.pointer(ptr)} bytes_req={bytes_req} "
        f"bytes_alloc={bytes_alloc} gfp_flags={_gfp_flags(gfp)} node={node} "
        f"accounted={'true' if gfp & _ACCOUNT else 'false'}"
    )


def _kfree(values: Values, printer: Printer) -> str:
    return f"call_site={values[0]} ptr={printer.pointer(values[1])}"


def _kmem_cache_free(values: Values, printer: Printer) -> str:
    return f"call_site={values[0]} ptr={printer.pointer(values[1])} name={values[2]}"


def _page(pfn: int, printer: Printer) -> str:
    """Where a frame's struct page is, and its number."""
    if pfn == NO_PFN:
        return f"page={printer.pointer(0)} pfn=0x0"
    return f"page={printer.page(pfn)} pfn={pfn:#x}"


def _mm_page_alloc(values: Values, printer: Printer) -> str:
    pfn, order, gfp, migratetype = values
    return (
        f"{_page(pfn, printer)} order={order} migratetype={migratetype} gfp_flags={_gfp_flags(gfp)}"
    )


def _mm_page_free(values: Values, printer: Printer) -> str:
    pfn, order = values
    return f"{_page(pfn, printer)} order={order}"


def _mm_page_free_batched(values: Values, printer: Printer) -> str:
    (pfn,) = values
    return f"{_page(pfn, printer)} order=0"


def _mm_page_alloc_zone_locked(values: Values, printer: Printer) -> str:
    pfn, order, migratetype, percpu_refill = values
    return (
        f"{_page(pfn, printer)} order={order} migratetype={migratetype} "
        f"percpu_refill={percpu_refill}"
    )


def _mm_page_pcpu_drain(values: Values, printer: Printer) -> str:
    pfn, order, migratetype = values
    return f"{_page(pfn, printer)} order={order} migratetype={migratetype}"


def _mm_page_alloc_extfrag(values: Values, printer: Printer) -> str:
    pfn, alloc_order, fallback_order, alloc_type, fallback_type, change = values
    return (
        f"{_page(pfn, printer)} alloc_order={alloc_order} fallback_order={fallback_order} "
        f"pageblock_order={PAGEBLOCK_ORDER} alloc_migratetype={alloc_type} "
        f"fallback_migratetype={fallback_type} "
        f"fragmenting={int(fallback_order < PAGEBLOCK_ORDER)} change_ownership={change}"
    )


def _contig(values: Values, printer: Printer) -> str:
    start, end, migrated, reclaimed, mapped, migratetype = values
    return (
        f"start={start:#x} end={end:#x} migratetype={migratetype} nr_migrated={migrated} "
        f"nr_reclaimed={reclaimed} nr_mapped={mapped}"
    )


_MEMBERS: Final = ("MM_FILEPAGES", "MM_ANONPAGES", "MM_SWAPENTS", "MM_SHMEMPAGES")


def _rss_stat(values: Values, printer: Printer) -> str:
    mm_id, curr, member, size = values
    return f"mm_id={mm_id} curr={curr} type={_MEMBERS[member]} size={size}B"


_PAGE: Final = "(((struct page *)vmemmap_base) + (REC->pfn)), REC->pfn"
_PAGE_OR_NULL: Final = (
    "REC->pfn != -1UL ? (((struct page *)vmemmap_base) + (REC->pfn)) : ((void *)0), "
    "REC->pfn != -1UL ? REC->pfn : 0"
)
_BLOCK: Final = (
    "(((unsigned int)((21 - 12))) < ((unsigned int)(10)) ? ((unsigned int)((21 - 12))) "
    ": ((unsigned int)(10)))"
)
GFP_FLAGS: Final = "@gfp_flags@"
"""In a `print_fmt`: what prints an allocation's flags (`trace_format`)."""
_ALLOC: Final = (
    '"call_site=%pS ptr=%p bytes_req=%zu bytes_alloc=%zu gfp_flags=%s node=%d accounted=%s", '
    "(void *)REC->call_site, REC->ptr, REC->bytes_req, REC->bytes_alloc, "
    f"{GFP_FLAGS}, REC->node, "
)
_ACCOUNTED: Final = "(1 && (REC->gfp_flags & ( unsigned long)(( gfp_t)((((1UL))) << (22)))))"
_ALLOC_FIELDS: Final = _fields(
    "unsigned long call_site; const void * ptr; size_t bytes_req; size_t bytes_alloc; "
    "unsigned long gfp_flags; int node"
)


def _kmem(
    number: int,
    name: str,
    fields: str | tuple[Field, ...],
    print_fmt: str,
    show: Callable[[Values, Printer], str],
) -> TraceEvent:
    if isinstance(fields, str):
        fields = _fields(fields)
    return TraceEvent("kmem", name, number, fields, print_fmt, show)


_KMEM: Final = (
    _kmem(
        616,
        "rss_stat",
        "unsigned int mm_id; unsigned int curr; int member; long size",
        '"mm_id=%u curr=%d type=%s size=%ldB", REC->mm_id, REC->curr, '
        '__print_symbolic(REC->member, { 0, "MM_FILEPAGES" }, { 1, "MM_ANONPAGES" }, '
        '{ 2, "MM_SWAPENTS" }, { 3, "MM_SHMEMPAGES" }), REC->size',
        _rss_stat,
    ),
    _kmem(
        617,
        "mm_alloc_contig_migrate_range_info",
        "unsigned long start; unsigned long end; unsigned long nr_migrated; "
        "unsigned long nr_reclaimed; unsigned long nr_mapped; int migratetype",
        '"start=0x%lx end=0x%lx migratetype=%d nr_migrated=%lu nr_reclaimed=%lu nr_mapped=%lu", '
        "REC->start, REC->end, REC->migratetype, REC->nr_migrated, REC->nr_reclaimed, "
        "REC->nr_mapped",
        _contig,
    ),
    _kmem(
        618,
        "mm_page_alloc_extfrag",
        "unsigned long pfn; int alloc_order; int fallback_order; int alloc_migratetype; "
        "int fallback_migratetype; int change_ownership",
        '"page=%p pfn=0x%lx alloc_order=%d fallback_order=%d pageblock_order=%d '
        'alloc_migratetype=%d fallback_migratetype=%d fragmenting=%d change_ownership=%d", '
        f"{_PAGE}, REC->alloc_order, REC->fallback_order, {_BLOCK}, REC->alloc_migratetype, "
        f"REC->fallback_migratetype, REC->fallback_order < {_BLOCK}, REC->change_ownership",
        _mm_page_alloc_extfrag,
    ),
    _kmem(
        619,
        "mm_page_pcpu_drain",
        "unsigned long pfn; unsigned int order; int migratetype",
        f'"page=%p pfn=0x%lx order=%d migratetype=%d", {_PAGE}, REC->order, REC->migratetype',
        _mm_page_pcpu_drain,
    ),
    _kmem(
        620,
        "mm_page_alloc_zone_locked",
        "unsigned long pfn; unsigned int order; int migratetype; int percpu_refill",
        '"page=%p pfn=0x%lx order=%u migratetype=%d percpu_refill=%d", '
        f"{_PAGE_OR_NULL}, REC->order, REC->migratetype, REC->percpu_refill",
        _mm_page_alloc_zone_locked,
    ),
    _kmem(
        621,
        "mm_page_alloc",
        "unsigned long pfn; unsigned int order; unsigned long gfp_flags; int migratetype",
        '"page=%p pfn=0x%lx order=%d migratetype=%d gfp_flags=%s", '
        f"{_PAGE_OR_NULL}, REC->order, REC->migratetype, {GFP_FLAGS}",
        _mm_page_alloc,
    ),
    _kmem(
        622,
        "mm_page_free_batched",
        "unsigned long pfn",
        f'"page=%p pfn=0x%lx order=0", {_PAGE}',
        _mm_page_free_batched,
    ),
    _kmem(
        623,
        "mm_page_free",
        "unsigned long pfn; unsigned int order",
        f'"page=%p pfn=0x%lx order=%d", {_PAGE}, REC->order',
        _mm_page_free,
    ),
    _kmem(
        624,
        "kmem_cache_free",
        "unsigned long call_site; const void * ptr; __data_loc char[] name",
        '"call_site=%pS ptr=%p name=%s", (void *)REC->call_site, REC->ptr, __get_str(name)',
        _kmem_cache_free,
    ),
    _kmem(
        625,
        "kfree",
        "unsigned long call_site; const void * ptr",
        '"call_site=%pS ptr=%p", (void *)REC->call_site, REC->ptr',
        _kfree,
    ),
    _kmem(626, "kmalloc", _ALLOC_FIELDS, f'{_ALLOC}{_ACCOUNTED} ? "true" : "false"', _alloc),
    _kmem(
        627,
        "kmem_cache_alloc",
        (*_ALLOC_FIELDS, Field("bool", "accounted")),
        f'{_ALLOC}REC->accounted ? "true" : "false"',
        _alloc,
    ),
)


# -- vmalloc ---------------------------------------------------------------------------------


def _free_vmap_area_noflush(values: Values, printer: Printer) -> str:
    va_start, nr_lazy, nr_lazy_max = values
    return f"va_start={va_start:#x} nr_lazy={nr_lazy} nr_lazy_max={nr_lazy_max}"


def _purge_vmap_area_lazy(values: Values, printer: Printer) -> str:
    start, end, npurged = values
    return f"start={start:#x} end={end:#x} num_purged={npurged}"


def _alloc_vmap_area(values: Values, printer: Printer) -> str:
    addr, size, align, vstart, vend, failed = values
    return (
        f"va_start: {addr} size={size} align={align} vstart={vstart:#x} vend={vend:#x} "
        f"failed={failed}"
    )


_VMALLOC: Final = (
    TraceEvent(
        "vmalloc",
        "free_vmap_area_noflush",
        685,
        _fields("unsigned long va_start; unsigned long nr_lazy; unsigned long nr_lazy_max"),
        '"va_start=0x%lx nr_lazy=%lu nr_lazy_max=%lu", '
        "REC->va_start, REC->nr_lazy, REC->nr_lazy_max",
        _free_vmap_area_noflush,
    ),
    TraceEvent(
        "vmalloc",
        "purge_vmap_area_lazy",
        686,
        _fields("unsigned long start; unsigned long end; unsigned int npurged"),
        '"start=0x%lx end=0x%lx num_purged=%u", REC->start, REC->end, REC->npurged',
        _purge_vmap_area_lazy,
    ),
    TraceEvent(
        "vmalloc",
        "alloc_vmap_area",
        687,
        _fields(
            "unsigned long addr; unsigned long size; unsigned long align; unsigned long vstart; "
            "unsigned long vend; int failed"
        ),
        '"va_start: %lu size=%lu align=%lu vstart=0x%lx vend=0x%lx failed=%d", '
        "REC->addr, REC->size, REC->align, REC->vstart, REC->vend, REC->failed",
        _alloc_vmap_area,
    ),
)

EVENTS: Final = (*_KMEM, *_VMALLOC)
"""All that the machine has, in the order in which Linux lists them."""


# -- what is written into the trace by hand --------------------------------------------------


def _print(values: Values, printer: Printer) -> str:
    return str(values[0])


PRINT: Final = TraceEvent(
    "ftrace",
    "tracing_mark_write",
    5,
    _fields("unsigned long ip; char buf[]"),
    '"%ps: %s", (void *)REC->ip, REC->buf',
    _print,
)
"""A text of `trace_marker` (Linux: kernel/trace/trace_entries.h)."""
