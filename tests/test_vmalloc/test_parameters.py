"""The parameters of test_vmalloc, as insmod and the kernel take them."""

from __future__ import annotations

import pytest

from scullvfs.errors import UsageError
from scullvfs.test_vmalloc.cases import CASES
from scullvfs.test_vmalloc.parameters import ABOUT, NAMES, SWITCHES, Parameters, parse_parameters


def test_defaults_are_linuxs() -> None:
    """A million loops of everything, once, by one worker, one page."""
    assert parse_parameters([]) == (0x7FFFFFFF, 0, 1_000_000, 1, 0, False, False)
    assert {*ABOUT} == {*Parameters._fields}
    assert (
        tuple(name for name, value in Parameters._field_defaults.items() if isinstance(value, bool))
        == SWITCHES
    )


def test_names_are_those_of_the_scenarios() -> None:
    """In the order of their bits."""
    assert tuple(case.name for case in CASES) == NAMES


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["nr_pages=7"], "nr_pages", 7),
        (["nr-pages=0x10"], "nr_pages", 16),
        (["nr_pages=010"], "nr_pages", 8),
        (["nr_pages=-1"], "nr_pages", -1),
        (["nr_pages=1", "nr_pages=2"], "nr_pages", 2),
        (["use_huge=1 nr_pages=3"], "nr_pages", 3),
        (["use_huge"], "use_huge", True),
        (["use_huge=on"], "use_huge", True),
        (["use_huge=Y"], "use_huge", True),
        (["use_huge=n"], "use_huge", False),
        (["run_test_mask=-1"], "run_test_mask", -1),
        (["test_loop_count=2147483647"], "test_loop_count", 2147483647),
    ],
)
def test_parse_parameters(words: list[str], name: str, value: object) -> None:
    """By prefix in another base, `-` for `_`, the last of several; a switch needs no value."""
    assert getattr(parse_parameters(words), name) == value


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nonsense=1", r"unknown parameter 'nonsense'; 'scullvfs test-vmalloc --help' lists"),
        ("test_lop_count=1", r"unknown parameter 'test_lop_count'; did you mean 'test_loop_count'"),
        ("\x1b[31m=1", r"unknown parameter '\\033\[31m'"),
        ("nr_pages", r"'' invalid for parameter 'nr_pages'; it must be a number from -2147483648"),
        ("nr_pages=x", r"'x' invalid for parameter 'nr_pages'"),
        ("nr_pages=1k", r"'1k' invalid for parameter 'nr_pages'"),
        ("nr_pages=2147483648", r"'2147483648' invalid for parameter 'nr_pages'"),
        ("nr_pages=\udcff", r"'\\377' invalid for parameter 'nr_pages'"),
        ("use_huge=", r"'' invalid for parameter 'use_huge'; it must be 0 or 1"),
        ("use_huge=2", r"'2' invalid for parameter 'use_huge'"),
    ],
)
def test_parse_parameters_refuses(word: str, said: str) -> None:
    """In a line that names the parameter."""
    with pytest.raises(UsageError, match=rf"^test_vmalloc: {said}"):
        parse_parameters(["nr_pages=1", word])


@pytest.mark.parametrize(
    ("given", "run"), [(0, 1), (-5, 1), (1, 1), (3, 3), (65535, 65535), (65536, 65535)]
)
def test_as_run(given: int, run: int) -> None:
    """One at least of loops, runs and workers, and of workers no more than 65535."""
    parameters = Parameters(nr_threads=given, test_loop_count=given, test_repeat_count=given)
    loops = max(given, 1)
    assert parameters.as_run()[1:4] == (run, loops, loops)
