"""The adapter: what lets the kernel's FUSE serve `scullvfs.fs`.

`operations` speaks to pyfuse3, `lowlevel` to libfuse behind its back, `loop` and `polling` to
trio, and `cpu_latency` to the host's idle CPUs; `slices` does what takes long, and `errors` makes
an errno of every exception.

Called by `scullvfs.daemon` only, in the process that serves a mount; importing it loads
pyfuse3 and libfuse.  A request is answered in one go, but for what takes long; where a handler
waits, and others are served meanwhile, it says so.
"""

from . import lowlevel  # before pyfuse3 is imported anywhere: its docstring says why

__all__ = ["lowlevel"]
