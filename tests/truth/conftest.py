"""The recordings, played against real mounts, which a session makes once."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import scullvfs
from scullvfs.mounts.health import PID_FILE
from scullvfs.mounts.mountinfo import mount_at

from . import differences, judge, play, transcript

HERE = Path(__file__).parent
SOURCE = Path(scullvfs.__file__).parents[1]
DEADLINE = 30.0

SCULLV = sorted([*HERE.glob("golden/*.json"), *HERE.glob("random/*.json")])
FAMILY = sorted(HERE.glob("scull*/*/*.json"))
"""Those of the other drivers."""
RECORDINGS = SCULLV + FAMILY
TRANSCRIPTS = sorted(HERE.glob("tools/*.txt"))

RAM = 768 << 20
OTHERS = ",allow_other" if os.geteuid() == 0 else ""
"""Others call in some recordings, which only root can play."""
OPTIONS = f"drivers=scullv:scullp:scullc:scull,mem={RAM >> 20}M{OTHERS}"
"""The machine of the recordings."""


@dataclass
class Played:
    """What a recording came to."""

    faults: list[str]
    """Steps that differ, and no difference allows it."""
    used: set[differences.Cause | differences.Command]
    """What allowed the steps that differ."""


class Mounts:
    """Mounts with all drivers, made when they are asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._found: dict[tuple[str, str], tuple[Path, int]] = {}
        """Further options and whose it is -> mount, and a pidfd of its daemon."""

    def __call__(self, options: str, whose: str = "") -> Path:
        """The one with some options, which others may have used, or of somebody alone."""
        key = options, whose
        if key not in self._found:
            mount = self._directory / str(len(self._found))
            mount.mkdir()
            assert _scullvfs("mount", "-o", OPTIONS + options, str(mount)) == (0, "")
            self._found[key] = mount, os.pidfd_open(int((mount / PID_FILE).read_bytes()))
        return self._found[key][0]

    def end(self) -> None:
        """Leave nothing of them."""
        for mount, daemon in self._found.values():
            umount = _scullvfs("umount", str(mount))
            assert mount_at(str(mount)) is None, umount
            # It may take its time: a container that starts just then has a copy of every mount.
            ended, _, _ = select.select([daemon], [], [], DEADLINE)
            os.close(daemon)
            assert ended, umount


class Stage:
    """Mounts, and what plays the recordings on them.

    Args:
        scratch: a directory for the shell commands.
    """

    def __init__(self, mounts: Mounts, scratch: Path) -> None:
        self._mounts, self._scratch = mounts, scratch
        self.differences = differences.load()

    def play(self, recording: Path) -> None:
        """Play a recording, and fail the test if it differs otherwise than it may, or less.

        What it is named for in the list of differences has to be seen in it.
        """
        play_it = self._scenario if recording.suffix == ".json" else self._transcript
        played = play_it(recording)
        assert not played.faults, "\n".join(["", *played.faults])
        shown = {entry.name for entry in self.differences if entry.shown == recording}
        assert shown <= {cause.name for cause in played.used}

    def _scenario(self, recording: Path) -> Played:
        scenario = json.loads(recording.read_text())
        if not OTHERS and any("uid" in step for step in scenario["steps"]):
            pytest.skip("only root can be somebody else")
        driver, insmod = scenario.get("driver", "scullv"), scenario.get("insmod", {})
        options = "".join(f",{name}={value}" for name, value in insmod.items())
        # How much fits into memory hangs on what others have left behind, here and there.
        mount = self._mounts(options, recording.stem if _fills_memory(scenario) else "")
        judged = judge.Judge(self.differences, driver, insmod)
        faults = []
        for number, (step, old) in enumerate(play.play(scenario, str(mount), pauses=0)):
            got = step.pop("result")
            if judged.step(step, old, got) is None:
                faults.append(f"step {number} {step}\n  recorded {old}\n  got      {got}")
        play.Player(str(mount), "", driver).reset()  # other drivers may need the memory
        return Played(faults, {*judged.used})

    def _transcript(self, recording: Path) -> Played:
        mount = self._mounts("")
        play.Player(str(mount), "").reset()
        commands = [c for difference in self.differences for c in difference.commands]
        faults: list[str] = []
        used: set[differences.Cause | differences.Command] = set()
        before = ""
        for entry in transcript.parse(recording.read_text()):
            if transcript.empties(entry.command):
                before = ""
            got = transcript.run(entry, mount, self._scratch)
            if got != entry.output:
                seen = entry.command, entry.output, got, before
                applying = [c for c in commands if c.applies(*seen)]
                used.update(applying[:1])
                if not applying:
                    faults.append("$ {}\n--- recorded\n{}\n--- got\n{}".format(*seen))
            before += f"{entry.command}\n"
        play.Player(str(mount), "").reset()
        return Played(faults, used)


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Mounts of their own for the recordings; nothing is left of them at the end."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # where pytest's may not be entered by others
        mounts = Mounts(Path(directory))
        try:
            yield Stage(mounts, transcript.scratch(tmp_path_factory.mktemp("scratch")))
        finally:
            mounts.end()


def _fills_memory(scenario: dict[str, Any]) -> bool:
    """Whether what it writes is half of the machine's RAM."""
    lengths = [step["data"].get("len", 0) for step in scenario["steps"] if "data" in step]
    return sum(lengths) >= RAM // 2


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
