"""Which options come from a snapshot, and which are given with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scullvfs.errors import UsageError
from scullvfs.options.table import parse_options
from scullvfs.snapshot.file import Writer
from scullvfs.snapshot.options import mount_options, of_machine


def saved(path: Path, options: str) -> str:
    """A snapshot without a machine, of a mount with these options; its path."""
    with open(path / "machine.snap", "wb") as file:
        Writer(file.write, of_machine(parse_options([options]))).done()
    return str(path / "machine.snap")


@pytest.mark.parametrize("then", [True, False])
@pytest.mark.parametrize("now", [True, False])
def test_how_it_is_served_is_of_each_mount(tmp_path: Path, then: bool, now: bool) -> None:
    """The kernel's writing back, its flags and the files' owner, as at any other mount."""
    file = saved(tmp_path, f"semantics=file,seed=7{',writeback,noatime,uid=5' if then else ''}")
    options = mount_options([f"restore={file}", "writeback,nosuid,uid=6" if now else ""])
    assert (options.semantics, options.seed, options.restore) == ("file", 7, file)
    given = parse_options(["semantics=file", "writeback,nosuid,uid=6" if now else ""])
    assert (options.writeback, options.flags, options.uid) == (now, given.flags, given.uid)


def test_what_does_not_go_with_the_machine(tmp_path: Path) -> None:
    """The file has one part of it, and the command line the other."""
    file = saved(tmp_path, "semantics=device")
    with pytest.raises(UsageError, match=r"^writeback is not possible with semantics=device"):
        mount_options([f"restore={file},writeback"])
