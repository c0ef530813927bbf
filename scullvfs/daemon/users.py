"""Which processes keep a mount busy, as far as this user may see.

For the words of an error only: what /proc shows of open files and working directories.
Processes of other users are hidden from an ordinary one, and a file that is only mapped
does not show. Reading the links touches no mount.
"""

import pwd
from collections.abc import Iterator
from pathlib import Path

__all__ = ["describe_users", "user_name"]


def describe_users(
    mountpoint: str, *, but_not: int | None = None, proc: Path = Path("/proc")
) -> str:
    """`bash (pid 17), dd (pid 23)`, without pid *but_not*; `a process` if none can be seen."""
    users = [
        f"{_name(process)} (pid {process.name})"
        for process in sorted(proc.glob("[0-9]*"), key=lambda process: int(process.name))
        if process.name != str(but_not)
        and any(_is_below(link, mountpoint) for link in _links(process))
    ]
    return ", ".join(users) or "a process"


def user_name(uid: int) -> str:
    """The user's name in the user database; `uid 1234` if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _links(process: Path) -> Iterator[str]:
    try:
        for link in (process / "cwd", process / "root", *(process / "fd").iterdir()):
            yield str(link.readlink())
    except OSError:  # another user's process, or one that has ended
        return


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
