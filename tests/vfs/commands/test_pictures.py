"""`scullvfs show` and `scullvfs map` on real mounts: what they draw is what the machine says."""

from __future__ import annotations

import os
import pty
import re
import runpy
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scullvfs.errors import ExitStatus
from scullvfs.view.asked import ask_mount, find_device
from scullvfs.view.device import Device, read_device
from scullvfs.view.map_svg import memory_svg
from scullvfs.view.memory import SVG_CELLS, Memory, read_memory
from scullvfs.view.shapes import ADVANCE
from scullvfs.view.show_svg import device_svg

from ..helpers import SOURCE, TELLING_ITS_PEAK, Scullvfs, mount_point, mounted_on
from .elsewhere import AS_NOBODY

SVG = "{http://www.w3.org/2000/svg}"
QUANTUM = 65536


def drawn(scullvfs: Scullvfs, *arguments: object, columns: int = 80) -> str:
    """What a command draws, with the proof that it fits."""
    done = run(scullvfs, *arguments, COLUMNS=columns)
    assert (done.returncode, done.stderr) == (0, "")
    _title, *lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert "\x1b" not in done.stdout
    return done.stdout


def run(
    scullvfs: Scullvfs, *arguments: object, **variables: object
) -> subprocess.CompletedProcess[str]:
    """Run a command with some variables of the environment."""
    return subprocess.run(
        [sys.executable, "-m", "scullvfs", *map(str, arguments)],
        env={**scullvfs.env, **{name: str(value) for name, value in variables.items()}},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def frames_of(mnt: Path, function: str) -> set[int]:
    """The frames whose owner was allocated by a function, as page_owner has it."""
    blocks = (mnt / "sys/kernel/debug/page_owner").read_text().split("\n\n")
    return {
        int(number[1], 16)
        for block in blocks
        if f" {function}" in block and "alloc_pages_bulk" in block
        for number in [re.search(r"^PFN (\S+)", block, re.MULTILINE)]
        if number is not None
    }


@pytest.fixture
def family(mount: Callable[[str], Path]) -> Path:
    """A mount with something in a device of each member."""
    mnt = mount("mem=64M,drivers=scullv:scullp:scullc:scull,scullp_order=2,page_owner=on")
    for name in ("scullv0", "scullp1", "scullc2", "scull3"):
        with open(mnt / name, "wb", buffering=0) as file:
            for _ in range(100):
                file.write(bytes(3 * 4000))
    return mnt


@pytest.mark.long
def test_frames(scullvfs: Scullvfs, mounted: Path, mount: Callable[[str], Path]) -> None:
    """Of all pages of all quanta the frames are those that the page allocator has given."""
    mnt = mount("mem=64M,devs=2,order=3,page_owner=on")
    (mnt / "scullv1").write_bytes(bytes(5 * 32768))
    numbers = [word for number in range(5) for word in ("--quantum", number)]
    text = drawn(scullvfs, "show", mnt / "scullv1", *numbers)
    rows = re.findall(r"^(\w{16}) page +(\d+) +──▶ (\w{16}) ──▶ frame ([\d,]+)", text, re.MULTILINE)
    frames = [int(frame.replace(",", "")) for *_, frame in rows]
    assert len(frames) == len({*frames}) == 5 * 8
    assert {*frames} == frames_of(mnt, "scullv_write")
    for _, _, entry, frame in rows:
        assert int(entry, 16) >> 12 & (1 << 40) - 1 == int(frame.replace(",", ""))
    addresses = re.findall(r"^ +\d:(\w+)$", (mnt / "proc/scullvmem").read_text(), re.MULTILINE)
    assert [address for address, page, *_ in rows if page == "0"] == addresses
    guards = re.findall(r"^(\w{16}) guard +──▶ 0{16} ──▶ none", text, re.MULTILINE)
    assert [f"{int(address, 16) + 32768:x}" for address in addresses] == guards


@pytest.mark.long
def test_walk(scullvfs: Scullvfs, mounted: Path) -> None:
    """The entries are those that the machine follows, and the byte is the one asked for."""
    command = mounted / "sys/kernel/debug/mm/command"
    (mounted / "scullv0").write_bytes(bytes(4 * QUANTUM))
    command.write_text("vmalloc a 4096")
    text = drawn(scullvfs, "show", "--at", 200_000, mounted / "scullv0", columns=90)
    walk = dict(re.findall(r"^│ (p\w\w) +│ +[\d,]+ │ +\d+ │ (\w{16}) │", text, re.MULTILINE))
    command.write_text("walk a")
    upper = dict(line.split() for line in command.read_text().splitlines())
    assert {name: walk[name] for name in ("pgd", "pud", "pmd")} == {
        name: upper[name] for name in ("pgd", "pud", "pmd")
    }
    assert "Quantum 3: bytes 196,608 to 262,143" in text
    assert "byte 3,392 of frame " in text
    assert "virtually contiguous, physically scattered" in text.replace("\n", " ")


@pytest.mark.long
def test_family(scullvfs: Scullvfs, family: Path) -> None:
    """Each member is drawn, those of the linear mapping with the reason of it."""
    for name, why in (
        ("scullp1", "scullp needs no page tables of its own, but where there are no 4 free frames"),
        ("scullc2", "an object in a slab, 8 frames"),
        ("scull3", "an object in a slab, 8 frames"),
    ):
        text = drawn(scullvfs, "show", family / name, columns=200)
        assert why in text
        assert "a 2 MiB page: frame" in text
        address, number = re.findall(r"^(\w{16}) page 0.* frame ([\d,]+)", text, re.MULTILINE)[0]
        expected = (int(address, 16) - 0xFFFF888000000000) >> 12
        assert int(number.replace(",", "")) == expected
    assert "vmalloc() gave it an area" in drawn(scullvfs, "show", family / "scullv0")


@pytest.mark.long
@pytest.mark.parametrize("arch", ["i386", "arm64"])
def test_other_architectures(scullvfs: Scullvfs, mount: Callable[[str], Path], arch: str) -> None:
    """Their own levels and addresses."""
    mnt = mount(f"mem=64M,arch={arch}")
    (mnt / "scullv0").write_bytes(bytes(QUANTUM))
    text = drawn(scullvfs, "show", mnt / "scullv0")
    levels = re.findall(r"^│ (p\w\w) ", text, re.MULTILINE)
    assert "…" not in text
    assert levels == (["pgd", "pte"] if arch == "i386" else ["pgd", "pud", "pmd", "pte"])
    text = drawn(scullvfs, "map", mnt)
    assert legend(text)["scullv0"] == 16


@pytest.mark.long
@pytest.mark.parametrize("columns", [56, 72, 80, 120, 250])
def test_widths(scullvfs: Scullvfs, family: Path, columns: int) -> None:
    """Whatever the width, all is there; with --ascii all of it in ASCII."""
    text = drawn(scullvfs, "show", "--ascii", family / "scullv0", columns=columns)
    assert text.isascii()
    assert len(re.findall(r"page +\d+ .*frame +[\d,]+ ", text)) == 16
    assert drawn(scullvfs, "map", "--ascii", family, columns=columns).isascii()


@pytest.mark.long
def test_charset(scullvfs: Scullvfs, family: Path) -> None:
    """A terminal without these characters gets others."""
    done = run(scullvfs, "show", family / "scullv0", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "page 0  -->" in done.stdout


@pytest.mark.long
def test_colours(scullvfs: Scullvfs, family: Path) -> None:
    """On a terminal there are some, unless NO_COLOR says otherwise."""
    for variables, coloured in (
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
    ):
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "scullvfs", "map", family],
            env={**scullvfs.env, "COLUMNS": "80", **variables},
            stdin=theirs,
            stdout=theirs,
        ) as process:
            os.close(theirs)
            said = b""
            while True:
                try:
                    part = os.read(ours, 65536)
                except OSError:
                    break
                said += part
            assert process.wait() == 0
        os.close(ours)
        assert (b"\x1b[3" in said) == coloured
        assert b"MemTotal" in said


