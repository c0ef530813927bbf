"""What a failed import means; the rest of the checks are tested with the real command."""

import pytest

from scullvfs.host.requirements import explain_import_error


@pytest.mark.parametrize(
    ("soname", "package"), [("libfuse3.so.3", "libfuse3-3"), ("libfuse3.so.4", "libfuse3-4")]
)
def test_explain_import_error_of_the_library(soname: str, package: str) -> None:
    """The Debian package follows from the library's name."""
    words = f"{soname}: cannot open shared object file: No such file or directory"
    assert f"apt install {package}" in str(explain_import_error(ImportError(words)))


@pytest.mark.parametrize("name", ["pyfuse3", "trio"])
def test_explain_import_error_of_a_package(name: str) -> None:
    """What is missing is named, and how to get it."""
    error = ModuleNotFoundError(f"No module named '{name}'", name=name)
    assert f"pip install {name}" in str(explain_import_error(error))


def test_explain_import_error_of_ours() -> None:
    """A module of ours that is missing is a bug, and stays one."""
    error = ModuleNotFoundError("No module named 'scullvfs.fsx'", name="scullvfs.fsx")
    assert explain_import_error(error) is None
