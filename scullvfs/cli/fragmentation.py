"""`scullvfs lab fragmentation`: an experiment that runs by itself."""

from __future__ import annotations

import re

from scullvfs.errors import ScullvfsError
from scullvfs.interrupts import put_off_interrupts

from .tour import Shell, tell, temporary_directory

__all__ = ["run"]


def run() -> None:
    """Show each command, so that it can be repeated by hand, and what it prints.

    Raises:
        ScullvfsError: a command does not end as the experiment says.
    """
    with temporary_directory("lab") as directory:
        _fragmentation(Shell("lab", directory))


def _fragmentation(shell: Shell) -> None:
    show = shell.show
    tell(
        "Free memory is not all alike: 16 frames in 16 places are no block of 16 frames. Four "
        "drivers ask for memory in four ways, on one machine of 64 MiB."
    )
    with put_off_interrupts():
        show("scullvfs mount -o drivers=scullv:scullp:scullc:scull,mem=64M mnt")
    show("cat mnt/proc/buddyinfo")
    tell("Free blocks of 1, 2, 4 ... 1024 frames. Most of the RAM is in the largest ones.")

    show(
        "for n in $(seq 0 64 7000); do for d in scullp0 scullp1; do dd if=/dev/zero of=mnt/$d "
        "bs=4k count=64 seek=$n conv=notrunc status=none; done; done"
    )
    show("dd if=/dev/zero of=mnt/scullp0 bs=4k count=1900 seek=7040 conv=notrunc")
    tell(
        "Two devices of scullp have taken single frames by turns, from all over RAM, and one of "
        "them nearly all the rest. Now the other one lets go of its frames."
    )
    show(": >mnt/scullp1")
    free = _number(r"MemFree: +(\d+) kB", show("grep MemFree mnt/proc/meminfo"))
    blocks = show("cat mnt/proc/buddyinfo").split()[4:]
    show("cat mnt/sys/kernel/debug/extfrag/unusable_index")
    if free < 20_000 or sum(int(count) << order for order, count in enumerate(blocks[4:])) > 64:
        raise ScullvfsError("lab: RAM is not in small pieces")
    tell(
        f"{free >> 10} MiB are free, and hardly a block of 16 frames (the fifth number of "
        "buddyinfo). unusable_index has it the other way round: for each order the part of free "
        "memory that such a request cannot use."
    )

    show("scullvfs ioctl mnt/scullp2 set-order 4")
    show("dd if=/dev/zero of=mnt/scullp2 bs=64k count=100", status=1)
    failed = show("grep 'page allocation failure' mnt/proc/kmsg | tail -n 1")
    if "order:4" not in failed:
        raise ScullvfsError("lab: the log tells of no failed block of order 4")
    tell(
        "scullp gets its quanta from __get_free_pages(), in one physical block each. Some of order "
        "4 there are, a few of them only once the frames on the per-cpu list have gone back and "
        "joined, and then none, however much is free; the log has the kernel's words."
    )
    for device, size in (("scullc0", "4000"), ("scull0", "4000"), ("scullv0", "64k")):
        show(f"dd if=/dev/zero of=mnt/{device} bs={size} count=100")
    show("grep . mnt/sys/class/*/scull*[02]/quanta")
    show("grep -E '^(# name|scullc|kmalloc-4k)' mnt/proc/slabinfo")
    tell(
        "The others go on. scullc and scull ask for less than a page: their slabs would have 8 "
        "frames each, and are of fewer where there is no such block. scullv asks for as much as "
        "scullp did, and vmalloc() takes any 16 frames and makes them contiguous in a page table."
    )
    show("scullvfs umount mnt")
    tell(
        "To begin with such a machine: scullvfs mount -o fragment=95. What to find out: up to "
        "which order does scullp go on here, and what is left when scullp0 is emptied, too?"
    )


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise ScullvfsError(f"lab: there is no {pattern!r} in what was printed")
    return int(found[1])
