"""The Chinese pages say what the English ones say now, and what is code in these is in those."""

import html
import re
import runpy
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po

ROOT = Path(__file__).parents[2]
CATALOGUES = runpy.run_path(str(ROOT / "docs/catalogues.py"))
"""What docs/catalogues.py defines."""

PAGES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix()
    for pattern in CATALOGUES["PAGES"]
    for path in ROOT.glob(pattern)
)

KEPT = re.compile(r"`+[^`]+`+|\]\([^)\s]+\)|\d+")
"""Literals, where links lead, and numbers."""

each_page = pytest.mark.parametrize("page", PAGES)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Sphinx finds to be translated on the pages as they are."""
    directory = tmp_path_factory.mktemp("templates")
    CATALOGUES["sphinx"]("gettext", directory)
    return directory


def read(path: Path) -> Catalog:
    """What is in a catalogue, or in a template of one."""
    with path.open("rb") as file:
        return read_po(file)


def catalogue(page: str) -> Catalog:
    """The translations of a page."""
    return read(CATALOGUES["CATALOGUES"] / f"{page}.po")


def texts(of: Catalog) -> set[str]:
    """What is to be translated."""
    return {str(message.id) for message in of if message.id}


def altered(message: Message) -> Counter[str]:
    """What of a text its translation must keep and has not, or has and must not."""
    said, translated = (Counter(KEPT.findall(str(text))) for text in (message.id, message.string))
    return (said - translated) + (translated - said)


@pytest.mark.long
@each_page
def test_all_is_translated(page: str, templates: Path) -> None:
    """Every text of the page has a translation, made of it as it is, and there are no others.

    `make locale` brings the catalogue up to date; what it leaves empty or marks as fuzzy is to be
    translated.
    """
    of_page = catalogue(page)
    assert texts(of_page) == texts(read(templates / f"{page}.pot")), "run `make locale`"
    assert [message.id for message in of_page if message.id and not message.string] == []
    assert [message.id for message in of_page if message.id and message.fuzzy] == []
    assert [*of_page.obsolete] == []


@each_page
def test_what_is_no_language_is_kept(page: str) -> None:
    """Commands, names and output in literals, where links lead, and numbers."""
    wrong = {message.id: altered(message) for message in catalogue(page) if message.id}
    assert {text: found for text, found in wrong.items() if found} == {}


@each_page
def test_code_is_not_translated(page: str, templates: Path) -> None:
    """A catalogue has nothing of the page's blocks of commands and output."""
    blocks = re.findall(r"^```.*?\n(.*?)\n```$", (ROOT / f"{page}.md").read_text(), re.M | re.S)
    found = {text.rstrip() for text in texts(read(templates / f"{page}.pot"))}
    assert found & {*blocks} == set()


def test_other_pages_have_no_catalogue() -> None:
    """What is left of a page that is gone would be translated with care for nobody."""
    directory = CATALOGUES["CATALOGUES"]
    found = {path.relative_to(directory).with_suffix("") for path in directory.rglob("*.po")}
    assert sorted(map(str, found)) == PAGES


@pytest.fixture(scope="module", params=["en", "zh_CN"])
def guide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The guided session in HTML, in one language after the other."""
    directory = tmp_path_factory.mktemp("html")
    locale = directory / "locale"  # Sphinx compiles catalogues where they are
    shutil.copytree(ROOT / "docs/locale", locale, ignore=shutil.ignore_patterns("*.mo"))
    options = ("-D", f"language={request.param}", "-D", f"locale_dirs={locale}")
    CATALOGUES["sphinx"]("html", directory, *options, pages=["docs/guide.md"])
    return (directory / "docs/guide.html").read_text()


def language(page: str) -> str:
    """What a page of HTML says that it is written in."""
    return re.findall(r'<html [^>]*lang="([^"]+)"', page)[0]


@pytest.mark.long
def test_languages_lead_to_each_other(guide: str) -> None:
    """From a page to the same page, where `make docs` puts it."""
    there = {"en": ("zh-CN", "../zh_CN/docs/guide.html"), "zh-CN": ("en", "../../docs/guide.html")}
    found = re.findall(r'<a class="reference" lang="([^"]+)" href="([^"]+)">', guide)
    assert found == [there[language(guide)]]


@pytest.mark.long
def test_html_is_in_its_language(guide: str) -> None:
    """All but the blocks of commands and output, which are those of the page."""
    titles = {"en": "A guided session", "zh-CN": "上机导览"}
    assert re.findall(r"<h1>([^<]+)<", guide) == [titles[language(guide)]]
    page = (ROOT / "docs/guide.md").read_text()
    blocks = re.findall(r"^```.*?\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown = re.findall(r"<pre>(.*?)</pre>", guide, re.DOTALL)
    assert [html.unescape(re.sub("<[^>]+>", "", block)) for block in shown] == blocks


@pytest.mark.parametrize("language", ["en", "zh_CN"])
def test_captions_of_the_sidebar(language: str) -> None:
    """They are the headings of the index page's lists, each in the language of what is built."""
    conf = runpy.run_path(str(ROOT / "docs/conf.py"))
    source = [(ROOT / "docs/index.md").read_text()]
    lists = re.findall(r"^## ([^\n]*)\n\n\* ", source[0], re.MULTILINE)
    app = SimpleNamespace(config=SimpleNamespace(language=language))
    conf["add_toctree"](app, conf["root_doc"], source)
    captions = re.findall(r"^:caption: (.*)", source[0], re.MULTILINE)
    if language == "en":
        assert captions == lists
    else:
        assert [*conf["CAPTIONS"][language]] == lists
        assert captions == [*conf["CAPTIONS"][language].values()]
        assert not any(map(str.isascii, captions))


@pytest.mark.parametrize(
    ("text", "translation", "found"),
    [
        ("Read `a b` twice.", "读 `a b` 两次。", []),
        ("Read `a b`.", "读 `a  b`。", ["`a b`", "`a  b`"]),
        ("[Here](page.md#there)", "[这里](page.md)", ["](page.md#there)", "](page.md)"]),
        ("After 16 pages", "在 61 页之后", ["16", "61"]),
        ("`a` and `a`", "`a`", ["`a`"]),
    ],
)
def test_altered_finds(text: str, translation: str, found: list[str]) -> None:
    """Each of what is kept is seen where it is not."""
    assert sorted(altered(Message(text, translation))) == sorted(found)
