"""`Mount.fill()`: the last byte that the machine has memory for, and all is given back."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from scullvfs.errors import BusyError
from scullvfs.testing import Mount, mounted

from ..scull.helpers import fails
from .helpers import MIB


@pytest.fixture
def mount(scullvfs: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Mount]]:
    """Mounts all drivers, with the options it is given; no process of it may outlive the test."""
    name, _, value = scullvfs.mark.partition("=")
    monkeypatch.setenv(name, value)
    with ExitStack() as stack:

        def mount(**options: str | int) -> Mount:
            options = {"drivers": "scullv:scullp:scullc:scull", "mem": "16M", **options}
            return stack.enter_context(mounted(**options))

        yield mount


def arrives(device: Path, *words: str) -> int:
    """How many bytes dd writes until it says that there is no memory."""
    done = subprocess.run(
        ["dd", "if=/dev/zero", f"of={device}", *(words or ["bs=64k"])],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.returncode == 1
    assert f"error writing '{device}': Cannot allocate memory" in done.stderr
    return os.stat(device).st_size


def validate(mnt: Mount) -> None:
    """Have the machine check its books."""
    (mnt / "sys/kernel/debug/validate").write_text("1")


MACHINES: dict[str, dict[str, str | int]] = {
    "x86_64": {},
    "i386": {"arch": "i386"},
    "arm64": {"arch": "arm64"},
    "addresses end first": {"arch": "i386", "mem": "1G"},
    "high memory": {"arch": "i386", "mem": "950M"},
    "cpus": {"cpus": 4},
    "pieces": {"fragment": 80, "mem": "64M"},
    "file": {"semantics": "file", "shuffle": 0},
    "1 GiB": {"mem": "1G", "fragment": 30},
    "not wiped": {"init_on_alloc": 0},
}


@pytest.mark.long
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize(
    ("device", "leave"),
    [("scullv0", 131072), ("scullp1", 131072), ("scullc0", 12000), ("scull0", 4000)],
)
def test_exactly(mount: Any, machine: dict[str, str | int], device: str, leave: int) -> None:
    """So many bytes arrive, again and again, then nobody has any, and all comes back."""
    mnt = mount(**machine)
    before = mnt.meminfo()["MemFree"]
    with mnt.fill(leave, device) as fill:
        assert "failure" not in mnt.kmsg()
        for _ in range(3):
            fill.again()
            assert arrives(mnt / device) == leave
            validate(mnt)
        assert {arrives(other) for other in mnt.devices if other.name != device} == {0}
    os.truncate(mnt / device, 0)
    assert (mnt / "sys/kernel/debug/mm/handles").read_text().count("\n") == 1
    assert mnt.meminfo()["MemFree"] > before - 1000  # slabs and tables that stay
    assert (mnt / device).write_bytes(bytes(1 * MIB)) == 1 * MIB
    validate(mnt)


GEOMETRIES: list[tuple[str, dict[str, str | int], int]] = [
    *(("scullv0", {"scullv_order": order}, 4096 << order) for order in (0, 1, 3, 7)),
    *(("scullp0", {"scullp_order": order}, 4096 << order) for order in (1, 3, 6)),
    *(("scullc0", {"scullc_quantum": quantum}, quantum) for quantum in (64, 4096, 20_000)),
    *(("scull0", {"scull_quantum": quantum}, quantum) for quantum in (7, 192, 8192, 100_000)),
    ("scullv0", {"scullv_order": 0, "scullv_qset": 3}, 4096),
]


@pytest.mark.long
@pytest.mark.parametrize(("device", "options", "quantum"), GEOMETRIES)
def test_exactly_quanta(
    mount: Any, device: str, options: dict[str, str | int], quantum: int
) -> None:
    """Whatever a quantum is, none, one and many of them can be left."""
    mnt = mount(**options)
    for count in (0, 1, 2, 17):
        with mnt.fill(count * quantum, device):
            assert arrives(mnt / device) == count * quantum
        os.truncate(mnt / device, 0)
    validate(mnt)


@pytest.mark.long
def test_exactly_afterwards(mount: Any) -> None:
    """On a machine that has been used: parameters set, slabs half full, other devices with data."""
    mnt = mount(mem="32M")
    for device in mnt.devices:
        device.write_bytes(bytes(300_000))
    for device in mnt.devices[::2]:
        os.truncate(device, 0)
    mnt.ioctl("scullv0", "set-order", 1)
    kept = {device: device.read_bytes() for device in mnt.devices[1::2]}
    with mnt.fill(9 * 8192):
        assert arrives(mnt / "scullv0") == 9 * 8192
        assert {device: device.read_bytes() for device in kept} == kept
    validate(mnt)


@pytest.mark.long
def test_exactly_where_it_begins(mount: Any) -> None:
    """Without O_TRUNC, and in pieces of any size, the byte is the same."""
    mnt = mount()
    with mnt.fill(131072):
        assert arrives(mnt / "scullv0", "conv=notrunc", "bs=1000") == 131072
        with open(mnt / "scullv0", "r+b", buffering=0) as file:
            file.seek(131072)
            with fails(errno.ENOMEM):
                file.write(b"x")


@pytest.mark.long
def test_freed_once(mount: Any) -> None:
    """`free()` within the context, and its end after that."""
    mnt = mount()
    with mnt.fill(0) as fill:
        fill.free()
        (mnt / "scullv0").write_bytes(b"x")
        fill.free()
    assert (mnt / "scullv0").read_bytes() == b"x"


@pytest.mark.long
def test_freed_after_an_exception(mount: Any) -> None:
    """It goes on, and the memory is there again."""
    mnt = mount()
    with pytest.raises(ZeroDivisionError), mnt.fill(0):
        assert mnt.pid / 0
    (mnt / "scullv0").write_bytes(bytes(1_000_000))


@pytest.mark.long
def test_daemon_dies(mount: Any) -> None:
    """Nothing is left to be freed."""
    mnt = mount()
    with mnt.fill(65536):
        os.kill(mnt.pid, signal.SIGKILL)
        mnt._daemon.wait()
    with fails(errno.ENOTCONN):
        mnt.fill(0)


@pytest.mark.long
def test_stalled(mount: Any) -> None:
    """Neither to fill nor to free hangs."""
    mnt = mount()
    fill = mnt.fill(65536)
    with mnt.stalled():
        for ask in (fill.again, fill.free, lambda: mnt.fill(0)):
            with pytest.raises(BusyError, match="is stalled"):
                ask()
    fill.free()
    (mnt / "scullv0").write_bytes(bytes(1_000_000))


@pytest.mark.long
@pytest.mark.parametrize(
    ("leave", "device", "words"),
    [
        (100_000, None, "scullv0, which has 65536 bytes; 65536 or 131072 is"),
        (-4096, "scullp0", "scullp0, which has 4096 bytes"),
        (4001, "scull0", "scull0, which has 4000 bytes; 4000 or 8000 is"),
        (1 << 30, None, "1073741824 bytes are more than the machine has memory for now"),
        (0, "scullv9", "unknown device 'scullv9'"),
        (0, "scullv1", "scullv1 is not empty; os.truncate"),
    ],
)
def test_refused(mount: Any, leave: int, device: str | None, words: str) -> None:
    """What cannot be exact says what can, and takes nothing."""
    mnt = mount()
    (mnt / "scullv1").write_bytes(b"x")
    with pytest.raises(ValueError, match=words):
        mnt.fill(leave, device)
    assert (mnt / "scullv0").write_bytes(bytes(1_000_000)) == 1_000_000


@pytest.mark.long
@pytest.mark.parametrize("leave", ["x", None, 65536.0, 1.5, True])
def test_no_number(mount: Any, leave: object) -> None:
    """What is no whole number is told so."""
    with pytest.raises(TypeError, match=f"^leave={leave!r} is no whole number$"):
        mount().fill(leave)


@pytest.mark.long
def test_refused_twice(mount: Any) -> None:
    """A full machine has no room for a second one; nor for more pieces than there are handles."""
    mnt = mount()
    with mnt.fill(0), pytest.raises(ValueError, match="more than the machine has memory for"):
        mnt.fill(4096, "scullp0")
    command = mnt / "sys/kernel/debug/mm/command"
    for number in range(4090):
        command.write_text(f"kmalloc h{number} 8")
    with pytest.raises(ValueError, match="too many pieces"):
        mnt.fill(65536)
