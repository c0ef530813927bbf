"""The file `format` of an event: where each field of its record is, and how C prints it.

Confessed: the flags of an allocation are spelled as the preprocessor spells them for x86_64, on
every architecture.  Nothing here is laid out so: records are tuples.

Linux: kernel/trace/trace_events.c:f_show()
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from .gfp import GFP_NAMES
from .trace_events import GFP_FLAGS, Field, TraceEvent

__all__ = ["COMMON_FIELDS", "format_text"]

COMMON_FIELDS: Final = (
    Field("unsigned short", "common_type"),
    Field("unsigned char", "common_flags"),
    Field("unsigned char", "common_preempt_count"),
    Field("int", "common_pid"),
)
"""Of every record, before its own."""


def _bit(number: int) -> str:
    """Linux: include/linux/gfp_types.h, a flag as a macro comes out."""
    return f"(( gfp_t)((((1UL))) << ({number})))"


def _any(*flags: str) -> str:
    return f"({' | '.join(flags)})"


def _gfp_names() -> Iterator[tuple[str, str]]:
    """Each name with its flags as C has them, in the order in which the kernel prints them.

    Linux: include/trace/events/mmflags.h:__def_gfpflag_names
    """
    flag = {name: _bit(flags.bit_length() - 1) for name, flags in GFP_NAMES.items()}
    reclaim = "(( gfp_t)(((((1UL))) << (10))|((((1UL))) << (11))))"
    io, fs = flag["__GFP_IO"], flag["__GFP_FS"]
    kernel = _any(reclaim, io, fs)
    user = _any(reclaim, io, fs, flag["__GFP_HARDWALL"])
    highuser = _any(user, flag["__GFP_HIGHMEM"])
    movable = _any(highuser, flag["__GFP_MOVABLE"], "(( gfp_t)0)")
    more = _any(movable, *(flag[f"__GFP_{name}"] for name in ("COMP", "NOMEMALLOC", "NOWARN")))
    light = f"({more} & ~{reclaim})"
    of_several = {
        "GFP_TRANSHUGE": _any(light, flag["__GFP_DIRECT_RECLAIM"]),
        "GFP_TRANSHUGE_LIGHT": light,
        "GFP_HIGHUSER_MOVABLE": movable,
        "GFP_HIGHUSER": highuser,
        "GFP_USER": user,
        "GFP_KERNEL_ACCOUNT": _any(kernel, flag["__GFP_ACCOUNT"]),
        "GFP_KERNEL": kernel,
        "GFP_NOFS": _any(reclaim, io),
        "GFP_ATOMIC": f"({flag['__GFP_HIGH']}|{flag['__GFP_KSWAPD_RECLAIM']})",
        "GFP_NOIO": _any(reclaim),
        "GFP_NOWAIT": _any(flag["__GFP_KSWAPD_RECLAIM"], flag["__GFP_NOWARN"]),
        "__GFP_RECLAIM": reclaim,
    }
    return ((name, of_several.get(name, flag[name])) for name in GFP_NAMES)


def _gfp_flags() -> str:
    """What prints an allocation's flags (Linux: include/trace/events/mmflags.h)."""
    names = ", ".join(f'{{( unsigned long){flags}, "{name}"}}' for name, flags in _gfp_names())
    return f'(REC->gfp_flags) ? __print_flags(REC->gfp_flags, "|", {names} ) : "none"'


def _placed(
    fields: Iterable[Field], at: int, pointer_size: int
) -> Iterator[tuple[Field, int, int]]:
    """Each field with where it begins, which is a multiple of its size, and that size."""
    for field in fields:
        size = field.size(pointer_size)
        at = -(-at // size) * size if size else at
        yield field, at, size
        at += size


def format_text(event: TraceEvent, pointer_size: int) -> str:
    """What the file `format` of an event says."""
    lines = [f"name: {event.name}", f"ID: {event.id}", "format:"]
    lines += _field_lines(COMMON_FIELDS, 0, pointer_size)
    lines.append("")
    lines += _field_lines(event.fields, 8, pointer_size)
    lines += ["", f"print fmt: {event.print_fmt}"]
    text = "\n".join(lines) + "\n"
    return text.replace(GFP_FLAGS, _gfp_flags()) if GFP_FLAGS in text else text


def _field_lines(fields: Iterable[Field], at: int, pointer_size: int) -> Iterator[str]:
    for field, offset, size in _placed(fields, at, pointer_size):
        signed = int(field.is_signed)
        yield (
            f"\tfield:{field.type} {field.name};\toffset:{offset};\tsize:{size};\tsigned:{signed};"
        )
