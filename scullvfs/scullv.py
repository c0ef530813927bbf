"""The drivers, by their public names: `from scullvfs.scullv import DRIVERS, Module`.

They live in `scullvfs.scull`, the room of the whole family.  Here, under the name of the driver
that a mount has by default, they stay where programs and the documentation have them.
"""

from scullvfs.scull import *  # noqa: F403  (what is offered there is said once, there)
from scullvfs.scull import __all__ as __all__
