"""Machine, drivers and what was allocated by hand <-> plain data.

What is in RAM is no part of it, nor is who has a device open: that ends with a mount, as a
process's open files end with the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from scullvfs.mm import Machine
from scullvfs.mm.commands import Commands, CommandsState
from scullvfs.mm.machine import MachineState
from scullvfs.mm.restoring import StateError
from scullvfs.scull import Module
from scullvfs.scull.module import ModuleState

__all__ = ["Books", "restore", "state"]


class Books(TypedDict):
    """All that is known of a machine beside what is in RAM, as plain data."""

    clock: int
    """Nanoseconds since it was switched on."""
    machine: MachineState
    modules: list[ModuleState]
    commands: CommandsState


def state(machine: Machine, modules: Sequence[Module], commands: Commands) -> Books:
    """The books as they stand now.  What waits in the workqueue is done first."""
    return {
        "machine": machine.state(),
        "modules": [module.state() for module in modules],
        "commands": commands.state(),
        "clock": machine.log.local_clock(),
    }


def restore(books: Books, machine: Machine, modules: Sequence[Module], commands: Commands) -> None:
    """Go on as the machine of these books would; its RAM is here already.

    Args:
        machine: made with the same arguments, and `modules` with the same parameters, all of them
            as they were at first.

    Raises:
        StateError: the books, or what is in RAM, cannot be.  Nothing is of use any more then.
    """
    if not __debug__:
        raise StateError("Python runs with -O, without the assertions that look for mistakes")
    try:
        claims = machine.restore(books["machine"], books["clock"])
        for module, of_module in zip(modules, books["modules"], strict=True):
            module.restore(of_module, claims)
        commands.restore(books["commands"], claims)
        claims.check()
    except StateError:
        raise
    # Books that nobody of ours has written may be wrong in any way.
    except Exception as error:
        raise StateError(f"{type(error).__name__} {error}".rstrip()) from error
