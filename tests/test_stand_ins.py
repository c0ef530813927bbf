"""What stands in for a module while a library is imported, and what becomes of it."""

import importlib
import inspect
import sys
from collections.abc import Iterator

import pytest

from scullvfs.cli.click_alone import cleandoc
from scullvfs.stand_ins import left_out

NAME = "xml.sax.saxutils"
"""A module that nothing here has imported, in a package."""


@pytest.fixture(autouse=True)
def not_imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module is not there yet, and not there for long."""
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    monkeypatch.delattr("xml.sax.saxutils", raising=False)
    with monkeypatch.context():
        yield
    sys.modules.pop(NAME, None)


def test_nothing_is_imported() -> None:
    """As long as nothing of it is wanted, and afterwards everybody gets the module."""
    with left_out({NAME: {}}):
        import xml.sax.saxutils as found

        assert sys.modules[NAME] is found
        assert not hasattr(found, "__file__")
    assert NAME not in sys.modules
    assert importlib.import_module(NAME).escape("&") == "&amp;"


def test_what_is_ready_made() -> None:
    """That is had without the module, by whatever way of import."""
    with left_out({NAME: {"escape": str.upper}}):
        import xml.sax.saxutils
        from xml.sax.saxutils import escape

        assert escape("a") == xml.sax.saxutils.escape("a") == "A"
        assert importlib.import_module(NAME).__spec__ is None
    assert NAME not in sys.modules


def test_what_is_wanted_all_the_same() -> None:
    """The module is imported then, for all, and whoever has the other goes on with it."""
    with left_out({NAME: {"escape": str.upper}}):
        import xml.sax.saxutils as found
        from xml.sax.saxutils import unescape

        there = sys.modules[NAME]
        assert there is not found
        assert importlib.import_module("xml.sax").saxutils is there
    assert sys.modules[NAME] is there
    assert unescape("&amp;") == found.unescape("&amp;") == "&"
    with pytest.raises(AttributeError):
        _ = found.no_such_thing


def test_what_is_imported_already() -> None:
    """It stays what it is."""
    there = importlib.import_module(NAME)
    with left_out({NAME: {"escape": str.upper}}):
        assert sys.modules[NAME] is there
    assert sys.modules[NAME] is there


def test_the_name_comes_back_after_an_error() -> None:
    """An import may fail."""
    with pytest.raises(ImportError), left_out({NAME: {}}):
        raise ImportError
    assert NAME not in sys.modules


@pytest.mark.parametrize(
    "doc",
    [
        "",
        "One line.",
        "  One line, moved in.",
        "First.\n\n    Second.\n      Third, moved in.\n    ",
        "\n    First.\n\n\n    Last.\n\n",
        "\n\tTabs.\n\t\tMore.\n",
        "First.\n   \n  Third.\n",
        "\b\n  as it is\n",
        "\n\n",
    ],
)
def test_cleandoc(doc: str) -> None:
    """click cannot tell it from Python's."""
    assert cleandoc(doc) == inspect.cleandoc(doc)
