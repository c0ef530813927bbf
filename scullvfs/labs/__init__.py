"""The labs: what `scullvfs lab N` sets up, asks and checks.

    titles   what each lab is about, in a phrase
    table    the labs, by number
    begin    a lab's mount, with the student's seed and what the lab puts there
    check    the same mount, looked at: what of the lab's tasks is still missing

    lab      what a lab is made of: mount options, what is put there, tasks
    numbers  the seed of a student, and each lab's numbers that follow from it
    sight    what a task looks at: the files of the mount
    answers  tasks whose answer is a number, written to a device

    short_reads, holes, geometry, scattered, allocators, registers, guard_page, addresses,
    walk_through    a lab each; its page is docs/labs/N-....md

A check reads a mount's files and changes nothing, so a teacher's finds what a student's does.  What
is right follows from the seed that the mount has, or from what the machine has come to, so that an
answer which is right on one mount is wrong on another.

Called by `cli`.  Reads mounts by way of `view`, by a child process that may be left behind.  Must
not import `fs`, `fuse` or click.
"""
