"""`scullvfs test-vmalloc`: the command line of `scullvfs.test_vmalloc`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from scullvfs.errors import ExitStatus, ScullvfsError, UsageError
from scullvfs.test_vmalloc.parameters import ABOUT, NAMES, SWITCHES, parse_parameters

from .candidates import candidate, complete_machine_options
from .help import Command

if TYPE_CHECKING:
    from scullvfs.options.table import MountOptions
    from scullvfs.test_vmalloc.driver import Module

    from .candidates import Items

__all__ = ["test_vmalloc"]


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Parameters that are not on the line, or what one may be."""
    name, equals, _ = incomplete.partition("=")
    given: tuple[str, ...] = ctx.params.get(parameter.name or "") or ()
    done = {word.partition("=")[0] for word in given}
    if not equals:
        words = [(f"{each}=", about) for each, about in ABOUT.items() if each not in done]
    elif name == "run_test_mask":
        words = [(f"{name}={1 << place}", each) for place, each in enumerate(NAMES)]
    else:
        words = [(f"{name}={value}", "") for value in ("0", "1") if name in SWITCHES]
    return [
        candidate(word, help=help or None) for word, help in words if word.startswith(incomplete)
    ]


@click.command(
    cls=Command,
    tables={
        "Parameters": [*ABOUT.items()],
        "Scenarios": [(str(1 << n), name) for n, name in enumerate(NAMES)],
    },
    examples=[
        ("scullvfs test-vmalloc test_loop_count=1000", "All of them, in some seconds."),
        (
            "scullvfs test-vmalloc -o arch=arm64,seed=7 run_test_mask=3 nr_threads=4",
            "The first two, each four times at once, on another machine.",
        ),
    ],
    statuses=(ExitStatus.NO_MEMORY,),
)
@click.option(
    "-o",
    "options",
    multiple=True,
    metavar="OPT[,OPT]...",
    help="Options of the machine, as 'scullvfs mount' takes them.",
    shell_complete=complete_machine_options,
)
@click.option(
    "--dmesg",
    is_flag=True,
    help="Print all of the kernel's log, as dmesg(1) does.",
)
@click.argument("parameters", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=_complete)
def test_vmalloc(options: tuple[str, ...], dmesg: bool, parameters: tuple[str, ...]) -> None:
    """Run the scenarios of Linux's lib/test_vmalloc.c on an emulated machine.

    Without a mount. Parameters are those of the module, as behind insmod, and so are the lines.
    align_shift_alloc_test has to fail; the status is 1 if another one does.

    Times are the emulator's; a cycle is a nanosecond.
    """
    from scullvfs.daemon.machine import build_machine
    from scullvfs.interrupts import interruptible
    from scullvfs.test_vmalloc.driver import Module

    values, machine_options = parse_parameters(parameters), _machine_options(options)
    with interruptible():
        machine = build_machine(machine_options)
        module = Module(machine, values, machine_options.seed)
        _run(module)
        machine.close()  # where an interrupt has cut a call in two, views of its RAM are left
    for line in module.dmesg() if dmesg else module.lines():
        click.echo(line)
    wrong = module.wrong()
    if wrong:
        raise ScullvfsError(", ".join(wrong))


def _machine_options(arguments: Iterable[str]) -> MountOptions:
    """The options of `-o`, which are none of a mount."""
    from scullvfs.options.table import OF_MACHINE, changed_options, parse_options

    options = parse_options(arguments)
    for name in changed_options(options.as_dict(), uid=os.getuid(), gid=os.getgid()):
        if name not in OF_MACHINE:
            known = ", ".join(OF_MACHINE)
            raise UsageError(f"option '{name}' is for a mount; a machine alone has {known}")
    return options


def _run(module: Module) -> None:
    """Do it, with a bar on stderr if that is a terminal."""
    with click.progressbar(
        length=module.turns,
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        item_show_func=lambda name: name,
    ) as bar:
        for turns in module.run():
            bar.update(turns.done, turns.name)
