"""Memory under names: the listing, and who holds which frames."""

from __future__ import annotations

import pytest

from scullvfs.mm.commands import Commands
from scullvfs.mm.handles import Handles, HandlesStatistics
from scullvfs.mm.machine import Machine

DEVICE = 0xFE000000


@pytest.fixture
def commands() -> Commands:
    """Those of a machine as just booted, with one handle of each kind."""
    commands = Commands(Machine(mem=64 << 20, shuffle=False))
    for line in (
        "vmalloc a 16384",
        "kmalloc k 100",
        "get_free_pages g 2",
        f"ioremap r {DEVICE:#x} 4096",
        "vmap v 8 g",
    ):
        commands.do(line)
    return commands


def listing(handles: Handles, place: tuple[int, int] = (0, 0)) -> str:
    """All of it, or what is left from a place on."""
    return b"".join(line for line, _ in handles.lines(place)).decode()


def test_listing(commands: Commands) -> None:
    """Name, kind, address, size, cost, and where the memory is."""
    where = {}
    for name in "akgrv":
        handle = commands.handles.find(name)
        assert handle is not None
        where[name] = f"{handle.address:x}"
    first, *_, last = commands.do("pfns a").split()
    k, g = (int(where[name], 16) - 0xFFFF888000000000 for name in "kg")
    assert [line.split() for line in listing(commands.handles).splitlines()] == [
        ["#", "name", "kind", "address", "size", "entries", "frames", "memory"],
        ["a", "vmalloc", where["a"], "16384", "7", "9", "frames", f"{first}-{last}"],
        ["k", "kmalloc", where["k"], "128", "0", "1", "phys", f"{k:#x}-{k + 127:#x}"],
        ["g", "get_free_pages", where["g"], "16384", "0", "4", "phys", f"{g:#x}-{g + 16383:#x}"],
        ["r", "ioremap", where["r"], "4096", "1", "0", "phys", "0xfe000000-0xfe000fff"],
        ["v", "vmap", where["v"], "32768", "8", "0", "frames", "of", "g"],
    ]


def test_scattered_frames() -> None:
    """Of frames from all over RAM the first runs, and how many there are."""
    commands = Commands(Machine(mem=64 << 20, seed=1))
    for size in (4096, 8192, 65536):
        commands.do(f"vmalloc a{size} {size}")
    one, two, many = listing(commands.handles).splitlines()[1:]
    frames = [commands.do(f"pfns a{size}").split() for size in (4096, 8192, 65536)]
    assert one.endswith(f" frame {frames[0][0]}")
    assert two.endswith(f" frames {' '.join(frames[1])}")
    assert many.endswith(f" frames {' '.join(frames[2][:4])} ... (16 in all)")


def test_columns_stand_below_each_other(commands: Commands) -> None:
    """As long as a name is no longer than its column."""
    lines = listing(commands.handles).splitlines()
    assert {line[line.rindex(" ", 0, lines[0].index(" memory") + 1) :][0] for line in lines} == {
        " "
    }
    assert len({line.index(" ", 31) for line in lines[1:]}) == 1


def test_places(commands: Commands) -> None:
    """From each place on the listing is what is behind it, whatever is freed meanwhile."""
    handles = commands.handles
    whole, at = listing(handles), 0
    for line, place in list(handles.lines((0, 0))):
        at += len(line)
        assert listing(handles, place) == whole[at:]
        assert handles.seek(at) == (place, at)
        assert handles.seek(at - 1)[1] == at - len(line)
    *_, (_, behind_r), _ = handles.lines((0, 0))
    rest = listing(handles, behind_r)
    commands.do("free k")
    assert listing(handles, behind_r) == rest
    commands.do("kmalloc k 8")
    assert listing(handles, behind_r).startswith(rest)


def test_statistics(commands: Commands) -> None:
    """How many there are, and the frames that are theirs alone."""
    assert commands.handles.statistics() == HandlesStatistics(handles=5, pages=4)
    assert repr(commands.handles) == "<Handles 5>"
    commands.do("free v")
    commands.do("free g")
    assert commands.handles.statistics() == HandlesStatistics(handles=3, pages=0)


def test_state(commands: Commands) -> None:
    """All of it is data."""
    last = commands.handles.state()[-1]
    assert last == ("v", "vmap", 0xFFFFC90000007000, 32768, "g", 8, 0, None, (0, 0), last.serial)


def test_machine_counts_them(commands: Commands) -> None:
    """The books add up, and no longer once a handle is lost, or has what is another's."""
    machine = commands.handles._machine
    machine.check()
    held = commands.handles.find("g")
    assert held is not None
    pages, held.pages = held.pages, range(0)
    with pytest.raises(AssertionError, match="a frame has no holder"):
        machine.check()
    held.pages = range(3, 7)  # the area's
    with pytest.raises(AssertionError, match="a frame has two holders"):
        machine.check()
    held.pages = pages
    machine.check()
