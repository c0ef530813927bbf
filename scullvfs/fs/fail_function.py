"""`sys/kernel/debug/fail_function/`: which functions fail as they are entered, and with what.

    inject         the functions that are chosen: writing a name adds one, !NAME takes it away, and
                   a line of blanks all of them
    injectable     those that there are, and what each may return
    NAME/retval    what one that is chosen returns, in hexadecimal
    times ...      the knobs, in common to all, see `fault_files`

Linux: kernel/fail_function.c
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

from scullvfs.mm.call_trace import is_function
from scullvfs.mm.fail_function import FailFunction, Injection
from scullvfs.mm.layout import Layout

from .fault_files import knob_files, simple_attr
from .kstrtox import strim
from .node import Directory, Node, Symlink, refused
from .show_store import ShowStoreFile
from .shown import TextFile

__all__ = ["error_injection", "fail_function"]

KSYM_NAME_LEN: Final = 512
"""Bytes of a name that are looked at (Linux: include/linux/kallsyms.h)."""


def error_injection(fault: FailFunction, uid: int, gid: int) -> Directory:
    """The directory with the list of all functions that may be chosen.

    Linux: lib/error-inject.c:ei_seq_show()
    """

    def text() -> str:
        return "".join(f"{each}\t{each.type.name}\n" for each in fault.functions.values())

    return Directory.of({"list": TextFile(text, 0o444, uid, gid)}, uid, gid)


def fail_function(fault: FailFunction, layout: Layout, uid: int, gid: int) -> Directory:
    """The directory, of a machine whose drivers have been loaded."""
    directory = _Chosen(fault, uid, gid)
    for name, node in knob_files(fault, uid, gid).items():
        directory.add(name, node)
    directory.add("inject", _inject(fault, uid, gid))
    directory.add("injectable", Symlink("../error_injection/list", uid, gid))
    for name in fault.functions:
        retval = _retval(fault, name, 8 * layout.pointer_size, uid, gid)
        each = Directory.of({"retval": retval}, uid, gid)
        each.entry_timeout = 0
        directory.add(name, each)
    return directory


class _Chosen(Directory):
    """A directory in which of the functions those are that are chosen."""

    attr_timeout = 0

    def __init__(self, fault: FailFunction, uid: int, gid: int) -> None:
        super().__init__(uid, gid)
        self._fault = fault

    def _is_there(self, name: bytes) -> bool:
        text = name.decode("latin-1")
        return text not in self._fault.functions or text in self._fault.injections

    def lookup(self, name: bytes) -> Node | None:
        """The node of a name, None if it is not there."""
        return super().lookup(name) if self._is_there(name) else None

    def __iter__(self) -> Iterator[tuple[bytes, Node]]:
        """The names in it with their nodes, "." and ".." first."""
        return ((name, node) for name, node in super().__iter__() if self._is_there(name))


def _inject(fault: FailFunction, uid: int, gid: int) -> ShowStoreFile:
    """The functions that are chosen, one a line.

    A write is refused with EINVAL, no function of that name; ERANGE, one that cannot be made to
    fail; EBUSY, it is chosen already; ENOENT, it is not chosen.

    Linux: kernel/fail_function.c:fei_write()
    """

    def show() -> str:
        return "".join(f"{each.function}\n" for each in fault.injections.values())

    def store(data: bytes) -> int:
        name = strim(data).decode("latin-1")
        if not name:
            fault.remove_all()
        elif name.startswith("!"):
            if name[1:] not in fault.injections:
                raise refused(errno.ENOENT)
            fault.remove(name[1:])
        elif name in fault.injections:
            raise refused(errno.EBUSY)
        elif name in fault.functions:
            fault.inject(name)
        else:
            raise refused(errno.ERANGE if is_function(name) else errno.EINVAL)
        return len(data)

    return ShowStoreFile(0o600, uid, gid, show, store, longest=KSYM_NAME_LEN)


def _retval(fault: FailFunction, name: str, bits: int, uid: int, gid: int) -> ShowStoreFile:
    """What a function returns when it fails, in hexadecimal; ENOENT as long as it is not chosen.

    A write is refused with EINVAL, no number, or none that it can return; ERANGE, more than 64
    bits.

    Linux: kernel/fail_function.c:fei_retval_set()
    """

    def injection() -> Injection:
        if name not in fault.injections:
            raise refused(errno.ENOENT)
        return fault.injections[name]

    def show() -> str:
        return f"{injection().retval & (1 << bits) - 1:x}\n"

    def store(data: bytes) -> None:
        value = simple_attr(data) & (1 << bits) - 1  # an unsigned long
        if not injection().set_retval(value - (value >> bits - 1 << bits)):
            raise refused(errno.EINVAL)

    return ShowStoreFile(0o600, uid, gid, show, store)
