"""`-o quirks=ldd3`: LDD3's one-page quantum, and the guard page that catches its overrun.

list item 0     quanta of 64 KiB, as they should be
list item 1...  |page|guard page|page|guard page|...    accessed as quanta of 64 KiB
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.scull import Module

from .helpers import MIB, QUANTUM, Scullvfs, read_all, write_all

ITEM = 500 * QUANTUM
"""Bytes in the first list item by default: what works in LDD3."""

Mount = Callable[[str], Path]


@pytest.fixture
def quirky(mount: Mount) -> Path:
    """A mount with the mistake and with small list items: the second begins at 128 KiB."""
    return mount("mem=16M,quirks=ldd3,qset=2")


@pytest.fixture
def fd(quirky: Path) -> Iterator[int]:
    """A descriptor of its first device, whose first list item is full."""
    fd = os.open(quirky / "scullv0", os.O_RDWR)
    write_all(fd, b"0" * 2 * QUANTUM)
    yield fd
    os.close(fd)


def dd(device: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `dd of=device` to its end."""
    return subprocess.run(
        ["dd", f"of={device}", "status=noxfer", *arguments],
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )


def error_of(call: Callable[[], object]) -> str:
    """The name of the errno that a call fails with; what it returns if it does not."""
    try:
        return str(call())
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def reports(mount: Path) -> list[str]:
    """The reports in the kernel log, each a text without levels and times."""
    lines = re.findall(r"^<\d>\[.*?\] (.*)$", (mount / "proc/kmsg").read_text(), re.MULTILINE)
    heads = "BUG: |Unable to handle kernel "
    return re.findall(rf"(?:{heads}).*?---\[ end trace 0+ \]---", "\n".join(lines), re.DOTALL)


TABLES = {
    "x86_64": r"PGD (\w+) P4D \1 PUD \w+ PMD \w+ PTE 0\n",
    "i386": r"\*pde = \w+ \*pte = 0{8} \n",
    "arm64": r"\] pgd=(\w+), p4d=\1, pud=\w+, pmd=\w+, pte=0{16}\n",
}
"""What a report of the guard page shows of the page tables."""


def areas(mount: Path) -> list[tuple[int, int]]:
    """Start and end of every busy area in vmallocinfo, the guard page included."""
    text = (mount / "proc/vmallocinfo").read_text()
    found = re.findall(r"^0x(\w+)-0x(\w+) .* vmalloc\b", text, re.MULTILINE)
    return [(int(start, 16), int(end, 16)) for start, end in found]


def guard_page(report: str) -> int:
    """The address that a report names, the same one throughout."""
    places = "for address: |virtual address |CR2: |guard page at "
    (address,) = {int(text, 16) for text in re.findall(rf"(?:{places})(\w+)", report)}
    return address


# -- dd by default geometry ------------------------------------------------------------------------


@pytest.fixture
def default(mount: Mount) -> Path:
    """A mount with the mistake, and otherwise as it comes."""
    return mount("mem=128M,quirks=ldd3")


@pytest.fixture
def pattern(tmp_path: Path) -> Path:
    """40 MiB in which no page is like its neighbours."""
    path = tmp_path / "pattern"
    with path.open("wb") as file:
        file.writelines(os.urandom(4096) + bytes(MIB - 4096) for _ in range(40))
    return path


@pytest.mark.long
@pytest.mark.parametrize(("block", "size"), [(65536, 32_768_000), (4096, 32_772_096)])
def test_dd_runs_into_the_guard_page(default: Path, pattern: Path, block: int, size: int) -> None:
    """dd ends with "Bad address" where the real driver crashes; what was written is intact."""
    done = dd(default / "scullv0", f"if={pattern}", f"bs={block}")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"dd: error writing '{default}/scullv0': Bad address",
        f"{size // block + 1}+0 records in",
        f"{size // block}+0 records out",
    ]
    assert (default / "scullv0").stat().st_size == size
    assert subprocess.run(["cmp", "-n", str(size), default / "scullv0", pattern]).returncode == 0


@pytest.mark.long
def test_dd_without_the_quirk(mount: Mount, pattern: Path) -> None:
    """Without the option the same dd just works."""
    device = mount("mem=128M") / "scullv0"
    done = dd(device, f"if={pattern}", "bs=64k", "count=501")
    assert (done.returncode, done.stderr) == (0, "501+0 records in\n501+0 records out\n")
    assert device.stat().st_size == ITEM + QUANTUM
    assert "BUG" not in (device.parent / "proc/kmsg").read_text()


def test_dd_within_the_first_item(default: Path) -> None:
    """500 quanta are all right with the mistake, too, and every one is whole."""
    done = dd(default / "scullv0", "if=/dev/zero", "bs=64k", "count=500")
    assert (done.returncode, done.stderr) == (0, "500+0 records in\n500+0 records out\n")
    assert {end - start for start, end in areas(default)} == {QUANTUM + PAGE_SIZE}
    assert reports(default) == []


