"""Which processes keep a mount busy, as far as this user may see.

For the words of an error only: what /proc shows of open files and working directories.
Processes of other users are hidden from an ordinary one, and a file that is only mapped
does not show. Reading the links touches no mount. A process is called what it likes, so its name
is bytes.
"""

import os
import pwd
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from scullvfs.text import shell_word

__all__ = ["Use", "describe_users", "user_name", "users_of", "uses_of"]


class Use(NamedTuple):
    """One thing by which a process keeps a mount busy."""

    pid: int
    link: str
    """Below its directory in /proc: `cwd`, `root`, `fd/3`."""
    path: str
    """Where that leads."""


def uses_of(mountpoint: str, *, but_not: int | None = None) -> set[Use]:
    """All that can be seen to keep it busy, without what the process `but_not` has."""
    return {
        use
        for pid in [int(name) for name in os.listdir("/proc") if name.isdecimal()]
        if pid != but_not
        for use in _links(pid)
        if _is_below(use.path, mountpoint)
    }


def users_of(mountpoint: str, *, but_not: int | None = None) -> list[int]:
    """The pids of all that can be seen to use it, without `but_not`."""
    return sorted({use.pid for use in uses_of(mountpoint, but_not=but_not)})


def describe_users(users: Iterable[int]) -> str:
    """`bash (pid 17), dd (pid 23)`; `a process` if there are none."""
    return ", ".join(f"{_name(pid)} (pid {pid})" for pid in users) or "a process"


def user_name(uid: int) -> str:
    """The user's name in the user database; `uid 1234` if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _links(pid: int) -> Iterator[Use]:
    directory = f"/proc/{pid}"
    try:
        for link in ("cwd", "root", *(f"fd/{fd}" for fd in os.listdir(f"{directory}/fd"))):
            yield Use(pid, link, os.readlink(f"{directory}/{link}"))
    except OSError:  # another user's process, or one that has ended
        return


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _name(pid: int) -> str:
    """Quoted where it could be taken for words of ours."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as comm:
            return shell_word(comm.read().removesuffix(b"\n"))
    except OSError:
        return "?"
