"""What comes from outside, as it is shown."""

import pytest

from scullvfs.text import argument, mangled, shell_word, shown


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "''"),
        (b"", "''"),
        ("a b", "a b"),
        (b"a\nb\xff\\", r"a\012b\377\134"),
        ("\udc41", r"\355\261\201"),  # of no bytes
        ("ä\x7f", r"ä\177"),
    ],
)
def test_shown(value: str | bytes, words: str) -> None:
    """In one line; nothing is to be seen, too, as GNU's tools and the shells have it."""
    assert shown(value) == words
    assert mangled(value) == (words if value else "")


def test_nothing_is_a_word() -> None:
    """In a command that is suggested it is the same."""
    assert shell_word("") == argument("") == shown("")
