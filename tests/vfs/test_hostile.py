"""Other people's daemons that call themselves scullvfs: no command believes or waits for them."""

from __future__ import annotations

import errno
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ..mounts.test_answers import REPORT
from .helpers import DEADLINE, mount_point
from .troubles import refusal

PROGRAM = Path(__file__).with_name("hostile.py")

OTHERS = REPORT | {"version": "0.0", "\x1b[31m": "\x1b]0;x\x07", "a": ["\ud800", None, -1.5]}
"""Of a daemon that is of another version."""

NO_REPORTS = {
    "[" * 60000: "its report is no JSON",
    json.dumps(REPORT | {"version": "\x1b[2J"}): "its report has no version",
    json.dumps(REPORT | {"pid": "1"}): "its report has no pid, or none that can be",
}
"""Report -> what `status` says of it; tests/mounts/test_answers.py has more."""

PIDS = ["1", "abc", "9" * 50]
"""What a daemon may give for its pid."""


Lie = Callable[..., AbstractContextManager[Path]]


@pytest.fixture
def lie(scullvfs: Any, tmp_path: Path) -> Lie:
    """Makes a hostile mount with these lies."""

    count = itertools.count()

    @contextmanager
    def lie(**lies: Any) -> Iterator[Path]:
        with mount_point(scullvfs, tmp_path / f"lie{next(count)}") as path:
            command = [sys.executable, str(PROGRAM), str(path), json.dumps(lies)]
            with scullvfs.start_command(command) as daemon:
                try:
                    assert daemon.stdout.readline() == "ready\n"
                    yield path
                finally:
                    daemon.kill()
            subprocess.run(["fusermount3", "-u", "-z", "-q", path])

    return lie


def is_clean(text: str) -> bool:
    """Whether there is nothing in it that a terminal would obey."""
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.long
def test_status_own_fields_win(scullvfs: Any, lie: Lie, mounted: Path) -> None:
    """Mount point, state, user and pid are what the kernel says, and the next mount is shown."""
    forged = {"mountpoint": "/", "state": "dead", "uid": 7, "user": "x", "source": "y"}
    for report in (REPORT, OTHERS):
        with lie(files={"status": json.dumps(forged | report)}) as path:
            done = scullvfs("status", "--json", path, mounted)
            assert (done.returncode, done.stderr) == (0, "")
            lying, honest = json.loads(done.stdout)
            assert (lying["mountpoint"], lying["state"]) == (str(path), "running")
            assert (lying["uid"], lying["source"], lying["pid"]) == (os.getuid(), "scullvfs", None)
            assert honest["pid"] == scullvfs.pid(mounted)
            done = scullvfs("status", path, mounted)
            assert (done.returncode, done.stderr) == (0, "")
            first, second, *_ = done.stdout.splitlines()
            assert first == f"{path}: running"
            assert second.startswith("  daemon    pid not known here, of ")
            assert f"\n{mounted}: running\n" in done.stdout
            assert is_clean(done.stdout)


@pytest.mark.long
def test_status_no_report(scullvfs: Any, lie: Lie) -> None:
    """A line says what is wrong with each, and the next mount is shown, whatever this one says."""
    with ExitStack() as stack:
        paths = [stack.enter_context(lie(files={"status": text})) for text in NO_REPORTS]
        done = scullvfs("status", *paths)
        assert (done.returncode, done.stderr) == (1, "")
        lines = done.stdout.splitlines()
        for line, path, reason in zip(lines, paths, NO_REPORTS.values(), strict=True):
            assert line.startswith(f"{path}: unknown, ")
            assert line.endswith(f"; no report from it: {reason}")
        answers = json.loads(scullvfs("status", "--json", *paths).stdout)
        assert [answer["state"] for answer in answers] == ["unknown"] * len(paths)


@pytest.mark.long
def test_view_no_report(scullvfs: Any, lie: Lie) -> None:
    """A page of what has no status, or that of another version, is not served."""
    for text in (*NO_REPORTS, json.dumps(OTHERS)):
        with lie(files={"status": text, "pid": "1"}) as path:
            done = scullvfs("view", "--no-browser", path)
            assert (done.returncode, done.stdout) == (8, "")
            assert len(done.stderr.splitlines()) == 1
            assert is_clean(done.stderr)


@pytest.mark.long
@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOENT, errno.ENOTDIR, 511])
def test_status_is_not_hidden_by_an_errno(scullvfs: Any, lie: Lie, number: int) -> None:
    """That another mount lies above it only the kernel can say."""
    with lie(files={"status": number}) as path:
        done = scullvfs("status", path)
        assert (done.returncode, done.stderr) == (1, "")
        assert f"{path}: unknown, " in done.stdout


@pytest.mark.long
def test_no_pid_is_believed(scullvfs: Any, lie: Lie) -> None:
    """Nobody is told to kill another process, and nobody waits for it; the mount just goes."""
    for pid in [*PIDS, str(os.getpid())]:
        with lie(files={"pid": pid}) as path:
            refusal(scullvfs("mount", path), "unproven-mount")
            assert scullvfs("umount", "--dead", path).returncode == 0
            done = scullvfs("umount", "--timeout", "60", path)
            assert (done.returncode, done.stderr) == (0, ""), pid
            assert not scullvfs.mounted(path)


@pytest.mark.long
def test_no_command_waits(scullvfs: Any, lie: Lie) -> None:
    """A daemon that takes every request and answers none holds nobody up, nor what reads them."""
    with lie(hang=["open", "getattr", "lookup"]) as path, ExitStack() as stack:
        statuses = {
            ("status",): 8,
            ("status", path): 8,
            ("status", path / "sub"): 7,
            ("status", path / "sub/../.."): 7,
            ("mount", path): 3,
            ("mount", path / "sub"): 3,
            ("ioctl", path / "scullv0", "query-order"): 8,
            ("reload", path): 8,
            ("bench", path): 8,
            ("umount", "--dead", "--timeout", 0.2, path): 0,
            ("umount", "--timeout", 0.2, path): 8,
        }
        started = [stack.enter_context(scullvfs.start(*words)) for words in statuses]
        for words, command in zip(statuses, started, strict=True):
            _, said = command.communicate(timeout=DEADLINE)
            assert command.returncode == statuses[words], (words, said)
            assert said.count("\n") <= 1, said
        assert scullvfs("umount", "--lazy", path).returncode == 0


@pytest.mark.long
def test_reload_follows_no_link(scullvfs: Any, lie: Lie, tmp_path: Path) -> None:
    """What the mount's daemon wants to have written elsewhere is not."""
    file = tmp_path / "file"
    file.write_text("7\n")
    for links in ({"scullv_order": str(file)}, {"parameters": str(tmp_path)}):
        (tmp_path / "scullv_order").write_text("7\n")
        with lie(links=links) as path:
            done = scullvfs("reload", path)
            assert done.returncode == 1
            assert done.stderr.startswith(f"scullvfs: cannot set the parameters of {path}: ")
        assert file.read_text() == (tmp_path / "scullv_order").read_text() == "7\n"
