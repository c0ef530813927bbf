"""Shell completion: what each shell is told, and what a real bash makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from scullvfs.cli import main
from scullvfs.mounts.mountinfo import Mount
from scullvfs.options.table import OPTIONS, Option, parse_options
from scullvfs.scull.family import SCULLV, driver_of_parameter

from .interactive import BASH, Terminal, bash

MOUNTS = ["/mnt/one", "/mnt/two", "/mnt/a b", "/mnt/c:d"]


def run(instruction: str, **variables: str) -> str:
    """Run the program as a shell's script does."""
    env = {"_SCULLVFS_COMPLETE": instruction, **variables}
    result = CliRunner().invoke(main, [], prog_name="scullvfs", env=env)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def fitting(line: str) -> list[str]:
    """What a bash that splits words at blanks only is offered at the end of `line`."""
    answers = run("bash_complete", COMP_WORDS=f"scullvfs {line}", COMP_WORDBREAKS=" ").splitlines()
    assert all(answer.startswith("plain,") for answer in answers if answer)
    return [answer.removeprefix("plain,") for answer in answers if answer]


@pytest.fixture(autouse=True)
def mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mounted here."""
    listing = [Mount("0:9", path, "fuse.scullvfs", ("user_id=0",)) for path in MOUNTS]
    monkeypatch.setattr("scullvfs.mounts.mountinfo.scullvfs_mounts", lambda: listing)


# What is offered


def test_commands() -> None:
    """All of them, and after a letter those that begin with it."""
    assert fitting("") == sorted(main.commands)
    assert fitting("um") == ["umount"]


def test_trace() -> None:
    """Mounts and events, but no mount behind the first word, and no event twice."""
    words = {"/mnt/one", "/mnt/two", "vmalloc", "kmem", "scull", "kmem:kfree", "scull:scull_read"}
    assert words < set(fitting("trace "))
    assert fitting("trace /mnt/one vma") == [
        *("vmalloc", "vmalloc:free_vmap_area_noflush", "vmalloc:purge_vmap_area_lazy"),
        "vmalloc:alloc_vmap_area",
    ]
    assert "/mnt/two" not in fitting("trace /mnt/one ")
    assert "kmem" not in fitting("trace kmem ")


def test_lab() -> None:
    """Numbers and names; then a directory, or a mount to check."""
    assert fitting("lab ") == [*map(str, range(1, 10)), "fragmentation"]
    assert fitting("lab f") == ["fragmentation"]
    assert run("bash_complete", COMP_WORDS="scullvfs lab 3 m") == "dir,\n"
    assert fitting("lab --check 3 /mnt/o") == ["/mnt/one"]


@pytest.mark.parametrize("name", main.commands)
def test_options_of_each_command(name: str) -> None:
    """Every long option that its help has."""
    offered = fitting(f"{name} --")
    assert offered
    context = click.Context(main, help_option_names=["--help"])
    assert set(offered) == {
        option
        for parameter in main.commands[name].get_params(context)
        for option in parameter.opts
        if option.startswith("--")
    }


def test_mount_option_names() -> None:
    """Both forms, each ready for its value."""
    assert fitting("mount -o sem") == ["semantics="]
    assert fitting("mount -o scullv_") == ["scullv_devs=", "scullv_order=", "scullv_qset="]
    assert set(fitting("mount -o ")) == {
        form if option.parse is None else f"{form}=" for option in OPTIONS for form in option.forms
    }


def test_mount_option_list() -> None:
    """Only the last one of a list is completed, and what is there already is not offered again."""
    assert fitting("mount -o mem=4M,order=2,sem") == ["mem=4M,order=2,semantics="]
    offered = fitting("mount -o order=2,allow_other,")
    assert "order=2,allow_other,mem=" in offered
    again = ("scullv_order=", ",order=", ",allow_other")
    assert not [word for word in offered if word.endswith(again)]


@pytest.mark.parametrize("option", [o for o in OPTIONS if o.parse], ids=lambda option: option.name)
def test_mount_option_values(option: Option) -> None:
    """Each option has values to offer, and takes them."""
    driver = driver_of_parameter(option.name)
    with_it = [f"drivers={driver.name}"] if driver else []
    if driver is None or driver is SCULLV:
        with_it += [] if option.name in ("drivers", "scullv_qset") else ["qset=1"]
    elif option.name != driver.qset.name:
        with_it.append(f"{driver.qset.name}=1")
    for form in option.forms:
        offered = fitting(f"mount -o {form}=")
        assert offered
        for word in offered:
            name, _, value = word.partition("=")
            assert name == form
            if value not in ("you", "yours"):
                parse_options([*with_it, word])


def test_several_drivers() -> None:
    """Behind a colon come those that are not there yet."""
    assert fitting("mount -o drivers=scullp:") == [
        f"drivers=scullp:{name}" for name in ("scullv", "scullc", "scull")
    ]
    assert fitting("mount -o seed=1,drivers=scullp:scullv:sculls") == []


@pytest.mark.parametrize("word", ["allow_other=", "no_such=", "semantics=x", "arch=arm64=", "é"])
def test_mount_option_nothing_fits(word: str) -> None:
    """What cannot be completed is left alone."""
    assert fitting(f"mount -o {word}") == []


def test_mounts() -> None:
    """umount and status know what is mounted, and status does not say it twice."""
    assert fitting("umount /mnt/o") == ["/mnt/one"]
    assert fitting("umount ") == ["/mnt/one", "/mnt/two", r"/mnt/a\ b", "/mnt/c:d"]
    assert fitting("status /mnt/one /mnt/") == ["/mnt/two", r"/mnt/a\ b", "/mnt/c:d"]


def test_other_arguments() -> None:
    """ioctl's commands, the shells, directories and files."""
    assert fitting("ioctl /mnt/one/scullv0 query-") == ["query-order", "query-qset"]
    assert fitting("ioctl /mnt/one/scull query-") == ["query-quantum", "query-qset", "query-p-size"]
    assert fitting("ioctl /mnt/other query-q") == ["query-qset", "query-quantum"]
    assert fitting("completion ") == ["bash", "zsh", "fish"]
    assert run("bash_complete", COMP_WORDS="scullvfs mount /m") == "dir,\n"
    assert run("bash_complete", COMP_WORDS="scullvfs ioctl /m") == "file,\n"


