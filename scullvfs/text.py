r"""What comes from outside, as it can be shown: in one line, without control characters.

Paths, process names, sources of mounts and the words of other daemons are bytes that somebody
else has chosen. Whoever puts them into a message, a log or a listing takes them through here.
The notation is that of Linux in mountinfo: a byte in three octal digits, as in `\012`. So are
shown bytes that are no UTF-8, characters that do not print, and the backslash itself; letters of
any script stay. libfuse reads the same notation behind `-o`.

Linux: fs/seq_file.c:mangle_path(), string_unescape(3) of util-linux reads it back. Stands below
all rooms, and imports nothing of scullvfs.
"""

import codecs
import os
import sys
from typing import Final

__all__ = [
    "argument",
    "make_streams_safe",
    "mangled",
    "noun",
    "one_line",
    "shell_word",
    "shown",
    "unicode",
]

Bytes = str | bytes | os.PathLike[str]
"""What the system calls take for a path; a str stands for the bytes that it was decoded from."""

_OCTAL: Final = "scullvfs.octal"
"""The name of the error handler for what the charset of a terminal lacks."""


def shown(value: Bytes) -> str:
    r"""`value` for people, in one line and without ambiguity; nothing is two quotes, as in a shell.

    >>> shown(b"a b\n\xff\\"), shown("")
    ('a b\\012\\377\\134', "''")
    """
    return mangled(value) or "''"


def mangled(value: Bytes) -> str:
    """The same where quotes are around it, or nothing has to stay nothing."""
    return one_line(_utf8(value).replace("\\", r"\134"))


def one_line(text: str) -> str:
    """`text`, which holds no value that is not `shown`, made safe all the same: the last net.

    A backslash stays, as it may be that of an escape.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else _octal(character) for character in text
    )


def shell_word(value: Bytes) -> str:
    r"""`value` as one word of a command line, quoted where it has to be.

    What does not print is written as bash, zsh and ksh have it: `$'a\012b'`.
    """
    import shlex

    text = _utf8(value)
    if text.isprintable():
        return shlex.quote(text)
    plain = (c if c.isprintable() and c not in "\\'" else _octal(c) for c in text)
    return f"$'{''.join(plain)}'"


def argument(value: Bytes) -> str:
    """`value` as the last word of a command line that is suggested: it is never an option."""
    word = shell_word(value)
    return f"-- {word}" if _utf8(value).startswith("-") else word


def unicode(value: Bytes) -> str:
    """`value` as Unicode, for JSON: as it is if it is UTF-8, else as it is `shown`."""
    text = _utf8(value)
    return text if _is_unicode(text) else shown(value)


def make_streams_safe() -> None:
    """Have stdout and stderr write in octal what their charset lacks, and never fail over it."""
    codecs.register_error(_OCTAL, _replace)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # closed, or a test's
        if reconfigure is not None:
            reconfigure(errors=_OCTAL)


def _utf8(value: Bytes) -> str:
    """The bytes of `value` as UTF-8, whatever the locale has made of them."""
    try:
        return os.fsencode(value).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # of no bytes: half of a character, from somebody's JSON
        return str(value)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _octal(character: str) -> str:
    """The bytes of one character; of a surrogate that stands for a byte, that byte."""
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", errors))


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_octal, error.object[error.start : error.end])), error.end


def noun(count: int, what: str, plural: str = "") -> str:
    """The word for so many of a thing: `page` for 1, else `pages`, or `plural`, if given."""
    return what if count == 1 else plural or f"{what}s"
