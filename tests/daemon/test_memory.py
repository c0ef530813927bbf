"""How much memory the host can give."""

from pathlib import Path

import psutil
import pytest

from scullvfs.daemon import memory
from scullvfs.daemon.errors import HostMemoryError

GIB = 1 << 30


def test_available_memory_of_this_host() -> None:
    """It is something, and not more than there is."""
    total = psutil.virtual_memory().total + psutil.swap_memory().total
    assert 0 < memory.available_memory() <= total


def test_check_memory_at_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it may be asked for, but not a page more."""
    monkeypatch.setattr(memory, "available_memory", lambda: 16 * GIB)
    memory.check_memory(16 * GIB)
    with pytest.raises(HostMemoryError) as refused:
        memory.check_memory(16 * GIB + 4096)
    assert str(refused.value).endswith("choose mem=16384M or less")


def test_check_memory_refuses_any_host() -> None:
    """A petabyte is more than any host can give."""
    with pytest.raises(HostMemoryError, match="mem=1024T is more than this host can give now"):
        memory.check_memory(1 << 50)


@pytest.mark.parametrize(("limit", "left"), [("max", []), (str(8 * GIB), [6 * GIB])])
def test_left_in_cgroup(tmp_path: Path, limit: str, left: list[int]) -> None:
    """What the group uses is gone, but for the page cache that nobody uses."""
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{3 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {GIB}\nactive_file 7\n")
    assert list(memory._left_in_cgroup(tmp_path)) == left


def test_left_in_cgroup_without_controller(tmp_path: Path) -> None:
    """A group without the memory controller sets no limit."""
    assert list(memory._left_in_cgroup(tmp_path)) == []


def test_available_memory_within_a_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tightest limit counts; one that is overdrawn leaves nothing."""
    monkeypatch.setattr(memory, "_left_in_cgroups", lambda: iter([GIB, 4096]))
    assert memory.available_memory() == 4096
    monkeypatch.setattr(memory, "_left_in_cgroups", lambda: iter([-1]))
    assert memory.available_memory() == 0
