"""An ordinary user's mount, hostile or not, in root's eyes."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from ...mounts.test_answers import REPORT
from .elsewhere import OPEN_DEVICE, Elsewhere, needs_root

HOSTILE = Path(__file__).parents[1] / "hostile.py"

AS_NOBODY = """
import json, os, stat, sys
import pyfuse3, trio, trio._core._run
os.chdir("/")
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
source = compile(sys.argv.pop(1), "hostile.py", "exec")
exec(source, {"__name__": "__main__"})
"""


@pytest.mark.long
@needs_root
@pytest.mark.usefixtures("open_to_others")
def test_hostile_user(elsewhere: Elsewhere, theirs: Path) -> None:
    """Root is told the mount's true user, believes no pid, and takes it down."""
    lies = {"files": {"pid": "1", "status": json.dumps(REPORT | {"uid": 0})}}
    words = [sys.executable, "-c", AS_NOBODY, HOSTILE.read_text(), str(theirs), json.dumps(lies)]
    script = f"""
        {shlex.join(words)} >{elsewhere.scratch}/said & hostile=$!
        while ! grep -qs ready {elsewhere.scratch}/said; do kill -0 $hostile; sleep 0.01; done
        scullvfs status --json {theirs}
        scullvfs mount {theirs} || echo "status $?"
        scullvfs umount {theirs}; wait $hostile
    """
    done = elsewhere(OPEN_DEVICE, script)
    answers, end = json.JSONDecoder().raw_decode(done.stdout)
    assert [(a["state"], a["uid"], a["pid"]) for a in answers] == [("running", 65534, None)]
    assert done.stdout[end:].strip() == "status 3"
    assert done.stderr == (
        f"scullvfs: scullvfs is already mounted on {theirs}; "
        f"'scullvfs umount {theirs}' takes it down\n"
    )
    assert done.returncode == 0


@pytest.mark.long
@needs_root
@pytest.mark.usefixtures("open_to_others")
def test_honest_user(elsewhere: Elsewhere, theirs: Path) -> None:
    """Root knows the daemon, and waits for it; its source has gone through fusermount3."""
    source = r"т\,\134\012\377 b"
    script = f"""
        nobody mount -o {shlex.quote(f"mem=4M,fsname={source}")} {theirs}
        scullvfs status --json {theirs}; scullvfs umount {theirs}
    """
    done = elsewhere("export LC_ALL=C.UTF-8\n" + OPEN_DEVICE, script)
    assert (done.returncode, done.stderr) == (0, "")
    (answer,) = json.loads(done.stdout)
    assert answer["source"] == r"т,\134\012\377 b"
    assert answer["uid"] == 65534
    assert answer["pid"] is not None
