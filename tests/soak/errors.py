"""What the soak finds."""

__all__ = ["SoakError", "expect"]


class SoakError(Exception):
    """Something is not as it should be; the text says what."""


def expect(condition: object, what: str) -> None:
    """Raise SoakError, unless the condition holds; unlike `assert` under python -O, too."""
    if not condition:
        raise SoakError(what)
