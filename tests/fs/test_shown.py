"""Files whose text is made at open: one text, whoever asks for its size in between."""

from __future__ import annotations

import itertools

import pytest

from scullvfs.fs.shown import ShownFile
from scullvfs.mm import outside

ADA, BEN = 100, 200
"""Two processes."""


class Counter(ShownFile):
    """Each text is a line longer than the one before."""

    def __init__(self) -> None:
        super().__init__(0o444, 0, 0)
        self._lines = itertools.count(1)

    def text(self) -> str:
        """A new text."""
        return "line\n" * next(self._lines)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the tests may set."""
    now = [1000.0]
    monkeypatch.setattr(outside, "monotonic_ns", lambda: int(now[0] * 1e9))
    return now


def opened(file: Counter, pid: int) -> int:
    """How many lines the text has that a process gets at open."""
    return bytes(file.open(0, pid).read(0, 1000)).count(b"\n")


def test_size_before_anybody_has_looked() -> None:
    """A list of names does not make all texts."""
    assert Counter().size == 0


def test_open_gets_what_was_looked_up() -> None:
    """The size that the kernel got is that of the text that is read."""
    file = Counter()
    file.looked_up(ADA)
    assert (file.size, opened(file, ADA), file.size) == (5, 1, 5)


def test_open_without_a_look_up() -> None:
    """By way of /proc/self/fd: each open makes a text."""
    file = Counter()
    assert (opened(file, ADA), opened(file, ADA), file.size) == (1, 2, 10)


def test_each_look_up_makes_a_text() -> None:
    """What is opened is what was looked up last."""
    file = Counter()
    file.looked_up(ADA)
    file.looked_up(ADA)
    assert (file.size, opened(file, ADA)) == (10, 2)


def test_a_text_is_for_one_open() -> None:
    """The next open without a look-up gets a new one."""
    file = Counter()
    file.looked_up(ADA)
    assert (opened(file, ADA), opened(file, ADA)) == (1, 2)


def test_a_text_is_for_who_has_looked_it_up() -> None:
    """Another process, which has not, gets a new one."""
    file = Counter()
    file.looked_up(ADA)
    assert opened(file, BEN) == 2


def test_a_text_waits_for_a_second(clock: list[float]) -> None:
    """A stat(2) long ago is no look-up for an open of now."""
    file = Counter()
    file.looked_up(ADA)
    clock[0] += 0.9
    assert opened(file, ADA) == 1
    file.looked_up(ADA)
    clock[0] += 1.1
    assert opened(file, ADA) == 3


def test_an_open_text_stays() -> None:
    """Whatever is looked up and opened later."""
    file = Counter()
    handle = file.open(0, ADA)
    file.looked_up(BEN)
    file.open(0, BEN)
    assert bytes(handle.read(0, 1000)) == b"line\n"
