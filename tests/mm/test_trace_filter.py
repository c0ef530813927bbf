"""Filters: the kernel's expressions, and its words for what is none."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.trace_events import EVENTS
from scullvfs.mm.trace_filter import Filter, FilterError, Refusal

BY_NAME = {event.name: event for event in EVENTS}
KMALLOC = ("scullv_write [scullv]", 0xFFFF_8880_0000_1000, 4000, 4096, GFP_KERNEL, -1)
FREE = ("kmem_cache_free", 0xFFFF_8880_0000_1000, "vmap_area")


def matches(text: str, event: str = "kmalloc") -> bool:
    """Whether a filter matches the record above, of dd with pid 772."""
    values = {"kmalloc": KMALLOC, "kmem_cache_free": FREE}[event]
    return Filter(text, BY_NAME[event], 8).matches(values, 772, "dd")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("bytes_req == 4000", True),
        ("bytes_req==0xfa0", True),
        ("bytes_req == 07640", True),
        ("bytes_req != 4000", False),
        ("bytes_req > 3999", True),
        ("bytes_req >= 4000", True),
        ("bytes_req < 4000", False),
        ("bytes_req <= 4000", True),
        ("bytes_req & 32", True),
        ("bytes_req & 1", False),
        ("ptr != 0", True),
        ("ptr > 0xffff888000000000", True),
        ("node == -1", True),
        ("node < 0", True),
        ("node == 4294967295", True),  # it is an int
        ("common_pid == 772", True),
        ("common_type == 626", True),
        ("cpu == 0 && CPU < 1", True),
        ("call_site == 0", True),
        ("call_site.function == scullv_write", True),
        ("call_site.function != scullv_write", False),
        ('call_site.function == "vfree"', False),
        ("comm == 'dd'", True),
        ('comm == "d"', False),
        ("COMM ~ 'd*'", True),
        ("comm ~ '*[xd]'", True),
        ("comm != 'cat'", True),
        ("!(bytes_req == 4000)", False),
        ("!!(bytes_req == 4000)", True),
        ("!bytes_req == 4000", False),
        ("!bytes_req == 1 && node == -1", True),
        ("bytes_req == 4000 || node == 1 && node == 2", True),
        ("(bytes_req == 4000 || node == 1) && node == 2", False),
        ("node == 1 && node == 2 || bytes_req == 4000", True),
        ("bytes_req == 4000 &&", True),
        ("bytes_req == 4000 && !", True),
        ("  bytes_req\t==\n4000  ", True),
        ("(" * 1500 + "node == -1" + ")" * 1500, True),
        ("!(" * 1001 + "node == -1" + ")" * 1001, False),
        (" || ".join(["node == 1"] * 300), False),
    ],
)
def test_matches(text: str, wanted: bool) -> None:
    """By numbers and texts, with `!` before `&&` before `||`."""
    assert matches(text) is wanted


def test_string_field() -> None:
    """A field that is a text."""
    assert matches("name == 'vmap_area'", "kmem_cache_free")
    assert matches("name ~ 'vm*'", "kmem_cache_free")
    assert not matches("name != 'vmap_area'", "kmem_cache_free")


@pytest.mark.parametrize(
    ("text", "at", "why", "refusal"),
    [
        ("size > 4096", 6, "Field not found", Refusal.INVALID),
        ("nonsense == 1", 10, "Field not found", Refusal.INVALID),
        ("size >", 6, "Field not found", Refusal.INVALID),
        ("(size", 1, "Too many '('", Refusal.OPEN),
        ("node == 1 && (node == 2", 14, "Too many '('", Refusal.OPEN),
        ("node == 1)", 10, "Too few '('", Refusal.UNEXPECTED),
        ("comm == 'dd", 9, "Missing matching quote", Refusal.QUOTE),
        ("node = 1", 7, "Invalid operator", Refusal.INVALID),
        ("node ! 1", 7, "Invalid operator", Refusal.INVALID),
        ("comm > 'dd'", 9, "Illegal operation for field type", Refusal.INVALID),
        ("node ~ 1", 9, "Illegal operation for field type", Refusal.INVALID),
        ("node == 'x'", 10, "Expecting numeric field", Refusal.INVALID),
        ("comm == 1", 10, "Expecting string field", Refusal.INVALID),
        ("node == x", 10, "Invalid value (did you forget quotes)?", Refusal.INVALID),
        ("node ==", 8, "Invalid value (did you forget quotes)?", Refusal.INVALID),
        ("node == 0xzz", 10, "Illegal integer value", Refusal.INVALID),
        ("node == 08", 10, "Illegal integer value", Refusal.INVALID),
        ("bytes_req == -1", 15, "Illegal integer value", Refusal.INVALID),
        ("bytes_req == 18446744073709551616", 15, "Illegal integer value", Refusal.INVALID),
        (f"node == {'1' * 24}", 33, "Operand too long", Refusal.INVALID),
        (
            "node == 1 node == 2",
            11,
            "Too many terms in predicate expression",
            Refusal.UNEXPECTED,
        ),
        ("!", 2, "No filter found", Refusal.INVALID),
        ("call_site.function > vfree", 21, "Invalid operator", Refusal.INVALID),
    ],
)
def test_refuses(text: str, at: int, why: str, refusal: Refusal) -> None:
    """With the text, a caret below the place, and the words."""
    with pytest.raises(FilterError) as caught:
        matches(text)
    assert caught.value.report == f"{text}\n{'^':>{at}}\nparse_error: {why}\n"
    assert caught.value.refusal is refusal


@pytest.mark.parametrize("text", ["", "()", "&& node == 1", "*", "node == 1 && ()"])
def test_refuses_without_a_word(text: str) -> None:
    """Where the kernel finds none."""
    with pytest.raises(FilterError) as caught:
        matches(text)
    assert caught.value.report == f"{text}\nError: (0)\n"


WORDS = st.sampled_from(
    [
        *"()!&|~=<>'\" é\0\udcff",
        *("&&", "||", "==", "!=", "<=", "node", "comm", "bytes_req", "-1", "0x10", "''"),
        *("call_site.function", "9" * 30),
    ]
)


@pytest.mark.long
@given(st.lists(WORDS, max_size=30).map("".join) | st.text(max_size=40))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    """Nothing else happens, and a filter matches or does not."""
    with suppress(FilterError):
        filter = Filter(text, BY_NAME["kmalloc"], 8)
        assert filter.matches(KMALLOC, 1, "x") in (True, False)
