"""What this host has: FUSE, memory, and the versions of what scullvfs stands on.

`requirements` says whether FUSE is here and this user may have it, `memory` whether the host and
its control groups can give what `mem=` takes, and `versions` what is installed.

Called by `daemon.start` before anything is forked or mounted, and by `scullvfs doctor` one by one.
Must not import pyfuse3 or trio, whose absence is among what it has to tell.  It stands above
`mounts`, since the control groups' limits are files of a mounted file system.  What it finds is
true at the moment of asking only, and whoever acts on it hears from the kernel if it has changed.
"""