def test_report_of_dd(default: Path) -> None:
    """The kernel log has the kernel's words, and which quantum was overrun."""
    with subprocess.Popen(
        ["dd", "if=/dev/zero", f"of={default}/scullv0", "bs=64k"], stderr=subprocess.DEVNULL
    ) as process:
        assert process.wait() == 1
    (report,) = reports(default)
    quantum, end = areas(default)[-1]
    guard = end - PAGE_SIZE
    lines = report.splitlines()
    (tables,) = [line for line in lines if line.startswith("PGD ")]
    assert re.fullmatch(r"PGD ([1-9a-f]\w*) P4D \1 PUD [1-9a-f]\w* PMD [1-9a-f]\w* PTE 0", tables)
    assert [line for line in lines if line != tables] == [
        f"BUG: unable to handle page fault for address: {guard:x}",
        "#PF: supervisor write access in kernel mode",
        "#PF: error_code(0x0002) - not-present page",
        "Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI",
        f"CPU: 0 UID: {os.geteuid()} PID: {process.pid} Comm: dd "
        "Tainted: G           O       6.12.0-scullvfs #1",
        "Tainted: [O]=OOT_MODULE",
        "Hardware name: scullvfs emulated x86_64",
        "Call Trace:",
        " <TASK>",
        " _copy_from_user",
        " scullv_write [scullv]",
        " vfs_write",
        " ksys_write",
        " do_syscall_64",
        " entry_SYSCALL_64_after_hwframe",
        " </TASK>",
        "Modules linked in: scullv(O)",
        f"CR2: {guard:x}",
        f"scullv0: quantum {quantum:x} is 4096 bytes long, accessed as 65536; "
        f"guard page at {guard:x}",
        "---[ end trace 0000000000000000 ]---",
    ]


# -- what is caught, and what is not ---------------------------------------------------------------


def test_report_of_a_read(quirky: Path, fd: int) -> None:
    """A read that goes over the end is reported as one."""
    os.pwrite(fd, b"1", 2 * QUANTUM)
    os.ftruncate(fd, 3 * QUANTUM)
    assert error_of(lambda: os.pread(fd, 8192, 2 * QUANTUM)) == "EFAULT"
    (report,) = reports(quirky)
    assert "supervisor read access" in report
    assert "error_code(0x0000)" in report
    assert "Oops: Oops: 0000 [#1] PREEMPT" in report
    assert f"PID: {os.getpid()} Comm: {Path('/proc/self/comm').read_text().rstrip()} " in report
    assert " _copy_to_user\n scullv_read [scullv]\n vfs_read\n ksys_read\n" in report
    assert guard_page(report) + PAGE_SIZE == areas(quirky)[-1][1]


def test_first_page_of_a_later_quantum(quirky: Path, fd: int) -> None:
    """Inside the first page everything works, to its last byte."""
    for item in (1, 5):
        start = item * 2 * QUANTUM + QUANTUM
        assert os.pwrite(fd, b"a" * PAGE_SIZE, start) == PAGE_SIZE
        assert os.pwrite(fd, b"z", start + PAGE_SIZE - 1) == 1
        assert os.pread(fd, MIB, start) == b"a" * (PAGE_SIZE - 1) + b"z"
    assert reports(quirky) == []
    assert areas(quirky)[-1][1] - areas(quirky)[-1][0] == 2 * PAGE_SIZE


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, 4097), (4095, 2), (4096, 1), (4000, 8192), (0, 65536), (8192, 1), (16384, 4096)],
)
def test_overrun_changes_nothing(quirky: Path, fd: int, offset: int, count: int) -> None:
    """However far it goes, a write is caught at its own quantum's guard page.

    |quantum 2|guard|quantum 3|guard|quantum 4|guard|
         ^-----------------------------^
    """
    for quantum in range(2, 8):
        os.pwrite(fd, b"%d" % quantum * PAGE_SIZE, quantum * QUANTUM)
    start, size = 2 * QUANTUM, os.fstat(fd).st_size
    pages = [os.pread(fd, PAGE_SIZE, quantum * QUANTUM) for quantum in range(8)]
    assert error_of(lambda: os.pwrite(fd, b"!" * count, start + offset)) == "EFAULT"
    assert error_of(lambda: os.pread(fd, count, start + offset)) == "EFAULT"
    assert [os.pread(fd, PAGE_SIZE, quantum * QUANTUM) for quantum in range(8)] == pages
    assert os.fstat(fd).st_size == size
    listed = areas(quirky)[2]
    assert [guard_page(report) for report in reports(quirky)] == [listed[1] - PAGE_SIZE] * 2


def test_overrun_leaves_the_rest_alone(quirky: Path, fd: int, scullvfs: Scullvfs) -> None:
    """The daemon, the other devices and the device itself go on; a trim makes it as new."""
    daemon = scullvfs.pid(quirky)
    (quirky / "scullv1").write_bytes(b"other")
    assert error_of(lambda: os.pwrite(fd, bytes(QUANTUM), 2 * QUANTUM)) == "EFAULT"
    assert os.pread(fd, MIB, QUANTUM) == b"0" * QUANTUM
    assert os.pwrite(fd, b"on it goes", 2 * QUANTUM) == 10
    assert (quirky / "scullv1").read_bytes() == b"other"

    (quirky / "scullv0").write_bytes(b"")
    assert len(areas(quirky)) == 1
    write_all(fd, b"n" * 2 * QUANTUM)
    assert read_all(fd) == b"n" * 2 * QUANTUM
    assert scullvfs.pid(quirky) == daemon


