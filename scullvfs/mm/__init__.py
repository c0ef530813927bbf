"""The memory manager of an emulated Linux machine.

Pure Python, with no FUSE, no event loop and no driver in it; useful on its own:

    >>> from scullvfs.mm import Machine
    >>> machine = Machine(mem=64 << 20)
    >>> address = machine.vm.vmalloc(3 * 4096)
    >>> [machine.vm.vmalloc_to_pfn(address + i * 4096) for i in range(4)][-1] is None
    True

(The fourth page is the guard page.)  Each module is one part of `mm/` in Linux, and
bears its name where there is one.
"""

from typing import TYPE_CHECKING, Any

from .errors import KernelBug, PageFault
from .layout import LAYOUTS, PAGE_SIZE, Layout

if TYPE_CHECKING:
    from .machine import Machine

__all__ = ["LAYOUTS", "PAGE_SIZE", "KernelBug", "Layout", "Machine", "PageFault"]


def __getattr__(name: str) -> Any:
    """The machine, which is all of this package, comes when it is first asked for.

    Most commands of `scullvfs` only need to know the layouts' names and the size of a page.
    """
    if name == "Machine":
        from .machine import Machine

        return Machine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
