"""What is said of everything else that went on."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scullvfs.bench.affinity import moved, pinned
from scullvfs.bench.disturb import NOTABLE, Disturbance, _governors, watched
from scullvfs.errors import RefusedError, UsageError

SPIN = "while True: pass"


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def work_beside(*, ours: bool) -> tuple[Disturbance, int]:
    """Half a second of work by another process, one of the servers or not; and its pid."""
    with subprocess.Popen([sys.executable, "-c", SPIN]) as process:
        try:
            with watched([process.pid] if ours else []) as watch:
                start = cpu_seconds(process.pid)
                while cpu_seconds(process.pid) - start < 0.5:
                    time.sleep(0.01)
        finally:
            process.kill()
    return watch.seen, process.pid


@pytest.mark.long
def test_other_process_is_named() -> None:
    """With its share, in the result and in the sentence."""
    seen, pid = work_beside(ours=False)
    (name,) = (name for name in seen.busy if f"({pid})" in name)
    assert seen.others >= NOTABLE
    assert any(text.startswith("DISTURBED: other") and name in text for text in seen.sentences())


@pytest.mark.long
def test_server_is_not_named() -> None:
    """What it does belongs to the measurement."""
    seen, pid = work_beside(ours=True)
    assert not any(f"({pid})" in name for name in seen.busy)


def test_quiet_machine() -> None:
    """Nothing is called a disturbance that is none."""
    seen = Disturbance(seconds=2, cpus=2, mhz=(2000, 2001), governors=("performance",))
    assert seen.sentences() == [
        "2 s on 2 CPUs; nothing pinned (--pin CPU does)",
        "load 0.00 before, 0.00 after (this benchmark included)",
        "other processes: nothing to speak of",
        "CPU frequency 2000 to 2001 MHz, governor performance",
    ]


def test_disturbed_machine() -> None:
    """Everything that can be, is said."""
    seen = Disturbance(
        seconds=2, cpus=2, pinned=1, others=0.5, busy={"cc (7)": 0.4}, steal=0.1, mhz=(800, 2000)
    )
    assert seen.sentences() == [
        "2 s on 2 CPUs; dd and the servers pinned to CPU 1",
        "load 0.00 before, 0.00 after (this benchmark included)",
        "DISTURBED: other processes took 0.50 of a CPU: cc (7) 0.40",
        "steal: the hypervisor took 0.10 of a CPU",
        "DISTURBED: CPU frequency 800 to 2000 MHz, governor not known",
    ]


def test_frequency_not_known() -> None:
    """Not known is not disturbed."""
    assert Disturbance().sentences()[-1] == "CPU frequency not known, governor not known"


def test_governors(tmp_path: Path) -> None:
    """Each that any CPU has, once."""
    for cpu, governor in enumerate(("powersave", "performance", "powersave")):
        directory = tmp_path / f"cpu{cpu}/cpufreq"
        directory.mkdir(parents=True)
        (directory / "scaling_governor").write_text(governor + "\n")
    (tmp_path / "cpu9/cpufreq").mkdir(parents=True)
    assert _governors(tmp_path) == ("performance", "powersave")


def test_pinned() -> None:
    """Here and in what is started, and then as before."""
    before = os.sched_getaffinity(0)
    cpu = max(before)
    with pinned(cpu):
        assert os.sched_getaffinity(0) == {cpu}
    assert os.sched_getaffinity(0) == before
    with pinned(None):
        assert os.sched_getaffinity(0) == before


def test_pinned_wrong() -> None:
    """A CPU that this process has not."""
    with pytest.raises(UsageError, match=r"^--pin 4095 is not possible; the CPUs for this"):
        pinned(4095).__enter__()


def test_moved() -> None:
    """A process that is there is moved, and moved back."""
    with subprocess.Popen([sys.executable, "-c", SPIN]) as process:
        before = os.sched_getaffinity(process.pid)
        try:
            with moved(process.pid, min(before)):
                assert os.sched_getaffinity(process.pid) == {min(before)}
            assert os.sched_getaffinity(process.pid) == before
        finally:
            process.kill()


def test_moved_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's daemon stays where it is."""

    def refuse(_thread: int, _cpus: set[int]) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    with pytest.raises(RefusedError, match=r"^you may not pin the daemon"):
        moved(os.getpid(), 0).__enter__()
