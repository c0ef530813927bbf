"""How Sphinx makes HTML of the Markdown pages, and manual pages of docs/*.8.md.

`make docs` runs it.  The source directory is the checkout, so that README.md and CHANGELOG.md
are pages too, and a link between any two pages is the same on a plain forge and in the HTML.
"""

import re
from importlib.metadata import version as version_of
from pathlib import Path
from textwrap import fill

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

project = "scullvfs"
version = release = version_of("scullvfs")
project_copyright = ""

extensions = [
    "myst_parser",  # reads Markdown
    "sphinx.ext.autodoc",  # docs/api.md comes from the docstrings
]

root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/labs/*.md", "tests/truth/README.md"]
exclude_patterns = ["build", ".*", "venv"]  # not even looked into

smartquotes = False  # would make a dash of the two hyphens of --help
highlight_language = "text"  # where a block does not say
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

default_role = "py:obj"  # `vfree` in a docstring is a link where it is documented, else code
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

# Chinese, of the pages that docs/catalogues.py lists.
locale_dirs = ["docs/locale"]
gettext_compact = False  # a catalogue for each page
gettext_location = False  # line numbers would change with every edit above them
CATALOGUES = Path(__file__).parent / "locale/zh_CN/LC_MESSAGES"

CAPTIONS = {
    "zh_CN": {
        "Start here": "从这里开始",
        "Labs": "实验",
        "Reference": "参考",
        "Behind it": "背后",
    }
}
"""Language -> the captions of the index page, which stand in the sidebar of every page; the page
itself is not translated."""

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css", "languages.css"]
templates_path = ["_templates"]
html_context = {
    "translated": {
        path.relative_to(CATALOGUES).with_suffix("").as_posix() for path in CATALOGUES.rglob("*.po")
    }
}
html_title = f"scullvfs {version}"
html_copy_source = False
html_show_copyright = False

MANUALS = sorted(path.stem for path in Path(__file__).parent.glob("*.8.md"))
man_pages = [(f"docs/{name}", name.removesuffix(".8"), "", [], 8) for name in MANUALS]
today = "2026-11-22"  # the date of the manual pages, to be moved on when they say something else


def add_toctree(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make the index page's lists of links the table of contents, a caption a heading.

    So they are written once, and the page has no directive that a forge would show as code.
    A page that no list names is a warning, and fails the build.
    """
    if docname != root_doc:
        return
    captions = CAPTIONS.get(app.config.language, {})
    for section in re.split(r"^## ", source[0], flags=re.MULTILINE)[1:]:
        caption = section.partition("\n")[0]
        pages = re.findall(r"^\* \[[^]]*\]\((\S+)\.md\)", section, re.MULTILINE)
        if pages:
            caption = captions.get(caption, caption)
            lines = ["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""]
            source[0] += "\n".join(lines)


def read_sections(
    app: Sphinx, what: str, name: str, obj: object, options: dict[str, bool], lines: list[str]
) -> None:
    """Read Args, Returns and Raises, in Google's style.

    Not in an attribute's docstring, where the extension napoleon would take the words before
    a colon for a type.
    """
    if what not in ("attribute", "property"):
        lines[:] = GoogleDocstring(lines, Config(), app, what, name, obj, options).lines()


def write_front_page(app: Sphinx, exception: Exception | None) -> None:
    """Lead from the top of the HTML to the index page, which is below docs/.

    It is English, so in another language it is the README that one is led to.
    """
    if app.builder.name == "html" and exception is None:
        page = "README" if app.config.language == "zh_CN" else root_doc
        front = f'<meta http-equiv="refresh" content="0; url={page}.html">\n'
        Path(app.outdir, "index.html").write_text(front)


def tidy_manual_pages(app: Sphinx, exception: Exception | None) -> None:
    """Take out of a manual page what mandoc finds fault with."""
    if app.builder.name == "man" and exception is None:
        for path in Path(app.outdir).glob("*.8"):
            path.write_text(tidied(path.read_text()))


def tidied(page: str) -> str:
    """A manual page as docutils writes it, without its flaws.

    They are the space between a heading and its first paragraph, empty brackets behind a link,
    and lines longer than 80 characters.
    """
    page = re.sub(r"^(\.S[HS] .*\n)\.sp\n", r"\1", page, flags=re.MULTILINE)
    page = page.replace(r" \%<>\&", "")
    lines = []
    for line in page.splitlines():
        if len(line) <= 80 or line.startswith(".") or lines[-1] == ".TP":
            lines.append(line)
        else:  # a point that comes to begin a line is none of roff's
            parts = fill(line, 78, break_on_hyphens=False, break_long_words=False).splitlines()
            lines += [re.sub(r"^(?=\.)", r"\\&", part) for part in parts]
    return "\n".join(lines) + "\n"


def setup(app: Sphinx) -> None:
    """Register what is above."""
    app.connect("source-read", add_toctree)
    app.connect("autodoc-process-docstring", read_sections)
    app.connect("build-finished", write_front_page)
    app.connect("build-finished", tidy_manual_pages)
