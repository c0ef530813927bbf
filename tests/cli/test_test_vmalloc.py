"""`scullvfs test-vmalloc`: its words, its exit statuses, its bar."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from click.testing import CliRunner, Result

from scullvfs.cli import main
from scullvfs.errors import ExitStatus
from scullvfs.test_vmalloc.parameters import ABOUT, NAMES

from ..vfs.troubles import TROUBLES, refusal
from .test_completion import fitting

PROGRAM = [sys.executable, "-m", "scullvfs", "test-vmalloc"]


def run(*words: str) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(main, ["test-vmalloc", *words], prog_name="scullvfs")


def start(*words: str) -> subprocess.CompletedProcess[str]:
    """The program."""
    return subprocess.run([*PROGRAM, *words], capture_output=True, text=True)


def test_lines() -> None:
    """On stdout, without times; nothing is on stderr where that is no terminal."""
    done = run("run_test_mask=65", "test_loop_count=10", "-o", "mem=16M")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line.split(" ")[0] for line in done.stdout.splitlines()] == [
        *("vmalloc_node_range", "vmalloc_test/0:", "Summary:", "Summary:", "All")
    ]


def test_dmesg() -> None:
    """All of the log, with its times."""
    done = run("--dmesg", "run_test_mask=64", "-o", "mem=16M")
    lines = done.stdout.splitlines()
    assert all(line.startswith("[    ") for line in lines)
    assert any(line.endswith("] Mem-Info:") for line in lines)


def test_options_of_the_machine() -> None:
    """They make it."""
    done = run("-o", "mem=16M,arch=arm64", "-o", "seed=3", "run_test_mask=64")
    assert "0xffff800080000000 - 0xfffffbfff0000000" in done.stdout
    failing = run("-o", "mem=16M,failslab=1:100:0:-1", "run_test_mask=1", "test_loop_count=1")
    assert "FAULT_INJECTION: forcing a failure.\n" in failing.stdout
    assert "passed: 0 failed: 1" in failing.stdout


@pytest.mark.long
def test_failure() -> None:
    """What must not fail is named, behind all lines."""
    words = ("-o", "mem=4M", "test_loop_count=1", "nr_pages=2000")
    done = start(*words, "run_test_mask=72")
    assert (done.stderr, done.returncode) == ("", ExitStatus.SUCCESS)
    done = start(*words, "run_test_mask=1097")
    assert done.stderr == "scullvfs: fix_size_alloc_test failed, vm_map_ram_test failed\n"
    assert TROUBLES["test-failed"].fits(done.stderr[10:-1])
    assert done.returncode == int(TROUBLES["test-failed"].outcome)
    assert done.stdout.count("Summary: ") == 4


@pytest.mark.parametrize(
    ("words", "name", "message"),
    [
        (["nonsense=1"], "test-parameter", "'nonsense'; 'scullvfs test-vmalloc --help' lists them"),
        (["nr_page=1"], "test-parameter", "'nr_page'; did you mean 'nr_pages'?"),
        (["nr_pages=x"], "test-value", "'x' invalid for parameter 'nr_pages'; it must be a number"),
        (["-o", "mem=16M,order=2"], "test-option", "'scullv_order' is for a mount; a machine "),
        (["-o", "ro"], "test-option", "'ro' is for a mount; "),
        (["-o", "mem=1"], "option-value", "mem=1 is not possible; "),
    ],
)
def test_usage(words: list[str], name: str, message: str) -> None:
    """A line, and status 2; nothing is run."""
    assert message in refusal(start(*words), name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_bar_and_interrupt(number: signal.Signals) -> None:
    """On a terminal there is a bar; an interrupt is a line and a status, with no summary."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "run_test_mask=1", "-o", "mem=16M"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        seen = b""
        while b"fix_size_alloc_test" not in seen:
            seen += os.read(ours, 4096)
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.read() == ""
        assert process.wait() == ExitStatus.INTERRUPTED
    with suppress(OSError):  # EIO: the other end is closed
        while part := os.read(ours, 4096):
            seen += part
    os.close(ours)
    assert seen.endswith(b"\r\nscullvfs: interrupted\r\n")


def test_completion() -> None:
    """Parameters that are not there yet, and what one may be; options of the machine alone."""
    assert fitting("test-vmalloc ") == [f"{name}=" for name in ABOUT]
    assert "nr_pages=" not in fitting("test-vmalloc nr_pages=1 ")
    assert fitting("test-vmalloc use_huge=") == ["use_huge=0", "use_huge=1"]
    assert fitting("test-vmalloc nr_pages=") == []
    masks = [f"run_test_mask={1 << place}" for place in range(len(NAMES))]
    assert fitting("test-vmalloc run_test_mask=") == masks
    assert fitting("test-vmalloc -o ar") == ["arch="]
    assert fitting("test-vmalloc -o allow") == []
