"""`scullvfs demo`: a first tour, with real commands on a mount in a temporary directory.

Nothing here is a transcript: what is printed comes from the commands, and a step whose
outcome is not what the text says ends the tour.
"""

import click

from scullvfs.errors import ExitStatus, ScullvfsError
from scullvfs.interrupts import put_off_interrupts

from .help import Command
from .tour import Shell, tell, temporary_directory

__all__ = ["demo"]


@click.command(
    cls=Command,
    examples=[("scullvfs demo", "Takes a second, and leaves nothing behind.")],
    statuses=ExitStatus,  # those of the commands that it runs
)
def demo() -> None:
    """Show what scullvfs does, on a temporary mount."""
    with temporary_directory("demo") as directory:
        show = Shell("demo", directory).show
        tell(
            "scullvfs serves the devices of the scullv driver from Linux Device Drivers, on an "
            "emulated vmalloc. This tour mounts them in a directory of its own, and removes it."
        )
        with put_off_interrupts():
            show("scullvfs mount mnt")
        show("ls mnt")
        tell("The devices, and proc, where the emulated machine can be looked into.")

        show("head -c 1M /dev/urandom >original")
        show("dd if=original of=mnt/scullv0 bs=64k")
        tell(
            "One MiB went into scullv0: 16 calls of write(2), and for each the driver took a "
            "quantum of 64 KiB from vmalloc."
        )

        expected = show("sha256sum <original")
        if show("cat mnt/scullv0 | sha256sum") != expected:
            raise ScullvfsError("demo: what was read back is not what was written")
        tell("The same sum: what was read back is what was written.")

        if "0+16 records in" not in show("dd if=mnt/scullv0 of=/dev/null bs=1M"):
            raise ScullvfsError("demo: dd did not get 16 short reads")
        tell(
            '"0+16" counts no full record and 16 short ones: dd asks for 1 MiB each time, but as '
            "in the real driver a read ends at its quantum."
        )

        show("head -n 8 mnt/proc/scullvmem")
        tell(
            "The driver's own listing: the device, its list item, and the address of each quantum."
        )

        show("head -n 8 mnt/proc/vmallocinfo")
        tell(
            "The emulated kernel's listing: an area of 16 pages takes the addresses of 17. The "
            "last is its guard page, and nothing is mapped there."
        )

        show(": >>mnt/scullv0")
        if show("stat -c '%n: %s bytes' mnt/scullv0").split()[-2:] != ["0", "bytes"]:
            raise ScullvfsError("demo: a write-only open did not empty the device")
        tell(
            "On an ordinary file >> alone changes nothing. This driver empties the device at every "
            "write-only open, and gives all its quanta back with vfree."
        )

        show("scullvfs umount mnt")
        tell("That was all. To go on: scullvfs mount --help")
