"""/proc/kcore: RAM as an ELF core file, for gdb, readelf and who follows pointers.

    offset 0      | ELF header | program headers | note: VMCOREINFO |
    offset 4096   | RAM, frame 0 first, as far as the linear mapping has it ...

The note says where the top-level page table is (`swapper_pg_dir`), and from there every table,
quantum set and quantum is found, as crash(8) and drgn find them in a real one.

Confessed: the window of vmalloc() is no segment of its own, with which the file would be 32 TiB
long; what is mapped there is in RAM, and the page tables say where.  In Linux offsets are
addresses, so that the file says 128 TiB, and there are notes of registers.

Linux: fs/proc/kcore.c:read_kcore_iter(), kernel/vmcore_info.c
"""

from __future__ import annotations

import struct
from typing import Final

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.access import View
from scullvfs.mm.dump_stack import RELEASE

from .file import File, Handle, only_read

__all__ = ["Kcore"]

# System V ABI, gABI chapters 4 and 5; Linux: include/uapi/linux/elf.h
ET_CORE: Final = 4
PT_LOAD: Final = 1
PT_NOTE: Final = 4
PF_RWX: Final = 7
ELFDATA2LSB: Final = 1
EV_CURRENT: Final = 1
E_MACHINE: Final = {"i386": 3, "x86_64": 62, "arm64": 183}
"""Architecture -> EM_386, EM_X86_64, EM_AARCH64."""

MOST: Final = 1 << 17
"""Bytes that one read(2) gets, so that others need not wait for long."""


class Kcore(File):
    """The file of one machine."""

    shows_data = True

    def __init__(self, machine: Machine, permissions: int, uid: int, gid: int) -> None:
        super().__init__(permissions, uid, gid)
        self._ram: Final = machine.ram
        self._length: Final = min(machine.ram.size, machine.layout.lowmem)
        """Bytes of RAM that the linear mapping has."""
        self._headers: Final = _headers(machine, self._length)

    @property
    def size(self) -> int:
        """The headers' page, and RAM."""
        return PAGE_SIZE + self._length

    def open(self, flags: int, pid: int = 0) -> Handle:
        """Open for reading.

        Raises:
            OSError: EACCES, opened for writing (only root comes this far).
        """
        only_read(flags)
        return _KcoreHandle(self)

    def bytes_at(self, pos: int, count: int) -> bytes:
        """Up to `count` bytes of the file, as they are now."""
        if pos < PAGE_SIZE:
            head = self._headers[pos : pos + count]
            return head + self.bytes_at(PAGE_SIZE, count - len(head)) if count > len(head) else head
        phys = pos - PAGE_SIZE
        return bytes(self._ram.bytes[phys : min(phys + count, self._length)])


class _KcoreHandle(Handle):
    """An open one; what is read is of the moment of the read."""

    def __init__(self, file: Kcore) -> None:
        self._file = file

    def read(self, pos: int, count: int) -> View:
        """`count` bytes at `pos`, MOST of them at the most."""
        return self._file.bytes_at(pos, min(count, MOST))

    def read_pages(self, pos: int, count: int) -> View:
        """All of them, for the page cache."""
        return self._file.bytes_at(pos, count)


def _headers(machine: Machine, length: int) -> bytes:
    """The page before RAM."""
    layout = machine.layout
    wide = layout.pointer_size == 8
    ident = b"\x7fELF" + bytes((1 + wide, ELFDATA2LSB, EV_CURRENT)) + bytes(9)
    header = struct.Struct("<16sHHI" + ("QQQ" if wide else "III") + "IHHHHHH")
    program = struct.Struct("<IIQQQQQQ" if wide else "<IIIIIIII")
    note = _note(
        f"OSRELEASE={RELEASE.split()[0]}\n"
        f"PAGESIZE={PAGE_SIZE}\n"
        f"SYMBOL(swapper_pg_dir)={layout.page_offset + machine.pgtable.top:x}\n"
        "NUMBER(PHYS_OFFSET)=0x0\n"
    )
    behind = header.size + 2 * program.size
    segments = (
        (PT_NOTE, 0, behind, 0, 0, len(note), 0),
        (PT_LOAD, PF_RWX, PAGE_SIZE, layout.page_offset, 0, length, PAGE_SIZE),
    )
    parts = [
        header.pack(
            ident,
            ET_CORE,
            E_MACHINE[layout.name],
            EV_CURRENT,
            0,
            header.size,
            0,
            0,
            header.size,
            program.size,
            len(segments),
            0,
            0,
            0,
        )
    ]
    for kind, flags, offset, vaddr, paddr, size, align in segments:
        memory = size if kind == PT_LOAD else 0
        if wide:
            parts.append(program.pack(kind, flags, offset, vaddr, paddr, size, memory, align))
        else:
            parts.append(program.pack(kind, offset, vaddr, paddr, size, memory, flags, align))
    return b"".join([*parts, note]).ljust(PAGE_SIZE, b"\0")


def _note(text: str) -> bytes:
    """The kernel's words to debuggers (Linux: kernel/vmcore_info.c)."""
    name, words = b"VMCOREINFO\0", text.encode()
    return b"".join((struct.pack("<III", len(name), len(words), 0), name.ljust(12, b"\0"), words))
