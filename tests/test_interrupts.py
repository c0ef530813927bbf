"""Interrupts that are put off, and those that are not there to be."""

import signal
import subprocess
from collections.abc import Iterator

import pytest

from scullvfs.interrupts import put_off_interrupts


@pytest.fixture
def hangup_ignored() -> Iterator[None]:
    """As by nohup(1)."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup_ignored")
def test_put_off_leaves_ignored_what_is() -> None:
    """A daemon that is started meanwhile inherits it."""
    with put_off_interrupts():
        said = subprocess.check_output(["grep", "SigIgn", "/proc/self/status"], text=True)
    assert int(said.split()[1], 16) >> (signal.SIGHUP - 1) & 1


def test_put_off_raises_at_the_end() -> None:
    """What comes meanwhile is not lost."""
    come = []

    def interrupted() -> None:
        with put_off_interrupts():
            signal.raise_signal(signal.SIGINT)
            come.append("not yet")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert come == ["not yet"]
