"""The flags that every file system can be mounted with, such as `ro` and `noexec`.

The kernel carries them out, not the daemon, so they are no rows in the table of options
but words that go through to libfuse. (Those about st_atime the kernel only keeps for a FUSE
mount; `scullvfs.fs.atime` carries them out.) One is off until it is given; its opposite takes
it back. Beside them stand the words that end with mount(8). Used by `table` and `fstab`.
"""

from typing import Final

__all__ = ["KERNEL_FLAGS", "OF_MOUNT_ALONE", "OURS_ALONE", "set_flag"]

_OPPOSITES: Final = {
    "ro": "rw",
    "nosuid": "suid",
    "nodev": "dev",
    "noexec": "exec",
    "noatime": "atime",
    "nodiratime": "diratime",
    "strictatime": "relatime",
    "sync": "async",
    "dirsync": "",
}
"""Flag -> the word that takes it back.

A mount is `nosuid` and `nodev` in any case: nothing in it is a device or runs as another
user, so `suid` and `dev` only take back the word. libfuse: lib/mount.c:mount_flags
"""

KERNEL_FLAGS: Final = {
    **{flag: (flag, True) for flag in _OPPOSITES},
    **{opposite: (flag, False) for flag, opposite in _OPPOSITES.items() if opposite},
}
"""Word -> the flag that it is about, and whether it sets it."""

OURS_ALONE: Final = frozenset(("nodiratime", "strictatime"))
"""Flags that libfuse 3.14 does not know, so that the kernel does not hear of them."""


OF_MOUNT_ALONE: Final = frozenset(
    (
        *("defaults", "auto", "noauto", "nofail", "_netdev"),  # when it is mounted
        *("user", "nouser", "users", "nousers", "owner", "noowner", "group", "nogroup"),  # by whom
        *("norelatime", "nostrictatime"),  # what is so in any case
        *("lazytime", "nolazytime", "iversion", "noiversion", "mand", "nomand"),
        *("silent", "loud", "symfollow"),
    )
)
"""Words of mount(8) that change nothing about the mount itself."""


def set_flag(flags: frozenset[str], word: str) -> frozenset[str]:
    """`flags` after `word`, one of KERNEL_FLAGS."""
    flag, on = KERNEL_FLAGS[word]
    return flags | {flag} if on else flags - {flag}
