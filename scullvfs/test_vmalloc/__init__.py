"""Linux's test of vmalloc, `lib/test_vmalloc.c`, on a machine without a mount.

    parameters  what the module is loaded with, as insmod takes it
    cases       the scenarios, each with its bit of run_test_mask
    driver      workers that run them in turn, and the lines that say how it went

Names, numbers and formats are Linux's, and the order of things; of 6.12, as everywhere.  Stands
above `scullvfs.mm`, `scullvfs.options` and `scullvfs.fs`, which knows how the kernel reads numbers;
below `scullvfs.cli`, which prints.  Must not import click.
"""
