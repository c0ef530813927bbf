"""The values of mount options, each kind at the edges of its range."""

import grp
import pwd

import pytest

from scullvfs.daemon import values


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (values.number(1, 1000), "1", 1),
        (values.number(1, 1000), "1000", 1000),
        (values.number(0, 18), "007", 7),
        (values.switch(), "0", False),
        (values.switch(), "1", True),
        (values.choice(["x86_64", "i386"]), "i386", "i386"),
        (values.size(4096), "4096", 4096),
        (values.size(4096), "4K", 4096),
        (values.size(4096), "512m", 512 << 20),
        (values.size(4096), "16G", 16 << 30),
        (values.size(4096), "1T", 1 << 40),
        (values.octal_mode(), "0664", 0o664),
        (values.octal_mode(), "664", 0o664),
        (values.octal_mode(), "0", 0),
        (values.octal_mode(), "0777", 0o777),
        (values.user(), "0", 0),
        (values.user(), "4294967294", (1 << 32) - 2),
        (values.user(), "nobody", pwd.getpwnam("nobody").pw_uid),
        (values.group(), "12345", 12345),
        (values.group(), "root", grp.getgrnam("root").gr_gid),
    ],
)
def test_parse(parse: values.Parse, text: str, value: object) -> None:
    """The edges of a range belong to it, and a name stands for its number."""
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (values.number(1, 1000), "0"),
        (values.number(1, 1000), "1001"),
        (values.number(0, 18), "-1"),
        (values.number(0, 18), "+1"),
        (values.number(0, 18), " 1"),
        (values.number(0, 18), "1\n"),
        (values.number(0, 18), "1_0"),
        (values.number(0, 18), "0x4"),
        (values.number(0, 18), "4.0"),
        (values.number(0, 18), "\u0664"),  # an Arabic 4
        (values.number(0, 18), "9" * 5000),
        (values.switch(), "2"),
        (values.switch(), "yes"),
        (values.choice(["x86_64", "i386"]), "X86_64"),
        (values.size(4096), "4095"),
        (values.size(4096), "4097"),
        (values.size(8192), "4K"),
        (values.size(4096), "1.5G"),
        (values.size(4096), "1GB"),
        (values.size(4096), "G"),
        (values.size(4096), "-1G"),
        (values.octal_mode(), "8"),
        (values.octal_mode(), "1777"),
        (values.octal_mode(), "rw-r--r--"),
        (values.user(), "4294967295"),
        (values.user(), "-1"),
        (values.user(), "\u0664"),
        (values.user(), "no such user"),
        (values.group(), "no such group"),
    ],
)
def test_parse_refuses(parse: values.Parse, text: str) -> None:
    """What is outside the range, or reads like a number only to Python, has no value."""
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the caller's
        parse(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(4096, "4K"), (4097, "4097"), (1 << 30, "1G"), (1536 << 20, "1536M"), (1 << 40, "1T")],
)
def test_format_size(value: int, text: str) -> None:
    """The largest suffix that leaves a whole number."""
    assert values.format_size(value) == text


@pytest.mark.parametrize(
    "parse",
    [
        values.number(0, 18),
        values.number(0, 1 << 64),
        values.switch(),
        values.choice(["x86_64", "i386"]),
        values.user(),
        values.group(),
    ],
)
def test_known_values_can_be_given(parse: values.Parse) -> None:
    """What is offered at TAB is taken, and it is never more than a screen can hold of numbers."""
    known = list(parse.known())
    for text in known:
        parse(text)
    assert known or parse.expects.startswith("a number from 0 to 18446744073709551616")