def test_overrun_by_each_device(quirky: Path) -> None:
    """Each overrun has its report, with the device's name."""
    for number in (3, 1):
        device = os.open(quirky / f"scullv{number}", os.O_RDWR)
        assert error_of(lambda fd=device: os.pwrite(fd, bytes(5000), 2 * QUANTUM)) == "EFAULT"
        os.close(device)
    names = [
        re.findall(r"^(scullv\d): quantum", report, re.MULTILINE) for report in reports(quirky)
    ]
    assert names == [["scullv3"], ["scullv1"]]


def test_overrun_posix_semantics(mount: Mount) -> None:
    """By the rules of a regular file a write ends before the quantum that is too short."""
    path = mount("mem=16M,quirks=ldd3,qset=2,semantics=file")
    done = dd(path / "scullv0", "if=/dev/zero", "bs=1M", "count=1")
    assert done.returncode == 1
    assert "Bad address" in done.stderr
    assert (path / "scullv0").stat().st_size == 2 * QUANTUM
    assert {guard_page(report) for report in reports(path)} == {areas(path)[-1][1] - PAGE_SIZE}


# -- the table of what the real module does --------------------------------------------------------

CRASHES = [
    # order, qset, what, offset in a later quantum, bytes, here  |  the real module
    (1, 2, "write", 0, 4096, "4096"),  # works
    (1, 2, "read", 0, 4096, "4096"),  # works
    (1, 2, "write", 0, 5000, "EFAULT"),  # oops in the guard page, writer killed
    (4, 2, "write", 0, 65536, "EFAULT"),  # usercopy check: kernel BUG, SIGSEGV
    (4, 2, "read", 0, 8192, "EFAULT"),  # EFAULT, no oops
    (4, 2, "read", 0, 65536, "EFAULT"),  # usercopy check: kernel BUG, SIGSEGV
    (8, 2, "write", 1_000_000, 10, "EFAULT"),  # kernel BUG, "vmalloc 'no area'"
    (4, 2, "write", 8192, 10, "EFAULT"),  # silent corruption of another quantum
]


@pytest.mark.parametrize(("order", "qset", "what", "offset", "count", "here"), CRASHES)
@pytest.mark.parametrize("arch", ["x86_64", "i386", "arm64"])
def test_crashes(
    arch: str, order: int, qset: int, what: str, offset: int, count: int, here: str
) -> None:
    """Where the real module crashes or corrupts, this one says EFAULT, on every machine."""
    machine = Machine(mem=16 << 20, arch=arch)
    module = Module(machine, scullv_order=order, scullv_qset=qset, quirk_ldd3=True)
    device = module.devices[0]
    start = device.itemsize
    for quantum in (0, 1):
        device.write(start + quantum * device.quantum, b"%d" % quantum * PAGE_SIZE)
    device.truncate(start + device.itemsize)

    def access() -> int:
        if what == "write":
            return device.write(start + offset, b"!" * count)
        return len(device.read(start + offset, count))

    assert error_of(access) == here
    assert bytes(device.read(start + device.quantum, PAGE_SIZE)) == b"1" * PAGE_SIZE
    text = "\n".join(record.text for record in machine.log.records())
    if here == "EFAULT":
        guard = f"{device.quanta(1)[0] + PAGE_SIZE:0{machine.layout.pointer_digits}x}"
        assert re.search(rf"(?:for address:|at virtual address) {guard}\n", text)
        access_is = (
            f"WnR = {int(what == 'write')}," if arch == "arm64" else f"supervisor {what} access"
        )
        assert access_is in text
        assert f"accessed as {device.quantum}; guard page at {guard}\n" in text
        assert re.search(TABLES[arch], text)
    else:
        assert "BUG" not in text
    machine.check()
    module.check()
    module.unload()
    machine.close()


@pytest.mark.parametrize("arch", ["x86_64", "i386", "arm64"])
def test_quirk_cut_and_grown(arch: str) -> None:
    """ftruncate to and over the middle of a one-page quantum goes by its true length."""
    machine = Machine(mem=16 << 20, arch=arch)
    module = Module(machine, scullv_order=4, scullv_qset=2, quirk_ldd3=True)
    device = module.devices[0]
    start = device.itemsize
    device.write(start, b"x" * PAGE_SIZE)
    assert device.allocated == PAGE_SIZE
    device.truncate(start + 100)
    device.truncate(start + QUANTUM)
    assert bytes(device.read(start, 4096)) == b"x" * 100 + bytes(PAGE_SIZE - 100)
    assert error_of(lambda: device.read(start, 4097)) == "EFAULT"
    device.truncate(start + 2 * PAGE_SIZE)
    device.truncate(start)
    assert (device.allocated, device.nr_quanta) == (0, 0)
    machine.check()
    module.check()
    module.unload()
    machine.close()
