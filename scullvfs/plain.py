"""Plain data, checked: what comes from outside as JSON is of the types that somebody expects.

    kind                        data
    int, str, bool, float       the same
    X | None                    the same, or null
    int | str                   one of them
    Any                         whatever it is: somebody else looks
    list[X], tuple[X, ...]      a list
    tuple[X, Y], a NamedTuple   a list of so many
    dict[str, X]                an object
    a TypedDict                 an object with these names and no others

Many of one kind are checked at once, column by column, which takes a tenth of the time.  Stands
below all rooms, and imports nothing of scullvfs.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import chain, islice
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

__all__ = ["checked"]

T = TypeVar("T")

_ATOMS = (int, bool, str, float)


def checked(kind: type[T], data: Any) -> T:
    """What is of a kind, made of data: of lists come tuples where the kind says so.

    Raises:
        ValueError: it is none of that kind.
    """
    found: T = _all(kind, [data])[0]
    return found


def _all(kind: Any, values: list[Any]) -> list[Any]:
    """Each of the values as one of a kind."""
    if kind in _ATOMS:
        _of_type(kind, values)
        return values
    if kind is Any:
        return values
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _optional(kind, values)
    if origin is dict:
        return [_mapping(get_args(kind)[1], value) for value in values]
    if is_typeddict(kind):
        return _objects(kind, values)
    _of_type(list, values)
    if origin is list or (origin is tuple and get_args(kind)[1:] == (...,)):
        return _lists(origin, get_args(kind)[0], values)
    if origin is tuple:
        return list(_rows(get_args(kind), values))
    return [kind(*row) for row in _rows(_hints(kind).values(), values)]


def _of_type(kind: type, values: Iterable[Any]) -> None:
    if not {*map(type, values)} <= {kind}:
        raise ValueError(f"no {kind.__name__}")


def _optional(kind: Any, values: list[Any]) -> list[Any]:
    inner, *more = [each for each in get_args(kind) if each is not NoneType]
    if more:
        if not {*map(type, values)} <= {*get_args(kind)}:
            raise ValueError(f"no {kind}")
        return values
    there = iter(_all(inner, [value for value in values if value is not None]))
    return [None if value is None else next(there) for value in values]


def _mapping(kind: Any, value: Any) -> dict[str, Any]:
    _of_type(dict, [value])
    _of_type(str, value)
    return dict(zip(value, _all(kind, [*value.values()]), strict=True))


def _objects(kind: Any, values: list[Any]) -> list[Any]:
    _of_type(dict, values)
    hints = _hints(kind)
    if any(value.keys() != hints.keys() for value in values):
        raise ValueError("other names")
    columns = (_all(hint, [value[name] for value in values]) for name, hint in hints.items())
    return [dict(zip(hints, row, strict=True)) for row in zip(*columns, strict=True)]


def _lists(origin: Any, inner: Any, values: list[Any]) -> list[Any]:
    flat = [*chain.from_iterable(values)]
    found = _all(inner, flat)
    if found is flat and origin is list:
        return values
    items = iter(found)
    return [origin(islice(items, len(value))) for value in values]


def _rows(kinds: Iterable[Any], values: list[Any]) -> Iterable[tuple[Any, ...]]:
    kinds = [*kinds]
    if not {*map(len, values)} <= {len(kinds)}:
        raise ValueError(f"no {len(kinds)} of them")
    columns = zip(*values, strict=True) if values else [()] * len(kinds)
    found = [_all(kind, [*column]) for kind, column in zip(kinds, columns, strict=True)]
    return zip(*found, strict=True)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
