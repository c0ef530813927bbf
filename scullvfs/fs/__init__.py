"""What a user sees in the mount: nodes, their names, and what is read from and written to them.

`tree` has the nodes, `devices`, `proc`, `sysfs`, `debugfs`, `attribute` and `command` what is
special to them, `root` the plan, and `open_files` the open ones, through which every call comes;
`calls` counts them.  Short texts are made when they are looked up (`shown`), long ones as they are
read (`seq_file`); what those of proc/ say is in `meminfo`, `slabinfo`, `vmallocinfo`, and in
`vmstat` where it is about page frames.  `atime` has the rules for access times, and `privileges`
takes set-user-ID bits away.

Called by `scullvfs.fuse`, and by tests, which need no mount for it.  Must not import pyfuse3,
trio or libfuse: what a call cannot do is an `OSError`, not an answer to the kernel.  Nothing
in here waits, and there is one thread, so no two calls ever mix, but for those that take long:
they come as steps (`mm.workqueue`), and what may come between two of them is said there.
"""
