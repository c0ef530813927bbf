"""The mount options: one table, and the one loop that reads `-o` by it.

Defined here and only here: which options exist, their ranges and defaults, and
`MountOptions`, what the rest of the daemon sees of them. `scullvfs mount --help` and the
manual page print the same table. Touches nothing of the system but the user database, and
imports nothing of what the options are about: every TAB on a command line comes through here.
A mistake of the user is a `UsageError` of one line.
"""

from . import dataclasses_alone  # isort: skip  # noqa: F401  (before dataclasses)
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from scullvfs.errors import UsageError
from scullvfs.mm.layout import LAYOUTS, PAGE_SIZE
from scullvfs.scull.parameters import (
    PARAMETERS,
    SCULLV_DEVS,
    SCULLV_ORDER,
    SCULLV_QSET,
    itemsize_fits,
)
from scullvfs.text import shown

from .hint import did_you_mean
from .kernel_flags import KERNEL_FLAGS, OF_MOUNT_ALONE, set_flag
from .optstring import escape, split, unescape
from .parsers import (
    Parse,
    choice,
    format_size,
    group,
    number,
    octal_mode,
    size,
    switch,
    text,
    user,
)

__all__ = [
    "LEVELS",
    "OPTIONS",
    "SEMANTICS",
    "MountOptions",
    "Option",
    "changed_options",
    "format_options",
    "is_option",
    "largest_mem",
    "parse_options",
]

MIN_MEM: Final = 4 << 20

SEMANTICS: Final = ("device", "file")
"""The values of `semantics`, the keys of `scullvfs.fs.devices.FILE_RULES`."""

