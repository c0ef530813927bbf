"""What can go wrong inside the emulated machine, apart from running out of something.

    Exception
     +-- KernelBug          the caller broke a rule; Linux would print a BUG or die
          +-- PageFault     an address that no page-table entry maps
          +-- UsercopyAbort a copy to or from a process that leaves its object

Running out of memory or of addresses is no exception: allocators return None, as
Linux's return NULL.  No errno is known in `mm`; the driver chooses one.
"""

__all__ = ["KernelBug", "PageFault", "UsercopyAbort"]


class KernelBug(Exception):
    """A caller's mistake that a real kernel would not survive, or not without a BUG report."""


class PageFault(KernelBug):
    """An access to a kernel address that is not mapped.

    Attributes:
        address: the first address of the access that is not mapped.
        write: whether it was a write.
        level: name of the page-table level whose entry is empty (Linux's oops prints them).
        entries: the entries read on the way down, top level first, the empty one last.
        trace: the functions of the kernel's own that led to it, the innermost first, where it was
            not its caller's access.
    """

    def __init__(
        self,
        address: int,
        write: bool,
        level: str,
        entries: tuple[int, ...],
        trace: tuple[str, ...] = (),
    ) -> None:
        access = "write" if write else "read"
        super().__init__(f"unable to handle page fault for address: {address:x} ({access})")
        self.address = address
        self.write = write
        self.level = level
        self.entries = entries
        self.trace = trace


class UsercopyAbort(KernelBug):
    """A copy between the kernel's memory and a process that leaves its object.

    Attributes:
        trace: the functions that found it, the innermost first.
    """

    def __init__(self, text: str, trace: tuple[str, ...]) -> None:
        super().__init__(text)
        self.trace = trace
