"""Mounts for tests: `mounted()` makes one, and nothing is left of it, however the test ends.

    start       `mounted()`, `served()`: a daemon is started, and ended
    daemon      that process: until it answers, until it is gone
    mount       `Mount`, what a test has of it
    fill        its memory used up, to an exact byte
    faults      what fails, comes short or late, as values of the mount's files
    knobs       such values, and what was there before
    recording   every call on it, in a file
    undo        what is put back at the end of a `with`

For the authors of tests; `scullvfs.pytest_plugin` makes fixtures of it.  The daemon is a
child process that runs the program itself, so what a user would get is what a test gets,
errors included.  Nothing of FUSE is loaded into the process of the test, nor is that one
ever forked: all that a test has of a mount goes through its files, as any program's would.
Stands above `scullvfs.daemon`, like `scullvfs.cli`; must not import click, pyfuse3 or trio.
"""

from scullvfs.errors import ScullvfsError

from .daemon import MountInUseWarning
from .faults import Faults
from .fill import Fill
from .knobs import Knobs
from .mount import Mount
from .recording import Recorded
from .start import mounted, served

__all__ = [
    "Faults",
    "Fill",
    "Knobs",
    "Mount",
    "MountInUseWarning",
    "Recorded",
    "ScullvfsError",
    "mounted",
    "served",
]
