#!/usr/bin/env python3
"""The page of differences: made of differences.toml, written to docs/differences.md when run."""

import textwrap
import tomllib
from pathlib import Path

__all__ = ["DATA", "PAGE", "page"]

DATA = Path(__file__).with_name("differences.toml")
PAGE = Path(__file__).parents[2] / "docs" / "differences.md"

HEAD = """\
<!-- Made by tests/truth/differences_page.py from tests/truth/differences.toml; edit that. -->

# Differences from the real drivers

System calls on the real scullv, scullp, scullc and scull were recorded
([tests/truth](../tests/truth/README.md)), and the tests play them on a mount: every call gives what
it gave there, or falls under a difference below, which holds for all four where it names none. All
of this is about `semantics=device`. What comes after a difference may differ too: a `write` that
went elsewhere is found elsewhere.

One difference is in no recording: order, quantum and qset can be written
[in `sys/module/`](ioctl.md#by-file). Of the real drivers scull has them there to be read only, and
the others have none in sysfs (LDD3: main.c, module_param()).
"""


def page(data: Path = DATA) -> str:
    """The page as the data file has it, in the file's order."""
    with data.open("rb") as file:
        entries = tomllib.load(file)["difference"]
    return "\n".join([HEAD, *map(_section, entries)])


def _section(entry: dict[str, str]) -> str:
    return "\n".join(
        [
            f"## {entry['name']}\n",
            _item(f"**The real driver:** {entry['real']}"),
            _item(f"**scullvfs:** {entry['here']}"),
            _item(f"**Why:** {entry['why']}"),
            "",
        ]
    )


def _item(text: str) -> str:
    return textwrap.fill(text, 99, initial_indent="* ", subsequent_indent="  ")


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
