"""A report as one HTML file: the template of `report_page`, and the words that go into it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import scullvfs
from scullvfs.errors import ScullvfsError
from scullvfs.mounts.answers import MOST_DEVICES, parse_report
from scullvfs.mounts.mountinfo import Mount
from scullvfs.mounts.users import user_name
from scullvfs.options.table import OPTIONS, changed_options, format_options
from scullvfs.text import argument, one_line, shell_word, shown

from .map_svg import memory_svg
from .marks import MISSING
from .report import Excerpt, Report
from .report_page import STYLE, TEMPLATE
from .show_svg import device_svg
from .words import bytes_words, count_words

__all__ = ["report_html"]


class _Option(NamedTuple):
    """One of the mount's options."""

    name: str
    value: str
    default: str
    """If that is another one."""
    meaning: str


class _Calls(NamedTuple):
    """One kind of calls of a device."""

    device: str
    kind: str
    calls: str
    bytes: str
    errors: str
    time: str
    """Of one, on the average."""


def report_html(
    report: Report, mount: Mount, made: datetime, versions: Iterable[tuple[str, str]]
) -> str:
    """The whole file.

    Args:
        made: when it was read.
        versions: what else took part, and of which version.

    Raises:
        ScullvfsError: Jinja2 is not installed, or what the daemon says cannot be.
    """
    try:
        from jinja2 import Environment
    except ImportError:
        raise ScullvfsError(MISSING) from None
    try:
        said = parse_report(report.said.encode())
    except ValueError as error:
        raise ScullvfsError(f"{shown(mount.path)}: {error}") from None
    known = said["version"] == scullvfs.__version__
    options = said["options"] | {"fsname": mount.source} if known else {}
    changed = changed_options(options, uid=mount.user_id, gid=mount.group_id)
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE
    )
    return template.render(
        style=STYLE,
        path=shown(mount.path),
        made=f"{made:%Y-%m-%d %H:%M:%S %Z}",
        user=shown(user_name(mount.user_id)),
        command=_command(mount, changed),
        options=[*_options(options, changed)],
        facts=[*(_facts(said) if known else _other_facts(said))],
        report=report,
        undrawn=_undrawn(report),
        devices=[(device.name, device_svg(device, mount.path)) for device in report.devices],
        calls=[*_calls(said["calls"])] if known else [],
        most_devices=MOST_DEVICES,
        memory=memory_svg(report.memory, mount.path),
        listings=[(each, _gap(each)) for each in report.listings],
        log=(report.log, _gap(report.log)),
        trace=(report.trace, _gap(report.trace)),
        versions=[("scullvfs of the mount", said["version"]), *versions],
        bytes_words=bytes_words,
        count_words=count_words,
    )


def _command(mount: Mount, changed: Mapping[str, Any]) -> str:
    """What makes such a mount."""
    options = format_options(changed)
    words = ["scullvfs mount", *(["-o", shell_word(options)] if options else [])]
    return " ".join((*words, argument(mount.path)))


def _options(options: Mapping[str, Any], changed: Mapping[str, Any]) -> Iterator[_Option]:
    """All that a mount has, flags of the kernel that are on at the end."""
    known = {option.name: option for option in OPTIONS}
    for name, value in options.items():
        option = known.get(name)
        if option is None:
            yield _Option(name, "on", "off", "a flag of Linux's")
            continue
        words = ("on" if value else "off") if option.parse is None else option.parse.format(value)
        default = option.default if name in changed else ""
        yield _Option(name, shown(words), default, option.help)


def _facts(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The mount in numbers."""
    ram, vmalloc = said["ram"], said["vmalloc"]
    yield "uptime", f"{said['uptime']:,.0f} s"
    yield "RAM in use", f"{bytes_words(ram['used'])} of {bytes_words(ram['total'])}"
    lazy = f", and {bytes_words(vmalloc['lazy'])} not yet purged" if vmalloc["lazy"] else ""
    used = f"{bytes_words(vmalloc['used'])} of {bytes_words(vmalloc['total'])}{lazy}"
    yield "vmalloc addresses in use", used
    requests = said["requests"]
    yield "requests", "not counted" if requests is None else f"{requests:,}"
    yield "CPU time of the daemon", f"{said['cpu']:,.2f} s"
    for name, fault in said["faults"].items():
        armed = ", armed" if fault["armed"] else ""
        yield f"fault {name}", f"injected {count_words(fault['injected'], 'time')}{armed}"


def _other_facts(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a daemon of another version says, whose words may have changed."""
    for name, value in said.items():
        yield name, one_line(json.dumps(value))


def _calls(calls: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Iterator[_Calls]:
    for device, kinds in calls.items():
        for kind, counters in kinds.items():
            number = counters["calls"]
            time = counters["nanoseconds"] / max(number, 1) / 1000
            yield _Calls(
                device,
                kind,
                f"{number:,}",
                f"{counters['bytes']:,}",
                f"{counters['errors']:,}",
                f"{time:,.1f}",
            )


def _undrawn(report: Report) -> str:
    """How many devices have no picture."""
    quanta = sum(1 for row in report.rows if row.quanta)
    missing = quanta - len(report.devices) + report.unlisted
    if not missing:
        return ""
    verb = "has" if missing == 1 else "have"
    return (
        f"{count_words(missing, 'more device')} {verb} no picture here; 'scullvfs show' draws "
        f"{'it' if missing == 1 else 'each'}."
    )


def _gap(excerpt: Excerpt) -> str:
    """What is between the beginning and the end."""
    if not excerpt.left_out:
        return ""
    return f"{count_words(excerpt.left_out, 'byte')} are left out here; {excerpt.name} has them."