LEVELS: Final = ("debug", "info", "warning", "error")
"""The values of `log_level`, the most words first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountOptions:
    """How one mount is to be; every field bears the name of its option."""

    scullv_devs: int = SCULLV_DEVS
    """How many devices there are."""
    scullv_order: int = SCULLV_ORDER
    """A quantum is PAGE_SIZE << scullv_order bytes."""
    scullv_qset: int = SCULLV_QSET
    """Quanta in a list item."""
    mem: int = 1 << 30
    """RAM of the emulated machine in bytes."""
    arch: str = "x86_64"
    """Its address-space layout, a key of LAYOUTS."""
    shuffle: bool = True
    """Whether its page frames come in random order."""
    seed: int = 0
    """What that order, and everything else that is random, follows from."""
    cpus: int = 1
    """CPUs that its kernel believes to have."""
    semantics: str = "device"
    """Whose rules reads, writes and opens follow, one of SEMANTICS."""
    quirks: str = "none"
    """Which mistakes of the original are brought back: none, or ldd3's."""
    busy_poll: int = 50
    """Microseconds of polling without sleeping after each request."""
    uid: int = field(default_factory=os.getuid)
    gid: int = field(default_factory=os.getgid)
    """Who owns the files."""
    mode: int = 0o664
    """Permission bits of the devices."""
    allow_other: bool = False
    """Whether users other than the mounting one may enter."""
    fsname: str = "scullvfs"
    """What findmnt shows as the source of the mount."""
    remount_stale: bool = False
    """Whether a dead scullvfs mount in the way is taken down first."""
    log_level: str = "info"
    """What the log leaves out lies below this, one of LEVELS."""
    flags: frozenset[str] = frozenset()
    """Those of KERNEL_FLAGS that are on; the one field that is no option of its own."""

    @property
    def quantum(self) -> int:
        """Size of a quantum in bytes."""
        return PAGE_SIZE << self.scullv_order

    def as_dict(self) -> dict[str, Any]:
        """Every option and its value, by its long name; the flags that are on are True."""
        values = asdict(self)
        return values | dict.fromkeys(sorted(values.pop("flags")), True)

    def __str__(self) -> str:
        """The machine in a few words, for the log."""
        return f"{self.scullv_devs} devices, mem={format_size(self.mem)}, arch={self.arch}"


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table of mount options."""

    name: str
    """Its long form, and the field of MountOptions that it sets."""
    parse: Parse | None
    """What reads its value; None for an option that takes none."""
    help: str
    """What it does, in one phrase."""
    short: str = ""
    """A second form of the name, or nothing."""
    whose: str = ""
    """The default in a word, where it is another for each user."""

    @property
    def default(self) -> str:
        """The default as a user would write it, or in a word."""
        value = getattr(_DEFAULTS, self.name)
        if self.parse is None:
            return "on" if value else "off"
        return self.whose or self.parse.format(value)

    @property
    def forms(self) -> tuple[str, ...]:
        """Every way to write its name, the long one first."""
        return (self.name, self.short) if self.short else (self.name,)

    def value_of(self, form: str, text: str | None) -> Any:
        """The value of `form=text`, where `text` is None if there was no `=`."""
        if self.parse is None:
            if text is not None:
                raise UsageError(f"option '{form}' takes no value; write just '{form}'")
            return True
        if not text:
            raise UsageError(
                f"option '{form}' needs a value: write '{form}=...', {self.parse.expects}"
            )
        try:
            return self.parse(text)
        except ValueError:
            raise UsageError(
                f"{form}={escape(text)} is not possible; {form} must be {self.parse.expects}"
            ) from None


_DEFAULTS: Final = MountOptions()

OPTIONS: Final = (
    Option("scullv_devs", number(*PARAMETERS["scullv_devs"]), "how many devices", "devs"),
    Option(
        "scullv_order", number(*PARAMETERS["scullv_order"]), "a quantum is 4K << order", "order"
    ),
    Option("scullv_qset", number(*PARAMETERS["scullv_qset"]), "quanta in a list item", "qset"),
    Option("mem", size(MIN_MEM), "RAM of the emulated machine"),
    Option("arch", choice(LAYOUTS), "address-space layout"),
    Option("shuffle", switch(), "page frames come in random order"),
    Option("seed", number(0, (1 << 64) - 1), "the same seed, the same run"),
    Option("cpus", number(1, 8192), "CPUs its kernel believes to have"),
    Option("semantics", choice(SEMANTICS), "LDD3's rules, or a file's"),
    Option("quirks", choice(("none", "ldd3")), "bring LDD3's overrun back"),
    Option("busy_poll", number(0, 1000), "microseconds of spinning for a call"),
    Option("uid", user(), "owner of the files", whose="you"),
    Option("gid", group(), "group of the files", whose="yours"),
    Option("mode", octal_mode(), "permission bits of the devices"),
    Option("allow_other", None, "let other users in, too"),
    Option("fsname", text(), "what findmnt shows as the source"),
    Option("remount_stale", None, "take a dead scullvfs mount down first"),
    Option("log_level", choice(LEVELS), "level of the log"),
)

_SEE_HELP: Final = "; 'scullvfs mount --help' lists them all"

_BY_FORM: Final = {form: option for option in OPTIONS for form in option.forms}


def parse_options(arguments: Iterable[str]) -> MountOptions:
    """Read the arguments of all `-o`, in their order; of one name the last counts.

    Words of KERNEL_FLAGS go into `MountOptions.flags`. Escapes are those of `optstring`.

    Raises:
        UsageError: an option that does not exist, a value that it cannot have, both forms of
            a name with different values, or values that do not go together.
    """
    given: dict[str, Any] = {}
    flags: frozenset[str] = frozenset()
    for item in (unescape(item) for argument in arguments for item in split(argument)):
        if item in KERNEL_FLAGS:
            flags = set_flag(flags, item)
        else:
            form, equals, text = item.partition("=")
            given[form] = _option(form).value_of(form, text if equals else None)
    options = MountOptions(**_one_value_each(given), flags=flags)
    _check_together(options)
    return options


def largest_mem(arch: str) -> int:
    """Bytes of RAM that `arch`, a key of LAYOUTS, can address."""
    return LAYOUTS[arch].max_mem


def _check_together(options: MountOptions) -> None:
    """Raise UsageError for values that are possible, but not with each other."""
    most = largest_mem(options.arch)
    if options.mem > most:
        raise UsageError(
            f"mem={format_size(options.mem)} is not possible with arch={options.arch}; "
            f"it addresses {format_size(most)}"
        )
    if not itemsize_fits(options.scullv_order, options.scullv_qset):
        size = format_size(options.quantum * options.scullv_qset)
        raise UsageError(
            f"order={options.scullv_order} with qset={options.scullv_qset} is not possible; "
            f"a list item would have {size}, and the driver counts its bytes in an int, below 2G"
        )


def is_option(item: str) -> bool:
    """Whether `item`, as in `-o item`, names an option that there is."""
    return item in KERNEL_FLAGS or item.partition("=")[0] in _BY_FORM


def format_options(values: Mapping[str, Any]) -> str:
    """`values`, by name, as they would stand behind `-o`; unknown names as they are.

    `parse_options` takes it, and gives the same values.
    """
    return ",".join(text for name, value in values.items() for text in _format_option(name, value))


def changed_options(values: Mapping[str, Any], *, uid: int, gid: int) -> dict[str, Any]:
    """Those of `values`, by name, that are not what a mount by this user has by default."""
    defaults = MountOptions(uid=uid, gid=gid).as_dict()
    return {name: value for name, value in values.items() if value != defaults.get(name)}


def _format_option(name: str, value: Any) -> tuple[str, ...]:
    option = _BY_FORM.get(name)
    if option is None:
        return (name if value is True else f"{name}={escape(str(value))}",)
    if option.parse is None:
        return (name,) if value else ()
    return (f"{name}={escape(option.parse.format(value))}",)


def _option(form: str) -> Option:
    try:
        return _BY_FORM[form]
    except KeyError:
        if form == "remount":  # mount(8)'s, and not 'remount_stale' mistyped
            raise UsageError(
                "a mount takes no new options; "
                "'scullvfs reload' sets the order and qset of a running one"
            ) from None
        if form in OF_MOUNT_ALONE:
            hint = "; it is for mount(8) and fstab"
        else:
            hint = did_you_mean(form, (*_BY_FORM, *KERNEL_FLAGS)) or _SEE_HELP
        raise UsageError(f"unknown option '{shown(form)}'{hint}") from None


def _one_value_each(given: dict[str, Any]) -> dict[str, Any]:
    """Fold the two forms of each name into one; they must agree."""
    values: dict[str, Any] = {}
    for form, value in given.items():
        name = _BY_FORM[form].name
        if values.setdefault(name, value) != value:
            first, second = _BY_FORM[name].forms
            raise UsageError(
                f"{first}={given[first]} and {second}={given[second]} contradict each other; "
                f"'{second}' is short for '{first}', give only one"
            )
    return values
