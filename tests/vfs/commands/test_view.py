"""`scullvfs view` on real mounts: what it tells is what the mount's files say, as they change.

How the page looks and what a click does is tested in a browser: tests/browser.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from scullvfs.errors import ExitStatus, NotMountedError
from scullvfs.mounts.mountinfo import Mount
from scullvfs.mounts.place import find_scullvfs
from scullvfs.mounts.probe import Question
from scullvfs.view import live
from scullvfs.view.asked import ask_at_once, question_to
from scullvfs.view.files import Files
from scullvfs.view.telling import Now, tell_now

from ..helpers import DEADLINE, Scullvfs, mount_point, mounted_on, shell, wait_until
from ..viewed import viewed
from .elsewhere import AS_NOBODY

QUANTUM = 65536


class Page:
    """A page that is served, and what has been told of its state."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process = process
        self.address = urlsplit(address)
        self.state: dict[str, Any] = {"version": 0}

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of what is behind the token."""
        assert self.address.hostname is not None
        connection = http.client.HTTPConnection(
            self.address.hostname, self.address.port, timeout=DEADLINE
        )
        connection.request("GET", self.address.path + path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    def look(self) -> dict[str, Any]:
        """The state, as it is brought up to date by what is new."""
        status, body = self.get(f"state?have={self.state['version']}")
        assert status == 200
        self.state |= json.loads(body)
        return self.state

    def until(self, what: Callable[[dict[str, Any]], object], words: str) -> dict[str, Any]:
        """The state, once it is so; trouble that is not looked for is the end of the test."""
        wait_until(lambda: what(self.look()), words)
        return self.state

    def settled(self) -> dict[str, Any]:
        """The state, once all of it is of one moment."""
        return self.until(
            lambda state: "maps" in state and not state["behind"] and not state["silence"],
            "RAM is read",
        )

    def quantum(self, device: str, number: int) -> dict[str, Any]:
        """What is told of a quantum."""
        return self.told(f"quantum?device={device}&number={number}")

    def told(self, path: str) -> dict[str, Any]:
        """What is told of a part."""
        status, body = self.get(path)
        assert status == 200
        told: dict[str, Any] = json.loads(body)
        return told


@contextmanager
def served(scullvfs: Scullvfs, mount: Path, *words: object, **variables: str) -> Iterator[Page]:
    """The page of a mount."""
    with viewed(scullvfs, mount, *words, **variables) as (process, address):
        yield Page(process, address)


def tree(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name of a device -> what is told of it."""
    return {device["name"]: device for device in state["tree"]["devices"]}


def frames(state: dict[str, Any]) -> dict[str, int]:
    """Whose -> frames."""
    return {row["name"]: row["number"] for row in state["maps"]["ram_rows"]}


