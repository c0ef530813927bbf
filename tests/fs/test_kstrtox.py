"""What is meant by what is written, as lib/kstrtox.c has it."""

from __future__ import annotations

import errno

import pytest

from scullvfs.fs.kstrtox import (
    kstrtobool_from_user,
    kstrtoint,
    kstrtouint_from_user,
    kstrtoul_from_user,
    strim,
)

from ..scull.helpers import fails


@pytest.mark.parametrize(
    ("text", "base", "value"),
    [
        (b"010", 0, 8),
        (b"010", 10, 10),
        (b"0x1F\n", 0, 31),
        (b"0x1f", 10, errno.EINVAL),
        (b"08", 0, errno.EINVAL),
        (b"08", 10, 8),
        (b"+7\n", 10, 7),
        (b"-7", 10, errno.EINVAL),
        (b"7\n\n", 0, errno.EINVAL),
        (b"7\0x", 0, 7),
        (b" 7", 0, errno.EINVAL),
        (b"", 10, errno.EINVAL),
        (b"18446744073709551615", 10, (1 << 64) - 1),
        (b"18446744073709551616", 10, errno.ERANGE),
        (b"18446744073709551616x", 0, errno.ERANGE),
        (b"0" * 65 + b"7x", 10, 7),
        (b"9" * 1_000_000, 0, errno.ERANGE),
    ],
)
def test_unsigned_long(text: bytes, base: int, value: int) -> None:
    """By its base, up to a NUL and to as many bytes as one has bits; or an errno."""
    if value in (errno.EINVAL, errno.ERANGE):
        with fails(value):
            kstrtoul_from_user(text, base)
    else:
        assert kstrtoul_from_user(text, base) == value


def test_ranges() -> None:
    """Of a type all values, and the next one no more."""
    assert (kstrtoint(b"-2147483648"), kstrtoint(b"2147483647")) == (-(1 << 31), (1 << 31) - 1)
    assert kstrtouint_from_user(b"4294967295") == (1 << 32) - 1
    for read, text in [
        (kstrtoint, b"-2147483649"),
        (kstrtoint, b"2147483648"),
        (kstrtouint_from_user, b"4294967296"),
    ]:
        with fails(errno.ERANGE):
            read(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"y", True),
        (b"True", True),
        (b"1\n", True),
        (b"oN", True),
        (b"no", False),
        (b"F", False),
        (b"0", False),
        (b"OFF", False),
        (b"o", None),
        (b" 1", None),
        (b"\0001", None),
        (b"", None),
    ],
)
def test_boolean(text: bytes, value: bool | None) -> None:
    """By its first letter, or its first two."""
    assert kstrtobool_from_user(text) is value


def test_strim() -> None:
    """All blanks of the kernel's at both ends, and nothing behind a NUL."""
    assert strim(b" \t\xa0a b\r\v\f\n\0 c") == b"a b"
