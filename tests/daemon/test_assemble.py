"""What a mount is built of, from its options."""

from __future__ import annotations

from contextlib import ExitStack

from scullvfs.daemon.assemble import assemble
from scullvfs.options.table import parse_options


def test_the_machine_is_as_the_options_say() -> None:
    """Its RAM, its layout, and how many CPUs it believes to have."""
    with ExitStack() as undo:
        machine, _ = assemble(parse_options(["mem=16M,arch=arm64,cpus=4"]), undo)

        assert (machine.ram.size, machine.layout.name, machine.cpus) == (16 << 20, "arm64", 4)
        assert machine.vmap_space.lazy_max_pages == 3 * 8192
