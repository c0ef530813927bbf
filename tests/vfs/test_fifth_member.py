"""The exercise of docs/driver.md: a fifth member of the family, added to a copy of the package."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .helpers import SOURCE, Scullvfs, mount_point
from .test_pages import Session, commands

PAGE = (SOURCE / "docs/driver.md").read_text().partition("## Exercise: ")[2]
(DIFF,) = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(SESSION,) = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def session(scullvfs: Scullvfs, tmp_path: Path) -> Iterator[Session]:
    """A shell in a copy of the package, which its programs import."""
    shutil.copytree(
        SOURCE / "scullvfs", tmp_path / "scullvfs", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "scullx.diff").write_text(DIFF)
    with mount_point(scullvfs, tmp_path / "scullv") as mountpoint:
        session = Session(tmp_path, mountpoint, scullvfs, pipx=False)
        session.env["PYTHONPATH"] = str(tmp_path)
        yield session
        if scullvfs.mounted(mountpoint):
            scullvfs("umount", mountpoint)


def test_it_is_short() -> None:
    """Fewer than 40 lines, but for the empty ones."""
    assert 20 < len(re.findall(r"^\+(?!\+\+ b)(?=.)", DIFF, re.MULTILINE)) < 40


@pytest.mark.long
def test_exercise(session: Session) -> None:
    """What the page says prints what it says."""
    for command, shown in commands(SESSION):
        assert session.output(command) == shown, command


@pytest.mark.long
def test_it_is_taken_as_the_others_are(session: Session) -> None:
    """In the help, by TAB and by ioctl nothing else has to be changed; and types hold."""
    assert session.output("git apply scullx.diff") == ""
    assert "scullx_quantum= [4000]" in session.output("scullvfs mount --help")
    typed = "COMP_WORDS='scullvfs mount -o drivers=scull:' COMP_CWORD=3"
    asked = f"env _SCULLVFS_COMPLETE=bash_complete {typed} scullvfs"
    assert "scull:scullx" in session.output(asked) or "scullx" in session.output(asked)
    assert session.output("scullvfs mount -o scullx_devs=2 /mnt/scullv") == (
        "scullvfs: scullx_devs is an option of scullx, which is not loaded; "
        "write 'drivers=scullv:scullx' to have it\n"
    )
    assert session.output("python3 -m mypy --strict scullvfs/scull/scullx.py").startswith("Success")
