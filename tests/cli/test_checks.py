"""The doctor's verdicts on machines that this one is not; the real ones are in tests/vfs."""

import platform
import subprocess
from importlib.util import find_spec

import pytest

from scullvfs.cli import checks
from scullvfs.cli.checks import CHECKS, Finding, Verdict
from scullvfs.errors import ExitStatus
from scullvfs.host import versions

ONE = dict(CHECKS)


def finding(name: str) -> Finding:
    """What one check finds."""
    return checks._finding(name, ONE[name])


@pytest.mark.parametrize(
    ("release", "verdict"),
    [("4.19.0-27-amd64", Verdict.WARN), ("4.20.0", Verdict.OK), ("6.1.0-18-amd64", Verdict.OK)],
)
def test_kernel(monkeypatch: pytest.MonkeyPatch, release: str, verdict: Verdict) -> None:
    """Before Linux 4.20 requests are small."""
    monkeypatch.setattr(platform, "release", lambda: release)
    assert finding("kernel").verdict == verdict
    assert release in finding("kernel").text


@pytest.mark.parametrize(
    ("available", "verdict", "status"),
    [
        (2 << 30, Verdict.OK, ExitStatus.SUCCESS),
        (100 << 20, Verdict.WARN, ExitStatus.SUCCESS),
        (1 << 20, Verdict.MISSING, ExitStatus.NO_MEMORY),
    ],
)
def test_memory(
    monkeypatch: pytest.MonkeyPatch, available: int, verdict: Verdict, status: ExitStatus
) -> None:
    """Too little for the default mem= is a warning, too little for any is not."""
    monkeypatch.setattr(checks, "available_memory", lambda: available)
    monkeypatch.setattr("scullvfs.host.memory.available_memory", lambda: available)
    found = finding("memory")
    assert (found.verdict, found.status) == (verdict, status)
    assert f"{available >> 20}M" in found.text


@pytest.mark.parametrize("version", ["missing", "unusable"])
@pytest.mark.parametrize(
    ("soname", "words"),
    [
        ("libfuse3.so.3", "libfuse3.so.3 is missing or broken; run 'apt install libfuse3-3'"),
        ("libfuse3.so.4", "libfuse3.so.4 is missing or broken; run 'apt install libfuse3-4'"),
        (None, "the FUSE library libfuse3 is missing or broken; run 'apt install fuse3'"),
    ],
)
def test_libfuse(
    monkeypatch: pytest.MonkeyPatch, version: str, soname: str | None, words: str
) -> None:
    """Without the library there is no mount, and the package is named: the one pyfuse3 needs."""
    monkeypatch.setattr(versions, "libfuse", lambda: version)
    monkeypatch.setattr(versions, "libfuse_soname", lambda: soname)
    found = finding("libfuse")
    assert (found.verdict, found.status) == (Verdict.MISSING, ExitStatus.NO_FUSE)
    assert words in found.text


def test_libfuse_soname() -> None:
    """Is what the dynamic linker loads pyfuse3 with, and it is there."""
    pyfuse3 = find_spec("pyfuse3")
    assert pyfuse3 is not None
    assert pyfuse3.origin is not None
    linked = subprocess.check_output(["ldd", pyfuse3.origin], text=True)
    assert versions.libfuse_soname() in [line.split()[0] for line in linked.splitlines()]
    assert finding("libfuse").verdict == Verdict.OK


def test_libfuse_soname_without_pyfuse3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing tells, and any libfuse will do for its version."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert versions.libfuse_soname() is None
    assert versions.libfuse()[0].isdigit()


@pytest.mark.parametrize(
    ("soname", "version"), [("libfuse3.so.99", "missing"), ("libc.so.6", "unusable")]
)
def test_libfuse_version_unknown(
    monkeypatch: pytest.MonkeyPatch, soname: str, version: str
) -> None:
    """A library that is not there, and one that is something else."""
    monkeypatch.setattr(versions, "libfuse_soname", lambda: soname)
    assert versions.libfuse() == version


@pytest.mark.parametrize(
    ("path", "verdict", "words"),
    [
        ("/dev/null", Verdict.OK, "keeps idle CPUs awake"),
        ("/proc/version", Verdict.WARN, "is not yours to write: idle CPUs halt"),
        ("/dev/null/none", Verdict.WARN, "is not there: idle CPUs halt"),
    ],
)
def test_idle_cpus(
    monkeypatch: pytest.MonkeyPatch, path: str, verdict: Verdict, words: str
) -> None:
    """Which of it is so, in words; a mount that is slower than it could be is no "ok"."""
    monkeypatch.setattr(checks, "CPU_LATENCY", path)
    monkeypatch.setattr("os.access", lambda path, mode: path == "/dev/null")
    found = finding("/dev/cpu_dma_latency")
    assert (found.verdict, found.status) == (verdict, ExitStatus.SUCCESS)
    assert words in found.text


@pytest.mark.parametrize(
    ("syslog", "state", "verdict", "words"),
    [
        ("/dev/null", "/proc/version", Verdict.OK, "the system log has "),
        ("/dev/null/none", "/tmp", Verdict.OK, "/tmp/scullvfs.log has "),
        ("/dev/null/none", "/proc/version", Verdict.WARN, "/proc/version/scullvfs.log cannot be"),
        ("/dev/null/none", "/proc/nope", Verdict.WARN, "/proc/nope/scullvfs.log cannot be"),
    ],
)
def test_log(
    monkeypatch: pytest.MonkeyPatch, syslog: str, state: str, verdict: Verdict, words: str
) -> None:
    """Where to look for a daemon's words, or that there will be none."""
    monkeypatch.setattr("scullvfs.daemon.log.SYSLOG", syslog)
    monkeypatch.setenv("XDG_STATE_HOME", state)
    found = finding("log")
    assert (found.verdict, found.status) == (verdict, ExitStatus.SUCCESS)
    assert words in found.text
