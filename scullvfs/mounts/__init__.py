"""Mounts seen from outside, by a process that serves none of them.

`mountinfo` lists them as the kernel does, `place` finds the one that a path means, `mountpoint`
says whether a directory can become one.  `probe` asks a mount without hanging on it, `health` says
whether it answered and what it means if not, `answers` checks what it said, `identity` proves which
process is its daemon, and `users` names who keeps it busy.  On these stand what people want:
`status`, `reload`, `tracing`, `recording`, `unmount` and, for dead ones, `stale`; `reader` is what
waits for a file's more, `fusermount` the system's helper, `namespace` enters that of `mount -N`.

Called by `host`, `daemon`, `cli`, `bench` and `scullvfs.testing`.  Must not import `fs`, `fuse` or
the machine, nor pyfuse3 and trio: whatever a mount holds is read through its files, as any
program would, and may be a lie, so it is bytes until it is checked.

A mount can go, hang or be replaced between any two lines.  So no call is made on one but by a
child process with a time limit, a mount is known by its device number and not by its path, and a
daemon is held by a pidfd while something is done about it.
"""
