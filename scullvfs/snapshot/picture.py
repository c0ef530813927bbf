"""A machine as a snapshot, written and read: options, RAM, books."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.commands import Commands
from scullvfs.mm.layout import PAGE_SHIFT
from scullvfs.mm.restoring import StateError
from scullvfs.plain import checked
from scullvfs.scull import Module
from scullvfs.text import one_line

from . import books
from .file import BOOK, Chunks, Writer, opened, parsed

__all__ = ["read_books", "restore", "write"]

log = logging.getLogger(__name__)

MACHINE: Final = "machine."
"""What a part of the machine is named with before it; each has a book of its own."""


def write(
    out: Callable[[bytes | memoryview], object],
    options: str,
    machine: Machine,
    modules: Sequence[Module],
    commands: Commands,
) -> None:
    """Write all of it.  Nobody else may do anything meanwhile.

    What waits in the workqueue is done first, and the host's memory behind free frames is given
    back, which moves none of them.
    """
    found: dict[str, Any] = {**books.state(machine, modules, commands)}
    machine.page_alloc.release_free()
    writer = Writer(out, options)
    for pfn, count in machine.ram.written():
        at = pfn << PAGE_SHIFT
        writer.page(pfn, machine.ram.bytes[at : at + (count << PAGE_SHIFT)])
    for name, part in found.pop("machine").items():
        writer.book(MACHINE + name, part)
    for name, part in found.items():
        writer.book(name, part)
    writer.done()


def restore(
    path: str, options: str, machine: Machine, modules: Sequence[Module], commands: Commands
) -> None:
    """Go on as the machine that was saved would.

    Args:
        options: those of this machine, as they were given to `write()`.
        machine: as it is at first, with these options.

    Raises:
        BadFileError: the file is none, or of another machine, or says what cannot be.  The machine
            is of no use any more then.
    """
    with opened(path) as chunks:
        if chunks.header.options != options:
            raise chunks.wrong("is of another machine")
        machine.ram.clear()
        found = read_books(chunks, lambda pfn, data: _put(machine, pfn, data))
        try:
            books.restore(found, machine, modules, commands)
        except StateError as error:
            log.debug("%s", path, exc_info=True)
            raise chunks.wrong(f"says what cannot be: {one_line(str(error))[:200]}") from None


def read_books(chunks: Chunks, page: Callable[[int, bytes], None]) -> books.Books:
    """The books of a snapshot, when all of it is read and right.

    Args:
        page: is given a frame's number, and what is in it and those that follow.

    Raises:
        BadFileError: it is damaged, or none.
    """
    texts: dict[bytes, bytearray] = {}
    for kind, data in chunks:
        if kind == BOOK:
            name, _, piece = data.partition(b"\0")
            texts.setdefault(name, bytearray()).extend(piece)
            continue
        try:
            page(int.from_bytes(data[:8], "little"), data[8:])
        except StateError as error:
            raise chunks.wrong(f"says what cannot be: {error}") from None
    found: dict[str, Any] = {"machine": {}}
    for name in [*texts]:
        text = name.decode("ascii", "replace")
        state = parsed(texts.pop(name), chunks)
        if text.startswith(MACHINE):
            found["machine"][text.removeprefix(MACHINE)] = state
        else:
            found[text] = state
    try:
        return checked(books.Books, found)
    except ValueError as error:
        raise chunks.wrong(f"says what cannot be: {error}") from None


def _put(machine: Machine, pfn: int, data: bytes) -> None:
    count, rest = divmod(len(data), PAGE_SIZE)
    if not data or rest or pfn + count > machine.ram.nr_pages:
        raise StateError(f"there is no frame {pfn}")
    machine.ram.bytes[pfn << PAGE_SHIFT : pfn + count << PAGE_SHIFT] = data
