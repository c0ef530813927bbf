"""The areas in use, in their chunks: the same as a dict of them, whatever is done."""

from __future__ import annotations

from random import Random

import pytest

from scullvfs.mm.areas import CHUNK, BusyAreas
from scullvfs.mm.vm_struct import VmapArea, VmKind

P = 4096
KINDS = [VmKind(2 * P, 2, "f", 1), VmKind(3 * P, 2, "f", 2), VmKind(9 * P, 1, "g")]


def add(areas: BusyAreas, oracle: dict[int, VmapArea], at: int, kind: VmKind) -> None:
    """Put an area in both, its place as its data, and twice that for its objects."""
    areas.add(at, kind, at // P, 2 * at // P)
    oracle[at] = VmapArea(at, kind, at // P)


def with_objects(area: VmapArea) -> tuple[object, ...]:
    """All that an area was put in with."""
    return *area, 2 * area.va_start // P


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order", ["rising", "falling", "random"])
def test_equals_a_dict(seed: int, order: str) -> None:
    """Areas come in some order and go in any; each is found at its first, middle and last byte."""
    rng, areas, oracle = Random(seed), BusyAreas(), dict[int, VmapArea]()
    places = [number * 10 * P for number in range(1, 3 * CHUNK)]
    if order == "falling":
        places.reverse()
    elif order == "random":
        rng.shuffle(places)
    for step, at in enumerate(places):
        add(areas, oracle, at, rng.choice(KINDS))
        if step % 3 == 0:
            gone = rng.choice(list(oracle))
            area = oracle.pop(gone)
            assert areas.pop(gone + rng.randrange(area.kind.size)) == with_objects(area)
    areas.check()
    assert list(areas) == sorted(oracle)
    assert list(areas.values()) == [oracle[at] for at in sorted(oracle)]
    assert list(areas.objects()) == [2 * at // P for at in areas]
    assert len(areas) == len(oracle)
    assert areas.nbytes == sum(area.kind.size for area in oracle.values())
    for at, area in oracle.items():
        size = area.kind.size
        assert areas.find(at) == areas.find(at + size // 2) == areas.find(at + size - 1) == area
        assert areas.find(at + size) is None
        assert areas.find(at - 1) is None
    middle = sorted(oracle)[len(oracle) // 2]
    assert [at for at, _, _ in areas.walk(middle)] == [at for at in sorted(oracle) if at >= middle]
    for at in list(oracle):
        assert areas.pop(at) == with_objects(oracle.pop(at))
    areas.check()
    assert not areas
    assert areas.pop(places[0]) is None


@pytest.mark.parametrize("length", [2, 5, CHUNK + 5])
def test_pop_run_ends_where_the_next_is_no_neighbour(length: int) -> None:
    """Areas side by side go at once, up to a gap, to what is not asked for, to a chunk's end."""
    areas, oracle = BusyAreas(), dict[int, VmapArea]()
    starts = [P * (2 * number + (number >= length)) for number in range(1, length + 10)]
    for at in starts:
        add(areas, oracle, at, KINDS[0])
    assert areas.pop_run([starts[0] + P]) == []
    done: list[tuple[object, ...]] = []
    while len(done) < length - 1:
        done += areas.pop_run(starts[len(done) :])
    assert done == [with_objects(oracle[at]) for at in starts[: length - 1]]
    areas.check()
    wanted = [starts[length - 1], starts[length + 1]]
    assert areas.pop_run(wanted) == [with_objects(oracle[starts[length - 1]])]
    areas.check()
    assert list(areas) == starts[length:]
