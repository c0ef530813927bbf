"""The machine that mount options ask for: a daemon's, or one of a command that mounts nothing."""

from typing import Final

from scullvfs.errors import HostMemoryError, UsageError
from scullvfs.fs.driver_trace import track_drivers
from scullvfs.mm import Machine
from scullvfs.options.parsers import format_size
from scullvfs.options.table import MountOptions

__all__ = ["build_machine"]

SPARING: Final = ("ignore-gfp-wait", "ignore-gfp-highmem", "min-order")
"""Knobs by which GFP_KERNEL, high memory and single pages never fail."""


def build_machine(options: MountOptions) -> Machine:
    """Build it; allocations fail in it from now on, where the options say so.

    Raises:
        UsageError: the options do not go together.
        HostMemoryError: the host refuses the memory.
    """
    try:
        machine = Machine(
            options.mem,
            options.arch,
            options.shuffle,
            options.seed,
            options.cpus,
            fragment=options.fragment,
            init_on_alloc=options.init_on_alloc,
            page_owner=options.page_owner,
            hardened_usercopy=options.hardened_usercopy,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    except (MemoryError, OSError) as error:
        raise HostMemoryError(
            f"the host refuses mem={format_size(options.mem)}: {error}; choose less"
        ) from error
    track_drivers(machine)
    _arm(machine, options)
    return machine


def _arm(machine: Machine, options: MountOptions) -> None:
    """Have allocations fail from now on, those that drivers are loaded with included.

    What `SPARING` is for is off then: nothing else is asked for here.
    """
    for attr in (machine.faults.failslab, machine.faults.fail_page_alloc):
        text = getattr(options, attr.name)
        if text != "off":
            for knob in attr.knobs:
                if knob.name in SPARING:
                    attr.set(knob, 0)
            interval, probability, space, times = map(int, text.split(":"))
            attr.arm(interval=interval, probability=probability, space=space, times=times)
