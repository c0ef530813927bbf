"""The pytest plugin, by test suites that pytest runs in processes of their own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scullvfs.mounts.mountinfo import read_mounts

from ..test_conftest import QUICK
from .helpers import DEADLINE, wait_until

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def here(scullvfs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the suites' mounts are; no mount, directory or process may be left."""
    name, _, value = scullvfs.mark.partition("=")
    monkeypatch.setenv(name, value)  # in each process that the test starts
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    yield directory
    left = [m.path for m in read_mounts() if m.path.startswith(f"{directory}/")]
    assert (left, [path.name for path in directory.glob("scullvfs-*")]) == ([], [])


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Any:
    """Runs a suite: its text, an ini file, and arguments for pytest."""

    def run(text: str, *arguments: str, ini: str = "") -> pytest.RunResult:
        pytester.makepyfile(text)
        pytester.makeini(f"[pytest]\n{ini}")
        strict = ["--strict-markers", "--strict-config", "-W", "error", *QUICK]
        return pytester.runpytest_subprocess(*strict, *arguments, timeout=DEADLINE)

    return run


SIZES = """
    import os
    import pytest

    def sizes(mnt):
        return os.stat(mnt / "scullv0").st_blksize >> 12, len(mnt.devices)
"""


@pytest.mark.long
def test_scullvfs_mount(suite: Any) -> None:
    """A mount for the test, with the defaults of the program."""
    suite(
        SIZES
        + """
    def test(scullvfs_mount):
        assert sizes(scullvfs_mount) == (16, 4)
        (scullvfs_mount / "scullv0").write_bytes(b"hello")

    def test_another(scullvfs_mount):
        assert (scullvfs_mount / "scullv0").read_bytes() == b""
    """
    ).assert_outcomes(passed=2)


@pytest.mark.long
def test_options(suite: Any) -> None:
    """The call wins over the marker, the closest one over others, and each over the ini file."""
    suite(
        SIZES
        + """
    pytestmark = pytest.mark.scullvfs(order=1)

    def test_module(scullvfs_mount):
        assert sizes(scullvfs_mount) == (2, 7)

    @pytest.mark.scullvfs(order=2)
    @pytest.mark.scullvfs(devs=5)
    class Test:
        def test_class(self, scullvfs_mount):
            assert sizes(scullvfs_mount) == (4, 5)

        @pytest.mark.scullvfs(order=3, mem="16M")
        def test_function(self, scullvfs_mount):
            assert sizes(scullvfs_mount) == (8, 5)
            assert scullvfs_mount.meminfo()["MemTotal"] < 16 << 10

        def test_call(self, scullvfs_mount_factory):
            one, two = scullvfs_mount_factory(order=0), scullvfs_mount_factory(devs=1)
            assert (sizes(one), sizes(two)) == ((1, 5), (4, 1))
    """,
        ini="scullvfs_options = order=9, devs=7,allow_other",
    ).assert_outcomes(passed=4)


@pytest.mark.long
def test_mountpoint(suite: Any) -> None:
    """A directory of the test's own."""
    suite("""
        def test(tmp_path, scullvfs_mount_factory):
            assert scullvfs_mount_factory(mountpoint=tmp_path).path == tmp_path.resolve()
    """).assert_outcomes(passed=1)


@pytest.mark.long
@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("ordr=3", "*UsageError: unknown option 'ordr'; did you mean 'order'[?]"),
        ("3", "*the marker scullvfs takes options by name: scullvfs(order=2)"),
    ],
)
def test_options_wrong(suite: Any, marker: str, message: str) -> None:
    """The words of the program."""
    result = suite(f"""
        import pytest

        @pytest.mark.scullvfs({marker})
        def test(scullvfs_mount):
            pass
    """)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([message])


