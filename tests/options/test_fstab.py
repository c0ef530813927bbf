"""The options of mount(8): which are ours, which are the kernel's, which change nothing."""

import pytest

from scullvfs.errors import UsageError
from scullvfs.options.fstab import options_of_fstab
from scullvfs.options.table import MountOptions, parse_options


def read(*arguments: str, sloppy: bool = False) -> MountOptions:
    """What a helper makes of `arguments`, on the source `none`."""
    return options_of_fstab(arguments, source="none", sloppy=sloppy)


def refusal(*arguments: str, sloppy: bool = False) -> str:
    """What a helper says against `arguments`."""
    with pytest.raises(UsageError) as refused:
        read(*arguments, sloppy=sloppy)
    return str(refused.value)


@pytest.mark.parametrize(
    "word",
    [
        *("", "defaults", "rw", "auto", "noauto", "nofail", "_netdev", "suid", "dev", "exec"),
        *("user", "user=ada", "nouser", "users", "owner", "group", "async", "atime", "relatime"),
        *("nostrictatime", "lazytime", "x-systemd.automount", "x-systemd.idle-timeout=10min"),
        *("X-mount.mkdir", "x-gvfs-show", "comment=the devices", "silent", "diratime"),
    ],
)
def test_options_of_fstab_changes_nothing(word: str) -> None:
    """What mount(8) passes on, and what is the default, leaves the mount as it is."""
    assert read(word) == MountOptions(fsname="none")


def test_options_of_fstab_among_others() -> None:
    """Ours are found wherever they stand."""
    assert read("rw,scullv_devs=8,nofail,x-a=b", "_netdev,order=2") == MountOptions(
        scullv_devs=8, scullv_order=2, fsname="none"
    )


def test_options_of_fstab_drivers() -> None:
    """A colon is nothing special in fstab."""
    read_options = read("rw,drivers=scullp:scull,scullp_order=2,nofail")
    assert read_options == MountOptions(drivers="scullp:scull", scullp_order=2, fsname="none")


def test_options_of_fstab_source_wins() -> None:
    """`mount -a` finds a mount by its source, so no option may set another."""
    assert read("fsname=other").fsname == "none"


@pytest.mark.parametrize(
    "flag",
    [
        *("ro", "noexec", "nosuid", "nodev", "noatime", "nodiratime", "strictatime"),
        *("sync", "dirsync"),
    ],
)
def test_flag(flag: str) -> None:
    """What the kernel carries out is a flag, here as on the command line."""
    assert read(flag).flags == parse_options([flag]).flags == {flag}


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("ro,rw", set()),
        ("rw,ro", {"ro"}),
        ("noexec,ro,exec", {"ro"}),
        ("sync,async,noatime,atime,nodiratime,diratime,strictatime,relatime", set()),
    ],
)
def test_flag_last_one_counts(text: str, flags: set[str]) -> None:
    """An opposite takes a flag back, and only that one."""
    assert parse_options([text]).flags == flags


def test_flag_has_no_value() -> None:
    """`ro=1` is no flag."""
    assert refusal("ro=1").startswith("unknown option 'ro'")


def test_options_of_fstab_unknown() -> None:
    """An option of nobody is refused, with a suggestion from ours and the kernel's."""
    assert refusal("nofail,ordr=3") == "unknown option 'ordr'; did you mean 'order'?"
    assert refusal("noexce") == "unknown option 'noexce'; did you mean 'noexec'?"


def test_options_of_fstab_of_mount_alone() -> None:
    """The words of fstab are for mount(8); `scullvfs mount` does not know them."""
    with pytest.raises(UsageError, match="unknown option 'nofail'"):
        parse_options(["nofail"])


def test_options_of_fstab_sloppy() -> None:
    """`mount -s` leaves out what does not exist, but no value that cannot be."""
    assert read("ordr=3,devs=2,ro", sloppy=True) == MountOptions(
        scullv_devs=2, fsname="none", flags=frozenset({"ro"})
    )
    assert refusal("order=19", sloppy=True).startswith("order=19 is not possible")


def test_options_of_fstab_remount() -> None:
    """A mount cannot take new options; the way that there is is named."""
    assert "'mount -i -o remount,ro,nosuid,nodev /mnt/x'" in refusal("rw,remount,ro")
