"""What `scullvfs status` prints and exits with; real mounts are in tests/vfs."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner, Result

import scullvfs
from scullvfs.cli import main
from scullvfs.cli.hang import hang
from scullvfs.cli.status import status
from scullvfs.errors import ExitStatus
from scullvfs.mounts.health import State
from scullvfs.mounts.mountinfo import Mount
from scullvfs.mounts.status import MountStatus
from scullvfs.options.table import parse_options

MODULE = sys.modules[status.callback.__module__]

REPORT = {
    "pid": 17,
    "version": scullvfs.__version__,
    "uptime": 2 * 86400 + 3661.5,
    "options": {
        "drivers": "scullv",
        "scullv_order": 3,
        "mem": 16 << 20,
        "shuffle": True,
        "mode": 0o664,
    },
    "ram": {"used": 5 << 19, "total": 1 << 30},
    "vmalloc": {"used": 4096, "lazy": 69632, "total": 1 << 45},
    "devices": 4,
    "requests": 123456,
    "calls": {},
    "faults": {},
    "lowlevel": True,
    "rss": 1023,
    "cpu": 0.5,
}


def run(monkeypatch: pytest.MonkeyPatch, *answers: MountStatus, named: bool = False) -> Result:
    """Run `status`, named or not, where these mounts are."""
    mounts = {answer.mount.path: answer.mount for answer in answers}
    monkeypatch.setattr(MODULE, "scullvfs_mounts", lambda: list(mounts.values()))
    monkeypatch.setattr(MODULE, "find_scullvfs", mounts.__getitem__)
    monkeypatch.setattr(MODULE, "ask", lambda asked: list(answers) if asked else [])
    return CliRunner().invoke(main, ["status", *(mounts if named else ())])


def mount(
    state: State,
    report: dict[str, Any] | None = None,
    reason: str = "",
    source: str = "scullvfs",
) -> MountStatus:
    """A mount in this state."""
    at = Mount("0:9", f"/mnt/{state}", "fuse.scullvfs", ("user_id=0", "group_id=0"), source=source)
    return MountStatus(at, state, report or {}, reason, pid=17)


def test_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and durations as people write them, and options as mount takes them."""
    result = run(monkeypatch, mount(State.RUNNING, REPORT))
    assert result.exit_code == ExitStatus.SUCCESS
    assert result.stdout.splitlines() == [
        "/mnt/running: running",
        f"  daemon    pid 17 of root, scullvfs {scullvfs.__version__}",
        "  uptime    2 days, 1:01:01",
        "  cost      1023B resident, 0.50 s of CPU time",
        "  options   scullv_order=3,mem=16M",
        "  RAM       2.5M of 1G in use",
        "  vmalloc   4K of 32T in use, 68K freed and not yet purged",
        "  devices   4",
        "  requests  123456",
    ]


def test_text_of_several_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many devices each has, and of their options those that are not at their defaults."""
    options = parse_options(["drivers=scullp:scull,scullp_devs=2,scull_quantum=7"]).as_dict()
    report = REPORT | {"devices": 6, "options": options | {"fsname": "scullvfs"}}
    lines = run(monkeypatch, mount(State.RUNNING, report)).stdout.splitlines()
    assert "  devices   2 of scullp, 4 of scull" in lines
    assert "  options   drivers=scullp:scull,scullp_devs=2,scull_quantum=7" in lines


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0"),
        (1, "1B"),
        (1 << 20, "1M"),
        ((1 << 20) - 1, "1M"),
        (2000, "2K"),
        (110 << 20, "110M"),
        (10 << 40, "10T"),
        ((10 << 30) + (1 << 27), "10.1G"),
    ],
)
def test_sizes(monkeypatch: pytest.MonkeyPatch, size: int, shown: str) -> None:
    """Rounded to a digit behind the point, which a whole number has not, as nobody writes it."""
    report = REPORT | {"rss": size}
    stdout = run(monkeypatch, mount(State.RUNNING, report)).stdout
    assert f"\n  cost      {shown} resident, " in stdout


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("", "all at their defaults"),
        ("mode=0664,order=4,uid=7,gid=8,shuffle=1", "all at their defaults"),
        ("uid=8,gid=7,allow_other,noexec", "uid=8,gid=7,allow_other,noexec"),
        ("qset=10,order=0", "scullv_order=0,scullv_qset=10"),
    ],
)
def test_options_that_differ(monkeypatch: pytest.MonkeyPatch, given: str, shown: str) -> None:
    """What is as in any mount of its user's is left out, whoever asks."""
    options = parse_options([f"uid=7,gid=8,{given}"]).as_dict()
    users = ("user_id=7", "group_id=8")
    at = Mount("0:9", "/mnt/theirs", "fuse.scullvfs", users, source="scullvfs")
    answer = MountStatus(at, State.RUNNING, REPORT | {"options": options}, "")
    stdout = run(monkeypatch, answer).stdout
    assert f"\n  options   {shown}\n" in stdout


def test_options_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many are broken at the commas, below each other."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(MODULE, "hang", partial(hang, terminal=True))
    options = REPORT["options"] | {"seed": 1 << 63}
    report = REPORT | {"options": options}
    stdout = run(monkeypatch, mount(State.RUNNING, report, source="a-name")).stdout
    assert stdout.splitlines()[6:9] == [
        "  options   scullv_order=3,mem=16M,",
        "            seed=9223372036854775808,",
        "            fsname=a-name",
    ]


def test_text_of_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody counts, and where the extension is not there."""
    report = REPORT | {"requests": None, "lowlevel": False}
    *_, requests, missing = run(monkeypatch, mount(State.RUNNING, report)).stdout.splitlines()
    assert requests == "  requests  not counted"
    assert missing.startswith("  missing   ioctl, SEEK_DATA and fallocate; ")


def test_text_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon of another version is shown as it words it, whatever that is."""
    report = {"version": "0.0", "pid": 17, "colour": {"red": 1}}
    result = run(monkeypatch, mount(State.RUNNING, report))
    assert result.exit_code == ExitStatus.SUCCESS
    _, *facts = result.stdout.splitlines()
    assert [fact.split(maxsplit=1) for fact in facts] == [
        ["daemon", "pid 17 of root, scullvfs 0.0"],
        ["colour", '{"red": 1}'],
    ]


def test_no_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an error, but not silence, either."""
    result = run(monkeypatch)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "scullvfs: nothing is mounted\n"


@pytest.mark.parametrize(
    ("states", "listed", "named"),
    [
        ([State.RUNNING], 0, 0),
        ([State.RUNNING, State.HIDDEN], 0, 0),
        ([State.CLOSED], 0, 5),
        ([State.UNKNOWN], 1, 1),
        ([State.UNKNOWN, State.CLOSED], 1, 5),
        ([State.RUNNING, State.DEAD, State.CLOSED], 8, 8),
        ([State.HUNG, State.UNKNOWN], 8, 8),
    ],
)
def test_exit_status(
    monkeypatch: pytest.MonkeyPatch, states: list[State], listed: int, named: int
) -> None:
    """The worst of all mounts; one line for each that does not answer."""
    answers = [mount(s, REPORT if s == State.RUNNING else None, "I/O error") for s in states]
    result = run(monkeypatch, *answers)
    assert result.exit_code == listed
    lines = [line for line in result.stdout.splitlines() if not line.startswith("  ")]
    assert [line.partition(": ")[0] for line in lines] == [f"/mnt/{state}" for state in states]
    assert all("{" not in line for line in lines)
    assert run(monkeypatch, *answers, named=True).exit_code == named
