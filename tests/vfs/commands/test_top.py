"""`scullvfs top` on real mounts: by Textual's pilot, which presses the keys of a person."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import pytest
from textual.pilot import Pilot

from scullvfs.errors import ExitStatus, ScullvfsError
from scullvfs.mounts.place import find_scullvfs
from scullvfs.mounts.probe import ask, enter
from scullvfs.view import top
from scullvfs.view.asker import MOMENT, Asker
from scullvfs.view.files import Files
from scullvfs.view.marks import ASCII, UNICODE, Marks
from scullvfs.view.moment import Moment, read_moment
from scullvfs.view.plain import decoded, encoded
from scullvfs.view.table import COLUMNS, DeviceTable
from scullvfs.view.top import LOWEST, NARROWEST, TopApp

from ..helpers import DEADLINE, QUANTUM, SOURCE, Scullvfs, end, mount_point, mounted_on
from .test_pictures import run

SVG = "{http://www.w3.org/2000/svg}"

Person = Callable[[TopApp, Pilot[None]], Awaitable[None]]
"""Looks, and presses keys."""


def watch(
    mount: Path, person: Person, size: tuple[int, int] = (80, 24), marks: Marks = UNICODE
) -> None:
    """Have somebody watch a mount, ten times a second."""
    with closing(Asker(str(mount))) as moments, closing(Asker(str(mount))) as devices:
        app = TopApp(str(mount), moments.ask(Moment, MOMENT), moments, devices, 0.1, marks)

        async def sit() -> None:
            async with app.run_test(size=size) as pilot:
                await person(app, pilot)

        asyncio.run(sit())


def seen(app: TopApp) -> list[str]:
    """The lines of the screen."""
    lines: dict[float, list[tuple[float, str]]] = {}
    picture = ElementTree.fromstring(app.export_screenshot())
    for text in picture.iter(f"{SVG}text"):
        if "clip-path" in text.attrib:
            place = float(text.attrib["x"]), (text.text or "").replace("\xa0", " ")
            lines.setdefault(float(text.attrib["y"]), []).append(place)
    width = 12.2  # of a column in Rich's pictures
    shown = []
    for _, parts in sorted(lines.items()):
        line = ""
        for x, words in sorted(parts):
            line = line.ljust(round(x / width)) + words
        shown.append(line.rstrip())
    return shown


async def until(app: TopApp, pilot: Pilot[None], state: Callable[[str], object], what: str) -> str:
    """Wait for a state of the screen; returns all of it."""
    deadline = asyncio.get_running_loop().time() + DEADLINE
    while not state(text := "\n".join(seen(app))):
        assert asyncio.get_running_loop().time() < deadline, f"waited in vain until {what}:\n{text}"
        await pilot.pause(0.02)
    return text


async def looked(app: TopApp, pilot: Pilot[None]) -> str:
    """Wait for a look that was begun after this."""
    looks = app.looks
    return await until(app, pilot, lambda _: app.looks > looks + 1, "it has looked again")


def words(text: str) -> str:
    """All of it, wherever the lines end."""
    return " ".join(text.split())


def devices(text: str) -> list[str]:
    """The rows of the table."""
    return [line for line in text.splitlines() if re.match(r"scull[vpc]?\d", line)]


@pytest.fixture
def family(mount: Callable[[str], Path]) -> Path:
    """A mount with something in some devices."""
    mnt = mount("mem=64M,drivers=scullv:scullp,scullv_devs=3,scullp_devs=2")
    (mnt / "scullv1").write_bytes(bytes(3 * QUANTUM))
    (mnt / "scullp0").write_bytes(bytes(5000))
    return mnt


@pytest.mark.long
def test_figures(family: Path) -> None:
    """They are those of the mount's own files."""

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        text = await looked(app, pilot)
        rows = [row.split() for row in devices(text)]
        assert [row[0] for row in rows] == ["scullv0", "scullv1", "scullv2", "scullp0", "scullp1"]
        for name, _size, quanta, memory, *_ in rows:
            files = family / "sys/class" / name[:-1] / name
            assert int(quanta) == int((files / "quanta").read_text())
            assert (memory == "0") == (quanta == "0")
        assert [row[1] for row in rows] == ["0", "192K", "0", "4.88K", "0"]
        assert [row[3] for row in rows] == ["0", "192K", "0", "8K", "0"]
        free = [*map(int, (family / "proc/buddyinfo").read_text().split()[4:])]
        largest = max(order for order in range(11) if free[order])
        assert f"largest: order {largest}, " in text
        assert " of 64 MiB in use" in text
        assert " 204 KiB of 32 TiB" in text
        for cache in ("vmap_area", "kmalloc-4k"):
            assert cache in text
        assert (family / "proc/kmsg").read_text().splitlines()[-1][3:60] in text
        assert "nothing is recorded" in text
        assert str(family)[-20:] in text.splitlines()[0]

    watch(family, person)


