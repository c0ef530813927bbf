"""How the pictures say numbers, one way for the terminal and for SVG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from scullvfs.mm.layout import LAYOUTS, PAGE_SHIFT, PAGE_SIZE
from scullvfs.scull.family import DRIVERS
from scullvfs.text import noun

from .core import NONE
from .device import Device, Group, Quantum, Run

__all__ = [
    "NO_QUANTUM",
    "bytes_words",
    "count_words",
    "few_groups",
    "frame_words",
    "given_words",
    "group_heading",
    "group_words",
    "heading",
    "hexadecimal",
    "moral",
    "places_words",
    "step_words",
    "unseen_words",
    "where_words",
    "why_nothing",
]

NO_QUANTUM = "No quantum yet: the first write allocates one."

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def bytes_words(count: int) -> str:
    """Bytes in the largest unit that keeps three digits: 1.25 MiB, 64 KiB, 4,000 bytes."""
    if count < 4096 or (count % 1024 and count < 1 << 14):
        return count_words(count, "byte")
    unit, size = 0, float(count)
    while size >= 1024 and unit < len(UNITS) - 1:
        size /= 1024
        unit += 1
    text = f"{size:.2f}".rstrip("0").rstrip(".") if size < 100 else f"{size:.0f}"
    return f"{text} {UNITS[unit]}"


def count_words(count: int, what: str, plural: str = "") -> str:
    """A number of things: 1 page, 2,000 pages."""
    return f"{count:,} {noun(count, what, plural)}"


def hexadecimal(address: int, digits: int = 16) -> str:
    """An address, as the kernel's listings have it."""
    return f"{address:0{digits}x}"


def frame_words(frame: int) -> str:
    """Where a page is; with an entry that is written over, nowhere."""
    return "none" if frame == NONE else f"frame {frame:,}"


def heading(device: Device, memory: str, by_order: bool) -> str:
    """What the device is, in one phrase."""
    order = f" (order {device.measure})" if by_order else ""
    return (
        f"{bytes_words(device.size)} in {count_words(device.nr_quanta, 'quantum', 'quanta')} "
        f"of {bytes_words(device.quantum)}{order}, each from {memory}()"
    )


def group_heading(group: Group) -> str:
    """Which items: item 0; items 3-499."""
    if group.items == 1:
        return f"item {group.first:,}"
    return f"items {group.first:,}-{group.first + group.items - 1:,}"


def group_words(group: Group, qset: int) -> str:
    """What is in the quantum set of some items."""
    each = " each" if group.items > 1 else ""
    if not group.listed:
        return "the driver's listing leaves them out"
    if not group.qset:
        return "no quantum set: a hole"
    if not group.quanta:
        return f"{count_words(qset, 'pointer')}{each}, all empty: a hole"
    if group.quanta == qset:
        return f"{count_words(qset, 'pointer')}{each}, all lead to a quantum"
    where = places_words(group.runs)
    return f"{count_words(qset, 'pointer')}{each}; {where or f'{group.quanta:,}'} used"


def places_words(runs: Iterable[Run]) -> str:
    """Numbers in runs: 0-19, 30; of more than four only that there are more."""
    parts = [
        f"{first:,}" if count == 1 else f"{first:,}-{first + count - 1:,}" for first, count in runs
    ]
    return ", ".join(parts) if len(parts) <= 4 else ""


def _nr_pieces(frames: Sequence[int]) -> int:
    """How many runs of frames that follow one another."""
    return sum(1 for at, frame in enumerate(frames) if not at or frame != frames[at - 1] + 1)


def unseen_words(device: Device) -> str:
    """How many quanta are drawn nowhere; "", none."""
    missing = device.nr_quanta - device.seen
    if missing <= 0:
        return ""
    words = count_words(missing, "quantum", "quanta")
    return f"{words} more belong to items that the driver's listing leaves out"


def where_words(quantum: Quantum, device: Device) -> str:
    """Which bytes of the device a quantum has, and where in the list its pointer is."""
    end = quantum.start + device.quantum - 1
    return (
        f"bytes {quantum.start:,} to {end:,} of the device; place {quantum.place:,} in the set of "
        f"item {quantum.item:,}"
    )


