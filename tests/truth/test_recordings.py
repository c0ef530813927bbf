"""The recordings of the real module: each step is the same here, or differs as listed."""

from pathlib import Path

import pytest

from .conftest import FAMILY, HERE, SCULLV, TRANSCRIPTS, Stage


@pytest.mark.parametrize("recording", SCULLV, ids=lambda path: path.stem)
def test_recording(stage: Stage, recording: Path) -> None:
    """Each system call gives what the real module gave, or falls under a listed difference."""
    stage.play(recording)


@pytest.mark.parametrize(
    "recording", FAMILY, ids=lambda path: str(path.relative_to(HERE).with_suffix(""))
)
def test_recording_of_the_family(stage: Stage, recording: Path) -> None:
    """So it is with the drivers beside scullv, all of them on one mount."""
    stage.play(recording)


@pytest.mark.parametrize("recording", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(stage: Stage, recording: Path) -> None:
    """Each shell command prints what it printed on the real device, or differs as listed."""
    stage.play(recording)
