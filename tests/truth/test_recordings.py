"""The recordings of the real module: each step is the same here, or differs as listed."""

from pathlib import Path

import pytest

from .conftest import RECORDINGS, TRANSCRIPTS, Stage


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_recording(stage: Stage, recording: Path) -> None:
    """Each system call gives what the real module gave, or falls under a listed difference."""
    faults = stage.played(recording).faults
    assert not faults, "\n".join(["", *faults])


@pytest.mark.parametrize("recording", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(stage: Stage, recording: Path) -> None:
    """Each shell command prints what it printed on the real device, or differs as listed."""
    faults = stage.played(recording).faults
    assert not faults, "\n".join(["", *faults])
