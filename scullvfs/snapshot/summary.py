"""What a snapshot holds, in lines, when all of it has been looked at.

Loads the machine's modules for the types that its books are of, but makes no machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from scullvfs.mm import PAGE_SIZE
from scullvfs.options.parsers import format_size
from scullvfs.scull.family import DRIVERS
from scullvfs.text import noun, one_line

from .books import Books
from .file import opened
from .options import options_of
from .picture import read_books

__all__ = ["summary"]


def summary(path: str) -> Iterator[str]:
    """Lines about the snapshot in a file.

    Raises:
        BadFileError: it is none, or damaged.
    """
    written = [0]

    def page(_pfn: int, data: bytes) -> None:
        written[0] += len(data)

    with opened(path) as chunks:
        options = options_of(chunks)
        books = read_books(chunks, page)
    header = chunks.header
    yield f"format {header.format}, by scullvfs {one_line(header.version)}"
    yield f"options: {header.options}"
    pages = written[0] // PAGE_SIZE
    yield f"RAM: {format_size(options.mem)}, {pages} {noun(pages, 'page')} of it not zeros"
    yield from _books(books)


def _books(books: Books) -> Iterator[str]:
    seconds = books["clock"] / 1_000_000_000
    machine = books["machine"]
    lines = len(machine["log"]["records"])
    yield f"up for {seconds:.0f} s; {lines} {noun(lines, 'line')} in its log"
    yield f"areas: {len(machine['vmap_space']['busy']['areas'])}"
    yield f"handles: {len(books['commands']['handles'])}"
    for module in books["modules"]:
        driver = DRIVERS.get(module["driver"])
        if driver is None:
            continue
        for index, device in enumerate(module["devices"]):
            yield (
                f"{driver.name}{index}: {driver.word} {device['measure']}, qset {device['qset']}, "
                f"{device['size']} bytes, {device['quanta']} quanta"
            )
