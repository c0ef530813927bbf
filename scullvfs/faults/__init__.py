"""Every request for memory made to fail in turn: what `scullvfs faults` does.

    walk     N = 1, 2, ... for each kind of fault, until the N-th request is not reached any more
    trial    one command on one fresh mount, and what has to be well after it
    looking  what is stored, made to fail and looked at, by the files of the mount
    books    what the memory of a machine holds, by the files of its mount

Each mount is used as any program could use it, by its files, and from a process of its own that can
be left behind: a fault may be what makes a daemon hang.  Stands above `scullvfs.daemon`, whose
mounts it makes, below `scullvfs.cli`, which prints.  Must not import click.
"""
