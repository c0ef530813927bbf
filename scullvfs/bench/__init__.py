"""Benchmarking with dd: what `scullvfs bench` measures, and how it is told.

    plan        block sizes and amounts of data, from the command line's words
    targets     where dd works: a mount, a tmpfs, the floor
    floor       a FUSE server in C that keeps nothing, floor.c, built here and started
    affinity    on which CPUs dd and the servers run
    dd          one run of dd, and what it says of itself
    measure     the runs, in turn
    disturb     what else went on meanwhile
    results     medians, spreads and ratios; the table, JSON and CSV
    plot        the picture, by matplotlib

It uses mounts as any program does, so nothing here imports pyfuse3 or trio. Stands above
`scullvfs.daemon`, below `scullvfs.cli`.
"""
