"""What is made to fail, as values of files: a device's operations, and the allocators.

The files are those that a shell would write to, `sys/kernel/debug/scull/` and Linux's own beside
it; what they mean is said there, and here only what they cannot mean.
"""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .daemon import Daemon
from .knobs import Knobs, bound, microseconds

__all__ = ["Faults", "delayed", "failing", "shortened"]

DIRECTORIES: Final = {
    name: name for name in ("open", "read", "write", "ioctl", "fallocate", "truncate")
} | {"lseek": "llseek"}
"""What can be made to fail, as `Mount.calls()` has it -> its directory."""
BYTES: Final = ("read", "write", "fallocate")
"""Those that can fail from a byte on."""
FAR: Final = (1 << 63) - 1
"""The last byte that there can be."""

Values = list[tuple[Path, object]]
"""Files, and what is written to each."""


def failing(
    device: Path,
    operation: str,
    error: int,
    at: int | None,
    call: int | None,
    times: int | None,
    probability: int,
) -> Values:
    """The values with which an operation fails, as `Mount.fail()` says."""
    _must_be_an_errno(error)
    if at is not None and call is not None:
        raise ValueError("either at= or call= says where it begins, not both")
    if at is not None and operation not in BYTES:
        raise ValueError(f"of {' and '.join(BYTES)} only a byte can fail; {operation} has call=")
    place = "0"
    if at is not None:
        place = f"byte {bound('at', at, 0, FAR)}"
    elif call is not None:
        place = f"call {bound('call', call, 1, FAR)}"
    directory = _directory(device, operation)
    knobs = _knobs(directory, times=times, probability=probability)
    # The errno last: with it, it begins.
    return [*knobs, (directory / "at", place), (directory / "errno", errno.errorcode[error])]


def delayed(device: Path, seconds: float | None, operations: Mapping[str, float]) -> Values:
    """The values with which calls take their time, as `Mount.delay()` says."""
    if seconds is None and not operations:
        raise ValueError(
            "delay() of what? Give the seconds of each call, as 0.05, or of an operation, as "
            f"read=0.05; there are {', '.join(sorted(DIRECTORIES))}"
        )
    values: Values = [
        (_directory(device, name) / "delay_us", microseconds(name, each))
        for name, each in operations.items()
    ]
    if seconds is not None:
        values.append((device / "delay_us", microseconds("seconds", seconds)))
    return values


def shortened(device: Path, read: int | str | None, write: int | str | None) -> Values:
    """The values with which calls are cut short, as `Mount.short()` says."""
    if read is None and write is None:
        raise ValueError('short() of what? Give read= or write=, a number of bytes or "random"')
    values: Values = []
    for name, most in (("read", read), ("write", write)):
        if isinstance(most, str) and most != "random":
            raise ValueError(f'{name}={most!r} is neither a number of bytes nor "random"')
        if most is not None:
            value = most if isinstance(most, str) else bound(name, most, 1, FAR)
            values.append((device / f"short_{name}", value))
    return values


def _must_be_an_errno(error: object) -> None:
    """Raise what is wrong with an errno, if it is none that an operation can fail with."""
    if not isinstance(error, int) or isinstance(error, bool):
        name = error if error in errno.errorcode.values() else "EIO"
        raise TypeError(f"{error!r} is no errno, which is a number, as errno.{name}")
    if abs(error) == errno.ENOSYS:
        raise ValueError(
            f"{error} is no errno that a call can fail with: on ENOSYS the kernel takes the call "
            "for one that the mount does not know, and never makes it again"
        )
    if error not in errno.errorcode:
        name = errno.errorcode.get(-error, "EIO")
        raise ValueError(f"{error} is no errno that a call can fail with, as errno.{name}")


def _directory(device: Path, operation: str) -> Path:
    name = DIRECTORIES.get(operation)
    if name is None:
        raise ValueError(
            f"unknown operation {operation!r}; there are {', '.join(sorted(DIRECTORIES))}"
        )
    return device / name


def _knobs(
    directory: Path, *, times: int | None, probability: int, interval: int = 1, space: int = 0
) -> Values:
    """The knobs that every fault has."""
    return [
        (directory / "probability", bound("probability", probability, 1, 100)),
        (directory / "interval", bound("interval", interval, 1)),
        (directory / "space", bound("space", space, 0)),
        (directory / "times", -1 if times is None else bound("times", times, 1)),
    ]


class Faults:
    """Allocations that fail though there is memory: `mnt.faults`.

    They hold from the call on; as a context manager, or by `undo()`, all is as it was before.
    Every allocation counts, whoever it is for.  Which are counted is Linux's rule: with
    `interval=3` it is the third, counted since the mount or a `reset()` while there is an interval,
    then the sixth, until `times` of them have failed.  What fails has a report in `kmsg()`.
    """

    def __init__(self, mount: Daemon) -> None:
        self._mount = mount

    def page_alloc(
        self,
        *,
        times: int | None = 1,
        interval: int = 1,
        probability: int = 100,
        space: int = 0,
        min_order: int = 0,
    ) -> Knobs:
        """Have page frames refused, by `sys/kernel/debug/fail_page_alloc`.

        Not each refusal is an error: a slab is made of a smaller block then, and vmalloc(), where
        it cannot have its pages in bulk, has them one by one.  `ignore-gfp-highmem` and
        `ignore-gfp-wait` are N, as nothing would fail otherwise.

        Args:
            times: failures, 1 or more; None for any number.
            interval: every so-many-th allocation may fail.
            probability: percent of those that may, that do, 1 to 100.
            space: frames that are given first.
            min_order: smaller blocks never fail.

        Raises:
            ValueError: a number is out of its range.
            TypeError: no whole number.
        """
        directory = self._mount.path / "sys/kernel/debug/fail_page_alloc"
        knobs = _knobs(
            directory, times=times, probability=probability, interval=interval, space=space
        )
        return Knobs(
            self._mount,
            [
                (directory / "ignore-gfp-highmem", "N"),
                (directory / "ignore-gfp-wait", "N"),
                (directory / "min-order", bound("min_order", min_order, 0)),
                *knobs,
            ],
        )

    def slab(
        self,
        *,
        times: int | None = 1,
        interval: int = 1,
        probability: int = 100,
        space: int = 0,
    ) -> Knobs:
        """Have objects of kmalloc() and of caches refused, by `sys/kernel/debug/failslab`.

        Args:
            times: failures, 1 or more; None for any number.
            interval: every so-many-th object may fail.
            probability: percent of those that may, that do, 1 to 100.
            space: bytes that are given first.

        Raises:
            ValueError: a number is out of its range.
            TypeError: no whole number.
        """
        directory = self._mount.path / "sys/kernel/debug/failslab"
        knobs = _knobs(
            directory, times=times, probability=probability, interval=interval, space=space
        )
        return Knobs(self._mount, [(directory / "ignore-gfp-wait", "N"), *knobs])
