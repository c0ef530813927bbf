"""`scullvfs ioctl`: the drivers' commands from a shell.

The names are those of the headers spelled out: SCULLV_IOCSORDER is set-order. Numbers differ from
driver to driver, and a device's name says which one it is of.
"""

from __future__ import annotations

import errno
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
from scullvfs.scull.driver import Driver
from scullvfs.scull.family import DRIVERS, SCULLV, driver_of_device
from scullvfs.scull.ioctl import INT, commands
from scullvfs.scull.ioctl_words import WORDS, gives_value, issue, spell, spelled, takes_value
from scullvfs.text import shown

from .candidates import candidate, complete_file
from .help import Command

if TYPE_CHECKING:
    from .candidates import Items

__all__ = ["ioctl"]

NUMBER: Final = re.compile(r"[+-]?(0x[0-9a-f]{1,16}|0|[1-9][0-9]{0,19})", re.IGNORECASE | re.ASCII)
"""Stricter than `int`, which also takes blanks, underscores and other scripts' digits."""

NAMES: Final = {word: name for row in DRIVERS.values() for word, name in spelled(row).items()}


def _ranges(driver: Driver) -> str:
    """What a value may be, in the words of the table of mount options."""
    measure, qset, word = driver.measure, driver.qset, driver.word
    bytes_of = f"4K << {word}" if driver.by_order else word
    article = "an" if word[0] in "aeiou" else "a"
    bound = f" but no larger than {driver.bound}" if driver.bound else ""
    return (
        f"{article} {word} is {measure.low} to {measure.high}{bound}, "
        f"a qset {qset.low} to {qset.high}, {bytes_of} times qset below 2G"
    )


TABLE: Final = [
    ("reset", "the driver's own values, whatever they were at mount"),
    *((f"{word}-order, {word}-qset", does) for word, does in WORDS.values()),
    ("...-quantum", "scull and scullc have it in place of order"),
    ("tell-p-size, query-p-size", "of the buffer of scull's pipe, which nothing uses"),
    ("VALUE", f"{_ranges(SCULLV)}; of the others as at mount"),
]


def _complete_command(ctx: click.Context, _parameter: click.Parameter, word: str) -> Items:
    """Those that the device's driver has, as its name tells."""
    driver = driver_of_device(os.path.basename(ctx.params.get("device") or ""))
    names = NAMES if driver is None else spelled(driver)
    return [candidate(name) for name in names if name.startswith(word)]


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
@click.argument("device", shell_complete=complete_file)
@click.argument("command", shell_complete=_complete_command)
@click.argument("value", required=False)
def ioctl(device: str, command: str, value: str | None) -> None:
    """Carry out one of the driver's ioctl commands.

    COMMAND, with VALUE where it sets something, is carried out on DEVICE, such as scullv0.
    Order, quantum and qset are those of the module: a device takes them over when it is next
    trimmed. Those of scull only a caller with CAP_SYS_ADMIN may set.
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
    if not takes_value(name):
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
        driver = _driver_of(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")), name)
        if driver is None:
            return _NO_SUCH.encode()
        try:
            return f"{_DONE} {issue(fd, driver, name, number)}".encode()
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return f"{_IMPOSSIBLE} {driver.name}".encode()

    try:
        kind, _, result = ask(call, timeout=ANSWER_TIMEOUT).decode().partition(" ")
    except TimeoutError:
        from scullvfs.mounts.health import no_answer

        raise no_answer(device, ANSWER_TIMEOUT) from None
    except OSError as error:
        raise _explain(error, device) from None
    if kind == _IMPOSSIBLE:
        driver = DRIVERS[result]
        what = f"{driver.measure.default}, the default," if name == "RESET" else str(number)
        raise UsageError(f"{what} is not possible; {_ranges(driver)}")
    if kind == _NO_SUCH:
        raise UsageError(f"the driver of {shown(device)} has no command '{spell(name)}'")
    if kind == _NOT_OPEN:
        reason = os.strerror(int(result))
        refused = int(result) in (errno.EACCES, errno.EPERM)
        failure = RefusedError if refused else NotMountedError
        raise failure(f"cannot open {shown(device)}: {reason}")
    return int(result) if gives_value(name) else None


_NOT_OPEN: Final = "not-open"
_NO_SUCH: Final = "no-such-command"
_IMPOSSIBLE: Final = "impossible"
_DONE: Final = "done"


def _driver_of(file: str, name: str) -> Driver | None:
    """Whose device has that name, where the driver has such a command.

    With any other name, as of a device that is bound elsewhere, the first driver that has it.
    """
    driver = driver_of_device(file)
    if driver is not None:
        return driver if name in commands(driver) else None
    return next(driver for driver in DRIVERS.values() if name in commands(driver))


def _explain(error: OSError, device: str) -> ScullvfsError:
    if isinstance(error, PermissionError):
        return RefusedError(f"{shown(device)}: {error.strerror}")
    if error.errno == errno.ENOTTY:
        return NotMountedError(
            f"{shown(device)} is no device of a driver, or its mount has no ioctl"
        )
    return ScullvfsError(f"{shown(device)}: {error.strerror}")
