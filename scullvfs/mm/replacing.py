"""What stands in the place of a method while somebody wants that, and nothing at all else.

    off:   slab.kmalloc --------------------------------------> Slab.kmalloc
    on:    slab.kmalloc --> tracing --> fails? --> fails? ----> Slab.kmalloc
                            TRACE       ENTRY      HOOK, INSIDE
           an attribute of this `slab` alone

So what is off costs nothing.  It needs two things of the code that is replaced: that it calls these
methods by their names (`self._slab.kmalloc(...)`, no method kept in a variable), and that they keep
their arguments.  Each layer can be put on and taken off while the others are as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, TypeVar

__all__ = ["LAYERS", "Layer", "Replaced", "around", "is_plain", "replace", "replacing"]

T = TypeVar("T")

Replaced = Callable[..., Any]
"""A method of a part, bound to it, or what stands in its place."""

LAYERS: Final = "__layers__"
"""The attribute of a part with its layers: name -> layer -> what makes it of the one inside."""


class Layer(IntEnum):
    """What can stand in the place of a method, the innermost first; one of each at a time."""

    AHEAD = 0
    """Does the same more quickly (`vmalloc_ahead`)."""
    RECORD = 1
    """Notes what is given and what is taken back (`touched`)."""
    INSIDE = 2
    """Fails where Linux's function asks whether it shall."""
    HOOK = 3
    """Fails as the function is entered that asks there (`fail_function` of should_failslab)."""
    ENTRY = 4
    """Fails as the function itself is entered (`fail_function`)."""
    TRACE = 5
    """Records what it was asked and what it gave, so also that it has failed."""


def replace(
    part: object, name: str, layer: Layer, wrap: Callable[[Replaced], Replaced] | None
) -> None:
    """Put a layer in the place of a method, or with None take it away.

    Args:
        wrap: makes it of the method, or of the layer inside.
    """
    every: dict[str, dict[Layer, Callable[[Replaced], Replaced]]] = vars(part).setdefault(
        LAYERS, {}
    )
    layers = every.setdefault(name, {})
    if wrap is None:
        layers.pop(layer, None)
    else:
        layers[layer] = wrap
    vars(part).pop(name, None)
    if layers:
        method = getattr(part, name)
        for each in sorted(layers):
            method = layers[each](method)
        setattr(part, name, method)
    else:
        del every[name]
    if not every:
        del vars(part)[LAYERS]


def is_plain(part: object) -> bool:
    """Whether nothing stands in the place of its methods, but for AHEAD, which does the same."""
    every: dict[str, dict[Layer, Any]] | None = vars(part).get(LAYERS)
    return every is None or all(layers.keys() == {Layer.AHEAD} for layers in every.values())


def around(part: object, name: str, layer: Layer, method: Replaced) -> Replaced:
    """A method with that one layer around it that stands in the place of another, if it does."""
    wrap = vars(part).get(LAYERS, {}).get(name, {}).get(layer)
    wrapped: Replaced = method if wrap is None else wrap(method)
    return wrapped


def replacing(
    layer: Layer, *methods: tuple[object, str, Callable[[Any, Replaced, T], Replaced]]
) -> Callable[[T | None], None]:
    """What puts a layer in the place of some methods, or with None takes it away.

    Args:
        methods: of a part each, its name, and what makes the layer: of the part, the method, and
            what it is switched on with.
    """

    def switch(argument: T | None) -> None:
        for part, name, make in methods:
            if argument is None:
                replace(part, name, layer, None)
            else:
                replace(part, name, layer, _wrap(make, part, argument))

    return switch


def _wrap(
    make: Callable[[Any, Replaced, T], Replaced], part: object, argument: T
) -> Callable[[Replaced], Replaced]:
    return lambda method: make(part, method, argument)
