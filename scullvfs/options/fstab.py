"""What mount(8) hands to a helper in `-o`: our options among those of mount(8) itself.

A line of fstab also says who may mount it, when, and how systemd orders it. That is none
of the file system's business, but mount(8) passes much of it on. Used by
`scullvfs.cli.mount_helper`. util-linux: libmount/src/optmap.c
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from scullvfs.errors import UsageError

from .kernel_flags import OF_MOUNT_ALONE
from .optstring import split
from .parsers import text
from .table import MountOptions, is_option, parse_options

__all__ = ["options_of_fstab"]

_OF_MOUNT_WITH_VALUE: Final = ("user", "comment", "uhelper", "helper")
"""Words of mount(8) that come as `word=value`."""


def options_of_fstab(
    arguments: Iterable[str],
    *,
    source: str,
    sloppy: bool,
    parse: Callable[[Iterable[str]], MountOptions] = parse_options,
) -> MountOptions:
    """Read `arguments`, those of a helper's `-o`, and name the mount after `source`.

    With `sloppy`, what nobody knows is left out; a bad value of what is known is not.

    Args:
        parse: makes options of those that are no business of mount(8).

    Raises:
        UsageError: an option that does not exist, or a value that cannot be.
    """
    given = (item for argument in arguments for item in split(argument))
    items = [item for item in given if not _is_of_mount(item)]
    if "remount" in items:
        raise UsageError(
            "a mount takes no new options; 'scullvfs reload' sets its order and qset, and "
            "'mount -i' the kernel's own, as in 'mount -i -o remount,ro,nosuid,nodev /mnt/x'"
        )
    if sloppy:
        items = [item for item in items if is_option(item)]
    try:
        text()(source)
    except ValueError:
        raise UsageError(f"the source must be {text().expects}") from None
    # 'mount -a' takes what is mounted for the line of fstab only if it bears the same source.
    return replace(parse(items), fsname=source)


def _is_of_mount(item: str) -> bool:
    name, equals, _ = item.partition("=")
    if name[:2] in ("x-", "X-"):
        return True
    return name in (_OF_MOUNT_WITH_VALUE if equals else OF_MOUNT_ALONE)
