"""The file page_owner: sizes, positions, and what led to the driver."""

from __future__ import annotations

import os
from random import Random

import pytest

from scullvfs.fs.debugfs import debugfs
from scullvfs.fs.driver_trace import track_drivers
from scullvfs.fs.file import File
from scullvfs.fs.page_owner import PageOwnerListing
from scullvfs.fs.seq_file import SeqFile, text_of
from scullvfs.mm import Machine
from scullvfs.mm.workqueue import finish
from scullvfs.scull import Module
from scullvfs.scull.posix import allocate

MIB = 1 << 20
P = 4096


def tracked(mem: int = 64 * MIB, **options: str) -> tuple[Machine, PageOwnerListing]:
    """A machine that keeps who holds what, and its listing."""
    machine = Machine(mem, page_owner=True, **options)  # type: ignore[arg-type]
    track_drivers(machine)
    assert machine.page_owner is not None
    return machine, PageOwnerListing(machine.page_owner)


def traces(listing: PageOwnerListing) -> list[str]:
    """What comes behind the first two lines of each paragraph, in one line."""
    return [" ".join(each.split("\n")[2:]) for each in text_of(listing).split("\n\n")[:-1]]


def test_file_is_there_when_it_is_kept() -> None:
    """Only then, and for the owner alone."""
    assert b"page_owner" not in debugfs(Machine(16 * MIB), [], 0, 0).entries
    node = debugfs(tracked()[0], [], 0, 0).entries[b"page_owner"]
    assert isinstance(node, File)
    assert node.mode & 0o777 == 0o400
    assert bytes(node.open(os.O_RDONLY).read(0, 4)) == b"Page"


@pytest.mark.long
def test_size_and_any_position() -> None:
    """The size is that of the text, and each position has its bytes, whatever is allocated."""
    machine, listing = tracked()
    file, rng, live = SeqFile(listing, 0o400, 1, 2), Random(1), []
    for _ in range(5):
        for _ in range(30):
            live.append(machine.vm.vmalloc(rng.choice([1, 16, 300]) * P))
            if rng.random() < 0.5:
                machine.vm.vfree(live.pop(rng.randrange(len(live))))
        text, handle = text_of(listing).encode(), file.open(os.O_RDONLY)
        assert file.size == len(text)
        for pos in (0, len(text) - 1, len(text), *(rng.randrange(len(text)) for _ in range(30))):
            count = rng.choice([1, 50, 5000])
            assert bytes(handle.read(pos, count)) == text[pos : pos + count]


def test_by_frame() -> None:
    """Paragraphs come by frame, each once."""
    machine, listing = tracked()
    machine.vm.vmalloc(100 * P)
    frames = [line.split()[1] for line in text_of(listing).splitlines() if line[:3] == "PFN"]
    numbers = [int(frame, 16) for frame in frames]
    assert numbers == sorted({*numbers})
    assert len(numbers) > 100


def test_traces_of_the_driver() -> None:
    """The way goes on to the driver's function and its system call, or to its loading."""
    machine, listing = tracked()
    module = Module(machine, scullv_devs=2, scullv_order=0, scullv_qset=5)
    before = {*traces(listing)}
    loading = "scullv_init [scullv]  do_one_initcall  do_init_module"
    assert any(loading in trace for trace in before)
    module.devices[0].write(0, bytes(P))
    written = {*traces(listing)} - before
    assert written
    assert all(
        trace.endswith(
            "scullv_write [scullv]  vfs_write  ksys_write  do_syscall_64"
            "  entry_SYSCALL_64_after_hwframe"
        )
        for trace in written
    )
    finish(allocate(module.devices[1], 0, 100 * P, False))
    assert any("scullv_fallocate [scullv]  vfs_fallocate" in trace for trace in traces(listing))


def test_trace_of_a_command() -> None:
    """What was allocated by hand came by a write to the file of commands."""
    machine, listing = tracked()
    mm = debugfs(machine, [], 0, 0).entries[b"mm"]
    command = mm.lookup(b"command")
    assert isinstance(command, File)
    command.open(os.O_WRONLY).write(0, b"vmalloc a 4096", False)
    assert any("vmalloc_noprof  mm_command_write  vfs_write" in trace for trace in traces(listing))


@pytest.mark.parametrize("arch", ["i386", "arm64"])
def test_other_architectures(arch: str) -> None:
    """They have their own way into the kernel."""
    machine, listing = tracked(arch=arch)
    Module(machine, scullv_devs=1, scullv_order=0, scullv_qset=5).devices[0].write(0, bytes(P))
    end = {"i386": "entry_SYSENTER_32", "arm64": "el0t_64_sync"}[arch]
    assert any("vfs_write" in trace and trace.endswith(end) for trace in traces(listing))


def test_whole_paragraphs_while_it_changes() -> None:
    """What is freed between two reads is there or not; nothing is cut in two."""
    machine, listing = tracked()
    live = [machine.vm.vmalloc(16 * P) for _ in range(20)]
    handle, text = SeqFile(listing, 0o400, 1, 2).open(0), b""
    while part := bytes(handle.read(len(text), 700)):
        text += part
        if live:
            machine.vm.vfree(live.pop())
    paragraphs = text.decode().split("\n\n")[:-1]
    assert len(paragraphs) > 20
    for paragraph in paragraphs:
        first, second, *_ = paragraph.split("\n")
        assert first.startswith("Page allocated via order ")
        assert second.startswith("PFN 0x")
