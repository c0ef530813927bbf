"""The guess at what a mistyped word was meant to be, for the end of an error's line."""

from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'order'?` if one of `known` is close to `word`, else nothing."""
    import difflib  # for those who mistype only

    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
