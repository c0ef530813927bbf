"""What a command imports before it does anything: hardly more than click, which takes long enough.

Each TAB, too, is the start of a program. Nothing here measures time.
"""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest

import scullvfs
from scullvfs.cli import main
from scullvfs.cli.commands import SUMMARIES

ENVIRONMENT = {
    **os.environ,
    # For python -S: without it, an editable install's own start would import much of the below.
    "PYTHONPATH": os.pathsep.join([str(Path(scullvfs.__file__).parents[1]), *sys.path]),
}

LARGE = {
    *("pyfuse3", "trio", "psutil", "matplotlib", "humanize", "rich", "jinja2", "scullvfs.view"),
    *("importlib.metadata", "logging", "socket", "pathlib", "statistics"),
    *("scullvfs.bench.results", "scullvfs.bench.targets", "scullvfs.fs", "scullvfs.fuse"),
    *("scullvfs.mm.machine", "scullvfs.scull.module", "scullvfs.scull.dev"),
    *("scullvfs.daemon.start", "scullvfs.mounts.unmount", "scullvfs.cli.checks"),
}
"""Modules that nobody needs to parse a command line, with what is below them."""

SHORT = {"umount", "status", "ioctl", "completion"}
"""Commands that are done before anybody looks."""

LEFT_OUT = {"inspect", "dataclasses", "json", "shutil", "subprocess", "tempfile", "ctypes"}
"""Modules that these do without, though click would have one of them."""

UNUSED = {
    *("ssl", "hmac", "idna", "subprocess", "tempfile", "shutil"),
    *("ctypes.util", "importlib.metadata", "email"),
}
"""What trio and pyfuse3 import, and no daemon uses."""


SAY = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"


def imported(program: str, *arguments: str, **environment: str) -> set[str]:
    """Every module that a Python program has imported when it ends, whatever its exit status.

    That of `status` hangs on other mounts of this machine.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"{SAY}\n{program}", *arguments],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
    )
    return set(done.stderr.splitlines()[-1].split())


def imported_by(*arguments: str, **environment: str) -> set[str]:
    """Every module that scullvfs has imported when it has done this."""
    program = "from scullvfs.cli import main; main(prog_name='scullvfs')"
    return imported(program, *arguments, **environment)


@pytest.fixture(scope="module")
def by_click() -> set[str]:
    """What comes with click in any case."""
    return imported("import click.shell_completion")


def large(modules: set[str]) -> set[str]:
    """Those of LARGE that are among `modules`."""
    return {name for name in LARGE for module in modules if f"{module}.".startswith(f"{name}.")}


def commands(modules: set[str]) -> set[str]:
    """The commands whose modules are among `modules`."""
    return {name for name in SUMMARIES if f"scullvfs.cli.{name.replace('-', '_')}" in modules}


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_program(option: str, by_click: set[str]) -> None:
    """The program's own options need no command."""
    modules = imported_by(option)
    assert "scullvfs.cli" in modules
    assert large(modules - by_click) == commands(modules) == set()
    assert modules & LEFT_OUT <= ({"ctypes"} if option == "--version" else set())  # asks libfuse


def test_status(by_click: set[str]) -> None:
    """To look at mounts takes neither a machine nor the checks of a new mount."""
    modules = imported_by("status")
    assert "scullvfs.mounts.status" in modules
    assert large(modules - by_click) <= {"humanize"}  # which there is only where a mount is shown
    assert commands(modules) == {"status"}
    # A mount that is shown says what it has to say as JSON.
    assert modules & LEFT_OUT <= ({"json"} if "humanize" in modules else set())
    assert "click.shell_completion" not in modules


@pytest.mark.parametrize("name", SUMMARIES)
def test_help(name: str, by_click: set[str]) -> None:
    """The help of a command does not import what carries the command out."""
    modules = imported_by(name, "--help")
    assert large(modules - by_click) == set()
    assert commands(modules) == {name}
    assert name not in SHORT or modules & LEFT_OUT == set()
    assert name != "mount" or modules & LEFT_OUT == {"dataclasses"}


@pytest.mark.parametrize("words", ["", *(f"{name} " for name in SUMMARIES), "mount -o semantics="])
def test_completion(words: str, by_click: set[str]) -> None:
    """At a TAB that of one command is imported at the most."""
    modules = imported_by(_SCULLVFS_COMPLETE="bash_complete", COMP_WORDS=f"scullvfs {words}")
    assert "scullvfs.cli.completion" in modules
    assert large(modules - by_click) == set()
    assert commands(modules) == {"completion", *words.split()[:1]}
    if {*words.split()} <= SHORT:
        assert modules & LEFT_OUT == set()
    elif "mount" in words:
        assert modules & LEFT_OUT == {"dataclasses"}


@pytest.mark.parametrize(
    ("words", "needed"), [("umount ", False), ("status ", False), ("mount -o ", True)]
)
def test_completion_of_options(words: str, needed: bool) -> None:
    """The table of mount options is made where there is something to look up in it."""
    modules = imported_by(_SCULLVFS_COMPLETE="bash_complete", COMP_WORDS=f"scullvfs {words}")
    assert ("scullvfs.options.table" in modules) is needed


def test_umount() -> None:
    """It has to start umount(8), and wants no more than that."""
    assert imported_by("umount", "/") & LEFT_OUT == set()  # it is no mount of ours


@pytest.mark.long
def test_daemon() -> None:
    """Of trio and pyfuse3 a daemon imports what it uses, and knows pyfuse3's version."""
    modules = imported(
        "from scullvfs.daemon.serving import import_server\n"
        "import_server()\n"
        "import pyfuse3, sys; assert pyfuse3.__version__ == sys.argv[1]",
        version("pyfuse3"),
    )
    assert {"trio", "pyfuse3", "scullvfs.daemon.server"} <= modules
    assert modules & UNUSED == set()


@pytest.mark.parametrize("name", SUMMARIES)
def test_summary(name: str) -> None:
    """What the list of commands says of one is how its help begins."""
    command = main.commands[name]
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.get_short_help_str(limit=1000) == SUMMARIES[name]
