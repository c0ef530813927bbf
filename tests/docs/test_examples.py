"""The page about the machine: its programs print what stands below them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/machine.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n+```text\n(.*?)^```", PAGE.read_text(), re.M | re.S)


@pytest.mark.parametrize(("program", "printed"), EXAMPLES)
def test_example(program: str, printed: str) -> None:
    """To the letter, addresses and frames included."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == printed


def test_there_are_examples() -> None:
    """None is overlooked because of the way it is written."""
    assert len(EXAMPLES) == PAGE.read_text().count("```python\n") >= 4
