"""Fills the manual pages, docs/*.8.md, with what the program knows of itself: `make man` runs it.

A page is written by hand but for what stands between two comments, `<!-- NAME: made by
docs/manpage.py -->` and `<!-- end -->`.  That comes from the help of the commands, from the
tables of mount options and exit statuses, and from docs/mount.md; what was there is replaced.
A test compares.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from scullvfs.cli import main
from scullvfs.cli.mount import name_of
from scullvfs.cli.mount_helper import _helper as mount_helper
from scullvfs.errors import ExitStatus
from scullvfs.options.table import OPTIONS, Option

PAGES = sorted(Path(__file__).parent.glob("*.8.md"))
MOUNT_PAGE = Path(__file__).with_name("mount.md")

REGION = re.compile(
    r"^(<!-- (\w+): made by docs/manpage\.py -->\n).*?^(?=<!-- end -->$)",
    re.MULTILINE | re.DOTALL,
)


class HelpInMarkdown(click.HelpFormatter):
    """Takes the place of click's formatter: what a command writes of itself, as Markdown."""

    def __init__(self) -> None:
        super().__init__()
        self.sections: dict[str, str] = {"": ""}
        """Heading -> what is below it; the text above all headings is under ""."""
        self._heading = ""

    def write_usage(self, *_args: object, **_kwargs: object) -> None:
        """Leave the usage out: `synopsis()` names each option."""

    def write(self, string: str) -> None:
        """A command line of the examples; the text that follows says what it does."""
        self.sections[self._heading] += f"`{string.strip()}`\n: "

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """What is written meanwhile goes below a heading."""
        self._heading = name
        self.sections[name] = ""
        yield
        self._heading = ""

    def write_text(self, text: str) -> None:
        """One or more paragraphs."""
        for paragraph in text.split("\n\n"):
            if paragraph.startswith("\b\n"):  # click's mark of lines that stay as they are
                block = f"```text\n{paragraph[2:]}\n```"
            else:
                block = escape(" ".join(paragraph.split()))
            self.sections[self._heading] += f"{block}\n\n"

    def write_dl(self, rows: object, *_args: object, **_kwargs: object) -> None:
        """A table of two columns, as a list of definitions."""
        assert isinstance(rows, list)
        for term, meaning in rows:
            self.sections[self._heading] += f"{bold(term)}\n: {escape(meaning)}\n\n"


def escape(text: str) -> str:
    """Text without meaning in Markdown."""
    return re.sub(r"([\\`*_<[\]])", r"\\\1", text)


def bold(term: str) -> str:
    """`-f, --foreground`, `--timeout SECONDS`, `mem=`: words as typed bold, place-holders not."""
    parts = (part.partition(" ") for part in term.split(", "))
    return ", ".join(f"**{word}**{space}{value and f'*{value}*'}" for word, space, value in parts)


def contexts() -> dict[str, click.Context]:
    """The program itself, under "", and each of its commands, which are not asked for --help."""
    program = click.Context(main, info_name="scullvfs", **main.context_settings)
    return {"": program} | {
        name: click.Context(command, info_name=name, parent=program, help_option_names=[])
        for name, command in sorted(main.commands.items())
        if not command.hidden
    }


def help_of(context: click.Context) -> dict[str, str]:
    """The sections of a command's --help."""
    formatter = HelpInMarkdown()
    context.command.format_help(context, formatter)
    return formatter.sections


def synopsis() -> str:
    """How each command is called, a line each."""
    return "\n\n".join(map(call, contexts().values()))


def call(context: click.Context) -> str:
    """A command with its parameters."""
    parameters = (usage(parameter, context) for parameter in context.command.params)
    return " ".join([f"**{context.command_path}**", *parameters])


def usage(parameter: click.Parameter, context: click.Context) -> str:
    """One parameter as a synopsis shows it."""
    value = parameter.make_metavar(context)
    if isinstance(parameter, click.Argument):
        return re.sub(r"\[(.*?)\]", r"[*\1*]", value) if value[0] == "[" else f"*{value}*"
    assert isinstance(parameter, click.Option)
    name = f"**{parameter.opts[0]}**"
    words = name if parameter.is_flag else f"{name} *{value}*"
    return words if parameter.required else f"[{words}]"


def options() -> str:
    """The options of the program itself."""
    return help_of(contexts()[""])["Options"]


def commands() -> str:
    """The commands with their options; two of their tables are sections of the page."""
    text = ""
    for name, context in contexts().items():
        if name:
            sections = help_of(context)
            text += f"### {name}\n\n{sections.pop('')}{sections.pop('Options', '')}"
            for heading, body in sections.items():
                if heading not in ("Mount options [default]", "Exit status"):
                    text += f"{heading}:\n\n{body}"
    return text


def mount_options() -> str:
    """The table of mount options, then what docs/mount.md says below its own."""
    section = MOUNT_PAGE.read_text().partition("\n## Options\n")[2].partition("\n## ")[0]
    table = HelpInMarkdown()
    table.write_dl([(name_of(option), meaning(option)) for option in OPTIONS])
    below = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", section.rpartition("|\n\n")[2])  # no links
    return table.sections[""] + below + "\n"


def meaning(option: Option) -> str:
    """What a mount option does, all that it takes, and what it is when not given."""
    expects = "" if option.parse is None else f": {option.parse.expects}"
    return f"{option.help}{expects}; default {option.default}"


def exit_status() -> str:
    """The table of exit statuses."""
    table = HelpInMarkdown()
    table.write_dl([(str(status.value), status.meaning) for status in ExitStatus])
    return table.sections[""]


def helper_synopsis() -> str:
    """How mount(8) calls its helper."""
    return call(click.Context(mount_helper, info_name=mount_helper.name))


def helper_options() -> str:
    """The options of mount(8)'s helper."""
    context = click.Context(mount_helper, **mount_helper.context_settings)
    return help_of(context)["Options"]


REGIONS = (
    synopsis,
    options,
    commands,
    mount_options,
    exit_status,
    helper_synopsis,
    helper_options,
)


def filled(page: str) -> str:
    """The page with every region as it should be."""
    made = {region.__name__: region() for region in REGIONS}
    return REGION.sub(lambda match: f"{match[1]}\n{made[match[2]].rstrip()}\n\n", page)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path.read_text()))
