"""The module's parameters: their defaults, and what they may be.

Imports nothing, so that the options of `scullvfs mount` know them without the driver.
"""

from typing import Final

__all__ = [
    "MAX_DEVS",
    "MAX_ORDER",
    "MAX_QSET",
    "PARAMETERS",
    "SCULLV_DEVS",
    "SCULLV_ORDER",
    "SCULLV_QSET",
]

# scullv: scullv.h
SCULLV_DEVS: Final = 4
SCULLV_ORDER: Final = 4
SCULLV_QSET: Final = 500

# What the real driver survives, and how many devices one mount may have.
MAX_DEVS: Final = 1000
MAX_ORDER: Final = 18
MAX_QSET: Final = 1 << 20

PARAMETERS: Final = {
    "scullv_devs": (1, MAX_DEVS),
    "scullv_order": (0, MAX_ORDER),
    "scullv_qset": (1, MAX_QSET),
}
"""Name -> smallest and largest value."""