def meminfo(mount: Path) -> dict[str, int]:
    """Fields, in frames."""
    text = (mount / "proc/meminfo").read_text()
    return {name: int(kb) // 4 for name, kb in re.findall(r"(\w+): +(\d+) kB", text)}


@pytest.mark.long
def test_state_is_what_the_files_say(scullvfs: Scullvfs, mount: Callable[[str], Path]) -> None:
    """Devices, legend and window of all members of the family."""
    mnt = mount("mem=64M,drivers=scullv:scullp:scullc:scull,devs=2")
    for name, count in (("scullv0", 5), ("scullp1", 40), ("scullc0", 3), ("scull1", 7)):
        for _ in range(count):
            with open(mnt / name, "r+b", buffering=0) as file:
                file.seek(0, os.SEEK_END)
                file.write(bytes(QUANTUM))
    with served(scullvfs, mnt) as page:
        state = page.settled()
        assert state["mount"] == str(mnt)
        assert state["trouble"] == ""
        for name, device in tree(state).items():
            driver = name.rstrip("0123456789")
            quanta = int((mnt / f"sys/class/{driver}/{name}/quanta").read_text())
            assert device["quanta"] == quanta
            assert sum(each["cells"].count("#") for each in device["items"]) == quanta
            assert bool(device["letter"]) == bool(quanta)
        assert len(tree(state)) == 2 + 3 * 4
        known = meminfo(mnt)
        assert sum(frames(state).values()) == state["maps"]["total"]["number"] == known["MemTotal"]
        assert frames(state)["scullv0"] == 5 * 16
        free = sum(n for name, n in frames(state).items() if name.startswith("free"))
        assert free == known["MemFree"]
        ranges = {row["name"]: row["number"] for row in state["maps"]["band_rows"]}
        assert ranges["scullv0"] == 5
        assert (
            state["maps"]["band"]["letters"].rstrip(".")
            == (tree(state)["scullv0"]["letter"] * 16 + "|") * 5
        )
        # A part of it, by page; and none of it.
        first = int(state["maps"]["band"]["start"], 16)
        part = page.told(f"band?from={first + 4096 * 15:x}&to={first + 4096 * 18:x}")
        assert (part["share"], part["letters"]) == (1, state["maps"]["band"]["letters"][15:18])
        assert int(part["start"], 16) == first + 4096 * 15
        assert "no part of the window" in page.told("band?from=0&to=1000")["trouble"]


@pytest.mark.long
def test_quantum_is_what_the_files_say(scullvfs: Scullvfs, mounted: Path) -> None:
    """Its frames are those that the page tables lead to, and the cells are where they are."""
    (mounted / "scullv1").write_bytes(bytes(3 * QUANTUM))
    with served(scullvfs, mounted) as page:
        state = page.settled()
        told = page.quantum("scullv1", 2)
        assert [step["level"] for step in told["path"]] == ["pgd", "pud", "pmd", "pte"]
        addresses = re.findall(r" \d:(\w{16})$", (mounted / "proc/scullvmem").read_text(), re.M)
        assert told["pages"][0]["address"] == told["start"] == addresses[2]
        assert [page["name"] for page in told["pages"]][-2:] == ["page 15", "guard"]
        share = state["maps"]["ram"]["share"]
        for each in told["pages"][:-1]:
            frame = int(each["frame"].removeprefix("frame ").replace(",", ""))
            assert int(each["entry"], 16) >> 12 & (1 << 40) - 1 == frame
            assert each["cell"] == frame // share
        letter = tree(state)["scullv1"]["letter"]
        for cell in told["cells"]:
            ram = state["maps"]["ram"]
            assert letter in (ram["letters"][cell], *ram["others"][cell : cell + 1])
        assert not page.quantum("scullv1", 3)["there"]
        assert not page.quantum("scullv0", 0)["there"]
        assert page.quantum("scullv9", 0)["trouble"].endswith(
            "/scullv9 is not there: No such file or directory"
        )


@pytest.mark.long
def test_a_write_shows(scullvfs: Scullvfs, mounted: Path) -> None:
    """And what is trimmed, by hand or by the command line of the machine."""
    with served(scullvfs, mounted) as page:
        before = page.settled()["version"]
        (mounted / "scullv2").write_bytes(bytes(2 * QUANTUM))
        state = page.until(
            lambda state: frames(state).get("scullv2") == 32 and not state["behind"], "it shows"
        )
        assert tree(state)["scullv2"]["quanta"] == 2
        assert state["version"] > before
        (mounted / "scullv2").write_bytes(b"")
        page.until(lambda state: not tree(state)["scullv2"]["quanta"], "it is empty again")
        (mounted / "sys/kernel/debug/mm/command").write_text("vmalloc a 40960")
        page.until(
            lambda state: frames(state).get("areas that are no device's") == 10, "the area shows"
        )


@pytest.mark.long
def test_nothing_new_is_nothing(scullvfs: Scullvfs, mounted: Path) -> None:
    """While nothing changes, nothing of it is told, and RAM is not read."""
    (mounted / "scullv0").write_bytes(bytes(QUANTUM))
    with served(scullvfs, mounted) as page:
        version = page.settled()["version"]
        (mounted / "scullv0").read_bytes()
        before = requests(mounted)
        for _ in range(3):
            _, body = page.get(f"state?have={version}")
            assert json.loads(body) == {"version": version, "silence": 0, "behind": False}
            time.sleep(0.5)  # more than live.INTERVAL, so that it looks
        assert requests(mounted) - before < 3 * FEW


FEW = 38
"""Requests: more than a look at a status takes, and fewer than with RAM."""


def requests(mount: Path) -> int:
    """How many have come to a mount."""
    report = json.loads((mount / "proc/fs/scullvfs/status").read_text())
    assert report["requests"] is not None
    return int(report["requests"])


@pytest.mark.long
def test_while_it_is_written(scullvfs: Scullvfs, mounted: Path) -> None:
    """With writes that never stop the page goes on, and has no trouble."""
    script = f"while :; do dd if=/dev/zero of='{mounted}/scullv0' bs=64k count=60; done"
    with served(scullvfs, mounted) as page:
        with subprocess.Popen(
            ["bash", "-c", script], stderr=subprocess.DEVNULL, start_new_session=True
        ) as writer:
            try:
                maps = 0
                while maps < 3:
                    version = page.state["version"]
                    state = page.look()
                    assert state["trouble"] == ""
                    maps += state["version"] != version and "maps" in state
            finally:
                os.killpg(writer.pid, signal.SIGKILL)
        page.settled()


@pytest.mark.long
def test_mount_goes_and_comes(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """It is unmounted beside the page, which says so; another mount there is shown."""
    with mounted_on(scullvfs, mountpoint, "mem=16M"):
        (mountpoint / "scullv0").write_bytes(bytes(QUANTUM))
        with served(scullvfs, mountpoint) as page:
            page.settled()
            done = scullvfs("umount", mountpoint)
            assert (done.returncode, done.stderr) == (0, "")
            state = page.until(lambda state: state["trouble"], "it is told")
            assert state["trouble"].startswith(f"{mountpoint} is not mounted; when it is again")
            assert "is not mounted" in page.quantum("scullv0", 0)["trouble"]
            with mounted_on(scullvfs, mountpoint, "mem=16M,order=2"):
                (mountpoint / "scullv1").write_bytes(bytes(QUANTUM))
                page.until(
                    lambda state: (
                        not state["trouble"]
                        and not state["behind"]
                        and tree(state)["scullv1"]["quanta"] == 4
                    ),
                    "the new one is shown",
                )
                assert "scullv0" not in frames(page.settled())


def test_unmounted_while_it_is_asked(
    scullvfs: Scullvfs, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever error that gives, it is said as of a mount that was not there."""
    mount = find_scullvfs(str(mounted))

    def late(mount: Mount, read: Callable[[Files], object]) -> Question:
        assert scullvfs("umount", mounted).returncode == 0
        return question_to(mount, read)

    monkeypatch.setattr(live, "question_to", late)
    told = json.loads(asyncio.run(live.Live(str(mounted)).chosen("scullv0", 0)))
    assert told["trouble"].startswith(f"{mounted} is not mounted; when it is again")
    with pytest.raises(NotMountedError, match=re.escape(f"{mounted} was unmounted meanwhile")):
        ask_at_once(mount, Now, tell_now, mount.path)


@pytest.mark.long
def test_umount_beside_the_page(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """Who looks all the time keeps no mount busy."""
    with ExitStack() as stack:
        with mounted_on(scullvfs, mountpoint, "mem=16M"):
            page = stack.enter_context(served(scullvfs, mountpoint))
        for _ in range(4):
            with mounted_on(scullvfs, mountpoint, "mem=16M"):
                page.until(lambda state: not state["trouble"], "it is shown")
            page.look()


@pytest.mark.long
def test_dead_mount_beside_the_page(scullvfs: Scullvfs, mounted: Path) -> None:
    """Its daemon is killed while the page is open."""
    with served(scullvfs, mounted) as page:
        page.settled()
        os.kill(scullvfs.pid(mounted), signal.SIGKILL)
        state = page.until(lambda state: state["trouble"], "it is told")
        assert "is dead; 'scullvfs umount " in state["trouble"]
        assert "tree" in state
    assert scullvfs("umount", mounted).returncode == 0


@pytest.mark.long
def test_hung_mount_beside_the_page(scullvfs: Scullvfs, mounted: Path) -> None:
    """Its daemon is stopped: the page says for how long, asks no more, and goes on with it."""
    with served(scullvfs, mounted) as page:
        page.settled()
        pid = scullvfs.pid(mounted)
        ours = len(scullvfs.processes())
        os.kill(pid, signal.SIGSTOP)
        try:
            page.until(lambda state: state["silence"] >= 3, "the silence is told")
            assert "does not answer within" in page.quantum("scullv0", 0)["trouble"]
            for _ in range(3):
                page.look()
            assert len(scullvfs.processes()) == ours + 1
        finally:
            os.kill(pid, signal.SIGCONT)
        (mounted / "scullv0").write_bytes(bytes(QUANTUM))
        page.until(lambda state: frames(state).get("scullv0") == 16, "it is shown again")
        assert page.state["silence"] == 0


@pytest.mark.long
def test_interrupted_while_the_mount_hangs(scullvfs: Scullvfs, mounted: Path) -> None:
    """Ctrl-C waits for nobody."""
    with served(scullvfs, mounted) as page:
        page.settled()
        pid = scullvfs.pid(mounted)
        os.kill(pid, signal.SIGSTOP)
        page.until(lambda state: state["silence"], "the silence is told")
        page.process.send_signal(signal.SIGINT)
        try:
            assert page.process.wait(DEADLINE) == 0
            wait_until(lambda: scullvfs.processes() == [pid], "nobody is left but the daemon")
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.long
def test_interrupted_with_a_silent_connection(scullvfs: Scullvfs, mounted: Path) -> None:
    """Browsers open some that they may need."""
    with served(scullvfs, mounted) as page:
        silent = socket.create_connection((page.address.hostname, page.address.port))
        page.look()
    silent.close()


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended(scullvfs: Scullvfs, mounted: Path, number: signal.Signals) -> None:
    """By any signal that ends a daemon, with status 0."""
    with served(scullvfs, mounted) as page:
        page.process.send_signal(number)
        assert page.process.wait(DEADLINE) == 0


@pytest.mark.long
def test_port(scullvfs: Scullvfs, mounted: Path) -> None:
    """One that is asked for is had, again at once after its end, and not twice."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = scullvfs("view", "--port", port, mounted)
        assert (done.returncode, done.stdout) == (ExitStatus.FAILURE, "")
        assert done.stderr == f"scullvfs: cannot listen at port {port}: Address already in use\n"
    for _ in range(2):
        with served(scullvfs, mounted, "--port", port) as page:
            assert page.address.port == port
            page.look()
    done = scullvfs("view", "--port", 65536, mounted)
    assert done.returncode == ExitStatus.USAGE


@pytest.mark.long
def test_only_here(scullvfs: Scullvfs, mounted: Path) -> None:
    """It listens at 127.0.0.1 and nowhere else."""
    with served(scullvfs, mounted) as page:
        port = page.address.port
        assert page.address.hostname == "127.0.0.1"
        fds = Path(f"/proc/{page.process.pid}/fd")
        inodes = {os.readlink(fd)[8:-1] for fd in fds.iterdir() if "socket:" in os.readlink(fd)}
        lines = [
            line.split()
            for name in ("tcp", "tcp6", "udp", "udp6")
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        ]
        ours = [line[1] for line in lines if line[9] in inodes and line[3] == "0A"]
        assert ours == [f"0100007F:{port:04X}"]


@pytest.mark.long
def test_browser(scullvfs: Scullvfs, mounted: Path, tmp_path: Path) -> None:
    """With a display it is opened, with an address that holds once and is not the one printed."""
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >{opened}.new && mv {opened}.new {opened}\n')
    browser.chmod(0o755)
    process = subprocess.Popen(
        [*scullvfs.command, "view", str(mounted)],
        env={**scullvfs.env, "DISPLAY": ":99", "BROWSER": str(browser)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        printed = process.stdout.readline().strip()
        wait_until(opened.exists, "the browser is opened")
        once = urlsplit(opened.read_text().strip())
        for status in (303, 403):
            connection = http.client.HTTPConnection(str(once.hostname), once.port, timeout=DEADLINE)
            connection.request("GET", once.path)
            answer = connection.getresponse()
            assert answer.status == status
            assert answer.headers.get("Location", urlsplit(printed).path) == urlsplit(printed).path
            connection.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0


@pytest.mark.long
def test_names_with_escapes(scullvfs: Scullvfs, tmp_path: Path) -> None:
    """A path of the mount is a text of JSON, in octal what does not print."""
    with (
        mount_point(scullvfs, tmp_path / "\x1b[31m<img src=x onerror=alert(1)>\n\udcff") as path,
        mounted_on(scullvfs, path, "mem=16M"),
        served(scullvfs, path) as page,
    ):
        assert page.settled()["mount"].endswith(r"/\033[31m<img src=x onerror=alert(1)>\012\377")


@pytest.mark.long
def test_other_architectures(scullvfs: Scullvfs, mount: Callable[[str], Path]) -> None:
    """Their own levels and addresses."""
    mnt = mount("mem=16M,arch=i386")
    (mnt / "scullv0").write_bytes(bytes(QUANTUM))
    with served(scullvfs, mnt) as page:
        assert frames(page.settled())["scullv0"] == 16
        told = page.quantum("scullv0", 0)
        assert [step["level"] for step in told["path"]] == ["pgd", "pte"]
        assert len(told["start"]) == page.state["maps"]["band"]["digits"] == 8


@pytest.mark.long
def test_no_mount(scullvfs: Scullvfs, mounted: Path, tmp_path: Path) -> None:
    """A path without one, of another file system, and a device."""
    for path in (tmp_path / "nothing", "/proc", "", mounted / "scullv0", mounted / "proc"):
        done = scullvfs("view", "--no-browser", path)
        assert (done.returncode, done.stdout) == (ExitStatus.NOT_MOUNTED, "")
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.long
def test_dead_mount(scullvfs: Scullvfs, mounted: Path) -> None:
    """From the start there is nothing to show."""
    os.kill(scullvfs.pid(mounted), signal.SIGKILL)
    done = scullvfs("view", "--no-browser", mounted)
    assert (done.returncode, done.stdout) == (ExitStatus.NOT_MOUNTED, "")
    assert "is dead; 'scullvfs umount " in done.stderr
    assert scullvfs("umount", mounted).returncode == 0


@pytest.mark.long
def test_hung_mount(scullvfs: Scullvfs, mounted: Path) -> None:
    """Nor of one that does not answer."""
    pid = scullvfs.pid(mounted)
    os.kill(pid, signal.SIGSTOP)
    try:
        done = scullvfs("view", "--no-browser", mounted)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (done.returncode, done.stdout) == (ExitStatus.BUSY, "")
    assert "does not answer within " in done.stderr


@pytest.mark.long
def test_closed_files(
    scullvfs: Scullvfs, mount: Callable[[str], Path], open_to_others: None
) -> None:
    """Whoever may not read kcore is told who may."""
    if os.geteuid() != 0:
        pytest.skip("root makes another user's mount")
    mnt = mount("mem=16M,allow_other")
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "view", "--no-browser", mnt],
        env=scullvfs.env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == ExitStatus.PERMISSION, done.stderr
    assert "Permission denied; its owner and root may read proc/kcore" in done.stderr


@pytest.mark.long
def test_needs_no_extra(scullvfs: Scullvfs, mounted: Path, tmp_path: Path) -> None:
    """Neither Rich nor Jinja2 has to be installed."""
    for library in ("rich", "jinja2"):
        (tmp_path / f"{library}.py").write_text("raise ImportError\n")
    path = f"{tmp_path}:{scullvfs.env['PYTHONPATH']}"
    with served(scullvfs, mounted, PYTHONPATH=path) as page:
        page.settled()


@pytest.mark.long
def test_dd(scullvfs: Scullvfs, mount: Callable[[str], Path]) -> None:
    """What dd has written is there by the time that a reader looks."""
    mnt = mount("mem=32M")
    with served(scullvfs, mnt) as page:
        page.settled()
        done = shell('dd if=/dev/zero of="$mnt/scullv3" bs=64k count=20', mnt=mnt)
        assert done.returncode == 0
        begun = time.monotonic()
        page.until(lambda state: tree(state)["scullv3"]["quanta"] == 20, "it shows")
        assert time.monotonic() - begun < DEADLINE
