"""The functions of Python's that stand for the kernel's are found by their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

import scullvfs
from scullvfs.fs.driver_trace import CALLS, FALLOCATE
from scullvfs.mm.call_trace import TABLES, TRACE, is_function
from scullvfs.mm.tracepoints import CALL_SITES
from scullvfs.scull import tracepoints

assert tracepoints  # the drivers add theirs to CALL_SITES as it is imported

PACKAGE = Path(scullvfs.__file__).parent


def codes(code: CodeType) -> Iterator[str]:
    """The qualified names of all functions in a piece of code."""
    yield code.co_qualname
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


FUNCTIONS = {
    name
    for room in ("mm", "scull")
    for path in (PACKAGE / room).glob("*.py")
    for name in codes(compile(path.read_text(), path, "exec"))
}


@pytest.mark.parametrize("name", sorted({*TRACE, *CALL_SITES, *CALLS, *FALLOCATE}))
def test_function_is_there(name: str) -> None:
    """One that was renamed would be missing from traces, and nothing else would say so."""
    assert name in FUNCTIONS


def test_is_function() -> None:
    """Those of the machine are known by their names in Linux, wherever they stand."""
    for name in ("vmalloc_noprof", "get_page_from_freelist", *TABLES.values()):
        assert is_function(name)
    assert not is_function("vmalloc")
