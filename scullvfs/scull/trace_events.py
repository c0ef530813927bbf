"""The drivers' events: what a program asks of a device, and what it gets.

    scull_write: dev=scullv0 pos=65536 count=131072 ret=65536

They are of our own: LDD3's drivers have no tracepoints.  All members have the same ones, and `dev`
tells them apart.  What was made to fail is among them, of the machine's functions, too.
"""

from __future__ import annotations

from typing import Final

from scullvfs.mm.trace_events import FIRST_OWN_ID, Field, Printer, TraceEvent, Values

__all__ = ["EVENTS"]

_DEV: Final = Field("__data_loc char[]", "dev")


def _open(values: Values, printer: Printer) -> str:
    dev, flags, ret = values
    return f"dev={dev} flags={flags:#x} ret={ret}"


def _transfer(values: Values, printer: Printer) -> str:
    dev, pos, count, ret = values
    return f"dev={dev} pos={pos} count={count} ret={ret}"


def _ioctl(values: Values, printer: Printer) -> str:
    dev, cmd, arg, ret = values
    return f"dev={dev} cmd={cmd:#x} arg={arg:#x} ret={ret}"


def _trim(values: Values, printer: Printer) -> str:
    dev, size, quanta = values
    return f"dev={dev} size={size} quanta={quanta}"


def _fault_inject(values: Values, printer: Printer) -> str:
    name, function, result = values
    return f"name={name} function={function} result={result}"


_TRANSFER: Final = (_DEV, Field("loff_t", "pos"), Field("size_t", "count"), Field("ssize_t", "ret"))
_TRANSFER_FMT: Final = (
    '"dev=%s pos=%lld count=%zu ret=%zd", __get_str(dev), REC->pos, REC->count, REC->ret'
)

EVENTS: Final = (
    TraceEvent(
        "scull",
        "scull_open",
        FIRST_OWN_ID,
        (_DEV, Field("unsigned int", "flags"), Field("int", "ret")),
        '"dev=%s flags=0x%x ret=%d", __get_str(dev), REC->flags, REC->ret',
        _open,
    ),
    TraceEvent("scull", "scull_read", FIRST_OWN_ID + 1, _TRANSFER, _TRANSFER_FMT, _transfer),
    TraceEvent("scull", "scull_write", FIRST_OWN_ID + 2, _TRANSFER, _TRANSFER_FMT, _transfer),
    TraceEvent(
        "scull",
        "scull_ioctl",
        FIRST_OWN_ID + 3,
        (_DEV, Field("unsigned int", "cmd"), Field("unsigned long", "arg"), Field("int", "ret")),
        '"dev=%s cmd=0x%x arg=0x%lx ret=%d", __get_str(dev), REC->cmd, REC->arg, REC->ret',
        _ioctl,
    ),
    TraceEvent(
        "scull",
        "scull_trim",
        FIRST_OWN_ID + 4,
        (_DEV, Field("loff_t", "size"), Field("unsigned long", "quanta")),
        '"dev=%s size=%lld quanta=%lu", __get_str(dev), REC->size, REC->quanta',
        _trim,
    ),
    TraceEvent(
        "scull",
        "fault_inject",
        FIRST_OWN_ID + 5,
        tuple(Field("__data_loc char[]", name) for name in ("name", "function", "result")),
        '"name=%s function=%s result=%s", __get_str(name), __get_str(function), __get_str(result)',
        _fault_inject,
    ),
)
