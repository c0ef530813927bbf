"""Who keeps a mount busy."""

import os
from pathlib import Path

from scullvfs.mounts.users import describe_users, users_of


def test_describe_users_open_file(tmp_path: Path) -> None:
    """A process with a file open below the directory is named, with its pid."""
    comm = Path("/proc/self/comm").read_text().strip()
    with open(tmp_path / "file", "w"):
        assert describe_users(users_of(str(tmp_path))) == f"{comm} (pid {os.getpid()})"


def test_describe_users_but_not(tmp_path: Path) -> None:
    """Who asks need not be told of itself."""
    with open(tmp_path / "file", "w"):
        assert describe_users(users_of(str(tmp_path), but_not=os.getpid())) == "a process"


def test_describe_users_none(tmp_path: Path) -> None:
    """A neighbour whose name only begins alike is none of its users."""
    (tmp_path / "mnt").mkdir()
    with open(tmp_path / "mnt2", "w"):
        assert describe_users(users_of(str(tmp_path / "mnt"))) == "a process"
