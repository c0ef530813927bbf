"""`scullvfs test-vmalloc` against what the module said in a real kernel, 6.12: the same lines.

Each recorded insmod is played with its parameters; numbers differ, nothing else does.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scullvfs.mm import Machine
from scullvfs.test_vmalloc import cases
from scullvfs.test_vmalloc.driver import Module
from scullvfs.test_vmalloc.parameters import parse_parameters

from .structure import differences
from .test_texts import REPORT, stamped, without_trace

MIB = 1 << 20
RECORDED = (Path(__file__).parent / "text/test_vmalloc.txt").read_text()
RUNS = dict(re.findall(r"(?m)^== insmod test_vmalloc\.ko (.*)\n((?:(?!==).*\n)+)", RECORDED))
"""Parameters -> what insmod and the kernel's log said."""

OF_INSMOD = r"(?m)^insmod: ERROR.*\n|^rc=1\n|^\[.*\] test_vmalloc: .*\n"
"""That the module ends at once and is not signed."""
MISSING_ZONE = r"(?m)^Node 0 DMA (?s:.*?)^(?=Node 0 DMA32)|^Node 0 DMA: .*\n"
"""This machine has one less."""
RESULTS = r"passed: \d+ failed: \d+ repeat: \d+ loops: \d+"


def test_recorded_runs() -> None:
    """None is overlooked because of the way it is written."""
    assert len(RUNS) == 4
    assert RECORDED.count("== insmod") == 5  # of the last one only the command is there


@pytest.mark.parametrize("words", RUNS)
def test_lines(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of what must fail, and a line of each; with the same results, loops and order."""
    monkeypatch.setattr(cases, "JUNK_BYTES", MIB)
    monkeypatch.setattr(cases, "NR_BUSY", 100)
    monkeypatch.setattr(cases, "NR_PCPU", 100)
    theirs = without_trace(stamped(re.sub(OF_INSMOD, "", RUNS[words])))
    theirs = re.sub(MISSING_ZONE, "", theirs)
    machine = Machine(64 * MIB)
    module = Module(machine, parse_parameters(words.split()), seed=0)
    for _ in module.run():
        pass
    machine.close()
    ours = without_trace(stamped("".join(f"{line}\n" for line in module.dmesg())))
    assert not differences(theirs, ours, REPORT)
    assert re.findall(RESULTS, ours) == re.findall(RESULTS, theirs)
    assert [line for line in module.lines() if line in ours.splitlines()] == module.lines()
    for changed in (ours.replace("avg: ", "avg:"), ours.replace("worker0=", "worker0 ")):
        assert changed == ours or differences(theirs, changed, REPORT)
