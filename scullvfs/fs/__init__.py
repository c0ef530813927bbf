"""What a user sees in the mount: nodes, their names, and what is read from and written to them.

`node` has what a name stands for, `file` files and what is open of them, `tree` all of them by
number; `devices`, `proc`, `sysfs`, `debugfs`, `attribute` and `command` what is special to them,
`root` the plan, `open_files` the open ones, and `vfs` is the door through which every call comes;
`calls` counts them, and `record_file` has the files by which they are recorded.  Short texts are
made when they are looked up (`shown`), long ones as they are read (`seq_file`); what those of proc/
say is in `meminfo`, `slabinfo`, `vmallocinfo`, and in `vmstat` where it is about page frames, each
frame's numbers in `page`, and RAM itself in `kcore`; what those of debugfs say, in `extfrag`,
`page_tables`, `page_owner` and `vmap_areas`, all of it at once in `snapshot`, and the knobs of
faults in `fault_files` and `fail_function`; `tasks` has what is set of single tasks, `slab` what is
of caches.  What a device does wrong is in `device_faults` (`op_fault` says when, `refused` what
nobody has heard of), and its files in `device_fault_files`.  `tracefs` has the files of tracing,
and `trace_files` `trace` and `trace_pipe`.  What is shown and taken by two functions is a file of
`show_store`, and what a number or a name is in what is written, `kstrtox` knows.  `driver_trace`
says which call of a driver has led into the machine.  `atime` has the rules for access times, and
`privileges` takes set-user-ID bits away.

Called by `scullvfs.fuse`, and by tests, which need no mount for it.  Must not import pyfuse3,
trio or libfuse: what a call cannot do is an `OSError`, not an answer to the kernel.  Nothing
in here waits: that a call is to, a `waiting.WouldWait` says.  There is one thread, so no two calls
ever mix, but for those that take long: they come as steps (`mm.workqueue`), and what may come
between two of them is said there.
"""
