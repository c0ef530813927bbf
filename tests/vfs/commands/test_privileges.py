"""Users and their powers: root without a capability, and what an ordinary user can and cannot."""

import errno
import os
import shlex
import sys
from pathlib import Path

import pytest

from ..troubles import TROUBLES, refusal
from .elsewhere import AS_NOBODY, OPEN_DEVICE, Elsewhere, needs_root

WEAK = "exec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin"
"""Root as in a container that was not given the capability to mount."""


@pytest.mark.long
@needs_root
def test_root_without_the_capability(elsewhere: Elsewhere, theirs: Path) -> None:
    """Says what a container needs, in fusermount3's words, each of them once."""
    script = f"{WEAK} {shlex.join(elsewhere.scullvfs.command)}"
    said = refusal(elsewhere("", f"{script} mount -o mem=16M {theirs}"), "not-permitted")
    assert said == (
        f"cannot mount on {theirs}: fusermount3: mount failed: Operation not permitted; "
        "a container needs '--cap-add SYS_ADMIN'"
    )


@pytest.mark.long
@needs_root
@pytest.mark.parametrize(
    ("fusermount", "reason"),
    [
        ("/dev/null", "Permission denied"),
        ("{scratch}/script", "No such file or directory"),
        ("{scratch}/garbage", "Exec format error"),
    ],
)
def test_root_without_the_capability_and_fusermount(
    elsewhere: Elsewhere, theirs: Path, fusermount: str, reason: str
) -> None:
    """libfuse has then tried all that it knows; what it says of it differs with its version."""
    for name, text in (("script", "#!/no/such/shell\n"), ("garbage", "\1\2")):
        (elsewhere.scratch / name).write_text(text)
        (elsewhere.scratch / name).chmod(0o755)
    change = f'mount --bind {fusermount} "$(command -v fusermount3)"'
    script = f"{WEAK} {shlex.join(elsewhere.scullvfs.command)}"
    said = refusal(elsewhere(change, f"{script} mount -o mem=16M {theirs}"), "no-helper")
    assert f"fusermount3 cannot be run ({reason});" in said


LATE = """
import scullvfs.daemon.start
from scullvfs.cli import main
scullvfs.daemon.start.check_requirements = lambda **_: None
main()
"""


@pytest.mark.long
@needs_root
@pytest.mark.parametrize(
    ("change", "trouble"),
    [
        ("mount -t tmpfs tmpfs /dev", "no-device"),
        ("mount --bind /dev/null /dev/fuse", "other-device"),
    ],
)
def test_device_is_gone_when_libfuse_wants_it(
    elsewhere: Elsewhere, theirs: Path, change: str, trouble: str
) -> None:
    """It was there a moment ago; the words and the status are as if it had been missed then."""
    command = shlex.join([sys.executable, "-c", LATE, "mount", "-f", str(theirs)])
    refusal(elsewhere(change, command), trouble)


@pytest.mark.long
@needs_root
@pytest.mark.parametrize(
    ("change", "trouble"),
    [
        ('mount --bind /dev/null "$(command -v fusermount3)"', "no-fusermount-umount"),
        ("rm /etc/mtab", "umount-fails"),
    ],
)
def test_ordinary_user_cannot_unmount_any_more(
    elsewhere: Elsewhere, theirs: Path, change: str, trouble: str
) -> None:
    """What fusermount3 needs has gone since the mount was made."""
    script = f"""
        nobody mount -o mem=16M {theirs}
        {change}
        set +e
        nobody umount {theirs}
        status=$?
        umount {theirs}
        exit $status
    """
    refusal(elsewhere(OPEN_DEVICE, script), trouble)


UNCHECKED = AS_NOBODY.replace(
    "os.setgroups", "scullvfs.daemon.start.check_mount_point = lambda path, **_: path\nos.setgroups"
)


@pytest.mark.long
@needs_root
def test_fusermount_refuses(elsewhere: Elsewhere, theirs: Path) -> None:
    """A directory that was closed after it was checked; the words are fusermount3's."""
    (theirs / "private" / "mnt").mkdir(parents=True)
    (theirs / "private").chmod(0o700)
    command = shlex.join([sys.executable, "-c", UNCHECKED])
    done = elsewhere(OPEN_DEVICE, f"{command} mount -o mem=16M {theirs}/private/mnt")
    refusal(done, "denied")


@pytest.mark.long
@needs_root
def test_mount_of_another_user_in_the_way(elsewhere: Elsewhere, theirs: Path) -> None:
    """Nobody may not know whether root's mount lives, and cannot take it down."""
    script = f"""
        scullvfs mount -o mem=16M {theirs}
        set +e
        nobody mount -o remount_stale {theirs}
        status=$?
        scullvfs umount {theirs}
        exit $status
    """
    refusal(elsewhere(OPEN_DEVICE, script), "foreign-mount")


@pytest.mark.long
@needs_root
def test_ordinary_user_has_the_devices(elsewhere: Elsewhere, theirs: Path) -> None:
    """Nobody reads, writes, controls, opens and closes their devices; root is not let in."""
    device = f"{theirs}/scullv0"
    script = f"""
        as_nobody() {{ setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }}
        nobody mount -o mem=16M,mode=0600 {theirs}
        as_nobody sh -c 'echo hello > {device}; cat {device}; chmod 0644 {device}'
        as_nobody stat -c '%a %u %g' {device}
        nobody ioctl {device} shift-order 2
        as_nobody cat {theirs}/sys/module/scullv/parameters/scullv_order
        as_nobody chown 0 {device} 2>&1 || true
        cat {device} 2>&1 || true
        nobody umount {theirs}
    """
    done = elsewhere(OPEN_DEVICE, script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "hello",
        "644 65534 65534",
        "4",
        "2",
        f"chown: changing ownership of '{device}': Operation not permitted",
        f"cat: {device}: {os.strerror(getattr(errno, TROUBLES['not-let-in'].outcome))}",
    ]


@pytest.mark.long
@needs_root
def test_fusermount_without_setuid(elsewhere: Elsewhere, theirs: Path) -> None:
    """A fusermount3 that was copied, not installed."""
    change = OPEN_DEVICE + (
        'cp "$(command -v fusermount3)" {scratch}/copy && chmod 755 {scratch}/copy\n'
        'mount --bind {scratch}/copy "$(command -v fusermount3)"'
    )
    refusal(elsewhere(change, f"nobody mount {theirs}"), "no-setuid")
