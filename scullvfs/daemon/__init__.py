"""The process around the file system: from mount options to a clean unmount.

A mount goes through these modules in this order::

    fstab                -o of mount(8) -> -o of ours         only under mount.scullvfs
    options, values      -o text -> MountOptions              no system call
    background, ahead    fork what serves, it imports         waits for the order
    lock                 one mount at a time at one place     locks a byte of /dev/fuse
    mountpoint           may this directory be mounted on?    reads, touches no mount
    requirements         is FUSE here, may this user?         opens /dev/fuse once
    memory               can the host give mem= ?             reads /proc and the cgroup
    mount                give the order, wait until it answers, keep the daemon
    server               pyfuse3 and trio: session, signals, the main loop
    service, notify      READY, WATCHDOG, STOPPING            only under a service manager
    assemble             MountOptions -> Machine -> Module -> Tree -> Operations

``unmount`` is the way back, ``stale`` that for a dead mount only; ``reload`` changes a running
mount. ``mountinfo``, ``place``, ``probe`` and ``users`` look at mounts without touching a dead one;
``answers`` checks what a mount says, and ``identity`` proves which process is its daemon.
``optstring`` reads and writes -o as libfuse does, ``flags`` has the kernel's own options,
``namespace`` enters that of ``mount -N``, ``log`` says where the daemon's words go, ``inherited``
puts right what a parent has left, ``interrupts`` keeps Ctrl-C out of what must not be cut in two,
and ``errors`` holds every failure with its exit status, ``hint`` the guess at a mistyped word.

``report`` is what a daemon says of itself, ``status`` asks all mounts for it, ``doctor`` runs the
checks one by one, and ``versions`` names what all this stands on.

Only ``server``, ``service``, ``session`` and ``assemble`` import pyfuse3, trio, or what imports
them; ``mount`` imports ``server`` in the daemon's own process only, and ``doctor`` imports
``session`` in a child process. Everything else here is safe to import, and is imported by
``scullvfs.cli``, where pyfuse3 is missing.
"""
