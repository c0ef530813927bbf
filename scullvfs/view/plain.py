"""Models as JSON, from the child process that reads them to the one that draws them, and checked.

A model is a NamedTuple of numbers, words and tuples of such.  The child is of another user where
the mount is, so what comes is not believed: each value is of the type that the model says.
"""

from __future__ import annotations

import json
from typing import TypeVar

from scullvfs.plain import checked

__all__ = ["decoded", "encoded"]

T = TypeVar("T")


def encoded(model: object) -> bytes:
    """A model as bytes."""
    return json.dumps(model, separators=(",", ":")).encode()


def decoded(kind: type[T], data: bytes) -> T:
    """The model of that kind.

    Raises:
        ValueError: it is none.
    """
    try:
        return checked(kind, json.loads(data))
    except RecursionError:
        raise ValueError("too deep") from None
