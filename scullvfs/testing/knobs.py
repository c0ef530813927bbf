"""Files of a mount that a test sets, and that have what was in them when it ends."""

from collections.abc import Sequence
from pathlib import Path

from scullvfs.errors import NotMountedError

from .daemon import Daemon
from .undo import Undo, is_gone

__all__ = ["Knobs", "bound", "microseconds", "whole"]

INT_MAX = (1 << 31) - 1
LONGEST = 1 << 53
"""Microseconds that a float is exact for."""


class Knobs(Undo):
    """Values that were written to files, one after the other.

    They hold from the start; as a context manager, or by `undo()`, what was in the files comes
    back.  What others have written there meanwhile is lost by that, and a place as "call 3" is
    counted anew.  Where newer `Knobs` have set the same file, theirs stays, and what was there
    before these comes back when those are undone.
    """

    def __init__(self, mount: Daemon, values: Sequence[tuple[Path, object]]) -> None:
        self._mount = mount
        self._before: dict[Path, str] = {}
        """What was in the files, the first one first."""
        mount.must_be_mounted()
        mount.standing.append(self)
        try:
            for path, value in values:
                self._before[path] = path.read_text()
                path.write_text(f"{value}")
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Write back what was in the files, the last one first; a second time does nothing."""
        standing = self._mount.standing
        if self not in standing:
            return
        try:
            self._mount.must_be_mounted()
            newer = standing[standing.index(self) + 1 :]
            while self._before:
                path, text = next(reversed(self._before.items()))
                after = next((k for k in newer if isinstance(k, Knobs) and path in k._before), None)
                if after is None:
                    path.write_text(text)
                else:
                    after._before[path] = text
                del self._before[path]
        except NotMountedError:
            self._before.clear()
        except OSError as error:
            if not is_gone(error):
                raise
            self._before.clear()
        standing.remove(self)


def bound(name: str, value: object, least: int, most: int = INT_MAX) -> int:
    """A whole number of that name.

    Raises:
        TypeError: it is none.
        ValueError: it is not from `least` to `most`.
    """
    number = whole(name, value)
    if not least <= number <= most:
        raise ValueError(f"{name}={number} is not from {least} to {most}")
    return number


def whole(name: str, value: object) -> int:
    """A number of that name, whatever it is.

    Raises:
        TypeError: it is no whole number.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is no whole number")
    return value


def microseconds(name: str, seconds: object) -> int:
    """A time of that name as the files have it.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, not finite, or longer than a file can say.
    """
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise TypeError(f"{name}={seconds!r} is no number of seconds, as 0.05")
    # Before it is multiplied, as an int can be too large for a float.
    if not 0 <= seconds <= LONGEST // 1_000_000:
        raise ValueError(
            f"{name}={seconds} is no number of seconds from 0 to {LONGEST // 1_000_000}"
        )
    return round(seconds * 1_000_000)