WRITER = """
import os, sys
device = os.open(sys.argv[1], os.O_RDWR)
while True:
    os.pwrite(device, bytes(4096), 0)
"""
"""Writes for as long as it is let: dd would come to the end of RAM, maybe between two looks."""


@pytest.mark.long
def test_rates(family: Path) -> None:
    """While a device is written there are calls, bytes and a cost; then there are none."""

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        with subprocess.Popen([sys.executable, "-c", WRITER, family / "scullv2"]) as writer:
            row = r"^scullv2 .* [\d,]{2,} +0 +[\d.]+M +[\d.]+ [mµ]s +0$"
            pattern = re.compile(row, re.MULTILINE)
            try:
                text = await until(app, pilot, pattern.search, "it is written")
            finally:
                writer.kill()
            assert re.search(r"calls +\[ .*[▁-█]\] [\d,]+/s  read 0/s  write [\d.]+M/s", text)
        pattern = re.compile(r"^scullv2 .* 0 +0 +0 +\d+$", re.MULTILINE)
        await until(app, pilot, pattern.search, "nothing is written any more")

    watch(family, person)


@pytest.mark.long
def test_sort_and_select(scullvfs: Scullvfs, family: Path) -> None:
    """By a column and the other way round, the device that is selected stays so."""

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        table = app.query_one(DeviceTable)

        def names() -> list[str]:
            return [row.split()[0] for row in devices("\n".join(seen(app)))]

        await pilot.press("down")
        assert table.selected == "scullv1"
        await pilot.press("right")
        await looked(app, pilot)
        assert names() == ["scullv1", "scullp0", "scullv0", "scullv2", "scullp1"]
        assert "▼SIZE" in "\n".join(seen(app))
        await pilot.press("r")
        await looked(app, pilot)
        assert names() == ["scullv0", "scullv2", "scullp1", "scullp0", "scullv1"]
        assert (table.selected, table.cursor_row) == ("scullv1", 4)
        await pilot.press("left")
        await looked(app, pilot)
        assert names() == ["scullv0", "scullv1", "scullv2", "scullp0", "scullp1"]
        assert (table.selected, table.cursor_row) == ("scullv1", 1)

    watch(family, person)


@pytest.mark.long
@pytest.mark.parametrize("columns", [80, 140])
def test_picture(scullvfs: Scullvfs, family: Path, columns: int) -> None:
    """Enter draws what `scullvfs show` draws, R anew, and Esc leads back."""
    drawn = run(scullvfs, "show", family / "scullv1", COLUMNS=columns).stdout.splitlines()

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.press("down", "enter")
        text = await until(app, pilot, lambda text: "Quantum 0" in text, "it is drawn")
        lines = [line.rstrip() for line in text.splitlines()][:-1]
        lines = lines[lines.index(drawn[1]) :]  # the title before it is longer than a long path
        assert len(lines) > 15
        assert lines == drawn[1 : len(lines) + 1]
        (family / "scullv1").write_bytes(bytes(QUANTUM))
        await pilot.press("r")
        await until(app, pilot, lambda text: "64 KiB in 1 quantum" in text, "it is drawn anew")
        await pilot.press("escape")
        assert devices("\n".join(seen(app)))

    watch(family, person, (columns, 24))


