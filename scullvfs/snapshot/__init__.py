"""A machine in a file: saved while it goes on, and begun with again.

    file        the form of the file: chunks with checksums, a header first
    options     which mount options describe the machine; those of a mount that is given a file
    books       machine, drivers and handles <-> plain data
    picture     all of that and RAM, written and read
    child       a process that writes it while the daemon goes on
    saving      from a mount into a file: what `scullvfs snapshot save` does
    summary     what a file says it holds

How a part is saved and restored it says itself, by `state()` and `restore()` (`mm.restoring`).

Called by `daemon`, which gives its mount the file that is read for it, and restores, and by `cli`.
Must not import `fs`, `fuse` or `daemon`; `options` and `file` load no machine.  A file may be
anybody's, and damaged: nothing of it is used before its checksum is right and it is of the types
and in the ranges that it has to be, and whatever is wrong is a `BadFileError` of one line.
"""