def test_unknown_command_is_no_error() -> None:
    """A slip before the cursor prints nothing over the user's line."""
    run("bash_complete", COMP_WORDS="scullvfs moutn -o ")


# What each shell is told


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("mount -o semantics=f", ["file"]),
        ("mount -o mem=4M,semantics=f", ["file"]),
        ("mount -o mem=4M,sem", ["4M,semantics="]),
        ("mount -o 'mem=4M,sem", ["mem=4M,semantics="]),
        ("umount /mnt/c:", ["d"]),
        ("umount /mnt/c", ["/mnt/c:d"]),
        (r"umount /mnt/a\ ", [r"/mnt/a\ b"]),
        ('umount "/mnt/a ', ["/mnt/a b"]),
    ],
)
def test_bash_words(line: str, answers: list[str]) -> None:
    """bash replaces what stands behind the last of its word breaks."""
    variables = {"COMP_WORDS": f"scullvfs {line}", "COMP_WORDBREAKS": " \t\n\"'@><=;|&(:"}
    assert run("bash_complete", **variables).splitlines() == [f"plain,{a}" for a in answers]


def test_zsh_words() -> None:
    """Two lines an answer; colons are escaped, and what goes on is told from what ends."""
    ask = {"COMP_WORDS": "scullvfs mount -o mem=4M,se", "COMP_CWORD": "3"}
    assert run("zsh_complete", **ask).splitlines() == [
        *("open", "mem=4M,seed=:the same seed, the same run"),
        *("open", "mem=4M,semantics=:LDD3's rules, or a file's"),
    ]
    ask = {"COMP_WORDS": "scullvfs umount /mnt/c", "COMP_CWORD": "2"}
    assert run("zsh_complete", **ask) == "plain\n/mnt/c\\:d\n"


def test_fish_words() -> None:
    """One line an answer, with commas in it and the help behind a tab."""
    ask = {"COMP_WORDS": "scullvfs mount -o mem=4M,sem", "COMP_CWORD": "mem=4M,sem"}
    assert run("fish_complete", **ask) == ("plain,mem=4M,semantics=\tLDD3's rules, or a file's\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script(shell: str) -> None:
    """`completion` prints what click's own way does, and the script asks in that shell's way."""
    script = CliRunner().invoke(main, ["completion", shell], prog_name="scullvfs").stdout
    assert script == run(f"{shell}_source")
    assert f"_SCULLVFS_COMPLETE={shell}_complete" in script


def test_script_without_a_bash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package can be built where there is no bash."""
    monkeypatch.setenv("PATH", "/nowhere")
    result = CliRunner().invoke(main, ["completion", "bash"], prog_name="scullvfs")
    assert (result.exit_code, result.stderr) == (0, "")


# A real one


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """An interactive bash that has the script of `scullvfs completion bash`."""
    directory = tmp_path_factory.mktemp("bash")
    program = directory / "scullvfs"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m scullvfs "$@"\n')
    program.chmod(0o755)
    (directory / "into" / "here").mkdir(parents=True)
    script = subprocess.check_output([program, "completion", "bash"], text=True)
    (directory / "rc").write_text(f"cd {directory}\n{BASH}{script}")
    env = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}
    with bash(str(directory / "rc"), env) as terminal:
        yield terminal


@pytest.mark.long
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("scullvfs sta", "scullvfs status "),
        ("scullvfs umount --la", "scullvfs umount --lazy "),
        ("scullvfs mount -o sem", "scullvfs mount -o semantics="),
        ("scullvfs mount -o semantics=f", "scullvfs mount -o semantics=file "),
        ("scullvfs mount -o mem=4M,sem", "scullvfs mount -o mem=4M,semantics="),
        ("scullvfs mount -o mem=4M,semantics=f", "scullvfs mount -o mem=4M,semantics=file "),
        ("scullvfs mount -o mem=4M,allow", "scullvfs mount -o mem=4M,allow_other "),
        ("scullvfs mount int", "scullvfs mount into/"),
        ("scullvfs mount -o mem=4M into/h", "scullvfs mount -o mem=4M into/here/"),
        ("true; scullvfs completion z", "true; scullvfs completion zsh "),
    ],
)
def test_bash_tab(terminal: Terminal, line: str, completed: str) -> None:
    """TAB at the end of a line makes this of it."""
    assert terminal.completed(line) == completed


def test_bash_all(terminal: Terminal) -> None:
    """What there is to choose from, behind an = as well."""
    every = "\x1b*"
    assert terminal.completed("scullvfs completion ", every) == "scullvfs completion bash zsh fish "
    assert terminal.completed("scullvfs mount -o arch=", every) == (
        "scullvfs mount -o arch=x86_64 i386 arm64 "
    )