def given_words(quantum: Quantum, device: Device) -> tuple[str, str, str]:
    """Where a quantum comes from: what is said before its address, that, and what it is."""
    memory = "vmalloc" if quantum.why == "area" else DRIVERS[device.driver].memory
    address = hexadecimal(quantum.address, LAYOUTS[device.arch].pointer_digits)
    if quantum.why != "area":
        return f"{memory}() gave it ", address, ", an address of the linear mapping."
    guard = ", and a guard page behind it" if quantum.guard else ""
    pages = count_words(len(quantum.frames), "page")
    return f"{memory}() gave it an area of addresses: ", address, f", {pages} of 4 KiB{guard}."


def why_nothing(quantum: Quantum, device: Device) -> str:
    """Why a quantum is not there."""
    if quantum.why == "unlisted":
        return (
            f"It belongs to item {quantum.item:,}, which the driver's listing leaves out: "
            "that has the first 10,000 items and the last one."
        )
    if quantum.why == "garbage":
        return (
            f"The pointer to it is {hexadecimal(quantum.address)}, where no memory is: "
            "something was written over the set."
        )
    if quantum.why == "hole":
        return (
            "The pointer to it is empty: a hole, to which nothing was written. "
            "It takes no memory, and a read finds nothing in it."
        )
    return f"The device has {count_words(device.nr_items, 'item')} so far, and it would be behind."


def step_words(quantum: Quantum, number: int, device: Device) -> str:
    """Where an entry on the way to a quantum leads."""
    layout, step = LAYOUTS[device.arch], quantum.path[number]
    frame = (step.entry & layout.phys_mask) >> PAGE_SHIFT
    if step.leaf and step.covers > PAGE_SIZE:
        return f"a {bytes_words(step.covers)} page: frame {frame:,} on"
    if step.leaf:
        return f"byte {(quantum.address + quantum.at) % PAGE_SIZE:,} of frame {frame:,}"
    return f"the {layout.levels[number + 1].name} table" if step.entry else "nothing"


def few_groups(groups: Sequence[Group], most: int) -> Iterator[Group | str]:
    """The groups, at most so many; of the others, before the last one, a phrase."""
    if len(groups) <= most:
        yield from groups
        return
    yield from groups[: most - 1]
    left = groups[most - 1 : -1]
    items = sum(group.items for group in left)
    quanta = sum(group.items * group.quanta for group in left)
    words = f"{count_words(items, 'item')} with {count_words(quanta, 'quantum', 'quanta')}"
    yield f"{words}, not drawn one by one"
    yield groups[-1]


def moral(quantum: Quantum, device: Device) -> str:
    """What the picture of a quantum says, in words."""
    return _of_area(quantum) if quantum.why == "area" else _of_linear(quantum, device)


def _of_area(quantum: Quantum) -> str:
    pages, pieces = len(quantum.frames), _nr_pieces(quantum.frames)
    if pages == 1:
        return (
            "One page in one frame. Larger quanta have many, wherever there are free ones: "
            "the page tables make one piece of them."
        )
    start = f"In virtual addresses the {pages:,} pages follow one another; in RAM they lie in "
    if pieces == 1:
        return (
            f"{start}frames that happen to follow one another, too. Nothing asks for that: each "
            "page has an entry of its own in a page table, and could be anywhere."
        )
    return (
        f"{start}{pieces:,} places. The page tables make one piece of them: virtually contiguous, "
        f"physically scattered. So vmalloc() needs {pages:,} free frames, wherever they are, "
        "and a page-table entry for each."
    )


def _of_linear(quantum: Quantum, device: Device) -> str:
    """Why there is nothing to draw of page tables."""
    offset = hexadecimal(device.page_offset, LAYOUTS[device.arch].pointer_digits)
    why = (
        f"All RAM is mapped so, at its address plus {offset}, by tables that the boot has made and "
        "nobody changes."
    )
    own = f"So {device.driver} needs no page tables of its own"
    if quantum.slab:
        inside = quantum.address - device.page_offset - (quantum.block.first << PAGE_SHIFT)
        return (
            f"The quantum is an object in a slab, {count_words(quantum.block.length, 'frame')} "
            f"from frame {quantum.block.first:,} on, and begins {count_words(inside, 'byte')} "
            f"behind its start. {why} {own}; the frames of a slab have to follow one another in "
            "RAM."
        )
    if len(quantum.frames) == 1:
        return f"{why} {own}: its quantum is a page frame."
    return (
        f"{why} {own}, but where there are no {len(quantum.frames)} free frames in a row, it has "
        "no memory."
    )
