"""The lines that all reports of the kernel have: who was running, on what, and how it came there.

    CPU: 0 UID: 1000 PID: 4711 Comm: dd Tainted: G           O       6.12.0-scullvfs #1
    Tainted: [O]=OOT_MODULE
    Hardware name: scullvfs emulated x86_64
    Call Trace:
     <TASK>
     vmalloc_noprof
     scullv_write [scullv]
     </TASK>

Confessed: a machine without code has no addresses in it, no registers and no stack.  Functions have
no offset, lines with registers or code bytes are left out, and a trace has those functions that are
known to be in it.

Linux: lib/dump_stack.c, kernel/panic.c, arch/x86/kernel/dumpstack.c
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from .sched import Task

__all__ = [
    "TAINT_BAD_PAGE",
    "TAINT_DIE",
    "TAINT_OOT_MODULE",
    "TAINT_WARN",
    "TAINTS",
    "info_lines",
    "modules_line",
    "syscall_trace",
    "trace_lines",
]

RELEASE: Final = "6.12.0-scullvfs #1"
"""As `uname -r` would have it, and the first word of `uname -v`."""

TAINT_BAD_PAGE: Final = "B"
TAINT_DIE: Final = "D"
TAINT_WARN: Final = "W"
TAINT_OOT_MODULE: Final = "O"

_SYSCALL: Final = {
    "x86_64": ("vfs_{call}", "ksys_{call}", "do_syscall_64", "entry_SYSCALL_64_after_hwframe"),
    "i386": (
        "vfs_{call}",
        "ksys_{call}",
        "__ia32_sys_{call}",
        "__do_fast_syscall_32",
        "do_fast_syscall_32",
        "do_SYSENTER_32",
        "entry_SYSENTER_32",
    ),
    "arm64": (
        "vfs_{call}",
        "ksys_{call}",
        "__arm64_sys_{call}",
        "invoke_syscall",
        "do_el0_svc",
        "el0_svc",
        "el0t_64_sync_handler",
        "el0t_64_sync",
    ),
}
"""Architecture -> the way from a system call to a file's own function, the outermost last."""

_FLAGS: Final = "PFSRMBUDAWCIOELKXTN"
"""Linux: kernel/panic.c:taint_flags"""
_REASONS: Final = {
    TAINT_BAD_PAGE: "BAD_PAGE",
    TAINT_DIE: "DIE",
    TAINT_WARN: "WARN",
    TAINT_OOT_MODULE: "OOT_MODULE",
}
TAINTS: Final = frozenset(_REASONS)
"""All of them."""


def info_lines(task: Task, taints: Collection[str], arch: str) -> list[str]:
    """Who was running (Linux: lib/dump_stack.c:dump_stack_print_info()).

    Args:
        taints: some of the flags above.
    """
    who = f"CPU: 0 UID: {task.uid} PID: {task.pid} Comm: {task.comm}"
    hardware = f"Hardware name: scullvfs emulated {arch}"
    if not taints:
        return [f"{who} Not tainted {RELEASE}", hardware]
    flags = "".join(flag if flag in taints else " " for flag in _FLAGS)
    reasons = ", ".join(f"[{flag}]={_REASONS[flag]}" for flag in _FLAGS if flag in taints)
    # Without a proprietary module the first flag says so.
    return [f"{who} Tainted: G{flags[1:]} {RELEASE}", f"Tainted: {reasons}", hardware]


def modules_line(modules: Iterable[str]) -> str:
    """Those that are loaded; all of them are out of the tree (Linux: kernel/module/main.c)."""
    return " ".join(["Modules linked in:", *(f"{name}(O)" for name in modules)])


def syscall_trace(call: str, arch: str) -> list[str]:
    """The functions between a read(2) or write(2) and that of the file, the innermost first."""
    return [function.format(call=call) for function in _SYSCALL[arch]]


def trace_lines(functions: Iterable[str], arch: str) -> list[str]:
    """The functions on the stack, the innermost first (Linux: show_stack()).

    x86_64 says which stack they are on, arm64 writes the heading otherwise.
    """
    lines = [f" {function}" for function in functions]
    if arch == "x86_64":
        return ["Call Trace:", " <TASK>", *lines, " </TASK>"]
    return ["Call trace:" if arch == "arm64" else "Call Trace:", *lines]
