"""`scullvfs report` on real mounts: the page has what the mount has, and nothing else is needed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from scullvfs.errors import ExitStatus, ScullvfsError
from scullvfs.mounts.mountinfo import Mount
from scullvfs.mounts.place import find_scullvfs
from scullvfs.view.asked import ask_mount
from scullvfs.view.report import HEAD, PICTURES, TAIL, Report, read_report
from scullvfs.view.report_html import report_html

from ..helpers import Scullvfs, mount_point, mounted_on
from .elsewhere import AS_NOBODY

VOID = {"meta", "br"}
NAMED = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, b"<b>x\\x1b[31m&")
open(sys.argv[1], "wb").write(bytes(100))
"""
"""A program whose name is markup and an escape sequence, and which writes."""


class Page(HTMLParser):
    """A page, with the proof that it is one whole."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        """What is in each `pre`."""
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "pre":
            self.texts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if "pre" in self.open:
            self.texts[-1] += data

    def count(self, tag: str) -> int:
        """How many there are of one kind."""
        return sum(1 for name, _ in self.tags if name == tag)


def written(scullvfs: Scullvfs, mount: Path, path: Path) -> Page:
    """The report of a mount."""
    done = scullvfs("report", "-o", path, mount)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return Page(path.read_text())


@pytest.fixture
def model(mounted: Path) -> tuple[Report, Mount]:
    """What a report is made of."""
    mount = find_scullvfs(str(mounted))
    return ask_mount(mount, Report, read_report, str(mounted)), mount


@pytest.mark.long
def test_page(scullvfs: Scullvfs, mount: Callable[[str], Path], tmp_path: Path) -> None:
    """All files are in it as they are, names escaped, and nothing has to be fetched or run."""
    mnt = mount("mem=64M,drivers=scullv:scullp:scullc:scull,seed=7")
    (mnt / "sys/kernel/tracing/set_event").write_text("scull")
    for name in ("scullv0", "scullp1", "scullc2", "scull3"):
        (mnt / name).write_bytes(bytes(3 * 4000))
    subprocess.run([sys.executable, "-c", NAMED, mnt / "scullv1"], check=True)
    page = written(scullvfs, mnt, tmp_path / "report.html")
    for name in ("proc/scullvmem", "proc/scullmem", "proc/vmallocinfo", "proc/buddyinfo"):
        assert (mnt / name).read_text().expandtabs().removesuffix("\n") in page.texts
    log = next(text for text in page.texts if "Memory: " in text)
    assert (mnt / "proc/kmsg").read_text().startswith(log)
    trace = next(text for text in page.texts if "scull_write: dev=scullv1" in text)
    assert r"<b>x\033[31m&-" in trace
    assert page.texts[0].split()[:4] == [
        *("scullvfs", "mount", "-o", "drivers=scullv:scullp:scullc:scull,mem=64M,seed=7"),
    ]
    assert "\x1b" not in page.words
    assert page.count("svg") == 1 + 5
    assert "11 devices are empty." in page.words
    assert not {name for name, _ in page.tags} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "b>x",
    }
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len({*ids})
    for _, attrs in page.tags:
        assert "src" not in attrs
        assert (attrs.get("href") or "#options").removeprefix("#") in ids
        for value in attrs.values():
            found = re.match(r"url\(#(.*)\)", value or "")
            assert found is None or found[1] in ids
    style = page.words
    assert "@media print" in style
    assert "@import" not in style


@pytest.mark.long
def test_long_listings(scullvfs: Scullvfs, mount: Callable[[str], Path], tmp_path: Path) -> None:
    """They have a beginning and an end of whole lines, and what is between is counted."""
    mnt = mount("mem=64M,order=0,devs=8,semantics=file")
    for number in range(8):
        with open(mnt / f"scullv{number}", "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, 100 * 4096)
    page = written(scullvfs, mnt, tmp_path / "report.html")
    lines = (mnt / "proc/vmallocinfo").read_text()
    head, tail = (text for text in page.texts if text[:40] in lines)
    assert lines.startswith(f"{head}\n")
    assert lines.endswith(f"\n{tail}\n")
    assert HEAD - 200 < len(head) < HEAD
    assert TAIL - 200 < len(tail) < TAIL
    left_out = len(lines) - len(head) - len(tail) - 2
    assert f"{left_out:,} bytes are left out here; proc/vmallocinfo has them." in page.words
    assert page.count("svg") == 1 + PICTURES
    assert "2 more devices have no picture here; 'scullvfs show' draws each." in page.words


@pytest.mark.long
def test_many_devices(scullvfs: Scullvfs, mount: Callable[[str], Path], tmp_path: Path) -> None:
    """Those that are not listed are counted."""
    mnt = mount("mem=64M,order=0,devs=70")
    for number in range(67):
        (mnt / f"scullv{number}").write_bytes(b"x")
    page = written(scullvfs, mnt, tmp_path / "report.html")
    assert "3 more devices with data, not listed here." in page.words
    assert "3 devices are empty." in page.words
    assert "61 more devices have no picture here" in page.words


@pytest.mark.long
@pytest.mark.parametrize(
    ("arch", "name"), [("i386", "page_tables/kernel"), ("arm64", "kernel_page_tables")]
)
def test_other_architectures(
    scullvfs: Scullvfs, mount: Callable[[str], Path], tmp_path: Path, arch: str, name: str
) -> None:
    """They have the same page, of their own files."""
    mnt = mount(f"mem=16M,arch={arch}")
    (mnt / "scullv0").write_bytes(b"x")
    page = written(scullvfs, mnt, tmp_path / "report.html")
    assert page.count("svg") == 2
    assert f"sys/kernel/debug/{name}" in page.words
    assert (mnt / "sys/kernel/debug" / name).read_text().removesuffix("\n") in page.texts


@pytest.mark.long
def test_names_that_are_markup(scullvfs: Scullvfs, tmp_path: Path) -> None:
    """Nothing of a path or of the source of a mount becomes a part of the page."""
    with (
        mount_point(scullvfs, tmp_path / "\x1b[31m<script>\n") as path,
        mounted_on(scullvfs, path, "mem=16M,fsname=<i>"),
    ):
        page = written(scullvfs, path, tmp_path / "report.html")
    assert page.count("script") == page.count("i") == 0
    assert r"\033[31m<script>\012" in page.words
    assert "<i>" in page.words


@pytest.mark.long
def test_another_version(model: tuple[Report, Mount]) -> None:
    """What its daemon says is there as it says it; what cannot be is an error."""
    report, mount = model
    other = report._replace(said='{"version": "9.9", "fur": {"<i>": 7}}')
    page = Page(report_html(other, mount, datetime.now(UTC), [("Python", "<u>")]))
    assert '{"<i>": 7}' in page.words
    assert "9.9" in page.words
    assert page.count("i") == page.count("u") == 0
    for said in ("", "[]", '{"version": "\\u001b"}'):
        with pytest.raises(ScullvfsError, match="its report"):
            report_html(report._replace(said=said), mount, datetime.now(UTC), [])


@pytest.mark.long
def test_places_that_cannot_be(scullvfs: Scullvfs, mounted: Path, tmp_path: Path) -> None:
    """Each is one line with the status that is documented, and no file."""
    page = tmp_path / "report.html"
    for words, status in (
        (("-o", "report.txt", mounted), ExitStatus.USAGE),
        (("-o", "/nowhere/report.html", mounted), ExitStatus.USAGE),
        (("-o", "/proc/report.html", mounted), ExitStatus.FAILURE),
        ((mounted,), ExitStatus.USAGE),
        (("-o", page, tmp_path), ExitStatus.NOT_MOUNTED),
        (("-o", page, mounted / "scullv0"), ExitStatus.NOT_MOUNTED),
    ):
        done = scullvfs("report", *words)
        assert (done.returncode, done.stdout) == (status, ""), words
        assert len(done.stderr.splitlines()) == 1
    os.kill(scullvfs.pid(mounted), signal.SIGKILL)
    done = scullvfs("report", "-o", page, mounted)
    assert done.returncode == ExitStatus.NOT_MOUNTED
    assert "is dead; 'scullvfs umount " in done.stderr
    assert not page.exists()
    assert scullvfs("umount", mounted).returncode == 0


def test_closed_files(
    scullvfs: Scullvfs, mount: Callable[[str], Path], open_to_others: None, scratch: Path
) -> None:
    """Whoever may not read kcore is told who may."""
    if os.geteuid() != 0:
        pytest.skip("root makes another user's mount")
    mnt = mount("mem=16M,allow_other")
    scratch.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "report", "-o", scratch / "report.html", mnt],
        env=scullvfs.env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == ExitStatus.PERMISSION, done.stderr
    assert "Permission denied; its owner and root may read proc/kcore" in done.stderr


def test_missing_library(scullvfs: Scullvfs, mounted: Path, tmp_path: Path) -> None:
    """What to install is said in one line."""
    (tmp_path / "jinja2.py").write_text("raise ImportError\n")
    path = f"{tmp_path}:{scullvfs.env.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-m", "scullvfs", "report", "-o", tmp_path / "report.html", mounted],
        env={**scullvfs.env, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == ExitStatus.FAILURE
    assert done.stderr.startswith("scullvfs: pictures need Rich and Jinja2; run 'pip install ")
    assert len(done.stderr.splitlines()) == 1
