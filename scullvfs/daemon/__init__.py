"""The life of the process that serves a mount, from the command that wants it to its last line.

    ahead, fork          fork what serves; it imports, and waits for its order
    start                check, give the order, wait until the mount answers, keep the daemon
    libraries            trio and pyfuse3, without what no mount uses
    serving              take the order, and serve the mount that it names
    lock                 one mount at a time at one place
    server               the daemon's main function: trio, signals, the main loop
    session              the FUSE session: the mount made and unmade, the only words to pyfuse3
    machine              the machine that options ask for, for commands that mount nothing, too
    build                MountOptions -> Machine -> Modules -> Tree
    assemble             and from there -> Operations
    replaying            the same, and the calls of a recording made on it, without FUSE
    service_manager      READY, WATCHDOG, STOPPING, by way of `sd_notify`
    status_report        what the daemon says of itself
    log                  where its words go
    temporary            a mount for a moment, for commands that measure or try something

The life of a mount, in the middle, and who moves it on:

    absent      an empty directory, maybe a dead mount, which `remount_stale` takes away
      |           start.mount(): MountPointLock, then check()
    locked      nobody else looks at the directory or mounts there
      |           Daemon.start() gives the order; assemble(), fuse_session()
    mounted     it is in mountinfo, and the lock goes; requests are served by fuse.loop
      |           a file is looked at: by start.mount(), with -f by service_manager
    answering   if not, or if the command ends before it gets further, it is stopped
      |           Daemon.keep(); with -f it is kept from the start
    kept        the command has ended, the mount has not
      |
      +-- SIGTERM, SIGINT, SIGHUP, or no keep(): server has it stopped
      |     -> stopped    fuse_session() unmounts, by all its names -> absent, status 0
      +-- umount(8), fusermount3 -u, `scullvfs umount`: the kernel ends the connection
      |     -> unmounted  the machine is given back, the process ends -> absent, status 0
      +-- fusectl, umount -f: the connection ends, the name stays
      |     -> aborted    FuseSession.dead finds the names, forget() takes them down
      |                   -> absent, status 1
      +-- SIGKILL, the OOM killer, a crash: nobody is left who could do anything
            -> dead       each call gives ENOTCONN, until `umount`, `umount --dead` or
                          `remount_stale` -> absent

Seen from outside a mount that is answering or kept is RUNNING, or HUNG while its daemon is
stopped; one that is aborted or dead is DEAD (`mounts.health`).

The only room that wires the others together.  Called by `scullvfs.cli` (`start`, `log`), by
`scullvfs.__main__` (`ahead`) and by tests.  Must not import `cli`, `bench`, click or anything
that is drawn for people.  pyfuse3 and trio come with `server`, `session`, `service_manager` and
`assemble` alone, and these only into the process that serves: `start` forks before, and where
pyfuse3 is missing everything else can be imported.

Nothing races: the parent has one thread, and the daemon forks from it before there is any other.
In the daemon one thread runs trio; what happens between two of its waits is seen whole.
"""
