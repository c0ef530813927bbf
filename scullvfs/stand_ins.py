"""Modules that a library imports for what nobody here asks of it, left out.

A third of the start of a command, and of a daemon, would else be `inspect` for click and TLS for
trio. While such a library is imported, something that looks like the module stands in for it. At
the first thing that is wanted of that, it is imported after all; so what is left out
wrongly costs time and nothing else. For everybody else, and afterwards, the module is what it
always was. Stands below all rooms, and imports nothing of scullvfs.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["left_out"]


@contextmanager
def left_out(modules: Mapping[str, Mapping[str, object]]) -> Iterator[None]:
    """Let those of `modules` that are not imported yet look as if they were.

    Args:
        modules: name -> what of the module is wanted, ready made. Of `package.module` the package
            is imported.
    """
    there = [_StandIn(name, of) for name, of in modules.items() if name not in sys.modules]
    try:
        yield
    finally:
        for stand_in in there:
            stand_in.step_aside()


class _StandIn(ModuleType):
    """What is found under the name of a module that is not imported yet."""

    def __init__(self, name: str, of: Mapping[str, object]) -> None:
        super().__init__(name)
        vars(self).update(of)
        sys.modules[name] = self
        package, _, last = name.rpartition(".")
        if package:
            setattr(import_module(package), last, self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python looks for in any module
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.step_aside()
        return getattr(import_module(self.__name__), name)

    def step_aside(self) -> None:
        """Give the name back."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        package, _, last = self.__name__.rpartition(".")
        if package and getattr(sys.modules[package], last, None) is self:
            delattr(sys.modules[package], last)
