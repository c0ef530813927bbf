"""What may come next on a command line: mount options, mounts, directories.

Each command names the functions here for its own arguments, and most starts of it are none for a
TAB. So what only an answer needs is imported when there is one to make. Nothing here touches a
mount: a dead one must not hang a TAB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from scullvfs.options.table import Option

    Items = list[CompletionItem[str]]

__all__ = [
    "candidate",
    "complete_directory",
    "complete_file",
    "complete_machine_options",
    "complete_mount_options",
    "complete_mounts",
]


def candidate(value: str, *, type: str = "plain", help: str | None = None) -> CompletionItem[str]:
    """click's word for one of them."""
    from click.shell_completion import CompletionItem

    return CompletionItem(value, type=type, help=help)


def complete_mount_options(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> Items:
    """The next name or value in a list like `order=2,semantics=`; `-o` is before it."""
    from scullvfs.options.table import OPTIONS

    return _complete_options(OPTIONS, incomplete)


def complete_machine_options(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> Items:
    """The same, of those that the machine is made by."""
    from scullvfs.options.table import OF_MACHINE, OPTIONS

    return _complete_options([each for each in OPTIONS if each.name in OF_MACHINE], incomplete)


def _complete_options(options: Sequence[Option], incomplete: str) -> Items:
    before, comma, item = incomplete.rpartition(",")
    form, equals, text = item.partition("=")
    option = next((option for option in options if form in option.forms), None)
    if not equals:
        given = {word.partition("=")[0] for word in before.split(",")}
        words = _names(option for option in options if not given & {*option.forms})
    elif option is not None and option.parse is not None:
        known, colon = list(option.parse.known()) or [option.default], option.parse.separator
        done = text.rpartition(colon)[0].split(colon) if colon in text and colon else []
        values = [colon.join([*done, value]) for value in known if value not in done]
        words = [(f"{form}={value}", "") for value in values if value.startswith(text)]
    else:
        words = []
    return [
        candidate(before + comma + word, help=help or None)
        for word, help in words
        if word.startswith(item)
    ]


def _names(options: Iterable[Option]) -> list[tuple[str, str]]:
    return [
        (form if option.parse is None else f"{form}=", option.help)
        for option in options
        for form in option.forms
    ]


def complete_mounts(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """The scullvfs mounts that there are, and not those on the line already.

    Nor those whose path does not print: an answer is a line, and so is what is typed.
    """
    from scullvfs.mounts.mountinfo import scullvfs_mounts

    given = ctx.params.get(parameter.name or "") or ()
    return [
        candidate(mount.path)
        for mount in scullvfs_mounts()
        if mount.path.startswith(incomplete)
        and mount.path not in given
        and mount.path.isprintable()
    ]


def complete_file(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Any file: the shell looks for it."""
    return [candidate(incomplete, type="file")]


def complete_directory(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Any directory: the shell looks for it."""
    return [candidate(incomplete, type="dir")]
