"""What of a lab is still missing on a mount, by its files."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import scullvfs
from scullvfs.errors import ScullvfsError, UsageError
from scullvfs.mounts.health import State, no_answer
from scullvfs.mounts.mountinfo import Mount
from scullvfs.mounts.status import ANSWER_TIMEOUT, status
from scullvfs.options.table import OF_THE_MOUNT
from scullvfs.scull.family import DRIVERS
from scullvfs.text import shown
from scullvfs.view.asked import ask_mount
from scullvfs.view.files import Files

from .begin import options_of, source_of
from .lab import Spoilt, Task
from .numbers import Numbers
from .sight import Sight
from .table import LABS

__all__ = ["Result", "check", "tasks"]

FREE: Final = {
    *(name for driver in DRIVERS.values() for name in driver.settable),
    *(OF_THE_MOUNT - {"restore"}),
}
"""Options that a student may change on the mount, or that no lab cares about."""


class Result(NamedTuple):
    """A task, and how it stands."""

    text: str
    missing: str
    """What is missing, in a phrase; nothing if it is done."""


class _Missing(NamedTuple):
    """What comes from the process that looks."""

    phrases: tuple[str, ...]


def tasks(number: int, seed: int) -> tuple[Task, ...]:
    """Those of a lab, for a seed."""
    return LABS[number].tasks(Numbers(number, seed))


def check(number: int, mount: Mount, path: str, seed: int | None) -> list[Result]:
    """How each of a lab's tasks stands.

    Args:
        path: of the mount, for people.
        seed: that it has to have; None, any.

    Raises:
        UsageError: it is another lab's, or of another seed.
        ScullvfsError: it does not answer, or says what cannot be; see `view.asked.ask_mount()`.
    """
    options = _options(mount, path)
    if seed not in (None, options["seed"]):
        raise UsageError(f"the mount on {shown(path)} is another student's")
    expected = options_of(number, options["seed"]).as_dict()
    if not mount.source.startswith(source_of(number)) or any(
        options.get(name) != value for name, value in expected.items() if name not in FREE
    ):
        raise UsageError(
            f"{shown(path)} was not set up by 'scullvfs lab {number}', which mounts on an empty "
            "directory"
        )
    asked = tasks(number, options["seed"])
    found = ask_mount(mount, _Missing, lambda files: _look(files, asked), path)
    return [Result(task.text, said) for task, said in zip(asked, found.phrases, strict=True)]


def _look(files: Files, asked: tuple[Task, ...]) -> _Missing:
    sight = Sight(files)
    phrases = []
    for task in asked:
        try:
            phrases.append(task.missing(sight))
        except Spoilt as spoilt:
            phrases.append(f"{spoilt}; begin anew")
    return _Missing(tuple(phrases))


def _options(mount: Mount, path: str) -> dict[str, Any]:
    """The options that a mount says it has, checked."""
    (answer,) = status([mount])
    report = answer.report
    if answer.state is State.HUNG:
        raise no_answer(path, ANSWER_TIMEOUT)
    if not report:  # whatever is wrong, this has the words for it
        ask_mount(mount, _Missing, lambda _: _Missing(()), path)
        raise ScullvfsError(f"{shown(path)} does not say how it was mounted: {answer.reason}")
    if report["version"] != scullvfs.__version__:
        raise ScullvfsError(f"{shown(path)} is a mount of another scullvfs, {report['version']}")
    options: dict[str, Any] = report["options"]
    return options
