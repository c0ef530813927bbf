"""The versions of what scullvfs stands on."""

from importlib import metadata

import scullvfs


def test_version_is_that_of_the_metadata() -> None:
    """What the program says of itself is what pip says of it."""
    assert scullvfs.__version__ == metadata.version("scullvfs")
