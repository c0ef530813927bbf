"""`Mount`: what a test has of its mount, beside the process that serves it."""

import fcntl
import json
import os
import re
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from scullvfs.errors import BusyError
from scullvfs.mounts.answers import KINDS, MOST_DEVICES
from scullvfs.mounts.health import STATUS_FILE
from scullvfs.options.hint import did_you_mean
from scullvfs.scull.driver import Driver
from scullvfs.scull.family import DRIVERS, driver_of_device
from scullvfs.scull.ioctl import commands
from scullvfs.scull.ioctl_words import gives_value, issue, spelled, takes_value

from .daemon import Daemon
from .faults import Faults, delayed, failing, shortened
from .fill import Fill
from .knobs import Knobs
from .recording import Recorded

__all__ = ["Device", "Mount"]

Device = str | os.PathLike[str]
"""A device by its name, "scullv0", or its path, `mnt / "scullv0"`."""


class Mount(Daemon):
    """A living mount; `mnt / "scullv0"` is its first device.

    What cannot be read any more since the daemon has died is an OSError, ENOTCONN.  While it is
    `stalled()`, what would have to ask it is a `BusyError`; after `unmount()`, or one from outside,
    it is a `NotMountedError`.
    """

    def __truediv__(self, name: str | os.PathLike[str]) -> Path:
        """A path below the mount."""
        return self.path / name

    @property
    def devices(self) -> list[Path]:
        """The devices, number 0 first: scullv's, then those of the other drivers."""
        return [device for driver in DRIVERS for device in self.devices_of(driver)]

    def devices_of(self, driver: str) -> list[Path]:
        """The devices of one driver, such as scullp; none if it is not loaded."""
        self.must_be_mounted()
        paths = [path for path in self.path.iterdir() if re.fullmatch(rf"{driver}\d+", path.name)]
        return sorted(paths, key=lambda path: int(path.name.removeprefix(driver)))

    def kmsg(self) -> str:
        """The emulated kernel's log, `proc/kmsg`."""
        return self._read("proc/kmsg")

    def meminfo(self) -> dict[str, int]:
        """Where the emulated RAM is, `proc/meminfo`: field -> kB, those that are in kB."""
        lines = map(str.split, self._read("proc/meminfo").splitlines())
        return {name.rstrip(":"): int(kb) for name, kb, *unit in lines if unit}

    def status(self) -> dict[str, Any]:
        """What the daemon says of itself, as `scullvfs status --json` has it.

        Sizes are in bytes, times in seconds; `options` are those in effect, `calls` what `calls()`
        counts, with bytes, errors and nanoseconds.  It is no call on a device.
        """
        self.must_be_mounted()
        said: dict[str, Any] = json.loads(self._read(STATUS_FILE))
        return said

    def calls(self, device: Device, kind: str) -> int:
        """How many calls of one kind there were on a device since the mount.

        It is what reached the driver: what a program has had of the page cache
        (`semantics=file`) is not in it, nor an lseek(2) that needs no driver, as SEEK_SET, and a
        write(2) of more than 1 MiB is several.

        Args:
            device: by name or path.
            kind: open, read, write, ioctl, lseek, fallocate or truncate; an open with O_TRUNC is
                an open alone.

        Raises:
            ValueError: no such device or kind.
            BusyError: 32 other devices were called more often, of which alone the status tells.
        """
        name = self._device(device).name
        if not isinstance(kind, str):
            raise TypeError(f"{kind!r} is no kind of call, as 'read'")
        if kind not in KINDS:
            raise ValueError(_unknown("kind of call", kind, sorted(KINDS)))
        counted = self.status()["calls"]
        if name not in counted and len(counted) >= MOST_DEVICES:
            raise BusyError(f"{MOST_DEVICES} devices of {self} were called more often than {name}")
        return int(counted.get(name, {}).get(kind, {"calls": 0})["calls"])

    def ioctl(self, device: Device, command: str | int, value: int | None = None) -> int | None:
        """Carry out a command of the driver's on a device, which is opened for reading::

            mnt.ioctl("scullv0", "set-order", 2)
            mnt.ioctl("scullv0", 0x40044b01, 2)     # the same: SCULLV_IOCSORDER

        Args:
            device: by name or path.
            command: a word of `scullvfs ioctl`, such as query-qset, or a number.
            value: what it sets, an int of C; for a number that is none of the driver's the
                third argument of ioctl(2).

        Returns:
            What the command gives: get, query, exchange, shift; None of the others.  Of a number
            that is none of the driver's, what ioctl(2) returns.

        Raises:
            ValueError: no such device or word, or a value too many, missing or too large.
            OSError: the driver's errno: EINVAL, it cannot be set; EPERM, only CAP_SYS_ADMIN may;
                ENOTTY, no command of that number.
        """
        path = self._device(device)
        driver = driver_of_device(path.name)
        assert driver is not None
        name = _command(driver, command)
        if name is not None and takes_value(name) != (value is not None):
            raise ValueError(f"{command!r} {'needs a' if value is None else 'takes no'} value")
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if name is None:
                assert isinstance(command, int)
                return fcntl.ioctl(fd, command, value or 0)
            given = issue(fd, driver, name, value or 0)
        except (struct.error, OverflowError):
            raise ValueError(f"{value} is no int of C") from None
        finally:
            os.close(fd)
        return given if gives_value(name) else None

    def fill(self, leave: int, device: Device | None = None) -> Fill:
        """Use the machine's memory up, so that a device takes exactly so many bytes more.

        After it `leave` bytes can be written to the device, from its beginning, by one who empties
        it or finds it empty, and the next byte is ENOMEM.  All other memory is taken, by hand
        (`sys/kernel/debug/mm/handles` lists it); what other devices have stays as it is.  Nothing
        of it shows in the kernel log.  The exact place is proved by doing it before, so nobody
        else may use the mount meanwhile::

            with mnt.fill(leave=131072):
                ...

        Args:
            leave: bytes, a multiple of a quantum.
            device: by name or path, an empty one; the first device if not given.

        Returns:
            What was taken: freed at the end of a `with`, or by `free()`; `again()` has the
            device empty and with the same room for a second program.

        Raises:
            ValueError: no such device, it is not empty, `leave` is no multiple of its quantum or
                more than there is memory for, or the free memory is in too many pieces.
        """
        fill = Fill(self, self.devices[0] if device is None else self._device(device), leave)
        fill.fill()
        return fill

    def record(self, path: str | os.PathLike[str], *, data: bool = True) -> Recorded:
        """Record every call on the mount from now on, which is to be its first use::

            with mounted(seed=7) as mnt, mnt.record("run.scull"):
                ...

        `scullvfs replay run.scull` makes them all again.

        Args:
            path: of the file, which must not be in the mount.
            data: with what is written to devices, so that what is read is compared, too.

        Returns:
            As a context manager, by `undo()`, or with the mount, it ends.

        Raises:
            BusyError: the mount was used before, or files of it are open.
            OSError: the file cannot be written.
        """
        return Recorded(self, path, data)

    # -- what it is made to do wrong -----------------------------------------------------------

    def fail(
        self,
        device: Device,
        operation: str,
        error: int,
        *,
        at: int | None = None,
        call: int | None = None,
        times: int | None = 1,
        probability: int = 100,
    ) -> Knobs:
        """Have an operation of a device fail, whoever calls it, from now on::

            mnt.fail("scullv0", "write", errno.EIO, at=131072)
            with mnt.fail("scullv0", "read", errno.EINTR, call=3):
                ...

        A write, read or fallocate that begins before the byte and goes over it is cut short there,
        and the next one fails; with `semantics=file` a page is read as a whole or not at all.
        Another `fail()` of the same operation takes the place of this one, and holds until it is
        undone itself, whichever of them is undone first.  What was injected is in `kmsg()` and, by
        how often, in `status()`.

        Args:
            device: by name or path.
            operation: open, read, write, ioctl, lseek (of SEEK_DATA and SEEK_HOLE, which alone
                come to the driver), fallocate or truncate.
            error: the errno, as `errno.EIO`; ENOSYS cannot be had.
            at: a byte, which fails with all that is behind it.
            call: the first call that fails, 1 for the next one; if neither is given, the next.
            times: calls that fail, 1 or more; None for all.
            probability: percent of them that do, by the seed of the mount.

        Returns:
            As a context manager, or by `undo()`, the operation is as it was before.

        Raises:
            ValueError: no such device, operation or errno, or a number out of its range.
            TypeError: no whole number.
        """
        (directory,) = self._faulty(device)
        return Knobs(self, failing(directory, operation, error, at, call, times, probability))

    def delay(
        self, seconds: float | None = None, *, device: Device | None = None, **operations: float
    ) -> Knobs:
        """Have calls take their time, from now on: `mnt.delay(write=0.05, open=1)`.

        Others are served meanwhile, except that the kernel lets one write, truncate or fallocate
        at a time into a file.  Who waits can be interrupted, and nothing has happened then: EINTR.

        Args:
            seconds: that each call takes at least, to the millisecond; 0 for as quick as it is.
            device: by name or path; all of them, if not given.
            operations: seconds by operation, as in `fail()`, besides those of each call.

        Returns:
            As a context manager, or by `undo()`, it is as it was before; who waits no longer does.

        Raises:
            ValueError: no such device or operation, no such time, or none at all.
            TypeError: no number.
        """
        places = self._faulty(device)
        return Knobs(self, [v for place in places for v in delayed(place, seconds, operations)])

    def short(
        self,
        *,
        read: int | Literal["random"] | None = None,
        write: int | Literal["random"] | None = None,
        device: Device | None = None,
    ) -> Knobs:
        """Have reads and writes cut short, from now on: `mnt.short(read=1)`.

        With `semantics=file` what the page cache reads is not cut short, as that would be the end
        of the file to it.

        Args:
            read, write: bytes that a call gives or takes at the most, 1 or more; "random" for 1
                to as many as are asked for, by the seed of the mount.
            device: by name or path; all of them, if not given.

        Returns:
            As a context manager, or by `undo()`, it is as it was before.

        Raises:
            ValueError: no such device, no such number of bytes, or none at all.
            TypeError: no whole number.
        """
        places = self._faulty(device)
        return Knobs(self, [v for place in places for v in shortened(place, read, write)])

    @property
    def faults(self) -> Faults:
        """Allocations that fail: `with mnt.faults.page_alloc(times=1):`, `mnt.faults.slab()`."""
        return Faults(self)

    def reset(self, device: Device | None = None) -> None:
        """Have nothing fail, be short or slow any more, of one device, or of all and the machine.

        What `fill()` has taken stays.
        """
        place = self / "sys/kernel/debug/scull"
        if device is not None:
            (place,) = self._faulty(device)
        self.must_be_mounted()
        (place / "reset").write_text("1")

    def _faulty(self, device: Device | None) -> list[Path]:
        """The directories of what a device is made to do wrong, or of all of them."""
        devices = self.devices if device is None else [self._device(device)]
        return [self / "sys/kernel/debug/scull" / device.name for device in devices]

    def _read(self, name: str) -> str:
        self.must_be_mounted()
        return (self / name).read_text()

    def _device(self, device: Device) -> Path:
        """The path of a device.

        Raises:
            ValueError: the mount has none of that name, or the path leads elsewhere.
        """
        directory, name = os.path.split(os.fspath(device))
        paths = self.devices
        if (self / name) not in paths or directory not in ("", str(self)):
            raise ValueError(_unknown("device", os.fspath(device), [path.name for path in paths]))
        return self / name


def _command(driver: Driver, command: str | int) -> str | None:
    """The name of a command of a driver; None for a number that is none of its."""
    if isinstance(command, int):
        return {number: name for name, number in commands(driver).items()}.get(command)
    words = spelled(driver)
    if not isinstance(command, str):
        raise TypeError(f"{command!r} is no command, as {next(iter(words))!r}, and no number")
    if command not in words:
        raise ValueError(_unknown(f"command of {driver.name}", command, words))
    return words[command]


def _unknown(what: str, word: str, known: Collection[str]) -> str:
    """What to say of a word that is none of those known."""
    hint = did_you_mean(word, known) or f"; there are {', '.join(known)}"
    return f"unknown {what} {word!r}{hint}"
