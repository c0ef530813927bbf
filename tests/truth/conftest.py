"""The recordings, played once a session against a real mount."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import scullvfs
from scullvfs.mounts.mountinfo import mount_at
from scullvfs.mounts.probe import PID_XATTR

from . import judge, play, transcript

HERE = Path(__file__).parent
SOURCE = Path(scullvfs.__file__).parents[1]
DEADLINE = 30.0

RECORDINGS = sorted([*HERE.glob("golden/*.json"), *HERE.glob("random/*.json")])
TRANSCRIPTS = sorted(HERE.glob("tools/*.txt"))


@dataclass
class Played:
    """What a recording came to."""

    faults: list[str]
    """Steps that differ, and no difference allows it."""
    used: set[judge.Cause | judge.Command]
    """What allowed the steps that differ."""


class Stage:
    """A mount, and what was played on it; each recording once, when it is first asked for."""

    def __init__(self, mount: Path, scratch: Path) -> None:
        self.mount, self.scratch = mount, scratch
        self.differences = judge.load()
        self._played: dict[Path, Played] = {}

    def played(self, recording: Path) -> Played:
        """Play a recording, or remember how it went."""
        if recording not in self._played:
            play_it = self._scenario if recording.suffix == ".json" else self._transcript
            self._played[recording] = play_it(recording)
        return self._played[recording]

    def _scenario(self, recording: Path) -> Played:
        scenario = json.loads(recording.read_text())
        mem = str(self.mount / "proc/scullvmem")
        judged = judge.Judge(self.differences)
        faults = []
        for number, (step, old) in enumerate(play.play(scenario, str(self.mount), mem)):
            got = step.pop("result")
            if judged.step(step, old, got) is None:
                faults.append(f"step {number} {step}\n  recorded {old}\n  got      {got}")
        return Played(faults, {*judged.used})

    def _transcript(self, recording: Path) -> Played:
        play.Player(str(self.mount), "").reset()
        commands = [c for difference in self.differences for c in difference.commands]
        faults: list[str] = []
        used: set[judge.Cause | judge.Command] = set()
        before = ""
        for entry in transcript.parse(recording.read_text()):
            if transcript.empties(entry.command):
                before = ""
            got = transcript.run(entry, self.mount, self.scratch)
            if got != entry.output:
                seen = entry.command, entry.output, got, before
                applying = [c for c in commands if c.applies(*seen)]
                used.update(applying[:1])
                if not applying:
                    faults.append("$ {}\n--- recorded\n{}\n--- got\n{}".format(*seen))
            before += f"{entry.command}\n"
        return Played(faults, used)


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A mount of its own for the recordings; nothing is left of it at the end."""
    mount = tmp_path_factory.mktemp("truth")
    assert _scullvfs("mount", str(mount)) == (0, "")
    daemon = os.pidfd_open(int(os.getxattr(mount, PID_XATTR)))
    try:
        yield Stage(mount, transcript.scratch(tmp_path_factory.mktemp("scratch")))
    finally:
        umount = _scullvfs("umount", str(mount))
    assert mount_at(str(mount)) is None
    # It may take its time: a container that starts just then has a copy of every mount.
    ended, _, _ = select.select([daemon], [], [], DEADLINE)
    os.close(daemon)
    assert ended, umount


def _scullvfs(*arguments: str) -> tuple[int, str]:
    """Run the program of this source tree; returns its exit status and what it says."""
    path = f"{SOURCE}:{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-m", "scullvfs", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    return done.returncode, done.stderr
