"""Recordings: every call on a mount as lines of a file, and the same calls made again.

    lines       the file's format, version FORMAT: how a line is written, read and checked
    calls       each call of `fs.vfs` by name: what it takes, and what it gives, as JSON
    words       the same as it is written
    recorder    stands in the door, and has a line of each call
    stream      the lines until somebody reads them, and when a recording can begin
    answers     in place of the world around, what it had answered
    replay      makes the calls of a recording, and finds the first that is another
    difference  says of that what it is, for people

**Here and only here** it is known what a recording is.  `replay` has a recorder, too, on a machine
of its own, and compares its lines with those of the file: what is recorded and what is compared
cannot be two things.

**Who calls it**: `scullvfs.daemon`, which has the machine, and puts the files of `fs.record_file`
in touch with `stream`.  **What it must not import**: `fuse`, and what stands above.  A file that
is damaged, or none of these, is a `BadFileError` of one line, whatever is in it.
"""