@pytest.mark.long
def test_failing(suite: Any) -> None:
    """With the failure of a test comes what the daemon has said; mounts end in reverse order."""
    result = suite("""
        def test(scullvfs_mount_factory):
            scullvfs_mount_factory()
            assert scullvfs_mount_factory(devs=1) is None
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*Captured stderr teardown*", "scullvfs: mounted on */scullvfs-*: 4 devices, *", "*: 1 d*"]
    )


@pytest.mark.long
def test_left_open(suite: Any) -> None:
    """A file left open is an error where warnings are, and the mount is gone nevertheless."""
    result = suite("""
        def test(scullvfs_mount):
            global left
            left = open(scullvfs_mount / "scullv0")
    """)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*MountInUseWarning: scullvfs: * was still in use by * (pid *"])


@pytest.mark.long
def test_unused(suite: Any) -> None:
    """Without a mount nothing of scullvfs is loaded; with one nothing of FUSE."""
    suite("""
        import sys

        def loaded(*names):
            return [name for name in sys.modules if name.startswith(names)]

        def test_unused():
            assert set(loaded("scullvfs")) == {"scullvfs", "scullvfs.pytest_plugin"}

        def test_used(scullvfs_mount):
            assert not loaded("pyfuse3", "trio", "scullvfs.fuse")
    """).assert_outcomes(passed=2)


@pytest.mark.long
def test_other_plugins_fixtures(suite: Any) -> None:
    """What a suite calls its own fixtures is its own affair: the plugin's names begin the same."""
    result = suite("def test(): pass", "--fixtures")
    names = [line.split()[0] for line in result.outlines if "scullvfs/pytest_plugin.py" in line]
    assert names == ["scullvfs_mount", "scullvfs_mount_factory"]


@pytest.mark.long
def test_xdist(suite: Any) -> None:
    """Workers mount at the same time, and do not meet."""
    suite(
        """
        import os
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test(scullvfs_mount, number):
            assert os.environ["PYTEST_XDIST_WORKER"] in ("gw0", "gw1")
            (scullvfs_mount / "scullv0").write_bytes(b"%d" % number)
            assert (scullvfs_mount / "scullv0").read_bytes() == b"%d" % number
        """,
        "-n2",
    ).assert_outcomes(passed=4)


@pytest.mark.long
def test_xdist_worker_dies(suite: Any, here: Path) -> None:
    """A worker that crashes with a mount does not leave it there."""
    result = suite(
        """
        import os

        def test(scullvfs_mount):
            os._exit(1)
        """,
        "-n1",
        "--max-worker-restart=0",
    )
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*worker 'gw0' crashed*"])
    wait_until(lambda: not [m for m in read_mounts() if str(here) in m.path], "it is unmounted")
    (left,) = here.glob("scullvfs-*")  # there was nobody left to remove it
    left.rmdir()


@pytest.mark.long
def test_interrupted(pytester: pytest.Pytester) -> None:
    """Ctrl-C ends the run, and the mount with it."""
    pytester.makepyfile("""
        import os, signal, time

        def test(scullvfs_mount):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(100)
    """)
    result = pytester.runpytest_subprocess(*QUICK, timeout=DEADLINE)
    assert result.ret == signal.SIGINT
    result.stdout.fnmatch_lines(["*KeyboardInterrupt*"])


@pytest.mark.long
@pytest.mark.parametrize(
    ("ini", "outcome"), [("", "1 error in"), ("scullvfs_skip_without_fuse = yes", "1 skipped in")]
)
def test_no_fuse(pytester: pytest.Pytester, ini: str, outcome: str) -> None:
    """Where nothing can be mounted a test fails, unless the ini file wants it to be skipped."""
    pytester.makepyfile("def test(scullvfs_mount): pass")
    pytester.makeini(f"[pytest]\n{ini}")
    hide = "mount -t tmpfs tmpfs /dev && mknod /dev/null c 1 3"
    command = shlex.join([sys.executable, "-m", "pytest", "-rs", *QUICK])
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{hide} && {command}"],
        env={**os.environ, "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert "/dev/fuse is missing; run 'modprobe fuse'" in done.stdout
    assert outcome in done.stdout.splitlines()[-1]
