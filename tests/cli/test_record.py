"""What `scullvfs record` says at the end, and a replay that a mount is to begin with."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from scullvfs.cli.record import _ended
from scullvfs.daemon.build import build
from scullvfs.daemon.replaying import replay_for
from scullvfs.errors import ScullvfsError
from scullvfs.fs.vfs import Vfs
from scullvfs.mounts.mountinfo import Mount
from scullvfs.options.table import MountOptions, parse_options

from ..recording.play import OPTIONS, recorded
from ..vfs.troubles import TROUBLES


def test_end_of_a_recording() -> None:
    """How many calls it has, or why it is not whole."""
    mount = Mount("0:9", "/mnt/scullv", "fuse.scullvfs", ("user_id=0", "group_id=0"))

    def ended(last: bytes) -> str:
        return _ended(last, "run.scull", mount)

    assert ended(b'...}\n{"end":7,"sum":"01234567"}\n') == "7 calls are in run.scull"
    assert ended(b'...}\n{"end":1,"sum":"01234567"}\n') == "1 call is in run.scull"
    for name, last in (
        ("record-slow", b'...}\n{"lost":true,"sum":"01234567"}\n'),
        ("record-cut", b'...}\n{"n":7,"at":'),
        ("record-cut", b'...}\n{"end":7,"sum":"0123'),
        ("record-cut", b""),
    ):
        with pytest.raises(ScullvfsError) as caught:
            ended(last)
        assert TROUBLES[name].fits(str(caught.value))


def test_mount_of_a_replay_that_differs(tmp_path: Path) -> None:
    """A machine of another seed gets other frames, and is not mounted."""
    file = tmp_path / "run.scull"
    file.write_bytes(recorded(OPTIONS, seed=2, count=60))
    for seed, fails in ((5, False), (6, True)):
        with ExitStack() as undo:
            options = parse_options([OPTIONS.replace("seed=5", f"seed={seed}")])
            machine, _, tree = build(options, undo)
            vfs = Vfs(tree, machine)
            given = MountOptions(replay=str(file), replay_to=1000)
            if not fails:
                replay_for(given, machine, tree, vfs)
                continue
            with pytest.raises(ScullvfsError) as caught:
                replay_for(given, machine, tree, vfs)
            assert TROUBLES["replay-differs"].fits(str(caught.value))