@pytest.mark.long
def test_holes(scullvfs: Scullvfs, mounted: Path) -> None:
    """Items that are alike are one box, and a hole says that it is one."""
    with open(mounted / "scullv0", "r+b", buffering=0) as file:
        for place in (3000, 1000, 999):
            os.pwrite(file.fileno(), b"x", place * QUANTUM)
    text = drawn(scullvfs, "show", "--quantum", 5, mounted / "scullv0")
    assert [*re.findall(r"│ (items? [\d,-]*\d)", text)] == [
        "item 0",
        "item 1",
        "item 2",
        "items 3-5",
        "item 6",
    ]
    assert "a hole, to which nothing was written" in text
    done = scullvfs("show", "--at", 3001 * QUANTUM, mounted / "scullv0")
    assert done.returncode == ExitStatus.USAGE
    assert "is behind the end of" in done.stderr
    assert "No quantum yet" in drawn(scullvfs, "show", mounted / "scullv1")


@pytest.mark.long
def test_many_items(scullvfs: Scullvfs, mount: Callable[[str], Path]) -> None:
    """What the listing leaves out is counted and said."""
    mnt = mount("mem=128M,order=0,qset=1,semantics=file")
    with open(mnt / "scullv0", "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 12_000 * 4096)
    text = drawn(scullvfs, "show", "--quantum", 11_000, mnt / "scullv0")
    assert "items 10,000-11,998" in text
    assert "1,999 quanta more belong to items that the driver's listing leaves out" in text
    assert "which the driver's listing leaves out: that has the first 10,000" in text.replace(
        "\n", " "
    )
    assert legend(drawn(scullvfs, "map", mnt)) | {"areas that are no device's": 1999} == legend(
        drawn(scullvfs, "map", mnt)
    )


def legend(text: str) -> dict[str, int]:
    """Whose -> frames, of the first table."""
    rows = re.findall(
        r"^[│|] (\S| ) [│|] (.+?) +[│|] +([\d,]+) [│|] +[\d,]+ [│|]$", text, re.MULTILINE
    )
    return {name: int(frames.replace(",", "")) for _, name, frames in rows}


@pytest.mark.long
def test_map_adds_up(scullvfs: Scullvfs, family: Path) -> None:
    """Its numbers are those of the mount's own files, and their sum is MemTotal."""
    numbers = legend(drawn(scullvfs, "map", family))
    total = numbers.pop("MemTotal")
    meminfo = dict(
        re.findall(r"^(\S+): +(\d+) kB$", (family / "proc/meminfo").read_text(), re.MULTILINE)
    )
    assert sum(numbers.values()) == total == int(meminfo["MemTotal"]) // 4
    assert numbers["scullv0"] == len(frames_of(family, "scullv_write"))
    assert numbers["scullp1"] == 4 * int((family / "sys/class/scullp/scullp1/quanta").read_text())
    free = sum(frames for name, frames in numbers.items() if name.startswith("free"))
    assert free == int(meminfo["MemFree"]) // 4


@pytest.mark.long
def test_orders(scullvfs: Scullvfs, mount: Callable[[str], Path]) -> None:
    """With nothing on per-cpu lists, free blocks of each order are as in buddyinfo."""
    mnt = mount("mem=64M,shuffle=0,fragment=30")
    numbers = legend(drawn(scullvfs, "map", mnt))
    orders = [numbers.get(f"free, in blocks of order {order}", 0) >> order for order in range(11)]
    counts = [*map(int, (mnt / "proc/buddyinfo").read_text().split()[4:])]
    off = [order for order in range(11) if orders[order] != counts[order]]
    assert not [order for order in off if order > 3], (orders, counts)
    assert sum(numbers.values()) == 2 * numbers["MemTotal"]


@pytest.mark.long
def test_window(scullvfs: Scullvfs, mount: Callable[[str], Path]) -> None:
    """Page by page: areas with guard pages, what is lazily freed, what is free."""
    mnt = mount("mem=64M,order=1,devs=2")
    (mnt / "scullv0").write_bytes(bytes(8192 * 2))
    (mnt / "scullv1").write_bytes(bytes(8192))
    (mnt / "scullv0").write_bytes(b"")
    text = drawn(scullvfs, "map", "--from", "ffffc90000000000", "--to", "0xffffc9000000c000", mnt)
    assert "ffffc90000000000  ZZZZZZaa|...\n" in text
    assert "A cell is one page." in text
    assert scullvfs("map", mnt).returncode == 0
    where = f"part of the window of {mnt}; 'scullvfs map {mnt}' says where that is"
    for words, why in (
        (("--from", "ffffc90000003000", "--to", "0xFFFFC90000003000"), "--to ffffc90000003000 is"),
        (("--from", "ffffc90000003000", "--to", "ffffc90000000000"), "--to ffffc90000000000 is"),
        (("--from", "0"), where),
        (("--to", "ffffffffffffffff"), where),
        (("--to", "ffffc90000000000"), where),
    ):
        done = scullvfs("map", *words, mnt)
        assert (done.returncode, done.stdout) == (ExitStatus.USAGE, "")
        assert why in done.stderr
        assert done.stderr.count("\n") == 1
    done = scullvfs("map", "--from", "here", mnt)
    assert done.returncode == ExitStatus.USAGE
    assert "'here' is no address such as ffffc90000000000" in done.stderr


def boxes_of_words(root: ElementTree.Element) -> list[tuple[float, float, float, str]]:
    """Left, right and baseline of each text, and the text."""
    found = []
    for text in root.iter(f"{SVG}text"):
        words, x = text.text or "", float(text.attrib["x"])
        natural = len(words) * float(text.attrib["font-size"]) * ADVANCE
        extent = float(text.attrib.get("textLength", natural))
        found.append((x, x + extent, float(text.attrib["y"]), words))
    return found


@pytest.mark.long
@pytest.mark.parametrize("what", ["scullv0", "scullp1", "scullc2", "scull3", "."])
def test_svg(scullvfs: Scullvfs, family: Path, tmp_path: Path, what: str) -> None:
    """No words overlap or leave the picture, and the frames are those of the text."""
    path = tmp_path / "picture.svg"
    words = (
        ("map", family) if what == "." else ("show", "--quantum", 0, "--quantum", 7, family / what)
    )
    done = scullvfs(*words, "-o", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    root = ElementTree.parse(path).getroot()
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    placed = boxes_of_words(root)
    assert len(placed) > 20
    for left, right, y, text in placed:
        assert 0 <= left < right <= width, text
        assert 10 <= y <= height, text
    lines: dict[float, list[tuple[float, float, str]]] = {}
    for left, right, y, text in placed:
        lines.setdefault(y, []).append((left, right, text))
    for line in lines.values():
        line.sort()
        for (_, end, first), (begin, _, second) in pairwise(line):
            assert end <= begin + 0.5, (first, second)
    if what != ".":
        text = drawn(scullvfs, "show", "--quantum", 0, "--quantum", 7, family / what)
        frames = re.findall(r"frame [\d,]+(?= +│)", text)
        shown = [words for *_, words in placed]
        assert frames
        assert all(frame in shown for frame in frames)


@pytest.mark.long
def test_pictures_of_the_documentation(mount: Callable[[str], Path]) -> None:
    """They are as `make pictures` would draw them today, and no large files."""
    mnt = mount("mem=64M,drivers=scullv:scullp")
    for name, size, count in (("scullv0", 65536, 20), ("scullp0", 4096, 500)):
        with open(mnt / name, "wb", buffering=0) as file:
            for _ in range(count):
                file.write(bytes(size))
    there, name = find_device(str(mnt / "scullv0"))
    device = ask_mount(there, Device, lambda files: read_device(files, name, (), (200_000,)), "")
    memory = ask_mount(there, Memory, lambda files: read_memory(files, None, None, SVG_CELLS), "")
    for drawn_now, name in (
        (device_svg(device, "/tmp/scullv"), "show.svg"),
        (memory_svg(memory, "/tmp/scullv"), "map.svg"),
    ):
        assert drawn_now == (SOURCE / "docs/pictures" / name).read_text(), "run `make pictures`"
        assert len(drawn_now) < 50_000


@pytest.mark.long
def test_pictures_of_what_moves(mount: Callable[[str], Path], tmp_path: Path) -> None:
    """Times and rates are others each time; what `top` has is there, nothing from elsewhere."""
    mnt = mount("mem=64M,drivers=scullv:scullp")
    script = runpy.run_path(str(SOURCE / "docs/screens.py"))
    script["draw_top"](str(mnt), tmp_path / "top.svg", 2)
    kept = SOURCE / "docs/pictures/top.svg"
    for picture in (tmp_path / "top.svg", kept):
        text = picture.read_text()
        assert text.count("://") == text.count("http://www.w3.org/2000/svg") + text.count("<!--")
        assert len(text) < 60_000
        words = [each.text or "" for each in ElementTree.fromstring(text).iter(f"{SVG}text")]
        shown = "\n".join(words).replace("\xa0", " ")
        for name in ("scullv3", "scullp3", "DEVICE", "WRITE/s", "kernel log", "largest: order 10"):
            assert name in shown, "run `make pictures`"
    page = (SOURCE / "docs/pictures/view.png").read_bytes()
    assert (page[:8], int.from_bytes(page[16:20])) == (b"\x89PNG\r\n\x1a\n", script["WIDTH"])
    assert len(page) < 150_000


@pytest.mark.long
def test_large_machine(scullvfs: Scullvfs, mount: Callable[[str], Path], tmp_path: Path) -> None:
    """Of 16 GiB and 100,000 areas a picture takes little memory, and others are served."""
    available = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    if available is None or int(available[1]) < 17 << 20:
        pytest.skip("less than 17 GiB can be had")
    mnt, nr_areas = mount("mem=16G,devs=1,semantics=file"), 100_000
    with open(mnt / "scullv0", "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, nr_areas * QUANTUM)
    page = tmp_path / "report.html"
    for words in (("show", mnt / "scullv0"), ("map", mnt), ("report", "-o", page, mnt)):
        served = 0
        command = [sys.executable, "-c", TELLING_ITS_PEAK, *scullvfs.command, *map(str, words)]
        with scullvfs.start_command(command) as process:
            while not select.select([process.stdout], [], [], 0.01)[0]:
                os.stat(mnt / "proc/meminfo")
                served += 1
            assert process.stdout is not None
            *lines, peak = process.stdout.read().splitlines()
        assert process.returncode == 0
        assert served
        assert f"{nr_areas:,}" in (page.read_text() if page in words else "\n".join(lines))
        assert int(peak) < 300 << 10  # KiB


@pytest.mark.long
def test_unwritable(scullvfs: Scullvfs, mounted: Path) -> None:
    """A file that cannot be written is one line."""
    for path in ("/nowhere/picture.svg", "/proc/picture.svg", "picture.png"):
        for words in (("show", mounted / "scullv0"), ("map", mounted)):
            done = scullvfs(*words, "-o", path)
            assert done.returncode in (ExitStatus.USAGE, ExitStatus.FAILURE)
            assert len(done.stderr.splitlines()) == 1


COMMANDS = pytest.mark.parametrize("command", ["show", "map"])


def target(command: str, mount: Path) -> Path:
    """What a command takes."""
    return mount / "scullv0" if command == "show" else mount


@pytest.mark.long
@COMMANDS
def test_no_mount(scullvfs: Scullvfs, mounted: Path, tmp_path: Path, command: str) -> None:
    """A path without one, a device that is not there, and one of another file system."""
    paths = [tmp_path / "nothing", "/proc/self/status", ""]
    if command == "show":
        paths += [mounted / "scullv99", mounted / "proc/meminfo", mounted / "proc"]
    for path in paths:
        done = scullvfs(command, path)
        assert (done.returncode, done.stdout) == (ExitStatus.NOT_MOUNTED, "")
        assert len(done.stderr.splitlines()) == 1
    if command == "show":
        done = scullvfs(command, mounted)
        assert done.returncode == ExitStatus.USAGE
        assert "is a mount; name a device in it, such as scullv0" in done.stderr
        assert drawn(scullvfs, "show", mounted / "scullv").startswith("scullv0 in ")


@pytest.mark.long
@COMMANDS
def test_dead_mount(scullvfs: Scullvfs, mounted: Path, command: str) -> None:
    """Its daemon is gone."""
    os.kill(scullvfs.pid(mounted), signal.SIGKILL)
    done = scullvfs(command, target(command, mounted))
    assert done.returncode == ExitStatus.NOT_MOUNTED
    assert "is dead; 'scullvfs umount " in done.stderr
    assert scullvfs("umount", mounted).returncode == 0


@pytest.mark.long
@COMMANDS
def test_hung_mount(scullvfs: Scullvfs, mounted: Path, command: str) -> None:
    """Its daemon is stopped."""
    pid = scullvfs.pid(mounted)
    os.kill(pid, signal.SIGSTOP)
    try:
        done = scullvfs(command, target(command, mounted))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.returncode == ExitStatus.BUSY
    assert "does not answer within " in done.stderr


@pytest.mark.long
@COMMANDS
def test_closed_files(
    scullvfs: Scullvfs, mount: Callable[[str], Path], open_to_others: None, command: str
) -> None:
    """Whoever may not read kcore is told who may."""
    if os.geteuid() != 0:
        pytest.skip("root makes another user's mount")
    mnt = mount("mem=16M,allow_other")
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, command, target(command, mnt)],
        env=scullvfs.env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == ExitStatus.PERMISSION, done.stderr
    assert "Permission denied; its owner and root may read proc/kcore" in done.stderr


@pytest.mark.long
@COMMANDS
def test_narrow_terminal(scullvfs: Scullvfs, mounted: Path, tmp_path: Path, command: str) -> None:
    """Of 20 columns nobody can make a picture, but a file has room."""
    done = run(scullvfs, command, target(command, mounted), COLUMNS=20, LINES=5)
    assert (done.returncode, done.stdout) == (ExitStatus.USAGE, "")
    assert "a picture takes 56 columns, and here are 20" in done.stderr
    path = tmp_path / "picture.svg"
    done = run(scullvfs, command, target(command, mounted), "-o", path, COLUMNS=20)
    assert (done.returncode, done.stderr) == (0, "")


@COMMANDS
@pytest.mark.parametrize("library", ["rich", "jinja2"])
def test_missing_library(
    scullvfs: Scullvfs, mounted: Path, tmp_path: Path, command: str, library: str
) -> None:
    """What to install is said in one line."""
    (tmp_path / f"{library}.py").write_text("raise ImportError\n")
    words = ("-o", tmp_path / "picture.svg") if library == "jinja2" else ()
    path = f"{tmp_path}:{scullvfs.env.get('PYTHONPATH', '')}"
    done = run(scullvfs, command, target(command, mounted), *words, PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (ExitStatus.FAILURE, "")
    assert done.stderr == (
        "scullvfs: pictures need Rich and Jinja2; run 'pip install scullvfs[view]' or "
        "'pip install rich jinja2'\n"
    )


@pytest.mark.long
@COMMANDS
def test_names_with_escapes(scullvfs: Scullvfs, tmp_path: Path, command: str) -> None:
    """Nothing of a path is an escape sequence of the terminal's, or markup."""
    with (
        mount_point(scullvfs, tmp_path / "\x1b[31m<b>[red]\n") as path,
        mounted_on(scullvfs, path, "mem=16M"),
    ):
        text = drawn(scullvfs, command, target(command, path), columns=250)
        assert r"\033[31m<b>[red]\012" in text
        picture = tmp_path / "picture.svg"
        assert scullvfs(command, target(command, path), "-o", picture).returncode == 0
        words = [text for *_, text in boxes_of_words(ElementTree.parse(picture).getroot())]
        assert r"\033[31m<b>[red]\012" in "".join(words)


@pytest.mark.long
def test_while_it_is_written(scullvfs: Scullvfs, mounted: Path) -> None:
    """A device that changes all the time is drawn, or it is said that it does."""
    device = mounted / "scullv0"
    script = f"while head -c 500K /dev/zero | dd of={shlex.quote(str(device))} bs=64k; do :; done"
    with subprocess.Popen(
        ["bash", "-c", script], stderr=subprocess.DEVNULL, start_new_session=True
    ) as writer:
        try:
            for _ in range(5):
                for command in ("show", "map"):
                    done = scullvfs(command, target(command, mounted))
                    assert done.returncode in (0, ExitStatus.BUSY), done.stderr
                    assert "Traceback" not in done.stderr
            assert writer.poll() is None, "nobody writes"
        finally:
            os.killpg(writer.pid, signal.SIGKILL)
