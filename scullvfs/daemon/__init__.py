"""The life of the process that serves a mount, from the command that wants it to its last line.

    ahead, fork          fork what serves; it imports, and waits for its order
    start                check, give the order, wait until the mount answers, keep the daemon
    lock                 one mount at a time at one place
    server               the daemon's main function: trio, signals, the main loop
    session              the FUSE session: the mount made and unmade, the only words to pyfuse3
    assemble             MountOptions -> Machine -> Module -> Tree -> Operations
    service_manager      READY, WATCHDOG, STOPPING, by way of `sd_notify`
    status_report        what the daemon says of itself
    log                  where its words go

The only room that wires the others together.  Called by `scullvfs.cli` (`start`, `log`), by
`scullvfs.__main__` (`ahead`) and by tests.  Must not import `cli`, `bench`, click or anything
that is drawn for people.  pyfuse3 and trio come with `server`, `session`, `service_manager` and
`assemble` alone, and these only into the process that serves: `start` forks before, and where
pyfuse3 is missing everything else can be imported.

Nothing races: the parent has one thread, and the daemon forks from it before there is any other.
In the daemon one thread runs trio; what happens between two of its waits is seen whole.
"""
