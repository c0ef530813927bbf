"""How the modules are written: what a docstring names stands in single backticks."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(ROOT.glob("scullvfs/**/*.py"))

ITALICS = re.compile(r"(?<![\w*`/])\*([A-Za-z_]\w*)\*(?![\w*])")
DOUBLE = re.compile(r"(?<!`)``(?!`)")


def otherwise(source: str) -> list[str]:
    """What stands in double backticks, and which arguments in italics.

    Italics are for a word that is explained.
    """
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found += DOUBLE.findall(str(node.value.value))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            arguments = {below.arg for below in ast.walk(node) if isinstance(below, ast.arg)}
            text = ast.get_docstring(node) or ""
            found += [word for word in ITALICS.findall(text) if word in arguments]
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_stand_in_backticks(module: Path) -> None:
    """One way to write a name, whatever the room."""
    assert otherwise(module.read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('def f(text):\n    """The size of *text*."""', ["text"]),
        ('class A:\n    """Of *size*."""\n    def __init__(self, size): ...', ["size"]),
        ('def f(text):\n    """A page is *clean* when nothing was written to it."""', []),
        ('def f():\n    """As ``g`` does."""', ["``", "``"]),
        ('def f(n, args):\n    """Of `*args` and `a * n * c`, as in 2 * n * m."""', []),
        ('def f(text):\n    return "*text*"', []),
    ],
)
def test_otherwise_finds(source: str, found: list[str]) -> None:
    """Both are seen, where they are docstrings, and what is code is left alone."""
    assert otherwise(source) == found
