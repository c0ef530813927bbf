"""scullvfs: a directory of emulated `scullv` devices, mounted through FUSE.

Its rooms import one way only, `cli -> daemon -> fuse -> fs -> scull -> mm` and what stands beside
these in docs/architecture.md.  This file holds the version and nothing else; it must import none of
the rooms, so that `import scullvfs` costs nothing and works without pyfuse3.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
