"""What can be said about a mount before there is one: the options, and how they are written.

`table` has them all, each with its type, range, default and help; whoever shows, completes or
checks one asks it.  `parsers` make values of texts, `optstring` reads and writes `-o` as libfuse
does, `kernel_flags` are the options that every file system has, `fstab` sorts out what mount(8)
hands to a helper, and `hint` guesses what a mistyped word was meant to be.  `events` has the names
of what a mount can trace.  `dataclasses_alone` keeps the import of dataclasses short.

Called by every room above, by each `--help` and each TAB, so importing it must stay cheap: no
pyfuse3, no trio, no libfuse, no machine.  All of it is pure: text in, values or a `UsageError` out;
only names of users are looked up.  Nothing is kept, so nothing races.
"""
