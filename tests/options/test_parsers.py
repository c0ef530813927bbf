"""The values of mount options, each kind at the edges of its range."""

import grp
import pwd

import pytest

from scullvfs.options import parsers


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parsers.number(1, 1000), "1", 1),
        (parsers.number(1, 1000), "1000", 1000),
        (parsers.number(0, 18), "007", 7),
        *((parsers.switch(), text, False) for text in ("0", "n", "off")),
        *((parsers.switch(), text, True) for text in ("1", "y", "on")),
        (parsers.choice(["x86_64", "i386"]), "i386", "i386"),
        (parsers.size(4096), "4096", 4096),
        (parsers.size(4096), "4K", 4096),
        (parsers.size(4096), "512m", 512 << 20),
        (parsers.size(4096), "16G", 16 << 30),
        (parsers.size(4096), "1T", 1 << 40),
        (parsers.octal_mode(), "0664", 0o664),
        (parsers.octal_mode(), "664", 0o664),
        (parsers.octal_mode(), "0", 0),
        (parsers.octal_mode(), "0777", 0o777),
        (parsers.user(), "0", 0),
        (parsers.user(), "4294967294", (1 << 32) - 2),
        (parsers.user(), "nobody", pwd.getpwnam("nobody").pw_uid),
        (parsers.group(), "12345", 12345),
        (parsers.group(), "root", grp.getgrnam("root").gr_gid),
    ],
)
def test_parse(parse: parsers.Parse, text: str, value: object) -> None:
    """The edges of a range belong to it, and a name stands for its number."""
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parsers.number(1, 1000), "0"),
        (parsers.number(1, 1000), "1001"),
        (parsers.number(0, 18), "-1"),
        (parsers.number(0, 18), "+1"),
        (parsers.number(0, 18), " 1"),
        (parsers.number(0, 18), "1\n"),
        (parsers.number(0, 18), "1_0"),
        (parsers.number(0, 18), "0x4"),
        (parsers.number(0, 18), "4.0"),
        (parsers.number(0, 18), "\u0664"),  # an Arabic 4
        (parsers.number(0, 18), "9" * 5000),
        (parsers.switch(), "2"),
        (parsers.switch(), "yes"),
        (parsers.switch(), "ON"),
        (parsers.choice(["x86_64", "i386"]), "X86_64"),
        (parsers.size(4096), "4095"),
        (parsers.size(4096), "4097"),
        (parsers.size(8192), "4K"),
        (parsers.size(4096), "1.5G"),
        (parsers.size(4096), "1GB"),
        (parsers.size(4096), "G"),
        (parsers.size(4096), "-1G"),
        (parsers.octal_mode(), "8"),
        (parsers.octal_mode(), "1777"),
        (parsers.octal_mode(), "rw-r--r--"),
        (parsers.user(), "4294967295"),
        (parsers.user(), "-1"),
        (parsers.user(), "\u0664"),
        (parsers.user(), "no such user"),
        (parsers.group(), "no such group"),
    ],
)
def test_parse_refuses(parse: parsers.Parse, text: str) -> None:
    """What is outside the range, or reads like a number only to Python, has no value."""
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the caller's
        parse(text)


def test_parse_size() -> None:
    """Suffixes are binary, in either case."""
    sizes = [parsers.parse_size(text) for text in ("512", "4k", "3M", "1g")]
    assert sizes == [512, 4096, 3 << 20, 1 << 30]


@pytest.mark.parametrize(
    ("value", "text"),
    [(4096, "4K"), (4097, "4097"), (1 << 30, "1G"), (1536 << 20, "1536M"), (1 << 40, "1T")],
)
def test_format_size(value: int, text: str) -> None:
    """The largest suffix that leaves a whole number."""
    assert parsers.format_size(value) == text


@pytest.mark.parametrize(
    "parse",
    [
        parsers.number(0, 18),
        parsers.number(0, 1 << 64),
        parsers.switch(),
        parsers.choice(["x86_64", "i386"]),
        parsers.user(),
        parsers.group(),
    ],
)
def test_known_values_can_be_given(parse: parsers.Parse) -> None:
    """What is offered at TAB is taken, and it is never more than a screen can hold of numbers."""
    known = list(parse.known())
    for text in known:
        parse(text)
    assert known or parse.expects.startswith("a number from 0 to 18446744073709551616")
