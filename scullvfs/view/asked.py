"""The question to a mount: what a picture needs, read by a child process, which may hang.

What the errno of its answer means is said here, once for all pictures.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from typing import Final, TypeVar

from scullvfs.errors import BusyError, NotMountedError, RefusedError, ScullvfsError, UsageError
from scullvfs.mounts.health import State, how_is, is_gone, no_answer, state_of
from scullvfs.mounts.mountinfo import Mount, is_mounted, mount_at
from scullvfs.mounts.place import find_scullvfs, resolve
from scullvfs.mounts.probe import ANSWER_TIMEOUT, Question, enter, who_may_enter
from scullvfs.scull.family import driver_of_device
from scullvfs.text import argument, shown

from .files import Files, nonsense
from .plain import decoded, encoded

__all__ = ["ask_at_once", "ask_mount", "answer_of", "find_device", "question_to"]

T = TypeVar("T")

READ_TIMEOUT: Final = 60.0
"""Seconds that reading may take: a large machine on a busy host."""
READ_MEMORY: Final = 4 << 30
"""Bytes that it may take: files of another's choice lead to more than any machine's has."""
TIMES: Final = 3
"""How often it is read while it changes."""


def find_device(path: str) -> tuple[Mount, str]:
    """The mount of a device, and the device's name; the link `scullv` is `scullv0`.

    Raises:
        NotMountedError: it is in no scullvfs mount, or no device.
        UsageError: it is a mount, of which a device has to be named.
    """
    try:
        real = resolve(path)
    except TimeoutError:
        raise no_answer(path, ANSWER_TIMEOUT) from None
    except OSError as error:
        raise NotMountedError(f"cannot look for {shown(path)}: {error.strerror}") from None
    itself = mount_at(real)
    if itself is not None and itself.is_scullvfs and itself.root == "/":
        raise UsageError(f"{shown(path)} is a mount; name a device in it, such as scullv0")
    directory, name = os.path.split(real)
    mount = mount_at(directory)
    driver = driver_of_device(name)
    if mount is None or not mount.is_scullvfs or driver is None:
        raise NotMountedError(f"{shown(path)} is no device in a scullvfs mount")
    if name == driver.name:  # the link, of a mount that cannot be asked where it leads
        name += "0"
    return find_scullvfs(directory), name


def ask_mount(mount: Mount, kind: type[T], read: Callable[[Files], T], what: str) -> T:
    """What `read` makes of the files of a mount, and checked.

    Args:
        kind: the type of the model.
        what: the path of what is drawn, for people.

    Raises:
        NotMountedError: it is dead, or what is drawn is not there.
        BusyError: no answer within ANSWER_TIMEOUT seconds, or READ_TIMEOUT for all of them, or it
            changes all the time.
        RefusedError: this user may not read a file of it.
        UsageError: there are no such addresses.
        ScullvfsError: its files say what cannot be.
    """
    health = how_is(mount, timeout=ANSWER_TIMEOUT)
    if health.state is not State.RUNNING:
        raise _trouble(health.state, mount, what, health.reason)
    return ask_at_once(mount, kind, read, what)


def ask_at_once(mount: Mount, kind: type[T], read: Callable[[Files], T], what: str) -> T:
    """The same of a mount that has just answered: if it hangs, that takes READ_TIMEOUT.

    Raises:
        ScullvfsError: as `ask_mount`.
    """
    return answer_of(question_to(mount, read), mount, kind, what)


def question_to(mount: Mount, read: Callable[[Files], object]) -> Question:
    """What `read` makes of the files of a mount, asked for; the answer is for `answer_of`."""

    def question() -> bytes:
        _limit_memory()
        files = Files(enter(mount))
        for last in (False,) * (TIMES - 1) + (True,):
            try:
                return encoded(read(files))
            except MemoryError:
                raise nonsense("it takes more memory than any machine") from None
            except OSError as error:
                if error.errno != errno.EBADMSG or last:
                    raise
        raise AssertionError

    return Question(question, who_may_enter(mount))


def answer_of(question: Question, mount: Mount, kind: type[T], what: str) -> T:
    """The answer of a mount, checked; arguments and errors are those of `ask_mount`."""
    try:
        return decoded(kind, question.answer(READ_TIMEOUT))
    except ValueError:
        raise ScullvfsError(f"{shown(mount.path)} says what makes no sense") from None
    except OSError as error:
        raise _explain(error, mount, what) from None


def _limit_memory() -> None:
    """Have this process get no more than READ_MEMORY beside what it has."""
    with open("/proc/self/statm", "rb") as statm:
        pages = int(statm.read().split()[0])
    _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + READ_MEMORY
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _trouble(
    state: State, mount: Mount, what: str, reason: str, timeout: float = ANSWER_TIMEOUT
) -> ScullvfsError:
    """What to say of a mount that does not answer as it should."""
    if state is State.HUNG:
        return no_answer(mount.path, timeout)
    if state is State.DEAD:
        return is_gone(mount.path)
    if state is State.CLOSED:
        return RefusedError(
            f"{shown(what)}: {reason}; its owner and root may read proc/kcore and its like"
        )
    return NotMountedError(f"{shown(what)}: {reason}")


def _explain(error: OSError, mount: Mount, what: str) -> ScullvfsError:
    state = state_of(error)
    if state is not State.UNKNOWN:
        return _trouble(state, mount, what, str(error.strerror), READ_TIMEOUT)
    if error.errno == errno.EBADMSG:
        return BusyError(
            f"{shown(what)} changes all the time, or its files are not those of scullvfs; "
            "try again when nothing writes"
        )
    if error.errno == errno.ERANGE:
        return UsageError(
            f"these addresses are no part of the window of {shown(what)}; 'scullvfs map "
            f"{argument(what)}' says where that is"
        )
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ESTALE, errno.ENOTDIR):
        if not is_mounted(mount):
            return is_gone(mount.path)
        return NotMountedError(f"{shown(what)} is not there: {error.strerror}")
    return ScullvfsError(f"{shown(what)}: {error.strerror}")
