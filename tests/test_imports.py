"""The house rules: rooms import from those below them only, and no module imports itself."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.glob("scullvfs/**/*.py"))

GROUND = {"errors", "inherited", "interrupts", "plain", "stand_ins", "text", "whole_files"}
"""Modules at the top level that every room may import, and that import none."""

INSIDE = {
    "mm": set[str](),
    "scull": {"mm"},
    "fs": {"mm", "scull"},
    "fuse": {"mm", "scull", "fs"},
    "recording": {"mm", "scull", "fs"},
}
"""The emulated computer, its drivers, its files, and what serves them."""

OUTSIDE = {
    "options": {"mm", "scull"},
    "mounts": {"options"},
    "host": {"mm", "mounts", "options", "scull"},
}
"""What programs know that serve no mount."""

ABOVE = {
    "view": {"mm", "mounts", "options", "scull"},
    "snapshot": {"mm", "mounts", "options", "scull"},
    "daemon": {"snapshot", *INSIDE, *OUTSIDE},
    "bench": {"daemon", "scull", *OUTSIDE},
    "faults": {"daemon", "scull", *OUTSIDE},
    "labs": {"daemon", "mm", "scull", "view", *OUTSIDE},
    "test_vmalloc": {"fs", "mm", "options"},
    "cli": {
        *("bench", "daemon", "faults", "labs", "scull", "snapshot", "test_vmalloc", "view"),
        *OUTSIDE,
    },
    "testing": {"daemon", "scull", *OUTSIDE},
}
ROOMS = {**INSIDE, **OUTSIDE, **ABOVE}
"""Room -> the rooms that it may import from, beside itself and the ground."""

# Only these rooms import these modules.
RESERVED = {
    "pyfuse3": {"fuse", "daemon"},
    "trio": {"fuse", "daemon"},
    "click": {"cli"},
    "matplotlib": {"bench"},
    "psutil": {"bench"},
    "humanize": {"cli"},
    "rich": {"view"},
    "jinja2": {"view"},
    "textual": {"view"},
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
    room = module.parts[1] if len(module.parts) > 2 else ""
    allowed = ROOMS.get(room, set()) | {room}
    if not room:  # the ground, or what stands above all rooms, `pytest_plugin`
        allowed = set() if module.stem in GROUND else set(ROOMS)
    found = []
    for name in imported(source, module):
        top, *rest = name.split(".")
        reserved = RESERVED.get(top)
        if reserved is not None and room not in reserved:
            found.append(f"{module}: {top} is for {', '.join(sorted(reserved))} only")
        if top == "scullvfs" and rest and rest[0] in ROOMS and rest[0] not in allowed:
            found.append(f"{module}: {room or module.stem} must not import {name}")
    return found


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_go_down(module: Path) -> None:
    """No module imports from a room that is not below its own, nor a library not for its room."""
    assert offences((ROOT / module).read_text(), module) == []


def written_otherwise(source: str, module: Path) -> list[str]:
    """The imports that are not relative within a room, or not absolute from one to another."""
    depth = len(module.parts) - 2  # packages that the module is in, below scullvfs
    room = ".".join(module.parts[:2]) if depth else "no room"
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.level == 0 and names == ["scullvfs"]:
                names = [f"scullvfs.{alias.name}" for alias in node.names]
            if node.level > depth:
                found.append(f"{module}:{node.lineno}: relative, out of its room")
            if node.level:
                continue
        else:
            continue
        found += [
            f"{module}:{node.lineno}: absolute, within its room"
            for name in names
            if f"{name}.".startswith(f"{room}.")
        ]
    return found


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_are_written_alike(module: Path) -> None:
    """Within a room they are relative, from one room to another absolute."""
    assert written_otherwise((ROOT / module).read_text(), module) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mounts/probe.py", "from scullvfs.mounts.place import resolve"),
        ("mounts/probe.py", "from scullvfs.mounts import place"),
        ("mounts/probe.py", "from scullvfs import mounts"),
        ("mounts/probe.py", "import scullvfs.mounts.place"),
        ("mounts/probe.py", "from ..options import table"),
        ("mounts/probe.py", "from .. import text"),
        ("fuse/lowlevel/build.py", "from ...text import shown"),
        ("pytest_plugin.py", "from .text import shown"),
    ],
)
def test_written_otherwise_finds(module: str, source: str) -> None:
    """Either way to mix them is seen."""
    assert len(written_otherwise(source, "scullvfs" / Path(module))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mounts/probe.py", "import os\nfrom . import place\nfrom .place import resolve"),
        ("mounts/probe.py", "import scullvfs\nfrom scullvfs.options.table import OPTIONS"),
        ("fuse/lowlevel/build.py", "from ..slices import read\nfrom . import request"),
        ("pytest_plugin.py", "from scullvfs.text import shown"),
    ],
)
def test_written_otherwise_accepts(module: str, source: str) -> None:
    """As it is meant."""
    assert written_otherwise(source, "scullvfs" / Path(module)) == []


def test_every_room_is_there() -> None:
    """The test above reads the real package, all of it, and no room is without a rule."""
    assert {module.parts[1] for module in MODULES if len(module.parts) > 2} == set(ROOMS)
    assert {module.stem for module in MODULES if len(module.parts) == 2} >= GROUND


def test_rooms_stand_on_one_another() -> None:
    """A room below is one that stands further up in the table, so no two are above each other."""
    above = list(ROOMS)
    for number, room in enumerate(above):
        assert ROOMS[room] <= set(above[:number])


def dotted(module: Path) -> str:
    """A module's name; a package's is that of its `__init__`."""
    return ".".join(module.with_suffix("").parts).removesuffix(".__init__")


def circle(sources: Mapping[Path, str]) -> list[str]:
    """The names of modules that import each other, in turn; none if there is no such circle.

    Every import counts, wherever it stands: under TYPE_CHECKING, and in a function, which is how
    circles are hidden.  An import leads to the module that it names, or to the package if it names
    what the package's `__init__` has.  It does not lead to the packages around that module: Python
    runs their `__init__` first, so each package would be in a circle with what it re-exports.
    What an `__init__` fetches lazily it imports for the type checker, too, so that counts.  What
    one fetches from its own directory and is no source is compiled, and imports nothing here.
    """
    names = {dotted(module) for module in sources}
    graph = {
        dotted(module): {
            name if name in names else name.rpartition(".")[0]
            for name in imported(source, module)
            if name.startswith("scullvfs")
        }
        & names - ({dotted(module)} if module.stem == "__init__" else set())
        for module, source in sources.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


@pytest.mark.long
def test_no_circles() -> None:
    """No module imports itself, by whatever way round."""
    assert circle({module: (ROOT / module).read_text() for module in MODULES}) == []


@pytest.mark.parametrize(
    ("source", "other"),
    [
        ("from .b import B", "from .a import A"),
        ("import scullvfs.mm.b", "def later():\n    from scullvfs.mm import a"),
        ("if TYPE_CHECKING:\n    from . import b", "from scullvfs.mm.a import A"),
        ("from .b import B", "from . import B"),
        ("from . import a", ""),
    ],
)
def test_circle_finds(source: str, other: str) -> None:
    """The checker sees every way to close a circle, one through a package's names, too."""
    package = "scullvfs/mm/__init__.py", "from .b import B\nfrom . import errors"
    modules = ("scullvfs/mm/a.py", source), ("scullvfs/mm/b.py", other), package
    assert circle({Path(path): text for path, text in modules}) != []


