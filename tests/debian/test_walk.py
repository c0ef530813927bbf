"""What the walk through the README takes for a block, and for whom."""

from __future__ import annotations

import pytest

from .tree import ROOT
from .walk import Failure, Shell, blocks, run, session

PAGE = """\
Some words, and
as root:

```sh
apt-get install it
```

```
what has no language
```

As yourself, not
another:

```console
$ one
1
$ two \\
  more
```

```python
# three.py
print(3)
```
"""


def test_blocks() -> None:
    """Each with its language, and whether the paragraph before it asks for root."""
    assert [(block.language, block.as_root, block.name) for block in blocks(PAGE)] == [
        ("sh", True, None),
        ("console", False, None),
        ("python", False, "three.py"),
    ]


def test_session() -> None:
    """Commands with what they print; one that goes on in the next line is not understood."""
    _, console, _ = blocks(PAGE)
    assert [*session(console.text)] == [("one", "1\n"), ("two \\", "  more\n")]


def test_readme() -> None:
    """Root installs packages and links a file; everything else is a user's."""
    found = [*blocks((ROOT / "README.md").read_text())]
    assert [block.text.split()[0] for block in found if block.as_root] == ["apt-get", "mkdir"]
    assert {block.name for block in found} - {None} == {"order.py", "machine.py"}
    assert sum(block.language == "console" for block in found) >= 4


class Said(Shell):
    """A shell that gives one answer to everything."""

    def __init__(self, answer: str) -> None:
        self._answer = answer

    def type(self, commands: str) -> str:
        """The answer."""
        return self._answer


def test_run_compares() -> None:
    """What a session prints is what the page shows, or the walk is over."""
    (block,) = blocks("```console\n$ one\n1\n```\n")
    run(block, Said("1\n"))
    with pytest.raises(Failure, match="it printed\n2\nand not\n1\n"):
        run(block, Said("2\n"))


def test_run_fails() -> None:
    """A command that fails is the end of the walk, too."""
    (block,) = blocks("```sh\nfalse\n```\n")
    run(block, Said("all is well\n"))
    with pytest.raises(Failure, match="a command failed"):
        run(block, Said("-- failed -- false\n"))
