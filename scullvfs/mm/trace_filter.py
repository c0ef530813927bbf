r"""Filters of events: expressions in the kernel's language, over the fields of a record.

    bytes_req > 4096 && !(call_site.function == "vmap" || comm ~ "d*")

A predicate is FIELD OP VALUE.  Numbers are compared by == != < <= > >= and & (some bits of both),
texts by == != and ~ (which takes * ? and [...]).  `!` is stronger than `&&`, that stronger than
`||`.  Beside the event's own fields there are common_pid, comm and cpu.  What is no filter gets the
words, and the place in the text, that the kernel has for it.

    text --calc_stack--> parentheses and quotes match --parse--> steps, operands before operators

The steps are carried out on a stack, so that no depth of parentheses is too much.

Confessed: functions have no addresses, so a field with one, `call_site`, is 0 as a number; with
`.function` it is compared by name.

Linux: kernel/trace/trace_events_filter.c
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from enum import Enum, auto
from fnmatch import translate
from typing import Any, Final, NamedTuple

from .trace_events import Field, TraceEvent, Values

__all__ = ["Filter", "FilterError", "Refusal"]

MAX_STRING: Final = 256
"""Characters of a text, the end counted in (Linux: MAX_FILTER_STR_VAL)."""
MAX_NUMBER: Final = 24
AHEAD: Final = 1
"""Of a predicate the kernel counts places from 1, of all else from 0."""

Predicate = Callable[[Values, int, str], bool]
"""Whether a record is wanted: by its values, the pid and the name of who runs."""


class Refusal(Enum):
    """What becomes of a text that is no filter; the kernel has an errno for each."""

    INVALID = auto()
    UNEXPECTED = auto()
    """An expression that goes on where it should not, or stops where it must not."""
    OPEN = auto()
    """A parenthesis that is not closed."""
    QUOTE = auto()
    """A quote that is not closed."""


class FilterError(ValueError):
    """A text is no filter.

    Args:
        report: the text, where it is wrong, and why, as the file `filter` shows it then.
    """

    def __init__(self, refusal: Refusal, report: str) -> None:
        super().__init__(report)
        self.refusal = refusal
        self.report = report


class _Wrong(Exception):
    """Something is wrong at a place of the text."""

    def __init__(self, why: str, at: int, refusal: Refusal = Refusal.INVALID) -> None:
        self.why, self.at, self.refusal = why, at, refusal


_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "~": operator.eq,
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "&": lambda a, b: a & b != 0,
}
"""Operator -> what it does; longer ones stand before those that they begin with."""

_NAME: Final = re.compile(r"\s*(\w*)", re.ASCII)
_FUNCTION: Final = ".function"
_BLANK: Final = re.compile(r"\s*", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9a-zA-Z]+", re.ASCII)
_UNQUOTED: Final = re.compile(r"\w+", re.ASCII)
_AND, _OR, _NOT, _OPEN = "&&", "||", "!", "("
_BINDS: Final = {_OPEN: 0, _OR: 1, _AND: 2, _NOT: 3}


class _Operand(NamedTuple):
    """A field, as a filter looks at it."""

    get: Callable[[Values, int, str], Any]
    is_string: bool
    is_signed: bool
    bits: int


class Filter:
    """An expression that says of each record whether it is wanted.

    Args:
        pointer_size: of the machine; bytes of a `long`.

    Raises:
        FilterError: it is none.
    """

    def __init__(self, text: str, event: TraceEvent, pointer_size: int) -> None:
        self.text: Final = text
        self._fields = _operands(event, pointer_size)
        self._steps: list[Predicate | str] = []
        try:
            _calc_stack(text)
            self._parse()
        except _Wrong as wrong:
            raise FilterError(wrong.refusal, _report(text, wrong)) from None

    def matches(self, values: Values, pid: int, comm: str) -> bool:
        """Whether a record is wanted."""
        stack: list[bool] = []
        for step in self._steps:
            if not isinstance(step, str):
                stack.append(step(values, pid, comm))
            elif step == _NOT:
                stack[-1] = not stack[-1]
            else:
                last = stack.pop()
                stack[-1] = (stack[-1] and last) if step == _AND else (stack[-1] or last)
        return stack[-1]

    def __repr__(self) -> str:
        return f"<Filter {self.text!r}>"

    def _parse(self) -> None:
        """Linux: predicate_parse()"""
        text, at = self.text, 0
        pending: list[str] = []
        operators = 0
        """Of `pending`, those that have no operand behind them yet."""
        while at < len(text):
            here = text[at]
            if here.isspace():
                at += 1
            elif here == _OPEN or (here == _NOT and text[at + 1 : at + 2] not in ("=", "~")):
                pending.append(here)
                operators += 1
                at += 1
            else:
                predicate, at = self._predicate(at)
                self._steps.append(predicate)
                at = self._connect(at, pending)
                operators = int(bool(pending) and text[at - 2 : at] in (_AND, _OR))
        if not self._steps:
            raise _Wrong("No filter found" if text else "", at)
        if operators:  # at the end, where they have nothing to say
            del pending[-operators:]
        self._steps += reversed(pending)

    def _connect(self, at: int, pending: list[str]) -> int:
        """What is behind a predicate: closing parentheses, and an operator or the end."""
        text = self.text
        while True:
            at = _skip_blank(text, at)
            sign = text[at : at + 2] if text[at : at + 1] in ("&", "|") else text[at : at + 1]
            if sign == ")":
                self._reduce(pending, _BINDS[_OR])
                if not pending:
                    raise _Wrong("Too few '('", at + 1, Refusal.UNEXPECTED)
                pending.pop()
                at += 1
                continue
            if sign in (_AND, _OR):
                self._reduce(pending, _BINDS[sign])
                pending.append(sign)
                return at + 2
            if sign:
                why = "Too many terms in predicate expression"
                raise _Wrong(why, at, Refusal.UNEXPECTED)
            return at

    def _reduce(self, pending: list[str], binds: int) -> None:
        """The operators before this one that are as strong or stronger have their operands."""
        while pending and _BINDS[pending[-1]] >= binds:
            self._steps.append(pending.pop())

    def _predicate(self, begin: int) -> tuple[Predicate, int]:
        """One of them, and where it ends (Linux: parse_pred())."""
        text = self.text
        match = _NAME.match(text, begin)
        assert match is not None
        name, at = match[1], match.end()
        if not name:
            raise _Wrong("", 0, Refusal.UNEXPECTED)
        field = self._fields.get(name)
        if field is None:
            raise _Wrong("Field not found", at + AHEAD)
        by_name = text.startswith(_FUNCTION, at)
        at = _skip_blank(text, at + len(_FUNCTION) * by_name)
        sign = next((sign for sign in _COMPARE if text.startswith(sign, at)), None)
        if sign is None or (by_name and sign not in ("==", "!=")):
            raise _Wrong("Invalid operator", at + AHEAD)
        at = _skip_blank(text, at + len(sign))
        if by_name:
            return self._function(field, sign, at)
        if text[at : at + 1] in ("'", '"'):
            return self._string(field, sign, at)
        return self._number(field, sign, at)

    def _function(self, field: _Operand, sign: str, at: int) -> tuple[Predicate, int]:
        quote = text if (text := self.text[at : at + 1]) in ("'", '"') else ""
        match = _UNQUOTED.match(self.text, at + len(quote))
        if match is None or not self.text.startswith(quote, match.end()):
            raise _Wrong("Function not found", at + AHEAD)
        name, wanted, get = match[0], sign == "==", field.get

        def matches(values: Values, pid: int, comm: str) -> bool:
            return (str(get(values, pid, comm)).partition(" ")[0] == name) is wanted

        return matches, match.end() + len(quote)

    def _string(self, field: _Operand, sign: str, at: int) -> tuple[Predicate, int]:
        if sign not in ("==", "!=", "~"):
            raise _Wrong("Illegal operation for field type", at + AHEAD)
        if not field.is_string:
            raise _Wrong("Expecting numeric field", at + AHEAD)
        end = self.text.find(self.text[at], at + 1)
        if end < 0:
            raise _Wrong("Missing matching quote", len(self.text) + AHEAD)
        value, get, wanted = self.text[at + 1 : end], field.get, sign != "!="
        if len(value) >= MAX_STRING:
            raise _Wrong("Operand too long", end + AHEAD)
        if sign == "~":
            pattern = re.compile(translate(value))
            return (lambda *of: pattern.match(str(get(*of))) is not None), end + 1
        return (lambda *of: (get(*of) == value) is wanted), end + 1

    def _number(self, field: _Operand, sign: str, at: int) -> tuple[Predicate, int]:
        match = _NUMBER.match(self.text, at)
        if match is None or not match[0].lstrip("-")[0].isdigit():
            raise _Wrong("Invalid value (did you forget quotes)?", at + AHEAD)
        if field.is_string:
            raise _Wrong("Expecting string field", at + AHEAD)
        if sign == "~":
            raise _Wrong("Illegal operation for field type", at + AHEAD)
        if len(match[0]) >= MAX_NUMBER:
            raise _Wrong("Operand too long", match.end() + AHEAD)
        value = _integer(match[0], field.is_signed)
        if value is None:
            raise _Wrong("Illegal integer value", at + AHEAD)
        compare, get, mask = _COMPARE[sign], field.get, (1 << field.bits) - 1
        value &= mask
        if field.is_signed and value >> (field.bits - 1):
            value -= mask + 1
        number: int = value

        def matches(values: Values, pid: int, comm: str) -> bool:
            found = get(values, pid, comm)
            return compare(found if isinstance(found, int) else 0, number)

        return matches, match.end()


def _integer(word: str, is_signed: bool) -> int | None:
    """A number as the kernel reads it; None for what is none (Linux: lib/kstrtox.c)."""
    digits = word.removeprefix("-")
    if word != digits and not is_signed:
        return None
    octal = digits[0] == "0" and digits.isdigit()
    try:
        value = int(digits, 8 if octal else 0)
    except ValueError:
        return None
    value = -value if word != digits else value
    low, high = (-(1 << 63), (1 << 63) - 1) if is_signed else (0, (1 << 64) - 1)
    return value if low <= value <= high else None


def _operands(event: TraceEvent, pointer_size: int) -> dict[str, _Operand]:
    def own(number: int, field: Field) -> _Operand:
        bits = field.size(pointer_size) * 8
        return _Operand(
            lambda values, pid, comm: values[number], field.is_string, field.is_signed, bits
        )

    operands = {field.name: own(number, field) for number, field in enumerate(event.fields)}
    zero = _Operand(lambda values, pid, comm: 0, False, False, 8)
    type_of = _Operand(lambda values, pid, comm: event.id, False, False, 16)
    comm = _Operand(lambda values, pid, comm: comm, True, False, 8)
    return operands | {
        "common_type": type_of,
        "common_flags": zero,
        "common_preempt_count": zero,
        "common_pid": _Operand(lambda values, pid, comm: pid, False, True, 32),
        "comm": comm,
        "COMM": comm,
        "cpu": zero,
        "CPU": zero,
    }


def _skip_blank(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    assert match is not None
    return match.end()


def _calc_stack(text: str) -> None:
    """Parentheses and quotes match (Linux: calc_stack())."""
    quote, quoted_at, opened = "", 0, list[int]()
    for at, here in enumerate(text):
        if quote:
            quote = "" if here == quote else quote
        elif here in "'\"":
            quote, quoted_at = here, at
        elif here == _OPEN:
            opened.append(at)
        elif here == ")":
            if not opened:
                raise _Wrong("Too few '('", at, Refusal.UNEXPECTED)
            opened.pop()
    if quote:
        raise _Wrong("Missing matching quote", quoted_at, Refusal.QUOTE)
    if opened:
        raise _Wrong("Too many '('", opened[-1], Refusal.OPEN)


def _report(text: str, wrong: _Wrong) -> str:
    """Linux: append_filter_err()"""
    if not wrong.why:
        return f"{text}\nError: (0)\n"
    at = min(wrong.at, len(text))
    return f"{text}\n{'^':>{at + 1 if at else 0}}\nparse_error: {wrong.why}\n"
