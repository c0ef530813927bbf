"""What reads a file of a mount that waits for more: a child process of its own.

The mount may be anybody's, and never answer; then the child is left behind, and nobody waits.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
from typing import Final

from .mountinfo import Mount
from .probe import who_may_enter

__all__ = ["PATIENCE", "begin_reader"]

PR_SET_PDEATHSIG: Final = 1
"""Linux: include/uapi/linux/prctl.h"""

PATIENCE: Final = 0.5
"""Seconds in which a reader that is killed has gone."""


def begin_reader(mount: Mount, name: str) -> subprocess.Popen[bytes]:
    """A process that prints what a file of a mount says, as whoever may read it."""
    who = who_may_enter(mount)
    return subprocess.Popen(
        ["cat", f"{mount.path}/{name}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a daemon that hangs holds it, and it nothing of ours
        user=who and who[0],
        group=who and who[1],
        extra_groups=None if who is None else [],
        start_new_session=True,  # Ctrl-C is for its parent, who ends it
        preexec_fn=_end_with_parent,
    )


def _end_with_parent() -> None:
    """Have this process ended when its parent is, however that is (Linux: prctl(2))."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
