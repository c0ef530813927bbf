"""The module's parameters: their defaults, what they may be, and their values.

Imports nothing of the driver, so that the options of `scullvfs mount` know them without it.
"""

import errno
from typing import Final

__all__ = [
    "MAX_DEVS",
    "MAX_ORDER",
    "MAX_QSET",
    "PARAMETERS",
    "SCULLV_DEVS",
    "SCULLV_ORDER",
    "SCULLV_QSET",
    "Parameters",
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


class Parameters:
    """The values that the module's parameters have now (scullv: main.c, module_param()).

    Each is checked whenever it is set.

    Args:
        scullv_devs: how many devices, 1..MAX_DEVS; it stays.
        scullv_order: a quantum is PAGE_SIZE << scullv_order bytes, 0..MAX_ORDER.
        scullv_qset: quanta in a list item, 1..MAX_QSET.

    Raises:
        ValueError: an argument out of its range.
    """

    __slots__ = ("_devs", "_order", "_qset")

    def __init__(
        self,
        scullv_devs: int = SCULLV_DEVS,
        scullv_order: int = SCULLV_ORDER,
        scullv_qset: int = SCULLV_QSET,
    ) -> None:
        self._devs: Final = _checked("scullv_devs", scullv_devs)
        self._order = _checked("scullv_order", scullv_order)
        self._qset = _checked("scullv_qset", scullv_qset)

    @property
    def scullv_devs(self) -> int:
        """How many devices there are."""
        return self._devs

    @property
    def scullv_order(self) -> int:
        """The order that a device gets when it is trimmed.

        Raises:
            ValueError: set out of its range.
        """
        return self._order

    @scullv_order.setter
    def scullv_order(self, value: int) -> None:
        self._order = _checked("scullv_order", value)

    @property
    def scullv_qset(self) -> int:
        """The qset that a device gets when it is trimmed.

        Raises:
            ValueError: set out of its range.
        """
        return self._qset

    @scullv_qset.setter
    def scullv_qset(self, value: int) -> None:
        self._qset = _checked("scullv_qset", value)

    def store(self, name: str, value: int) -> None:
        """Set `scullv_order` or `scullv_qset`, as a system call does.

        Raises:
            OSError: EINVAL, the value is one that the real driver would crash with; nothing
                is changed.
        """
        try:
            setattr(self, name, value)
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from error

    def reset(self) -> None:
        """Give order and qset their defaults (scullv: main.c:scullv_ioctl(), SCULLV_IOCRESET)."""
        self._order, self._qset = SCULLV_ORDER, SCULLV_QSET

    def __repr__(self) -> str:
        return (
            f"<Parameters scullv_devs={self._devs} scullv_order={self._order} "
            f"scullv_qset={self._qset}>"
        )


def _checked(name: str, value: int) -> int:
    low, high = PARAMETERS[name]
    if not low <= value <= high:
        raise ValueError(f"{name}={value} is not in {low}..{high}")
    return value
