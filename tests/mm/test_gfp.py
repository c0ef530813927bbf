"""The names of allocation flags."""

from __future__ import annotations

import pytest

from scullvfs.mm import gfp


@pytest.mark.parametrize(
    ("flags", "text"),
    [  # printed by a real kernel
        (0xCC0, "GFP_KERNEL"),
        (0xDC0, "GFP_KERNEL|__GFP_ZERO"),
        (0xDC2, "GFP_KERNEL|__GFP_HIGHMEM|__GFP_ZERO"),
        (0x2CC2, "GFP_KERNEL|__GFP_HIGHMEM|__GFP_NOWARN"),
        (gfp.GFP_HIGHUSER_MOVABLE | 0x40100, "GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO"),
        (gfp.GFP_NOFS | gfp.__GFP_ZERO, "GFP_NOFS|__GFP_ZERO"),
    ],
)
def test_names(flags: int, text: str) -> None:
    """As the kernel prints them."""
    assert gfp.gfp_flags_string(flags) == text


def test_without_a_name() -> None:
    """Nothing is left out."""
    assert gfp.gfp_flags_string(gfp.GFP_ATOMIC | 0x8000000) == "GFP_ATOMIC|0x8000000"
    assert gfp.gfp_flags_string(0) == "none"
