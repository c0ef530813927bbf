"""The table of exit statuses and the exceptions that belong to it."""

import pytest

from scullvfs.errors import ExitStatus, ScullvfsError, error_of_status

KINDS = ScullvfsError.__subclasses__()


def test_every_exception_has_a_status_of_its_own() -> None:
    """A status tells which kind of failure it was."""
    statuses = [kind.status for kind in [ScullvfsError, *KINDS]]
    assert len(set(statuses)) == len(statuses)
    assert ExitStatus.SUCCESS not in statuses


def test_every_status_says_what_it_means() -> None:
    """The help prints one full sentence a status."""
    assert all(status.meaning.endswith(".") for status in ExitStatus)


@pytest.mark.parametrize("kind", [ScullvfsError, *KINDS])
def test_error_of_status_is_the_way_back(kind: type[ScullvfsError]) -> None:
    """What the daemon reports by its status is raised again in the parent."""
    error = error_of_status(kind.status, "message")
    assert type(error) is kind
    assert str(error) == "message"


def test_error_of_status_without_an_exception() -> None:
    """A status that no exception has is an unexpected failure."""
    assert type(error_of_status(77, "message")) is ScullvfsError