def test_circle_accepts() -> None:
    """A package may re-export what is in it, and its modules may import each other downwards."""
    modules = {
        "scullvfs/mm/__init__.py": "from .b import B\nif TYPE_CHECKING:\n    from .a import A",
        "scullvfs/mm/a.py": "from .b import B\nimport os",
        "scullvfs/mm/b.py": "import scullvfs",
        "scullvfs/scull/dev.py": "from scullvfs.mm import A\nfrom scullvfs.mm.b import B",
        "scullvfs/__init__.py": "",
    }
    assert circle({Path(path): text for path, text in modules.items()}) == []


@pytest.mark.parametrize("room", ["", *sorted(set(ROOMS) - {"fuse", "daemon", "bench", "cli"})])
def test_no_libfuse(room: str) -> None:
    """All of a room below `fuse` can be imported, and neither pyfuse3 nor libfuse is there."""
    ground = [f"scullvfs.{name}" for name in sorted(GROUND)]
    names = [dotted(module) for module in MODULES if module.parts[1] == room]
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(sorted(sys.modules), open('/proc/self/maps').read())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *ground, *names],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(repr(name) in done.stdout for name in names)
    assert "pyfuse3" not in done.stdout
    assert "trio" not in done.stdout
    assert "libfuse" not in done.stdout


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mm/machine.py", "import trio.lowlevel"),
        ("mm/machine.py", "from ..scull.dev import Device"),
        ("mm/machine.py", "from .. import scull"),
        ("mm/machine.py", "from scullvfs import fs"),
        ("mm/machine.py", "def later():\n    import scullvfs.options.table"),
        ("mm/__init__.py", "from ..cli import main"),
        ("scull/dev.py", "import pyfuse3"),
        ("scull/dev.py", "from ..fs.tree import Node"),
        ("fs/tree.py", "import pyfuse3"),
        ("fs/tree.py", "from ..fuse import operations"),
        ("fs/tree.py", "if TYPE_CHECKING:\n    from ..daemon import start"),
        ("fs/deeper/tree.py", "from ...daemon import start"),
        ("fuse/operations.py", "from ..options import table"),
        ("options/table.py", "from ..fs import tree"),
        ("mounts/probe.py", "from scullvfs.daemon import log"),
        ("mounts/probe.py", "from ..host import memory"),
        ("daemon/start.py", "import click"),
        ("daemon/start.py", "from ..cli import main"),
        ("daemon/start.py", "from ..bench import floor"),
        ("bench/plan.py", "from ..cli import main"),
        ("bench/plan.py", "import click"),
        ("bench/floor.py", "from ..fuse import lowlevel"),
        ("cli/mount.py", "import trio"),
        ("errors.py", "from . import options"),
        ("pytest_plugin.py", "import pyfuse3"),
        ("testing/mount.py", "import click"),
    ],
)
def test_offences_finds(module: str, source: str) -> None:
    """The checker sees every way to write a forbidden import."""
    assert len(offences(source, "scullvfs" / Path(module))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mm/machine.py", "import os\nfrom .layout import Layout\nfrom scullvfs.mm import slab"),
        ("scull/dev.py", "import errno\nfrom ..mm.machine import Machine\nfrom .. import mm"),
        ("fuse/operations.py", "import pyfuse3, trio\nfrom ..fs import tree"),
        ("fs/deeper/tree.py", "from ..tree import Node\nfrom ...mm import layout"),
        ("cli/mount.py", "import click\nfrom ..options import table\nfrom .. import __version__"),
        ("mounts/probe.py", "from scullvfs.inherited import close_all_but"),
        ("__main__.py", "from .cli import main"),
        ("pytest_plugin.py", "from scullvfs.testing import mounted"),
        ("testing/start.py", "from scullvfs.daemon import sd_notify"),
    ],
)
def test_offences_accepts(module: str, source: str) -> None:
    """The checker lets pass what goes down, stays in its room or is the standard library's."""
    assert offences(source, "scullvfs" / Path(module)) == []
