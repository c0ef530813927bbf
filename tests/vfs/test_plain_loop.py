"""A pyfuse3 that has changed: the loop does not fit in, and pyfuse3 waits by itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .helpers import Scullvfs, shell, wait_until
from .troubles import TROUBLES

PROGRAM = """
import builtins, types
import scullvfs.fuse
import pyfuse3, trio
{change}
from scullvfs.cli import main
main()
"""

CHANGES = {
    "trio": """
changed = types.ModuleType("trio")
changed.__dict__.update(trio.__dict__)
pyfuse3.trio = changed
""",
    "version": 'pyfuse3.__version__ = "3.6.0"',
    # Where pyfuse3's functions find a name though the module has none.
    "no trio": "builtins.trio = trio; del pyfuse3.trio",
    "no loop": "builtins._session_loop = pyfuse3._session_loop; del pyfuse3._session_loop",
}


@pytest.fixture(params=CHANGES)
def changed(scullvfs: Scullvfs, request: pytest.FixtureRequest) -> Scullvfs:
    """The program with such a pyfuse3."""
    program = PROGRAM.format(change=CHANGES[request.param])
    scullvfs.command = [sys.executable, "-c", program]
    return scullvfs


@pytest.mark.long
def test_plain_loop(changed: Scullvfs, mountpoint: Path) -> None:
    """It says so once, and everything works as ever: calls of a page and of many, and ioctl."""
    with changed.start("mount", "-f", "-o", "mem=16M", mountpoint) as process:
        wait_until(
            lambda: process.poll() is not None or changed.mounted(mountpoint), "it is mounted"
        )
        done = shell(
            """
            head -c 300000 /dev/urandom >"$dir/source" &&
            dd if="$dir/source" of="$mnt/scullv0" bs=1M && cmp "$mnt/scullv0" "$dir/source" &&
            cp "$mnt/scullv0" "$mnt/scullv1" && cmp "$mnt/scullv1" "$dir/source" &&
            dd if="$dir/source" of="$mnt/scullv2" bs=1000 &&
            cmp "$mnt/scullv2" "$dir/source" && stat -c %s "$mnt/scullv2"
            """,
            mnt=mountpoint,
            dir=mountpoint.parent,
        )
        assert (done.returncode, done.stdout) == (0, "300000\n"), done.stderr
        assert changed("ioctl", mountpoint / "scullv0", "query-order").stdout == "4\n"
        assert changed("umount", mountpoint).returncode == 0
        said = process.communicate()[1].splitlines()
    (line,) = [line for line in said if "mounted" not in line]
    assert TROUBLES["log-loop"].fits(line.removeprefix("scullvfs: "))
