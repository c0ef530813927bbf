"""scullvfs: a directory of emulated ``scullv`` devices, mounted through FUSE.

Its rooms import one way only: ``cli -> bench -> daemon -> fuse -> fs -> scullv -> mm``.
This file holds the version and nothing else; it must import none of the rooms, so that
``import scullvfs`` costs nothing and works without pyfuse3.
"""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("scullvfs")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
