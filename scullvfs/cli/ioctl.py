"""`scullvfs ioctl`: the driver's 13 commands from a shell.

The names are those of scullv.h spelled out: SCULLV_IOCSORDER is set-order.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
from typing import TYPE_CHECKING, Final

import click

from scullvfs.errors import (
    ExitStatus,
    NotMountedError,
    RefusedError,
    ScullvfsError,
    UsageError,
)
from scullvfs.mounts.probe import ANSWER_TIMEOUT, ask
from scullvfs.options.hint import did_you_mean
from scullvfs.scull import COMMANDS
from scullvfs.scull.ioctl import INT
from scullvfs.scull.parameters import PARAMETERS, SCULLV_ORDER, SCULLV_QSET
from scullvfs.text import shown

from .candidates import candidate
from .help import Command

if TYPE_CHECKING:
    from .candidates import Items

__all__ = ["ioctl"]

WORDS: Final = {
    "S": ("set", "set it, through a pointer"),
    "T": ("tell", "set it, by value"),
    "G": ("get", "print it, through a pointer"),
    "Q": ("query", "print it, by return value"),
    "X": ("exchange", "set it and print the old one, through a pointer"),
    "H": ("shift", "set it and print the old one, by value"),
}
"""First letter of a command -> its word here, and what it does."""


def _word(name: str) -> str:
    """How a command is written here: SORDER is set-order."""
    return "reset" if name == "RESET" else f"{WORDS[name[0]][0]}-{name[1:].lower()}"


NUMBER: Final = re.compile(r"[+-]?(0x[0-9a-f]{1,16}|0|[1-9][0-9]{0,19})", re.IGNORECASE | re.ASCII)
"""Stricter than `int`, which also takes blanks, underscores and other scripts' digits."""

NAMES: Final = {_word(name): name for name in COMMANDS}


RANGES: Final = "an order is {} to {}, a qset {} to {}, 4K << order times qset below 2G".format(
    *PARAMETERS["scullv_order"], *PARAMETERS["scullv_qset"]
)
"""What a value may be, in the words of the table of mount options."""

TABLE: Final = [
    ("reset", f"order {SCULLV_ORDER} and qset {SCULLV_QSET}, whatever they were at mount"),
    *((f"{word}-order, {word}-qset", does) for word, does in WORDS.values()),
    ("VALUE", RANGES),
]


def _complete_device(_ctx: click.Context, _parameter: click.Parameter, word: str) -> Items:
    return [candidate(word, type="file")]


def _complete_command(_ctx: click.Context, _parameter: click.Parameter, word: str) -> Items:
    return [candidate(name) for name in NAMES if name.startswith(word)]


@click.command(
    cls=Command,
    tables={"Commands": TABLE},
    examples=[
        ("scullvfs ioctl /mnt/scullv/scullv0 query-order", "Print the order."),
        ("scullvfs ioctl /mnt/scullv/scullv0 shift-qset 8", "Set qset, and print the old one."),
    ],
    statuses=(ExitStatus.PERMISSION, ExitStatus.NOT_MOUNTED, ExitStatus.BUSY),
    context_settings={"ignore_unknown_options": True},  # as -1 is
)
@click.argument("device", shell_complete=_complete_device)
@click.argument("command", shell_complete=_complete_command)
@click.argument("value", required=False)
def ioctl(device: str, command: str, value: str | None) -> None:
    """Carry out one of the driver's ioctl commands.

    COMMAND, with VALUE where it sets something, is carried out on DEVICE, a scullvN file.
    Order and qset are those of the module: a device takes them over when it is next
    trimmed.
    """
    name = NAMES.get(command)
    if name is None:
        hint = did_you_mean(command, NAMES) or "; 'scullvfs ioctl --help' lists them all"
        raise UsageError(f"unknown ioctl command '{command}'{hint}")
    answer = _call(device, name, _number(command, name, value))
    if answer is not None:
        click.echo(answer)


def _number(command: str, name: str, value: str | None) -> int:
    """The command's value; 0 where it takes none."""
    if name == "RESET" or name[0] in "GQ":
        if value is not None:
            raise UsageError(f"'{command}' takes no value")
        return 0
    if value is None:
        raise UsageError(f"'{command}' needs a value: 'scullvfs ioctl DEVICE {command} VALUE'")
    try:
        if not NUMBER.fullmatch(value):
            raise ValueError(value)
        number = int(value, 0)
        INT.pack(number)
    except (ValueError, struct.error):
        raise UsageError(f"'{value}' is no number that '{command}' can take") from None
    return number


def _call(device: str, name: str, number: int) -> int | None:
    """ioctl(2) on the device; returns what there is to print.

    By a child process (`probe`): whose daemon serves the device is not known, nor whether it does.
    """
    path = os.path.join(os.getcwd(), device) if device else device  # the child is elsewhere

    def call() -> bytes:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # not write-only: that would empty it
        except OSError as error:
            return f"{_NOT_OPEN} {error.errno}".encode()
        return f"{_DONE} {_ioctl(fd, name, number)}".encode()

    try:
        kind, _, result = ask(call, timeout=ANSWER_TIMEOUT).decode().partition(" ")
    except TimeoutError:
        from scullvfs.mounts.health import no_answer

        raise no_answer(device, ANSWER_TIMEOUT) from None
    except OSError as error:
        raise _explain(error, device, number) from None
    if kind == _NOT_OPEN:
        reason = os.strerror(int(result))
        refused = int(result) in (errno.EACCES, errno.EPERM)
        failure = RefusedError if refused else NotMountedError
        raise failure(f"cannot open {shown(device)}: {reason}")
    return int(result) if name[0] in "GXQH" else None


_NOT_OPEN: Final = "not-open"
_DONE: Final = "done"


def _ioctl(fd: int, name: str, number: int) -> int:
    """The number that comes back, by the command's own way."""
    if name[0] not in "GSX":
        return fcntl.ioctl(fd, COMMANDS[name], number)
    cell = bytearray(INT.pack(number))
    fcntl.ioctl(fd, COMMANDS[name], cell)
    return int(INT.unpack(cell)[0])


def _explain(error: OSError, device: str, number: int) -> ScullvfsError:
    if isinstance(error, PermissionError):
        return RefusedError(f"{shown(device)}: {error.strerror}")
    if error.errno == errno.EINVAL:
        return UsageError(f"{number} is not possible; {RANGES}")
    if error.errno == errno.ENOTTY:
        return NotMountedError(f"{shown(device)} is no scullv device, or its mount has no ioctl")
    return ScullvfsError(f"{shown(device)}: {error.strerror}")
