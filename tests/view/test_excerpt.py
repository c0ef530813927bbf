"""A file as text: whole, or its two ends and the number of what is between."""

from __future__ import annotations

from pathlib import Path

import pytest

from scullvfs.view.files import Files
from scullvfs.view.report import HEAD, TAIL, Excerpt, read_excerpt


def excerpt(directory: Path, data: bytes) -> Excerpt:
    """Of a file with that in it."""
    (directory / "file").write_bytes(data)
    return read_excerpt(Files(str(directory)), "file")


@pytest.mark.parametrize(
    "size", [0, 1, HEAD - 1, HEAD, HEAD + 1, HEAD + TAIL, HEAD + TAIL + 1, 10 * HEAD]
)
def test_every_byte_is_there_or_counted(tmp_path: Path, size: int) -> None:
    """Lines are whole, and it is left out only what is longer than both ends."""
    lines = (
        b"".join(b"%09d\n" % number for number in range(size // 10 + 1))[-size:] if size else b""
    )
    head, left_out, tail = excerpt(tmp_path, lines)[1:]
    text = lines.decode()
    if size <= HEAD + TAIL:
        assert ("\n".join(head), left_out, tail) == (text.removesuffix("\n"), 0, ())
        return
    first, last = "\n".join(head) + "\n", "\n".join(tail) + "\n"
    assert text.startswith(first)
    assert text.endswith(last)
    assert len(first) + left_out + len(last) == size
    assert len(first) > HEAD - 10
    assert len(last) > TAIL - 10


def test_one_long_line(tmp_path: Path) -> None:
    """It has no place to cut at, and is counted all the same."""
    head, left_out, tail = excerpt(tmp_path, b"x" * (HEAD + TAIL + 7))[1:]
    assert (head, left_out, tail) == (("x" * HEAD,), 7, ("x" * TAIL,))


def test_what_does_not_print(tmp_path: Path) -> None:
    """Control characters are octal, tabs are blanks, and any script is as it is."""
    found = excerpt(tmp_path, b"\x1b[31m\xff\0\n\tx\r\n\xc3\xa4\\012\n")
    assert found.head == (r"\033[31m\377\000", r"        x\015", r"ä\012")
