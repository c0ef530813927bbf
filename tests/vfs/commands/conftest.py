"""Fixtures of the commands' tests: directories of another user, and a machine to be changed."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .elsewhere import Elsewhere


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory that every user can reach, which pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def theirs(scratch: Path) -> Path:
    """A mount point of nobody's."""
    path = scratch / "theirs"
    path.mkdir()
    os.chown(path, 65534, 65534)
    return path


@pytest.fixture
def elsewhere(scullvfs: Any, scratch: Path) -> Elsewhere:
    """A mount namespace of the test's own."""
    return Elsewhere(scullvfs, scratch)
