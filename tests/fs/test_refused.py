"""Which failures nobody has heard of, so that they come once more."""

from __future__ import annotations

from scullvfs.fs.refused import RefusedFills, RefusedWrite
from scullvfs.mm import PAGE_SIZE as P


def test_refused_fills() -> None:
    """A range is asked for once more, by one of its pages; a page by itself is not."""
    fills = RefusedFills()
    fills.failed(0, 8 * P)
    assert fills.unheard
    assert not fills.fails_again(0, 8 * P)
    assert not fills.fails_again(8 * P, P)
    assert fills.fails_again(2 * P, P)
    assert not fills.fails_again(2 * P, P)
    fills.failed(2 * P, P)
    assert not fills.unheard
    fills.filled(0, 8 * P)
    fills.failed(2 * P, P)
    assert fills.fails_again(2 * P, P)
    for number in range(2 * fills.MOST):
        fills.failed(100 * number * P, 2 * P)
    fills.clear()
    assert not fills.unheard


def test_refused_write() -> None:
    """The rest of a page that is followed by another request may be of the same call."""
    write = RefusedWrite()
    for pos, end, unheard in [
        (100, P, True),
        (0, P, False),
        (100, 200, False),
        (100, 2 * P, False),
        (P, P + write.LARGEST, True),
    ]:
        write.written(pos, end)
        write.failed(end + 1)
        assert not write.unheard
        write.written(pos, end)
        write.failed(end)
        assert write.unheard == unheard
        assert write.fails_again(end) == unheard
        assert not write.fails_again(end)
