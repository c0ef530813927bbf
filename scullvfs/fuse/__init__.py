"""The adapter: what lets the kernel's FUSE serve `scullvfs.fs`.

**Here and only here** requests are received and answered, exceptions become errnos (`errors`), and
it is said who calls (`mm.sched`).  `operations` speaks to pyfuse3, `lowlevel` to libfuse behind its
back, `loop` and `polling` to trio, and `cpu_latency` to the host's idle CPUs; `slices` does what
takes long, and `held` keeps what waits for something to come.  `looks` gives the kernel node ids,
and `lost` tells the log of what the page cache could not write back.  What a request means for a
file is no business of this room's: it asks `fs.open_files` and the nodes of `fs.tree`.

**Who calls it**: `scullvfs.daemon`, in the process that serves a mount, once: libfuse's table of
operations and the loop's state are the process's.  Importing it loads pyfuse3 and libfuse.

**What it must not import**: anything above, options, mounts and host included.  What a mount is
told to be comes as arguments.  `lowlevel` has to be imported before pyfuse3, wherever that is
imported, and so it is, below.

**Why nothing races.**  There is one thread, and one worker reads requests.  A request is answered
in one go; no other one is looked at before that, so it finds everything as the one before has left
it.  But for these:

- what takes long is done in steps, and others are served between two slices of it (`slices`).
  What is true of a file at its begin need not be true later: the steps look again themselves
  (`scull.posix`, `scull.dev`).  Who calls is said anew for each of them.  Two long works on one
  file follow one another (`slices.Slices.lock`).
- the idle work of `loop.housekeeping()`, after each step of which everything is consistent.
- a call that waits goes on when something has come or it is time, and finds what is true then
  (`held`).
- while C waits and receives, it has let the GIL go, and touches nothing of Python's
  (lowlevel/loop.c).  No other thread of ours is there to take it.
- a signal's handler runs between two calls into C, and only wakes a task of trio.
"""

from . import lowlevel  # before pyfuse3 is imported anywhere: its docstring says why

__all__ = ["lowlevel"]
