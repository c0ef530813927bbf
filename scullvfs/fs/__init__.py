"""What a user sees in the mount, and the adapter that lets FUSE serve it.

`tree` has the nodes, `devices` and `proc` what is special to them, `build` the plan;
`operations` speaks to pyfuse3, `lowlevel` to libfuse behind its back, `loop` to trio.
"""

from . import lowlevel  # before pyfuse3 is imported anywhere: its docstring says why

__all__ = ["lowlevel"]
