"""What pyproject.toml promises holds for the package."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from scullvfs.fuse.polling import KNOWN

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text()
BUILD = tomllib.loads(PYPROJECT)["build-system"]["requires"]
PROJECT = tomllib.loads(PYPROJECT)["project"]
RUNTIME = PROJECT["dependencies"]
PLOT = PROJECT["optional-dependencies"]["plot"]
VIEW = PROJECT["optional-dependencies"]["view"]
EVERY_DEPENDENCY = RUNTIME + [
    d for group in PROJECT["optional-dependencies"].values() for d in group
]


# setuptools runs it to build the extension; the program never imports it.
BUILD_SCRIPT = ROOT / "scullvfs/fuse/lowlevel/build.py"
# pytest loads it; the program never imports it.
PYTEST_PLUGIN = ROOT / "scullvfs/pytest_plugin.py"


def names(requirements: list[str]) -> set[str]:
    """Return what the requirements are called, without their versions."""
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


def third_party_imports(source: str) -> set[str]:
    """Return the top-level modules that the source takes from neither Python nor us."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"scullvfs"}


def reason(text: str, dependency: str) -> str:
    """Return the comment on the line above the dependency, or ""."""
    match = re.search(rf'^ *# (.*)\n *"{re.escape(dependency)}",$', text, re.MULTILINE)
    return match[1] if match else ""


def test_third_party_imports() -> None:
    """Imports inside a function count; relative ones and Python's own do not."""
    source = "import os, trio.lowlevel\nfrom . import a\ndef f():\n    from click import echo\n"
    assert third_party_imports(source) == {"trio", "click"}


@pytest.mark.long
def test_dependencies_are_what_is_imported() -> None:
    """Nothing is imported that is not declared, and nothing declared that is not imported."""
    imported: dict[bool, set[str]] = {False: set(), True: set()}
    for path in set(ROOT.glob("scullvfs/**/*.py")) - {PYTEST_PLUGIN}:
        imported[path == BUILD_SCRIPT] |= third_party_imports(path.read_text())
    assert third_party_imports(PYTEST_PLUGIN.read_text()) == {"pytest"}
    assert imported[False] <= names(RUNTIME) | names(PLOT) | names(VIEW)
    assert imported[True] <= names(BUILD)
    assert names(RUNTIME) <= imported[False] | imported[True]


@pytest.mark.parametrize("dependency", EVERY_DEPENDENCY)
def test_dependency_has_a_reason(dependency: str) -> None:
    """Each dependency stands under a comment that says what it is for."""
    assert len(reason(PYPROJECT, dependency).split()) >= 3


def test_pyfuse3_is_one_that_the_loop_knows() -> None:
    """Its bounds are the minor line that the loop was made for: one more is another one."""
    major, minor = map(int, KNOWN.split("."))
    assert f"pyfuse3>={KNOWN},<{major}.{minor + 1}" in RUNTIME


def test_python_versions() -> None:
    """This Python is among those that the classifiers name, and the first is the least."""
    python = "Programming Language :: Python :: "
    named = [c.removeprefix(python) for c in PROJECT["classifiers"] if c.startswith(f"{python}3.")]
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in named
    assert PROJECT["requires-python"] == f">={named[0]}"


def test_data_is_packaged() -> None:
    """What a package has beside modules is installed with it, but what shells and builds make."""
    data = tomllib.loads(PYPROJECT)["tool"]["setuptools"]["package-data"]
    listed = {
        path
        for package, patterns in data.items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    there = {
        path
        for path in ROOT.glob("scullvfs/**/*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".so")
    }
    assert {path.relative_to(ROOT) for path in there - listed} == {
        Path("scullvfs/cli/shell", name) for name in ("_scullvfs", "scullvfs", "scullvfs.fish")
    }  # which are data-files
    assert listed <= there


def test_reason_missing() -> None:
    """A dependency under another one has no reason of its own."""
    text = '    # The one before has a reason.\n    "trio>=1",\n    "click",\n'
    assert (reason(text, "trio>=1"), reason(text, "click")) == ("The one before has a reason.", "")
