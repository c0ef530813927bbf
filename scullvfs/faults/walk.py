"""The walk: a command again and again, with another request failing each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from scullvfs.daemon.start import import_server
from scullvfs.options.table import MountOptions

from .looking import KNOBS
from .trial import Trial, try_once

__all__ = ["walk"]


def walk(
    options: MountOptions, program: str, command: Sequence[str], timeout: float
) -> Iterator[Trial]:
    """How each trial went: one without a fault, then for each fault N = 1, 2, ...

    It goes on to the next fault once the N-th request is not reached any more: that trial is not
    among them, unless something was found in it.  Where something is found without a fault that is
    all, since it would be found each time.

    Raises:
        ScullvfsError: there is no such mount, or no such command.
    """
    import_server()  # once, and each daemon is forked from here
    plain = try_once(options, program, command, next(iter(KNOBS)), 0, timeout)
    yield plain
    if plain.found:
        return
    for fault in KNOBS:
        for nth in count(1):
            trial = try_once(options, program, command, fault, nth, timeout)
            if trial.reached or trial.found:
                yield trial
            if not trial.reached:
                break
