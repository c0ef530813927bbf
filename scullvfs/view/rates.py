"""What happened between two moments: rates and costs of devices, and of all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .moment import Kinds, Moment, Sizes, calls_of, checked_report

__all__ = ["Rates", "Row", "Sample", "compare", "cpu_share", "total"]


class Sample(NamedTuple):
    """A moment, and what the daemon says there."""

    moment: Moment
    report: Mapping[str, Any]

    @classmethod
    def of(cls, moment: Moment) -> Sample:
        """Its report is checked.

        Raises:
            ValueError: see `checked_report`.
        """
        return cls(moment, checked_report(moment.report))

    def seconds_since(self, before: Sample | None) -> float:
        """0 if that was another mount."""
        if before is None or before.report["pid"] != self.report["pid"]:
            return 0.0
        return (self.moment.when - before.moment.when) / 1e9


class Rates(NamedTuple):
    """Of calls, by the second."""

    calls: float
    read: float
    """Bytes."""
    written: float
    nanoseconds: float
    """In calls."""

    @property
    def cost(self) -> float:
        """Mean nanoseconds of a call; 0 without calls."""
        return self.nanoseconds / self.calls if self.calls else 0.0


class Row(NamedTuple):
    """A device."""

    sizes: Sizes
    rates: Rates | None
    """None where they are not known: at first, and of devices that the daemon does not tell of."""
    errors: int | None
    """Calls that failed since the mount."""


def compare(now: Sample, before: Sample | None) -> list[Row]:
    """The devices in their order.

    Args:
        before: None, there was none: no rates are known.
    """
    seconds = now.seconds_since(before)
    rows = []
    for sizes in now.moment.sizes:
        calls, rates, errors = calls_of(now.report, sizes.name), None, None
        if calls is not None:
            errors = _sum(calls, "errors")
            old = (
                calls_of(before.report, sizes.name) if before is not None and seconds > 0 else None
            )
            if old is not None:
                rates = _rates(calls, old, seconds)
        rows.append(Row(sizes, rates, errors))
    return rows


def total(rows: Iterable[Row]) -> Rates:
    """Of all devices whose rates are known."""
    known = [row.rates for row in rows if row.rates is not None]
    return Rates(*(map(sum, zip(*known, strict=True)) if known else (0.0,) * 4))


def cpu_share(now: Sample, before: Sample | None) -> float | None:
    """Of one CPU, what the daemon took between two moments; None, that is not known."""
    seconds = now.seconds_since(before)
    if before is None or seconds <= 0:
        return None
    return max(0.0, float(now.report["cpu"] - before.report["cpu"])) / seconds


def _rates(calls: Kinds, old: Kinds, seconds: float) -> Rates:
    def grown(counter: str, kinds: Iterable[str]) -> float:
        more = sum(
            each[counter] - old.get(kind, {}).get(counter, 0)
            for kind, each in calls.items()
            if kind in kinds
        )
        return max(more, 0) / seconds

    return Rates(
        grown("calls", calls),
        grown("bytes", ("read",)),
        grown("bytes", ("write",)),
        grown("nanoseconds", calls),
    )


def _sum(calls: Kinds, counter: str) -> int:
    return sum(each[counter] for each in calls.values())