@pytest.mark.long
def test_faults(family: Path) -> None:
    """F says what is armed and what was injected, as it changes."""

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.press("f")
        await until(app, pilot, lambda text: "Nothing is armed" in text, "it says so")
        knobs = family / "sys/kernel/debug/failslab"
        for knob, value in (("ignore-gfp-wait", "N"), ("times", "1"), ("probability", "100")):
            (knobs / knob).write_text(value)
        pattern = re.compile(r"^failslab +armed +0$", re.MULTILINE)
        await until(app, pilot, pattern.search, "it is armed")
        with pytest.raises(OSError, match="Cannot allocate"):
            (family / "scullv0").write_bytes(b"x")
        pattern = re.compile(r"^failslab +no +1$", re.MULTILINE)
        await until(app, pilot, pattern.search, "it has failed")
        (knobs / "times").write_text("-1")
        await pilot.press("F")
        text = await until(app, pilot, lambda text: "1 fault armed" in text, "the title says so")
        assert int(devices(text)[0].split()[-1]) > 0  # ERRORS

    watch(family, person)


@pytest.mark.long
def test_help(family: Path) -> None:
    """It has every key that the last line has, and every column, on one screen."""

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        keys = "\n".join(seen(app)).splitlines()[-1].split()
        await pilot.press("question_mark")
        lines = (
            await until(app, pilot, lambda text: "Columns" in text, "it is there")
        ).splitlines()
        heads = {line[:14].strip() for line in lines[:-1]}
        assert {column.title for column in COLUMNS} <= heads
        words = {word for head in heads for word in re.split(r"[ ,]+", head)}
        assert {"Enter", "R", "F", "Q", *keys[0].split("/")} <= words
        assert "?" in "\n".join(lines)
        await pilot.press("question_mark")
        assert devices("\n".join(seen(app)))

    watch(family, person)


@pytest.mark.long
@pytest.mark.parametrize("size", [(NARROWEST, LOWEST), (80, 16), (80, 24), (119, 24), (200, 60)])
def test_sizes(family: Path, size: tuple[int, int]) -> None:
    """Whatever the size, no line is cut but those of log and events, and the keys are there."""

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        text = await looked(app, pilot)
        lines = text.splitlines()
        assert len(lines) == size[1]
        assert max(map(len, lines)) <= size[0]
        assert lines[-1].startswith(
            "Left/Right Sort Enter Picture R Reverse F Faults ? Help Q Quit"
        )
        assert " ERRORS" in text
        assert len(devices(text)) >= (4 if size[1] < 24 else 5)
        assert ("kernel log" in text) == (size[1] > LOWEST)
        assert "…" not in "\n".join(lines[:7])
        if size[1] >= 24:
            assert "events ─" in text

    watch(family, person, size)


@pytest.mark.long
def test_resize(family: Path) -> None:
    """Where there is no room it says so, and where there is again all is as before."""

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.resize_terminal(20, 5)
        text = await until(app, pilot, lambda text: "20x5" in text, "it says so")
        assert " ".join(text.split()) == "top takes 77x12, and the terminal has 20x5"
        await looked(app, pilot)
        await pilot.resize_terminal(140, 30)
        text = await until(app, pilot, lambda text: len(devices(text)) == 5, "it is back")
        assert "CALLS/s, the last looks" in text
        await pilot.press("down", "enter")
        await until(app, pilot, lambda text: "scullv1 in " in text, "keys do what they did")

    watch(family, person)


@pytest.mark.long
def test_ascii(family: Path) -> None:
    """With these marks all screens are of ASCII."""

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        (family / "scullv0").write_bytes(bytes(QUANTUM))
        assert (await looked(app, pilot)).isascii()
        for key in ("enter", "f", "question_mark"):
            await pilot.press(key)
            text = await until(app, pilot, lambda text: "Back" in text, "it is there")
            assert text.isascii()
            await pilot.press("escape")

    watch(family, person, (140, 24), ASCII)


@pytest.mark.long
def test_events(family: Path) -> None:
    """The last records of the ring are there, which stay in it; nothing is switched on."""
    tracing = family / "sys/kernel/tracing"

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        await looked(app, pilot)
        assert (tracing / "set_event").read_text() == ""
        (tracing / "set_event").write_text("alloc_vmap_area")
        (family / "scullv0").write_bytes(bytes(2 * QUANTUM))
        text = await until(app, pilot, lambda text: "events: " in text, "there are some")
        records = (tracing / "trace").read_text().splitlines()[-2:]
        assert [f" {record.split(': ', 1)[1][:40]}" in text for record in records] == [True, True]
        assert "events: 2 events" in text
        (tracing / "trace_marker").write_bytes(b"\x1b[31mred\tand [bold]")
        text = await until(app, pilot, lambda text: "red" in text, "the mark is there")
        assert r"tracing_mark_write: \033[31mred\011and [bold]" in text
        left = (tracing / "trace").read_text().splitlines()
        assert len([line for line in left if not line.startswith("#")]) == len(records) + 1

    watch(family, person, (140, 24))


