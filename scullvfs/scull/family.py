"""The family: scull, scullp, scullc and scullv, each a row of data.

    LDD3                         a quantum comes from     its size
    scull   chapter 3            kmalloc()                scull_quantum bytes
    scullc  chapter 8            kmem_cache_alloc()       scullc_quantum bytes
    scullp  chapter 8            __get_free_pages()       PAGE_SIZE << scullp_order bytes
    scullv  chapter 8            vmalloc()                PAGE_SIZE << scullv_order bytes

How it comes from there is a class in a module of the member's name (`scullv`, ...).
"""

from __future__ import annotations

from typing import Final

from scullvfs.mm.layout import PAGE_SIZE

from .driver import INT_MAX, Commands, Driver, Parameter, by_command, by_parameter

__all__ = [
    "DRIVERS",
    "KMALLOC_MAX_SIZE",
    "MAX_DEVS",
    "MAX_ORDER",
    "MAX_PAGE_ORDER",
    "MAX_QSET",
    "SCULLV",
    "driver_of_device",
    "driver_of_parameter",
]

MAX_PAGE_ORDER: Final = 10
"""The page allocator's, and so kmalloc's (Linux: include/linux/mmzone.h)."""
KMALLOC_MAX_SIZE: Final = PAGE_SIZE << MAX_PAGE_ORDER
"""Bytes that are the most of kmalloc() (Linux: include/linux/slab.h)."""

# What the real drivers survive, and how many devices one mount may have.
MAX_DEVS: Final = 1000
MAX_ORDER: Final = 18
MAX_QSET: Final = INT_MAX // PAGE_SIZE
"""With quanta of whole pages."""


def _devs(name: str) -> Parameter:
    return Parameter(name, 1, MAX_DEVS, 4, "how many devices")


def _order(name: str, default: int) -> Parameter:
    return Parameter(name, 0, MAX_ORDER, default, "a quantum is 4K << order")


def _bytes(name: str, most: int) -> Parameter:
    return Parameter(name, 1, most, 4000, "bytes in a quantum")


def _qset(name: str, default: int, most: int) -> Parameter:
    return Parameter(name, 1, most, default, "quanta in a list item")


SCULLV: Final = Driver(
    name="scullv",
    memory="vmalloc",
    devs=_devs("scullv_devs"),
    measure=_order("scullv_order", 4),
    qset=_qset("scullv_qset", 500, MAX_QSET),
    commands=Commands("K", 12, by_parameter("ORDER", "QSET")),
    word="order",
    listings=("scullvmem",),
    areas=True,
)

SCULLP: Final = Driver(
    name="scullp",
    memory="__get_free_pages",
    devs=_devs("scullp_devs"),
    measure=_order("scullp_order", 0),
    qset=_qset("scullp_qset", 500, MAX_QSET),
    commands=Commands("K", 12, by_parameter("ORDER", "QSET")),
    word="order",
    listings=("scullpmem",),
    largest=PAGE_SIZE << MAX_PAGE_ORDER,
)

SCULLC: Final = Driver(
    name="scullc",
    memory="kmem_cache_alloc",
    devs=_devs("scullc_devs"),
    measure=_bytes("scullc_quantum", 4 << 20),
    qset=_qset("scullc_qset", 500, INT_MAX),
    commands=Commands("K", 12, by_parameter("QUANTUM", "QSET")),
    word="quantum",
    listings=("scullcmem",),
    bound="the objects of its cache, which are as at mount",
)

SCULL: Final = Driver(
    name="scull",
    memory="kmalloc",
    devs=_devs("scull_nr_devs"),
    measure=_bytes("scull_quantum", INT_MAX),
    qset=_qset("scull_qset", 1000, INT_MAX),
    commands=Commands(
        "k", 14, by_command("QUANTUM", "QSET") | {"TP_SIZE": 13, "QP_SIZE": 14}, "STXH"
    ),
    word="quantum",
    listings=("scullmem", "scullseq"),
    listed_as="q",
    largest=KMALLOC_MAX_SIZE,
    blank=" ",
    sizeof_dev={4: 100, 8: 168},
    sizeof_item={4: 8, 8: 16},
    head_is_item=False,
)

DRIVERS: Final = {driver.name: driver for driver in (SCULLV, SCULLP, SCULLC, SCULL)}
"""Name -> row."""


def driver_of_parameter(name: str) -> Driver | None:
    """Whose parameter has that name."""
    return next((d for d in DRIVERS.values() if name in {p.name for p in d.parameters}), None)


def driver_of_device(name: str) -> Driver | None:
    """Whose device has that name, such as scullp0; scullp is the link to it."""
    return DRIVERS.get(name.rstrip("0123456789"))
