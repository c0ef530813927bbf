"""The module's parameters: their defaults, what they may be, and their values.

Imports nothing else of the driver, so that the options of `scullvfs mount` know them without it.
"""

import errno
from typing import Final

from scullvfs.mm import PAGE_SIZE

__all__ = [
    "MAX_DEVS",
    "MAX_ORDER",
    "MAX_QSET",
    "PARAMETERS",
    "SCULLV_DEVS",
    "SCULLV_ORDER",
    "SCULLV_QSET",
    "Parameters",
    "itemsize_fits",
]

# scullv: scullv.h
SCULLV_DEVS: Final = 4
SCULLV_ORDER: Final = 4
SCULLV_QSET: Final = 500

INT_MAX: Final = (1 << 31) - 1

# What the real driver survives, and how many devices one mount may have.
MAX_DEVS: Final = 1000
MAX_ORDER: Final = 18
MAX_QSET: Final = INT_MAX // PAGE_SIZE

PARAMETERS: Final = {
    "scullv_devs": (1, MAX_DEVS),
    "scullv_order": (0, MAX_ORDER),
    "scullv_qset": (1, MAX_QSET),
}
"""Name -> smallest and largest value."""


def itemsize_fits(order: int, qset: int) -> bool:
    """Whether the driver can compute how many bytes a list item has: in an int of C.

    Of others it computes 0, and divides by it, or a negative number, and walks its list for
    ever, or too small a one (scullv: main.c, `int itemsize = quantum * qset`).
    """
    return (PAGE_SIZE << order) * qset <= INT_MAX


class Parameters:
    """The values that the module's parameters have now (scullv: main.c, module_param()).

    Each is checked whenever it is set, and that an item's size is an int with the other one.

    Args:
        scullv_devs: how many devices, 1..MAX_DEVS; it stays.
        scullv_order: a quantum is PAGE_SIZE << scullv_order bytes, 0..MAX_ORDER.
        scullv_qset: quanta in a list item, 1..MAX_QSET.

    Raises:
        ValueError: an argument out of its range, or both too large together.
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
        _check_pair(self._order, self._qset)

    @property
    def scullv_devs(self) -> int:
        """How many devices there are."""
        return self._devs

    @property
    def scullv_order(self) -> int:
        """The order that a device gets when it is trimmed.

        Raises:
            ValueError: set out of its range, or too large with the other one.
        """
        return self._order

    @scullv_order.setter
    def scullv_order(self, value: int) -> None:
        order = _checked("scullv_order", value)
        _check_pair(order, self._qset)
        self._order = order

    @property
    def scullv_qset(self) -> int:
        """The qset that a device gets when it is trimmed.

        Raises:
            ValueError: set out of its range, or too large with the other one.
        """
        return self._qset

    @scullv_qset.setter
    def scullv_qset(self, value: int) -> None:
        qset = _checked("scullv_qset", value)
        _check_pair(self._order, qset)
        self._qset = qset

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


def _check_pair(order: int, qset: int) -> None:
    if not itemsize_fits(order, qset):
        raise ValueError(
            f"scullv_order={order} and scullv_qset={qset}: the bytes of an item, "
            f"{PAGE_SIZE << order} * {qset}, are no int"
        )
