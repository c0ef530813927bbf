"""The parameters of a loaded module, as they are now, and what they may be.

Values that the real driver crashes with are refused, at mount, by ioctl(2) and in sys/.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Final

from scullvfs.mm.restoring import StateError

from .driver import INT_MAX, Driver

__all__ = ["Parameters"]


class Parameters:
    """The values that a module's parameters have now (LDD3: main.c, module_param()).

    Each is checked whenever it is set, and that an item's size is an int with the other one.

    Args:
        driver: whose they are.
        values: name -> value; what is not there has its default.

    Raises:
        ValueError: a value out of its range, or two too large together, or no parameter of that
            name.
    """

    __slots__ = ("_qset", "devs", "driver", "largest", "measure", "p_buffer")

    def __init__(self, driver: Driver, values: Mapping[str, int]) -> None:
        self.driver: Final = driver
        for name in values:
            if name not in {parameter.name for parameter in driver.parameters}:
                raise ValueError(f"{driver.name} has no parameter {name}")
        devs, self.measure, self._qset = [
            _checked(driver, parameter.name, values.get(parameter.name, parameter.default))
            for parameter in driver.parameters
        ]
        self.devs: Final = devs
        """How many devices there are; it stays."""
        self.largest = INT_MAX
        """Bytes of a quantum that there is room for."""
        self.p_buffer = 4000
        """scull's pipe has a buffer of so many bytes (scull: pipe.c:scull_p_buffer): an int of
        C, which nothing here uses."""
        self._check_pair(self.measure, self._qset)

    @property
    def qset(self) -> int:
        """Quanta in a list item."""
        return self._qset

    def __getitem__(self, name: str) -> int:
        """The value of a parameter, by its name."""
        return self.as_dict()[name]

    def __setitem__(self, name: str, value: int) -> None:
        """Set a parameter but the number of devices; a device has it from its next trim on.

        Raises:
            ValueError: out of its range, or too large with another one; nothing is changed.
        """
        value = _checked(self.driver, name, value)
        if name == self.driver.measure.name:
            self._check_pair(value, self._qset)
            self.measure = value
        elif name == self.driver.qset.name:
            self._check_pair(self.measure, value)
            self._qset = value
        else:
            raise ValueError(f"{name} stays what it is")

    def store(self, name: str, value: int) -> None:
        """Set a parameter, as a system call does.

        Raises:
            OSError: EINVAL, the value is one that the real driver would crash with; nothing
                is changed.
        """
        try:
            self[name] = value
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from error

    def reset(self) -> None:
        """Give all but the number of devices their defaults (scullv: main.c:scullv_ioctl()).

        Raises:
            OSError: EINVAL, as `store()`.
        """
        measure, qset = self.driver.measure.default, self.driver.qset.default
        try:
            self._check_pair(measure, qset)
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from error
        self.measure, self._qset = measure, qset

    def as_dict(self) -> dict[str, int]:
        """Name -> value."""
        names = [parameter.name for parameter in self.driver.parameters]
        return dict(zip(names, (self.devs, self.measure, self._qset), strict=True))

    def state(self) -> dict[str, int]:
        """All of it, as plain data."""
        return {**self.as_dict(), "largest": self.largest, "p_buffer": self.p_buffer}

    def restore(self, state: dict[str, int]) -> None:
        """Have these values, of the same driver with as many devices.

        Raises:
            ValueError: they cannot be.
        """
        now = self.state()
        if state.keys() != now.keys() or any(
            state[name] != now[name] for name in (self.driver.devs.name, "largest")
        ):
            raise StateError(f"other parameters than those of {self.driver.name}")
        measure, qset = (state[name] for name in self.driver.settable)
        self.check(measure, qset)
        self.measure, self._qset, self.p_buffer = measure, qset, state["p_buffer"]

    def check(self, measure: int, qset: int) -> None:
        """See whether a device can have these.

        Raises:
            ValueError: one is out of its range, or they are too large together.
        """
        for name, value in zip(self.driver.settable, (measure, qset), strict=True):
            _checked(self.driver, name, value)
        self._check_pair(measure, qset)

    def __repr__(self) -> str:
        return (
            f"<Parameters {' '.join(f'{name}={value}' for name, value in self.as_dict().items())}>"
        )

    def _check_pair(self, measure: int, qset: int) -> None:
        driver = self.driver
        if not driver.fits(measure, qset):
            raise ValueError(
                f"{driver.measure.name}={measure} and {driver.qset.name}={qset}: the bytes of an "
                f"item, {driver.quantum(measure)} * {qset}, are no int"
            )
        if driver.quantum(measure) > self.largest:
            raise ValueError(
                f"{driver.measure.name}={measure}: the memory of a quantum has {self.largest} bytes"
            )


def _checked(driver: Driver, name: str, value: int) -> int:
    parameter = driver.parameter(name)
    if not parameter.low <= value <= parameter.high:
        raise ValueError(f"{name}={value} is not in {parameter.low}..{parameter.high}")
    return value
