"""How much memory the host can give."""

import re
from pathlib import Path

import psutil
import pytest

from scullvfs.errors import HostMemoryError
from scullvfs.host import memory

MIB = 1 << 20
GIB = 1 << 30


def test_available_memory_of_this_host() -> None:
    """It is something, and not more than there is."""
    total = psutil.virtual_memory().total + psutil.swap_memory().total
    assert 0 < memory.available_memory() <= total


@pytest.mark.parametrize("order", [0, 1, 4, 18])
def test_check_memory_at_the_edge(monkeypatch: pytest.MonkeyPatch, order: int) -> None:
    """What it says that can be chosen can be, and a MiB more cannot."""
    monkeypatch.setattr(memory, "available_memory", lambda: 16 * GIB)
    with pytest.raises(HostMemoryError) as refused:
        memory.check_memory(16 * GIB, order)
    text = re.fullmatch(
        r"mem=16G is more than this host can give now; choose mem=(\d+)M or less: "
        rf"with order={order} it takes (\d+)M in all, and 16384M can be had",
        str(refused.value),
    )
    assert text is not None
    most, needed = int(text[1]) * MIB, int(text[2]) * MIB
    assert needed - MIB < memory.needed_memory(16 * GIB, order) <= needed
    memory.check_memory(most, order)
    with pytest.raises(HostMemoryError):
        memory.check_memory(most + MIB, order)


def test_needed_memory_goes_by_the_order() -> None:
    """The smaller the quanta, the more areas there are: the numbers that the manual has."""
    beside = [memory.needed_memory(GIB, order) - GIB for order in (0, 1, 2, 4)]
    assert [nbytes // MIB for nbytes in beside] == [127, 89, 70, 56]


def test_check_memory_refuses_any_host() -> None:
    """A petabyte is more than any host can give."""
    with pytest.raises(HostMemoryError, match="mem=1024T is more than this host can give now"):
        memory.check_memory(1 << 50, 4)


def test_check_memory_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with nothing left offers nothing."""
    monkeypatch.setattr(memory, "available_memory", lambda: MIB)
    with pytest.raises(HostMemoryError, match="choose mem=0M or less"):
        memory.check_memory(MIB, 4)


NO_LIMIT = (1 << 63) - 4096
"""What version 1 has for none (Linux: mm/page_counter.c, PAGE_COUNTER_MAX)."""


@pytest.mark.parametrize(
    ("version", "limit", "left"),
    [
        (memory.V2, "max", []),
        (memory.V2, str(8 * GIB), [6 * GIB]),
        (memory.V1, str(NO_LIMIT), [NO_LIMIT - 2 * GIB]),
        (memory.V1, str(8 * GIB), [6 * GIB]),
    ],
)
def test_left_in_cgroup(
    tmp_path: Path, version: memory.Version, limit: str, left: list[int]
) -> None:
    """What the group uses is gone, but for the page cache that nobody uses."""
    (tmp_path / version.limit).write_text(f"{limit}\n")
    (tmp_path / version.used).write_text(f"{3 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\n{version.cache} {GIB}\nactive_file 7\n")
    assert list(memory._left_in_cgroup(tmp_path, version)) == left


def test_left_in_cgroup_without_controller(tmp_path: Path) -> None:
    """A group without the memory controller sets no limit."""
    assert list(memory._left_in_cgroup(tmp_path, memory.V2)) == []


def test_available_memory_within_a_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tightest limit counts; one that is overdrawn leaves nothing."""
    monkeypatch.setattr(memory, "_left_in_cgroups", lambda: iter([GIB, 4096]))
    assert memory.available_memory() == 4096
    monkeypatch.setattr(memory, "_left_in_cgroups", lambda: iter([-1]))
    assert memory.available_memory() == 0
