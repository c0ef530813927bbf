"""What a member of the family is, as data: its names, its parameters, its commands, its listing.

A row of this kind (`family`) and a class of some lines (`quanta`) are all that one differs by from
another.  Nothing here needs the machine, so every `--help` can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from scullvfs.mm.layout import PAGE_SIZE

__all__ = ["INT_MAX", "Commands", "Driver", "Parameter", "by_command", "by_parameter"]

INT_MAX: Final = (1 << 31) - 1


class Parameter(NamedTuple):
    """A parameter of a module, which is a mount option, too."""

    name: str
    """As module_param() has it."""
    low: int
    high: int
    default: int
    about: str
    """What it is, in one phrase."""


class Commands(NamedTuple):
    """The commands of ioctl(2) that a driver knows."""

    magic: str
    """The letter that their numbers have (LDD3: SCULL_IOC_MAGIC)."""
    last: int
    """The highest number (LDD3: SCULL_IOC_MAXNR)."""
    numbers: Mapping[str, int]
    """Name -> number; the name's first letter says which way its value goes (`ioctl`)."""
    privileged: str = ""
    """The first letters of those that only a caller with CAP_SYS_ADMIN may give."""


LETTERS: Final = "STGQXH"


def by_parameter(first: str, second: str) -> dict[str, int]:
    """Numbers of the commands where a parameter has six that follow one another."""
    letters = [letter + name for name in (first, second) for letter in LETTERS]
    return {"RESET": 0} | {name: nr for nr, name in enumerate(letters, start=1)}


def by_command(first: str, second: str) -> dict[str, int]:
    """Numbers of the commands where a letter has two that follow one another."""
    letters = [letter + name for letter in LETTERS for name in (first, second)]
    return {"RESET": 0} | {name: nr for nr, name in enumerate(letters, start=1)}


class Driver(NamedTuple):
    """A member of the family.

    The parameter `measure` says how large a quantum is: as an order (scullv, scullp), in bytes
    (scull, scullc).
    """

    name: str
    """Of the module; devices are called so, with a number behind."""
    memory: str
    """What its quanta come from, in a word."""
    devs: Parameter
    measure: Parameter
    qset: Parameter
    commands: Commands
    word: str
    """What sysfs and the names of commands call `measure`: "order", or "quantum" for bytes."""
    listings: tuple[str, ...]
    """The names of the listing in proc/."""
    listed_as: str = ""
    """What the listing calls `measure`, where that is not `word`."""
    bound: str = ""
    """What else a quantum may not exceed, as it is then: a phrase."""
    largest: int = 0
    """Bytes that its memory gives in one piece at the most; 0 where it goes by what there is."""
    areas: bool = False
    """Whether each quantum is an area in the window of vmalloc()."""
    blank: str = ""
    """What stands before the address of a quantum in the listing."""
    sizeof_dev: Mapping[int, int] = {4: 104, 8: 176}
    """Bytes of the structure of a device, by the size of a pointer."""
    sizeof_item: Mapping[int, int] = {4: 104, 8: 176}
    """Bytes of a list item, by the size of a pointer."""
    head_is_item: bool = True
    """Whether the structure of a device is its first list item; else that comes when it is needed,
    and a read at the size needs none."""

    @property
    def by_order(self) -> bool:
        """Whether `measure` is an order."""
        return self.word == "order"

    @property
    def parameters(self) -> tuple[Parameter, Parameter, Parameter]:
        """All of them, in the order of the module's."""
        return self.devs, self.measure, self.qset

    @property
    def settable(self) -> tuple[str, str]:
        """The names of those that can be set while it is loaded."""
        return self.measure.name, self.qset.name

    def parameter(self, name: str) -> Parameter:
        """The one of that name; KeyError if there is none."""
        return {parameter.name: parameter for parameter in self.parameters}[name]

    def quantum(self, measure: int) -> int:
        """Bytes in a quantum."""
        return PAGE_SIZE << measure if self.by_order else measure

    def fits(self, measure: int, qset: int) -> bool:
        """Whether the driver can compute how many bytes a list item has: in an int of C.

        Of others it computes 0, and divides by it, or a negative number, and walks its list for
        ever, or too small a one (LDD3: main.c, `int itemsize = quantum * qset`).
        """
        return self.quantum(measure) * qset <= INT_MAX
