"""The house rule: imports go one way, cli -> bench -> daemon -> fuse -> fs -> scullv -> mm."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.glob("scullvfs/**/*.py"))

# Low to high; a layer imports itself and what stands before it.
LAYERS = ["mm", "scullv", "fs", "fuse", "daemon", "bench", "cli"]

# Only these layers import these modules.
RESERVED = {
    "pyfuse3": {"fuse", "daemon"},
    "trio": {"fuse", "daemon"},
    "click": {"cli"},
    "matplotlib": {"bench"},
    "errno": {"scullv", "fs", "fuse", "daemon", "cli"},
}


def imported(source: str, module: Path) -> Iterator[str]:
    """Yield the dotted name of everything that the module's source imports, at any depth."""
    package = module.parts[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            names = (node.module or "").split(".") if node.module else []
            for alias in node.names:
                yield ".".join([*base, *names, alias.name])


def offences(source: str, module: Path) -> list[str]:
    """Say which of the module's imports break the rule."""
    layer = module.parts[1] if len(module.parts) > 2 else ""
    above = LAYERS[LAYERS.index(layer) + 1 :] if layer in LAYERS else []
    found = []
    for name in imported(source, module):
        top, *rest = name.split(".")
        allowed = RESERVED.get(top)
        if allowed is not None and layer not in allowed:
            found.append(f"{module}: {top} is for {', '.join(sorted(allowed))} only")
        if top == "scullvfs" and rest and rest[0] in above:
            found.append(f"{module}: {layer} imports {name}, which stands above it")
    return found


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_go_one_way(module: Path) -> None:
    """No module imports from a layer above its own, nor a library that is not for its layer."""
    assert offences((ROOT / module).read_text(), module) == []


def test_every_layer_is_there() -> None:
    """The test above reads the real package, all of it."""
    assert {module.parts[1] for module in MODULES if len(module.parts) > 2} >= set(LAYERS)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mm/machine.py", "import errno"),
        ("mm/machine.py", "from errno import ENOMEM"),
        ("mm/machine.py", "import trio.lowlevel"),
        ("mm/machine.py", "from ..scullv.dev import Device"),
        ("mm/machine.py", "from .. import scullv"),
        ("mm/machine.py", "from scullvfs import fs"),
        ("mm/machine.py", "def later():\n    import scullvfs.daemon.options"),
        ("mm/__init__.py", "from ..cli import main"),
        ("scullv/dev.py", "import pyfuse3"),
        ("scullv/dev.py", "from ..fs.tree import Node"),
        ("fs/tree.py", "import pyfuse3"),
        ("fs/tree.py", "from ..fuse import operations"),
        ("fs/tree.py", "if TYPE_CHECKING:\n    from ..daemon import mount"),
        ("fs/deeper/tree.py", "from ...daemon import mount"),
        ("daemon/mount.py", "import click"),
        ("daemon/mount.py", "from ..cli import main"),
        ("daemon/mount.py", "from ..bench import floor"),
        ("bench/plan.py", "from ..cli import main"),
        ("bench/plan.py", "import click"),
        ("cli/mount.py", "import trio"),
        ("__init__.py", "import pyfuse3"),
    ],
)
def test_offences_finds(module: str, source: str) -> None:
    """The checker sees every way to write a forbidden import."""
    assert len(offences(source, "scullvfs" / Path(module))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mm/machine.py", "import os\nfrom .layout import Layout\nfrom scullvfs.mm import slab"),
        ("scullv/dev.py", "import errno\nfrom ..mm.machine import Machine\nfrom .. import mm"),
        ("fuse/operations.py", "import pyfuse3, trio\nfrom ..fs import tree"),
        ("fs/deeper/tree.py", "from ..tree import Node\nfrom ...mm import layout"),
        ("cli/mount.py", "import click\nfrom ..daemon import options\nfrom .. import __version__"),
        ("__main__.py", "from .cli import main"),
    ],
)
def test_offences_accepts(module: str, source: str) -> None:
    """The checker lets pass what goes down, stays in its layer or is the standard library's."""
    assert offences(source, "scullvfs" / Path(module)) == []