@pytest.mark.long
def test_large_ring(family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more records than can be read at each look it is said how many there are."""
    monkeypatch.setattr("scullvfs.view.moment.MOST_EVENTS", 20)
    (family / "sys/kernel/tracing/set_event").write_text("kmalloc")
    for _ in range(20):
        (family / "scullv0").write_bytes(bytes(QUANTUM))

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        assert re.search(r"events: \d+ events: too many to be read here", await looked(app, pilot))

    watch(family, person)


@pytest.mark.long
def test_many_devices(mount: Callable[[str], Path]) -> None:
    """Of those that the daemon does not tell of, rates are unknown; sizes are known in the end."""
    mnt = mount("mem=64M,devs=40,order=0")
    for number in range(40):
        for _ in range(1 + (number < 32)):
            (mnt / f"scullv{number}").write_bytes(bytes(4096))

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        text = await looked(app, pilot)
        rows = devices(text)
        assert len(rows) == 40
        assert all(row.split()[1:3] == ["4K", "1"] for row in rows)
        assert [len(re.findall(" -", row)) for row in rows] == [0] * 32 + [5] * 8
        with open(mnt / "scullv39", "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), b"x", 3 * 4096)
        pattern = re.compile(r"^scullv39 +12K +2 ", re.MULTILINE)
        await until(app, pilot, pattern.search, "its turn has come")

    watch(mnt, person, (80, 60))


@pytest.mark.long
def test_unmounted_and_mounted(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """It says that the mount is gone, hinders nobody, and goes on with the next one there."""

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.press("down", "down", "down")
        while (await asyncio.to_thread(scullvfs.quickly, "umount", mountpoint)).returncode:
            pass  # a look may have a file open just now
        gone = "is not mounted; 'findmnt -t fuse.scullvfs' lists what is; looking for it again"
        text = await until(app, pilot, lambda text: gone in words(text), "it is gone")
        assert len(devices(text)) == 4
        await pilot.press("enter")
        await until(
            app, pilot, lambda text: "is not mounted" in words(text), "nor is there a picture"
        )
        await pilot.press("escape")
        mount = ("mount", "-o", "mem=16M,drivers=scullp,scullp_devs=2", mountpoint)
        assert (await asyncio.to_thread(scullvfs.quickly, *mount)).returncode == 0
        text = await until(
            app,
            pilot,
            lambda text: "scullp1" in text and "looking for" not in text,
            "another one is there",
        )
        assert len(devices(text)) == 2

    with mounted_on(scullvfs, mountpoint, "mem=16M"):
        watch(mountpoint, person)


@pytest.mark.long
def test_dead(scullvfs: Scullvfs, mounted: Path) -> None:
    """It says so, and what clears the mount away."""

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        end(scullvfs.pid(mounted), signal.SIGKILL)
        dead = "is dead; 'scullvfs umount "
        await until(app, pilot, lambda text: dead in words(text), "it is dead")

    watch(mounted, person)
    assert scullvfs("umount", mounted).returncode == 0


@pytest.mark.long
def test_hung(scullvfs: Scullvfs, mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says since when, keys do what they did, and when an answer comes it goes on."""
    monkeypatch.setattr(top, "PATIENCE", 0.5)

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        pid = scullvfs.pid(mounted)
        os.kill(pid, signal.SIGSTOP)
        try:
            text = await until(app, pilot, lambda text: "no answer for" in text, "it hangs")
            assert len(devices(text)) == 4
            await pilot.press("question_mark")
            await until(app, pilot, lambda text: "Columns" in text, "there is help")
            await pilot.press("escape")
        finally:
            os.kill(pid, signal.SIGCONT)
        await until(app, pilot, lambda text: "no answer" not in text, "it answers")

    watch(mounted, person)


@pytest.mark.long
def test_quit_while_it_hangs(scullvfs: Scullvfs, mounted: Path) -> None:
    """Nobody waits for the mount."""
    pid = scullvfs.pid(mounted)

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        os.kill(pid, signal.SIGSTOP)
        looks = app.looks
        await pilot.pause(0.3)
        await pilot.press("q")
        assert app.looks <= looks + 1

    try:
        watch(mounted, person)
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.long
def test_names_with_escapes(scullvfs: Scullvfs, tmp_path: Path) -> None:
    """Nothing of a path is an escape sequence of the terminal's, or markup."""

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        assert r"\033[31m<b>[red]\012" in await looked(app, pilot)
        await pilot.press("enter")
        text = await until(app, pilot, lambda text: "scullv0 in" in text, "it is drawn")
        assert r"\033[31m<b>[red]\012" in text

    with (
        mount_point(scullvfs, tmp_path / "\x1b[31m<b>[red]\n") as path,
        mounted_on(scullvfs, path, "mem=16M"),
    ):
        watch(path, person, (250, 24))


def test_of_another_user(scullvfs: Scullvfs, open_to_others: None) -> None:
    """Where he may look in, what is closed to him is said."""
    if os.geteuid() != 0:
        pytest.skip("root becomes another user")
    with (
        TemporaryDirectory() as directory,
        mount_point(scullvfs, Path(directory, "mnt")) as path,
        mounted_on(scullvfs, path, "mem=16M,allow_other"),
    ):
        os.chmod(directory, 0o755)  # pytest's own directories are closed to others
        mount = find_scullvfs(str(path))
        look = lambda: encoded(read_moment(Files(enter(mount)), None))  # noqa: E731
        moment = decoded(Moment, ask(look, timeout=DEADLINE, identity=(65534, 65534)))
    assert [each.name for each in moment.sizes] == [f"scullv{number}" for number in range(4)]
    closed = "only the mount's owner and root may read it"
    assert (moment.caches, moment.log.note, moment.events.note) == ((), closed, closed)


@pytest.mark.long
def test_another_version(scullvfs: Scullvfs, family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon whose report may mean something else is not shown."""
    monkeypatch.setattr("scullvfs.__version__", "9.9")
    with pytest.raises(ValueError, match=r"its daemon is of scullvfs [\d.]+, and this is 9\.9"):
        watch(family, lambda app, pilot: asyncio.sleep(0))


def test_asker_ends(mounted: Path) -> None:
    """Whoever is asked no more is gone, and a question says so."""
    asker = Asker(str(mounted))
    asker.close()
    asker.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        asker.ask(Moment, MOMENT)


def test_asker_without_a_mount(tmp_path: Path) -> None:
    """An error comes over with its exit status."""
    with closing(Asker(str(tmp_path))) as asker:
        for _ in range(2):
            with pytest.raises(ScullvfsError, match="is not mounted") as caught:
                asker.ask(Moment, MOMENT)
            assert caught.value.status == ExitStatus.NOT_MOUNTED


@pytest.mark.long
def test_page(scullvfs: Scullvfs, mount: Callable[[str], Path]) -> None:
    """The screen in docs/top.md is that of its commands, but for path, times and cost."""
    page = (SOURCE / "docs/top.md").read_text()
    commands = re.findall(r"^\$ (.*)$", page, re.MULTILINE)
    options = commands[0].split()[3]
    mnt = mount(options)
    for command in commands[1:]:
        subprocess.run(["sh", "-c", command.replace("/mnt/scullv", str(mnt))], check=True)
    block = re.search(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert block is not None

    async def person(app: TopApp, pilot: Pilot[None]) -> None:
        time = re.compile(r"(?<=^\[)[ \d.]+(?=\])")
        pattern = re.compile(r" 0/s  read 0/s  write 0/s$", re.MULTILINE)
        text = await until(app, pilot, pattern.search, "nothing goes on")
        lines, shown = (
            [time.sub("*", line.rstrip()) for line in each.splitlines()]
            for each in (text, block[1])
        )
        assert re.fullmatch(r"/mnt/scullv +up \d:\d\d:\d\d  daemon [\d.]+M, [\d.]+% CPU", shown[0])
        assert lines[1:] == shown[1:]

    watch(mnt, person)
