"""What happened between two moments, and how it is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

import scullvfs
from scullvfs.options.table import parse_options
from scullvfs.view.gauges import cost_words, curve_words, gauges, rate_words, short_bytes, title
from scullvfs.view.marks import ASCII, UNICODE
from scullvfs.view.moment import Moment, Sizes, Tail, Zone
from scullvfs.view.ram import Cache
from scullvfs.view.rates import Rates, Sample, compare, cpu_share, total

SECOND = 10**9
NOTHING = Tail((), "", "", 0, 0)


def report(**changes: Any) -> dict[str, Any]:
    """What a daemon says that has done nothing yet."""
    return {
        "pid": 7,
        "version": scullvfs.__version__,
        "uptime": 3661.5,
        "options": parse_options(["mem=64M"]).as_dict(),
        "ram": {"used": 1 << 20, "total": 1 << 26},
        "vmalloc": {"used": 0, "lazy": 0, "total": 1 << 45},
        "devices": 4,
        "requests": 9,
        "calls": {},
        "faults": {},
        "lowlevel": True,
        "rss": 1 << 25,
        "cpu": 1.0,
    } | changes


def at(seconds: float, **changes: Any) -> Sample:
    """A look at a mount with two devices."""
    sizes = (Sizes("scullv0", 10, 512, 1), Sizes("scullv1", 0, 0, 0))
    zones = (Zone("Normal", (3, 0, 5, *[0] * 8)),)
    caches = tuple(Cache(f"cache-{number}", 9 - number) for number in range(8))
    text = json.dumps(report(**changes))
    when = round(seconds * SECOND)
    return Sample.of(Moment(when, text, sizes, 0, zones, caches, NOTHING, NOTHING))


def counted(calls: int, moved: int, errors: int, nanoseconds: int) -> dict[str, int]:
    """Counters."""
    return {"calls": calls, "bytes": moved, "errors": errors, "nanoseconds": nanoseconds}


def test_compare() -> None:
    """By the second; what a read moves is read, and the mean is of all calls."""
    before = at(10, calls={"scullv0": {"read": counted(1, 100, 0, 50)}})
    now = at(
        12,
        calls={
            "scullv0": {
                "read": counted(5, 300, 1, 450),
                "write": counted(4, 1000, 2, 400),
                "open": counted(2, 0, 0, 200),
            }
        },
    )
    first, second = compare(now, before)
    assert first.rates == Rates(calls=5, read=100, written=500, nanoseconds=500)
    assert (first.rates.cost, first.errors) == (100, 3)
    assert (second.rates, second.errors) == (Rates(0, 0, 0, 0), 0)
    assert total([first, second]) == first.rates
    assert total([]) == Rates(0, 0, 0, 0)


def test_compare_what_cannot_be() -> None:
    """No look before, another daemon, and no time between: no rates. No counter goes back."""
    calls = {"scullv0": {"read": counted(5, 300, 1, 450)}}
    now = at(12, calls=calls)
    for before in (None, at(10, pid=8), at(12)):
        assert [row.rates for row in compare(now, before)] == [None, None]
    assert compare(at(13), now)[0].rates == Rates(0, 0, 0, 0)
    assert compare(at(13, calls={"scullv0": {"read": counted(1, 0, 0, 0)}}), now)[0].rates == Rates(
        0, 0, 0, 0
    )


def test_cpu_share() -> None:
    """Of one CPU, in the time between."""
    assert cpu_share(at(12, cpu=1.5), at(10)) == 0.25
    assert cpu_share(at(12), None) is None
    assert cpu_share(at(12, pid=8), at(10)) is None


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1K"),
        (65536, "64K"),
        (1310720, "1.25M"),
        (1047527424, "999M"),
        (1048051712, "1000M"),
        (1 << 30, "1G"),
        ((1 << 64) - 1, "16E"),
    ],
)
def test_short_bytes(count: int, words: str) -> None:
    """Five columns at the most."""
    assert short_bytes(count) == words
    assert len(words) <= 5


def test_words_fit() -> None:
    """Whatever the number, into their columns."""
    for power in range(64):
        for number in (1 << power, (1 << power) * 1.9, (10**power) * 0.999):
            assert len(short_bytes(number)) <= 6 or number >= 1 << 64
            assert len(rate_words(min(number, 1e9))) <= 7
            assert len(cost_words(min(number, 9e12), ASCII)) <= 7
    assert (cost_words(0, ASCII), cost_words(850, ASCII)) == ("", "850 ns")
    assert (cost_words(49_000, UNICODE), cost_words(49_000, ASCII)) == ("49 µs", "49 us")
    assert (cost_words(1.3e6, ASCII), cost_words(2e9, ASCII)) == ("1.3 ms", "2.0 s")
    assert (rate_words(0.3), rate_words(1234), rate_words(2e6)) == ("0.3", "1,234", "2.0M")


def test_curve() -> None:
    """The last ones, the highest as high as can be, and whatever is there can be seen."""
    assert curve_words([0, 1, 500, 1000], 1000, 6, UNICODE) == "   ▁▄█"
    assert curve_words([9, 9, 9, 1000], 1000, 2, UNICODE) == "▁█"
    assert curve_words([0, 0], 0, 3, ASCII) == "   "


@pytest.mark.parametrize("marks", [UNICODE, ASCII])
@pytest.mark.parametrize("width", [77, 80, 250])
def test_gauges(width: int, marks: Any) -> None:
    """None is wider than the screen, or two lines, with numbers as large as they get."""
    large = {"used": 1 << 45, "total": 1 << 45, "lazy": 1023 << 35}
    now = at(9, ram={"used": 1 << 40, "total": 1 << 40}, vmalloc=large)
    rates = Rates(987_654, 1e12, 1e12, 1e9)
    lines = [*gauges(now.moment, now.report, rates, [1.0] * 500, width, marks)]
    assert max(line.cell_len for line in lines) <= width
    assert all("\n" not in line.plain for line in lines)
    assert "largest: order 2, 16 KiB" in lines[2].plain
    assert lines[2].plain.count("0") < lines[2].plain.count("2")
    assert marks is UNICODE or all(line.plain.isascii() for line in lines)
    nothing = now.moment._replace(zones=(Zone("Normal", (0,) * 11),), caches=())
    lines = [*gauges(nothing, now.report, None, [], width, marks)]
    assert "nothing is" in lines[2].plain
    assert max(line.cell_len for line in lines) <= width


def test_title() -> None:
    """The end of a long path, and what is armed."""
    armed = {"failslab": {"armed": True, "injected": 3}, "open": {"armed": False, "injected": 1}}
    for path, width in (("/mnt/scullv", 80), ("/long" * 100, 80), ("/\x1b[31m" * 9, 77)):
        line = title(path, report(faults=armed), 0.034, width).plain
        assert len(line) == width
        assert line.isprintable()
        assert line.endswith(" 1 fault armed  up 1:01:01  daemon 32M, 3.4% CPU")
    assert title("/long" * 100, report(), None, 80).plain.startswith("..")
