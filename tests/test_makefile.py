"""What `make` says while it installs, and when it cannot: programs of the test's own stand in for
apt-get and pip, so nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("cat", "env", "make", "mktemp", "rm", "sed", "sh", "tee", "touch")

NO_NETWORK = "W: Failed to fetch http://debian/  Temporary failure resolving 'debian'"
NO_SPACE = "dpkg: error processing archive: cannot copy: No space left on device"


class Machine:
    """A directory with the only programs that there are."""

    def __init__(self, directory: Path) -> None:
        self.venv = directory / "venv"
        self._programs = directory / "programs"
        self._programs.mkdir()
        (self.venv / "bin").mkdir(parents=True)
        for tool in TOOLS:
            (self._programs / tool).symlink_to(shutil.which(tool) or tool)
        self.program("id", "echo 0")
        self.program("python", "exit 0")

    def program(self, name: str, script: str) -> Path:
        """Make a program."""
        path = self._programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def make(self, target: str, missing: str = "") -> subprocess.CompletedProcess[str]:
        """Make something of the environment, where these Debian packages are missing."""
        return subprocess.run(
            [
                "make",
                *(f"VENV={self.venv}", f"PYTHON={self._programs}/python", f"missing={missing}"),
                self.venv / "bin" / target,
            ],
            cwd=ROOT,
            env={"PATH": str(self._programs), "TMPDIR": str(self.venv), "LC_ALL": "C"},
            capture_output=True,
            text=True,
        )

    def left(self) -> list[str]:
        """Files that lie about: the log has to be gone."""
        return [name for name in os.listdir(self.venv) if name.startswith("tmp")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine where nothing is installed."""
    return Machine(tmp_path)


def advice(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that is not make's own."""
    assert done.returncode == 2
    *_, last = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    return last


def test_steps_of_apt(machine: Machine) -> None:
    """A line for each package that is fetched and set up, and none of the others."""
    machine.program(
        "apt-get",
        'test "$2" = update && exit 0\n'
        'echo "Get:1 http://debian trixie InRelease [140 kB]"\n'
        'echo "Need to get 42.3 MB of archives."\n'
        'echo "Get:1 http://debian trixie/main amd64 gcc-14 amd64 14.2.0-19 [20 MB]"\n'
        'echo "Setting up gcc-14 (14.2.0-19) ..."',
    )
    done = machine.make("python", missing="gcc")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "installing Debian's gcc ...",
        "  fetched gcc-14",
        "  set up gcc-14",
        f"making the virtual environment {machine.venv} ...",
    ]
    assert machine.left() == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (NO_NETWORK, "the network cannot be reached; see to it, and run make again"),
        (NO_SPACE, "no space is left; df -h shows where, make some, and run make again"),
        ("E: dpkg was interrupted", "the lines above have the reason; see to it, and run make"),
    ],
)
def test_apt_fails(machine: Machine, said: str, words: str) -> None:
    """All that it said, and in the end what to do."""
    machine.program("apt-get", f'test "$2" = update && exit 0\necho "{said}"; exit 100')
    done = machine.make("python", missing="gcc")
    assert said in done.stderr.splitlines()
    assert advice(done).startswith(words)
    assert "virtual environment" not in done.stdout
    assert machine.left() == []


def test_no_sudo(machine: Machine) -> None:
    """An ordinary user without it learns what root has to do."""
    machine.program("id", "echo 1000")
    machine.program("apt-get", "exit 0")
    done = machine.make("python", missing="gcc fuse3")
    assert advice(done) == "please install as root: apt-get install gcc fuse3 (Debian's names)"


def test_steps_of_pip(machine: Machine) -> None:
    """A line for each package and each build."""
    lines = [
        "Obtaining file:///somewhere",
        "  Installing build dependencies: started",
        "  Installing build dependencies: finished with status 'done'",
        "Collecting trio>=0.25",
        "  Downloading trio-0.35.0-py3-none-any.whl (490 kB)",
        "Building wheels for collected packages: pyfuse3",
        "Building wheel for pyfuse3 (pyproject.toml): started",
    ]
    pip = machine.program("pip", "\n".join(f'echo "{line}"' for line in lines))
    (machine.venv / "bin/python").symlink_to(pip)
    done = machine.make(".installed")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if line.startswith(" ")] == [
        "  Installing build dependencies",
        "  Collecting trio",
        "  Building wheel for pyfuse3",
    ]
    assert (machine.venv / "bin/.installed").exists()


def test_pip_fails(machine: Machine) -> None:
    """As with apt-get; and it is tried again the next time."""
    said = "ERROR: Could not install packages: [Errno 28] No space left on device"
    pip = machine.program("pip", f'echo "{said}" >&2; exit 1')
    (machine.venv / "bin/python").symlink_to(pip)
    done = machine.make(".installed")
    assert said in done.stderr.splitlines()
    assert advice(done).startswith("no space is left; ")
    assert not (machine.venv / "bin/.installed").exists()


def test_no_space_for_the_environment(machine: Machine) -> None:
    """venv does not say why it fails."""
    machine.program("python", 'test "$2" != venv')
    assert "is there space left (df -h)?" in advice(machine.make("python"))


@pytest.mark.parametrize(
    ("words", "ci", "quick"),
    [((), "", True), (("ALL=1",), "", False), ((), "true", False), (("ALL=1",), "true", False)],
)
@pytest.mark.parametrize("target", ["test", "unit"])
def test_long_tests(target: str, words: tuple[str, ...], ci: str, quick: bool) -> None:
    """Only who waits for them goes without."""
    command = ("make", "--dry-run", "--directory", ROOT, target, *words)
    done = subprocess.run(
        command, env=os.environ | {"CI": ci}, capture_output=True, text=True, check=True
    )
    (line,) = [each for each in done.stdout.splitlines() if "-m pytest" in each]
    assert (" -m 'not long'" in line) is quick
