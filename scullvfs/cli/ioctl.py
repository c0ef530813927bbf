"""`scullvfs ioctl`: the driver's 13 commands from a shell.

The names are those of scullv.h spelled out: SCULLV_IOCSORDER is set-order.
"""

import errno
import fcntl
import os
import re
import struct
from typing import Final

import click
from click.shell_completion import CompletionItem

from scullvfs.cli.help import Command
from scullvfs.daemon.errors import (
    ExitStatus,
    NotMountedError,
    RefusedError,
    ScullvfsError,
    UsageError,
)
from scullvfs.daemon.hint import did_you_mean
from scullvfs.scullv import COMMANDS
from scullvfs.scullv.ioctl import INT

__all__ = ["ioctl"]

Items = list[CompletionItem[str]]

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


TABLE: Final = [
    ("reset", "order 4 and qset 500, whatever they were at mount"),
    *((f"{word}-order, {word}-qset", does) for word, does in WORDS.values()),
]


def _complete_device(_ctx: click.Context, _parameter: click.Parameter, word: str) -> Items:
    return [CompletionItem(word, type="file")]


def _complete_command(_ctx: click.Context, _parameter: click.Parameter, word: str) -> Items:
    return [CompletionItem(name) for name in NAMES if name.startswith(word)]


@click.command(
    cls=Command,
    tables={"Commands": TABLE},
    examples=[
        ("scullvfs ioctl /mnt/scullv/scullv0 query-order", "Print the order."),
        ("scullvfs ioctl /mnt/scullv/scullv0 shift-qset 8", "Set qset, and print the old one."),
    ],
    statuses=(ExitStatus.PERMISSION, ExitStatus.NOT_MOUNTED),
    context_settings={"ignore_unknown_options": True},  # as -1 is
)
@click.argument("device", shell_complete=_complete_device)
@click.argument("command", shell_complete=_complete_command)
@click.argument("value", required=False)
def ioctl(device: str, command: str, value: str | None) -> None:
    """Carry out one of the driver's ioctl commands.

    COMMAND, with VALUE where it sets something, is carried out on DEVICE, a scullvN file.
    Order and qset are those of the module: a device takes them over when it is next
    trimmed. The order is a number from 0 to 18, the qset one from 1 to 1048576.
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
    """ioctl(2) on the device; returns what there is to print."""
    try:
        fd = os.open(device, os.O_RDONLY | os.O_NONBLOCK)  # not write-only: that would empty it
    except PermissionError as error:
        raise RefusedError(f"cannot open {device}: {error.strerror}") from None
    except OSError as error:
        raise NotMountedError(f"cannot open {device}: {error.strerror}") from None
    try:
        if name[0] in "GSX":
            cell = bytearray(INT.pack(number))
            fcntl.ioctl(fd, COMMANDS[name], cell)
            return None if name[0] == "S" else int(INT.unpack(cell)[0])
        result = fcntl.ioctl(fd, COMMANDS[name], number)
        return result if name[0] in "QH" else None
    except OSError as error:
        raise _explain(error, device, number) from None
    finally:
        os.close(fd)


def _explain(error: OSError, device: str, number: int) -> ScullvfsError:
    if isinstance(error, PermissionError):
        return RefusedError(f"{device}: {error.strerror}")
    if error.errno == errno.EINVAL:
        return UsageError(f"{number} is not possible; an order is 0 to 18, a qset 1 to 1048576")
    if error.errno == errno.ENOTTY:
        return NotMountedError(f"{device} is no scullv device, or its mount has no ioctl")
    return ScullvfsError(f"{device}: {error.strerror}")
