"""Tracing a mount from outside: events on, what they record as it comes, and all as it was before.

It is done by the files of `sys/kernel/tracing`, as a user would do it by hand.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from scullvfs.errors import BusyError, NotMountedError, ScullvfsError, UsageError
from scullvfs.interrupts import put_off_interrupts
from scullvfs.options.hint import did_you_mean
from scullvfs.text import mangled, shown

from .health import trouble_of
from .mountinfo import Mount
from .probe import ANSWER_TIMEOUT, ask, enter, who_may_enter
from .reader import PATIENCE, begin_reader

__all__ = ["TRACING", "traced"]

TRACING: Final = "sys/kernel/tracing"

_WRONG: Final = errno.EDOM
"""What the child says of an event that is not there; no file of the mount gives that."""


@contextmanager
def traced(mount: Mount, events: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Switch `events` on, yield what prints their records, and put back what was on before.

    Without `events` those are followed that are on, and if there are none, all.

    Raises:
        UsageError: there is no such event.
        NotMountedError, RefusedError, BusyError: it is dead, or another user's, or no answer comes.
    """
    with put_off_interrupts():
        before = _switch_on(mount, events)
    try:
        reader = begin_reader(mount, f"{TRACING}/trace_pipe")
        try:
            yield reader
        finally:
            reader.kill()
            with suppress(subprocess.TimeoutExpired):  # a daemon that hangs holds it
                reader.wait(PATIENCE)
    finally:
        with put_off_interrupts(), suppress(NotMountedError):  # it may have ended meanwhile
            _put_back(mount, before)


def _switch_on(mount: Mount, events: Sequence[str]) -> list[str]:
    """Returns what undoes it: pairs of a file and what is written to it."""

    def switch() -> bytes:
        root = f"{enter(mount)}/{TRACING}"
        before = _read(root, "set_event").split()
        on = _read(root, "tracing_on").strip()
        wanted = list(events) or ([] if before else [":"])
        names = _read(root, "available_events").split()
        wrong = [word for word in wanted if not _means(word, names)]
        if wrong:
            raise OSError(_WRONG, wrong[0])
        for word in wanted:
            _write(root, "set_event", word)
        if on == "0":
            _write(root, "tracing_on", "1")
        more = [name for name in _read(root, "set_event").split() if name not in before]
        return json.dumps([on, *more]).encode()

    answer: list[str] = json.loads(_asked(mount, switch, events))
    return answer


def _put_back(mount: Mount, before: list[str]) -> None:
    """Switch off what was off before."""
    on, *more = before

    def switch() -> bytes:
        root = f"{enter(mount)}/{TRACING}"
        for name in more:
            _write(root, "set_event", f"!{name}")
        if on == "0":
            _write(root, "tracing_on", "0")
        return b""

    _asked(mount, switch, ())


def _means(word: str, names: Sequence[str]) -> bool:
    """Whether a word means one of some events (Linux: ftrace_set_clr_event())."""
    system, colon, event = word.partition(":")
    parts = [name.split(":") for name in names]
    if not colon:
        return any(word in pair for pair in parts)
    return any(system in ("", "*", of) and event in ("", "*", name) for of, name in parts)


def _asked(mount: Mount, question: Callable[[], bytes], events: Sequence[str]) -> bytes:
    try:
        return ask(question, timeout=ANSWER_TIMEOUT, identity=who_may_enter(mount))
    except OSError as error:
        if error.errno == _WRONG:
            raise _unknown(mount, events) from None
        raise (
            trouble_of(error, mount.path, "trace", TRACING)
            or BusyError(f"cannot trace {shown(mount.path)}: {error.strerror}")
        ) from None


def _unknown(mount: Mount, events: Sequence[str]) -> ScullvfsError:
    """Which of the words it is, and what it may have been meant to be."""

    def names() -> bytes:
        return _read(f"{enter(mount)}/{TRACING}", "available_events").encode()

    known = _asked(mount, names, ()).decode().split()
    word = next(word for word in events if not _means(word, known))
    words = {part for name in known for part in (name, *name.split(":"))}
    hint = did_you_mean(word, sorted(words))
    return UsageError(
        f"unknown event '{mangled(word)}'{hint or f'; {TRACING}/available_events has them all'}"
    )


def _read(root: str, name: str) -> str:
    fd = os.open(f"{root}/{name}", os.O_RDONLY)
    try:
        parts = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts).decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)


def _write(root: str, name: str, text: str) -> None:
    """Without O_TRUNC, which would switch all off."""
    fd = os.open(f"{root}/{name}", os.O_WRONLY)
    try:
        os.write(fd, os.fsencode(text))
    finally:
        os.close(fd)
