"""Pictures as SVG: well-formed whatever is in them."""

from __future__ import annotations

from xml.etree import ElementTree

from scullvfs.view.shapes import Canvas

SVG = "{http://www.w3.org/2000/svg}"


def test_words_are_escaped() -> None:
    """Nothing that is drawn becomes a part of the markup."""
    evil = "</text><script>alert('&\"')</script>"
    canvas = Canvas("name", 1000, evil)
    canvas.text(1, 2, evil)
    root = ElementTree.fromstring(canvas.svg(100))
    assert [text.text for text in root.iter(f"{SVG}text")] == [evil]
    assert [title.text for title in root.iter(f"{SVG}title")] == [evil]
    assert not list(root.iter(f"{SVG}script"))


def test_paragraphs_fit() -> None:
    """Lines are no wider than they may be, long words are broken, and nothing is lost."""
    canvas = Canvas("name", 400, "")
    text = "a word " * 30 + "x" * 200
    below = canvas.paragraph(10, 20, text, 380)
    assert "".join(words.text for words in canvas.texts).replace(" ", "") == text.replace(" ", "")
    assert all(canvas.extent(words.text) <= 380 for words in canvas.texts)
    assert below > canvas.texts[-1].y
