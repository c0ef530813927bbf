"""A `scullvfs mount` that does not come to its end, at whatever time: no mount, no daemon.

The moments are made by programs that stop, or send a signal to themselves, at one place.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..helpers import end
from ..troubles import TROUBLES, refusal

Wait = Callable[[Callable[[], object], str], None]

BEGIN = """
import os, signal, time
from scullvfs.daemon import fork, serving, start
here = os.getpid()
def interrupt():
    if os.getpid() == here:
        os.kill(here, signal.SIGINT)
"""

RUN = """
from scullvfs.cli import main
main()
"""

AFTER_THE_FORK = """
serving.log_to_syslog = lambda *_, **__: signal.pause()  # nobody is left who would end it
fork = os.fork
def forked():
    pid = fork()
    interrupt()
    return pid
os.fork = forked
"""

WHILE_IT_STARTS = (
    "serving.log_to_syslog = lambda *_, **__: (os.kill(here, signal.SIGINT), signal.pause())\n"
)

WHILE_IT_IS_ASKED = "start._wait_until_it_answers = lambda _: interrupt()\n"

AT_THE_LAST_MOMENT = """
keep = fork.Daemon.keep
fork.Daemon.keep = lambda daemon: (interrupt(), keep(daemon))
"""


def program(scullvfs: Any, change: str) -> None:
    """Let the command be one with this `change`."""
    scullvfs.command = [sys.executable, "-c", BEGIN + change + RUN]


@pytest.mark.parametrize("change", [AFTER_THE_FORK, WHILE_IT_STARTS, WHILE_IT_IS_ASKED])
def test_mount_interrupted(scullvfs: Any, mountpoint: Path, change: str) -> None:
    """Ctrl-C ends the daemon, too, and waits for it."""
    program(scullvfs, change)
    done = scullvfs("mount", "-o", "mem=16M", mountpoint)
    assert done.stderr.startswith("\n")
    done.stderr = done.stderr[1:]
    refusal(done, "interrupted")
    assert not scullvfs.mounted(mountpoint)


@pytest.mark.long
def test_mount_interrupted_too_late(scullvfs: Any, mountpoint: Path) -> None:
    """Once the mount is to stay, the command succeeds."""
    program(scullvfs, AT_THE_LAST_MOMENT)
    done = scullvfs("mount", "-o", "mem=16M", mountpoint)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert scullvfs("umount", mountpoint).returncode == 0


IMPORT = """
import os, signal, weakref
class Module: pass
module = Module()
# As importlib has it for its locks: an exception here is printed, and goes nowhere.
reference = weakref.ref(module, lambda _: os.kill(os.getpid(), signal.SIGINT))
del module
"""


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(
            "select",
            marks=pytest.mark.skipif(
                "select" in sys.builtin_module_names, reason="this Python need not look for it"
            ),
        ),
        "click",
    ],
)
def test_interrupted_while_it_imports(scullvfs: Any, tmp_path: Path, module: str) -> None:
    """Ctrl-C before the command has begun: no traceback, be the daemon on its way or not."""
    (tmp_path / f"{module}.py").write_text(IMPORT)
    scullvfs.env["PYTHONPATH"] = f"{tmp_path}:{scullvfs.env['PYTHONPATH']}"
    done = scullvfs("mount", "/no/such/directory")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nscullvfs: interrupted\n")


BEFORE_IT_IS_MOUNTED = """
log_to_syslog = serving.log_to_syslog
def slowly(*args, **options):
    open(os.environ["BEGUN"], "w").close()
    while os.getppid() == here:
        time.sleep(0.005)
    log_to_syslog(*args, **options)
serving.log_to_syslog = slowly
"""

AFTER_IT_IS_MOUNTED = "start._wait_until_it_answers = lambda _: signal.pause()\n"


@pytest.mark.long
@pytest.mark.parametrize("change", [BEFORE_IT_IS_MOUNTED, AFTER_IT_IS_MOUNTED])
def test_mount_killed(
    scullvfs: Any, mountpoint: Path, wait: Wait, state_home: Path, change: str
) -> None:
    """Whoever kills the command does not want the mount; to the daemon that is no failure."""
    program(scullvfs, change)
    begun = mountpoint.with_name("begun")
    scullvfs.env["BEGUN"] = str(begun)
    with scullvfs.start("mount", "-o", "mem=16M", mountpoint) as process:
        if change == AFTER_IT_IS_MOUNTED:
            wait(lambda: scullvfs.mounted(mountpoint), "it is mounted")
        else:
            wait(begun.exists, "the daemon has begun")
        (daemon,) = set(scullvfs.processes()) - {process.pid}
        end(process.pid, signal.SIGKILL)
    wait(lambda: not scullvfs.processes(), "the daemon is gone")
    assert not scullvfs.mounted(mountpoint)
    log = state_home / "scullvfs.log"
    if log.exists():  # else there is a syslog daemon
        said = [line for line in log.read_text().splitlines() if f"scullvfs[{daemon}]: " in line]
        assert said
        assert not any(line.endswith(TROUBLES["log-failure"].message) for line in said)
        assert any(line.endswith(TROUBLES["log-abandoned"].message) for line in said)


@pytest.mark.long
def test_mount_fails_at_once(scullvfs: Any, tmp_path: Path) -> None:
    """A daemon that was forked ahead for nothing is gone when the command is."""
    done = scullvfs("mount", "-o", "no-such-option", tmp_path)
    refusal(done, "unknown-option")
    assert scullvfs.processes() == []
    done = subprocess.run(
        [*scullvfs.command, "mount", tmp_path / "none"],
        env=scullvfs.env,
        capture_output=True,
        text=True,
    )
    refusal(done, "missing")
    assert scullvfs.processes() == []
