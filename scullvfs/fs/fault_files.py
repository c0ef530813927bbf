"""The knobs of a fault as files: a directory of them for each, as debugfs has it.

    sys/kernel/debug/failslab/probability    0

Numbers are of the kinds that C has, and what does not fit loses its highest bits; booleans take any
text, and change only where its first letter is one that they know.

Linux: lib/fault-inject.c:fault_create_debugfs_attr(), fs/libfs.c:simple_attr_write(),
fs/debugfs/file.c:debugfs_write_file_bool()
"""

from __future__ import annotations

from typing import Final

from scullvfs.mm.fault_attr import FaultAttr, Knob, KnobKind

from .kstrtox import S64, U64, kstrtobool_from_user, kstrtonumber
from .node import Directory, Node
from .show_store import ShowStoreFile

__all__ = ["fault_directory", "knob_files", "simple_attr"]

ATTR_SIZE: Final = 23
"""Bytes of a number that are looked at (Linux: fs/libfs.c:struct simple_attr)."""


def simple_attr(data: bytes, signed: bool = False) -> int:
    """The number that is written to a file of one; up to a NUL, and of a longer text the first.

    Raises:
        OSError: EINVAL, no number, or one below 0 where it is not `signed`; ERANGE, too large.

    Linux: fs/libfs.c:simple_attr_write_xsigned()
    """
    return kstrtonumber(data[:ATTR_SIZE], *(S64 if signed else U64))


def _knob_file(attr: FaultAttr, knob: Knob, uid: int, gid: int) -> ShowStoreFile:
    """A file with a knob of a fault.

    What is no boolean is taken, too, and changes nothing; what is no number is refused.
    """

    def show() -> str:
        value = getattr(attr, knob.field)
        if knob.kind is KnobKind.BOOL:
            return "Y\n" if value else "N\n"
        return f"{value}\n"

    def store(data: bytes) -> None:
        if knob.kind is not KnobKind.BOOL:
            attr.set(knob, simple_attr(data, knob.kind.signed))
        elif (value := kstrtobool_from_user(data)) is not None:
            attr.set(knob, value)

    return ShowStoreFile(0o600, uid, gid, show, store)


def knob_files(attr: FaultAttr, uid: int, gid: int) -> dict[str, Node]:
    """Name -> file, of all knobs of a fault."""
    return {knob.name: _knob_file(attr, knob, uid, gid) for knob in attr.knobs}


def fault_directory(attr: FaultAttr, uid: int, gid: int) -> Directory:
    """The directory of a fault."""
    return Directory.of(knob_files(attr, uid, gid), uid, gid)
