"""What dd is told, and what it says."""

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from scullvfs.bench import dd
from scullvfs.bench.dd import CALLS, Outcome, command, parse, run
from scullvfs.errors import ScullvfsError

KIB = 1 << 10


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (
            "16+0 records in\n16+0 records out\n"
            "1048576 bytes (1.0 MB, 1.0 MiB) copied, 0.00123 s, 852 MB/s\n",
            Outcome(1048576, 0.00123, 16, 0),
        ),
        (
            "0+64 records in\n0+64 records out\n"
            "4194304 bytes (4.2 MB, 4.0 MiB) copied, 0.0175463 s, 239 MB/s\n",
            Outcome(4194304, 0.0175463, 0, 64),
        ),
        (  # below a kilobyte it says no other unit
            "1+0 records in\n1+0 records out\n512 bytes copied, 8.6e-05 s, 6.0 MB/s\n",
            Outcome(512, 8.6e-05, 1, 0),
        ),
        ("0+1 records in\n0+1 records out\n1 byte copied, 2 s, 0.0 kB/s\n", Outcome(1, 2, 0, 1)),
        (  # busybox
            "4+0 records in\n4+0 records out\n"
            "16384 bytes (16.0KB) copied, 0.000033 seconds, 473.5MB/s\n",
            Outcome(16384, 0.000033, 4, 0),
        ),
    ],
)
def test_parse(said: str, outcome: Outcome) -> None:
    """Bytes, seconds, and how many reads were whole or not."""
    assert parse(said) == outcome


@pytest.mark.parametrize(
    "said",
    [
        "",
        "1+0 records in\n1+0 records out\n",
        "512 bytes copied, 1 s, 512 B/s\n",
        "1+0 records in\n1+0 records out\n512 bytes copied, 0 s, Infinity B/s\n",
        "1+0 Datensätze ein\n512 Bytes kopiert, 1 s, 512 B/s\n",
        "1+0 records in\n1+0 records out\n512 bytes copied, some s, 512 B/s\n",
    ],
)
def test_parse_says_nothing(said: str) -> None:
    """Without a count, a time above 0 and records there is no outcome."""
    assert parse(said) is None


def test_rate() -> None:
    """Megabytes are 10^6 bytes, as dd's own."""
    assert Outcome(3_000_000, 0.5, 1, 0).rate == pytest.approx(6.0)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("size", "blocks"), [(512, 8), (64 * KIB, 4), (3000, 5)])
def test_run_agrees_with_dd_by_hand(tmp_path: Path, call: str, size: int, blocks: int) -> None:
    """The bytes are those that the command moves when a shell runs it, and its words are read."""
    file = tmp_path / "file"
    file.write_bytes(b"\xa5" * (size * blocks))
    outcome = run(call, str(file), size, blocks)
    after = file.read_bytes()

    file.write_bytes(b"\xa5" * (size * blocks))
    by_hand = subprocess.run(
        " ".join(command(call, str(file), size, blocks)),
        shell=True,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    moved = blocks - 1 if call == "rewrite" else blocks
    assert f"{moved}+0 records in" in by_hand
    assert f"\n{size * moved} byte" in by_hand
    assert (outcome.bytes, outcome.full, outcome.partial) == (size * moved, moved, 0)
    assert file.read_bytes() == after
    zeros = {"read": 0, "rewrite": blocks - 1}.get(call, blocks)
    assert after == b"\xa5" * (size * (blocks - zeros)) + bytes(size * zeros)


def test_run_partial_reads(tmp_path: Path) -> None:
    """A read that ends before its block is counted as that."""
    file = tmp_path / "file"
    file.write_bytes(bytes(2 * KIB))
    with pytest.raises(ScullvfsError, match="moved 2048 bytes instead of 4096"):
        run("read", str(file), KIB, 4)
    outcome = run("read", str(file), 2 * KIB, 1)
    assert (outcome.full, outcome.partial) == (1, 0)


def test_run_fails(tmp_path: Path) -> None:
    """dd's own words, and the command that it was."""
    missing = tmp_path / "missing"
    with pytest.raises(ScullvfsError) as caught:
        run("read", str(missing), KIB, 4)
    assert str(caught.value) == (
        f"'dd if={missing} of=/dev/null bs=1K' failed: "
        f"failed to open '{missing}': No such file or directory"
    )


def test_run_in_another_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dd is run in the C locale, whatever the user's is."""
    write_program(tmp_path / "dd", 'echo "$LC_ALL" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    with pytest.raises(ScullvfsError, match=r"failed: C$"):
        run("read", "file", KIB, 4)


def test_run_without_dd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is said."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ScullvfsError, match=r"^dd is missing; run 'apt install coreutils'$"):
        run("read", "file", KIB, 4)


@pytest.mark.long
def test_run_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that takes for ever is given up, and ended."""
    write_program(tmp_path / "dd", f"echo $$ >{tmp_path}/pid; exec sleep 1000")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(dd, "TIMEOUT", 1.0)
    with pytest.raises(ScullvfsError, match="takes more than 1 s"):
        run("read", "file", KIB, 4)
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def write_program(path: Path, script: str) -> None:
    """A shell script that can be run."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_run_interrupted_as_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C that comes while dd is started finds it, and ends it."""
    program = tmp_path / "dd"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    started = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[call-overload]
            started.append(self)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("read", "/dev/zero", 512, 1)
    assert [process.returncode for process in started] == [-signal.SIGKILL]
