"""Layers in the place of a method: which is outside of which, and that nothing stays behind."""

from __future__ import annotations

from itertools import permutations

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.replacing import Layer, Replaced, is_plain, replacing


class Part:
    """Something with a method."""

    def call(self, number: int) -> str:
        """Say what it got."""
        return f"{number}"


def make(part: Part, method: Replaced, name: str) -> Replaced:
    """A layer that says its name around what is inside."""
    assert isinstance(part, Part)
    return lambda number: f"{name}({method(number)})"


OTHERS = [layer for layer in Layer if layer is not Layer.AHEAD]


@pytest.mark.parametrize("order", [*permutations(OTHERS)])
def test_order(order: tuple[Layer, ...]) -> None:
    """Whichever comes first, the trace is outermost; and each goes while the others stay."""
    part = Part()
    switches = {layer: replacing(layer, (part, "call", make)) for layer in OTHERS}
    for layer in order:
        switches[layer](layer.name)
    assert part.call(5) == "TRACE(ENTRY(HOOK(INSIDE(RECORD(5)))))"
    left = sorted(order)
    for layer in order:
        switches[layer](None)
        left.remove(layer)
        expected = "5"
        for each in left:
            expected = f"{each.name}({expected})"
        assert part.call(5) == expected
    assert vars(part) == {}


@pytest.mark.parametrize("layer", OTHERS)
def test_is_plain(layer: Layer) -> None:
    """It is as long as there is no layer, or only the one that does the same, innermost."""
    part = Part()
    ahead, other = (replacing(each, (part, "call", make)) for each in (Layer.AHEAD, layer))
    assert is_plain(part)
    ahead("AHEAD")
    assert is_plain(part)
    other("other")
    assert not is_plain(part)
    assert part.call(5) == "other(AHEAD(5))"
    other(None)
    assert is_plain(part)


def test_twice_on_twice_off() -> None:
    """On again is the new one, off again is nothing."""
    part = Part()
    switch = replacing(Layer.ENTRY, (part, "call", make))
    switch("first")
    switch("second")
    assert part.call(1) == "second(1)"
    switch(None)
    switch(None)
    assert part.call(1) == "1"
    assert vars(part) == {}


def test_others_are_not_concerned() -> None:
    """Neither another part nor the class."""
    part, other = Part(), Part()
    replacing(Layer.INSIDE, (part, "call", make))("it")
    assert other.call(1) == "1"
    assert Part().call(1) == "1"


def test_trace_shows_a_failure(machine: Machine) -> None:
    """An event is of what was given in the end."""
    slab, trace = machine.slab, machine.trace
    switch = replacing(Layer.INSIDE, (slab, "kmalloc", lambda *_: lambda *args: None))
    for orders in ((0, 1), (1, 0)):
        for step in orders:
            if step:
                switch("fails")
            else:
                trace.set_event("kmalloc", on=True)
        assert slab.kmalloc(100) is None
        assert "ptr=0000000000000000 bytes_req=100" in trace.take(1000)
        switch(None)
        address = slab.kmalloc(100)
        assert address is not None
        assert "ptr=0000000000000000" not in trace.take(1000)
        slab.kfree(address)
        trace.set_event("kmalloc", on=False)
    assert slab.kmalloc.__func__ is type(slab).kmalloc
