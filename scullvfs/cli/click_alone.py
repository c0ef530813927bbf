"""click, imported without `inspect`, of which it takes two small functions.

Imported by this package before anything of click's is.
"""

from types import FunctionType

from scullvfs.stand_ins import left_out

__all__ = ["cleandoc"]


def cleandoc(doc: str) -> str:
    """`doc` without its margin, and without blank lines around it, as `inspect.cleandoc` has it."""
    first, *others = doc.expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in others if line.strip()), default=0)
    return "\n".join([first.lstrip(), *(line[margin:] for line in others)]).strip("\n")


def is_function(value: object) -> bool:
    """Whether `value` is a function written in Python, as `inspect.isfunction` says."""
    return isinstance(value, FunctionType)


with left_out({"inspect": {"cleandoc": cleandoc, "isfunction": is_function}}):
    import click  # noqa: F401
