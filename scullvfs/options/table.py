"""The mount options: one table, and the one loop that reads `-o` by it.

Defined here and only here: which options exist, their ranges and defaults, and
`MountOptions`, what the rest of the daemon sees of them. `scullvfs mount --help` and the
manual page print the same table. Touches nothing of the system but the user database, and
imports nothing of what the options are about: every TAB on a command line comes through here.
A mistake of the user is a `UsageError` of one line.
"""

from . import dataclasses_alone  # isort: skip  # noqa: F401  (before dataclasses)
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from scullvfs.errors import UsageError
from scullvfs.mm.layout import LAYOUTS
from scullvfs.scull.driver import Driver
from scullvfs.scull.family import DRIVERS, SCULL, SCULLC, SCULLP, SCULLV, driver_of_parameter
from scullvfs.text import mangled

from .hint import did_you_mean
from .kernel_flags import KERNEL_FLAGS, OF_MOUNT_ALONE, set_flag
from .optstring import escape, split, unescape
from .parsers import (
    Parse,
    choice,
    fault,
    format_size,
    group,
    number,
    octal_mode,
    path,
    several,
    size,
    switch,
    text,
    user,
)

__all__ = [
    "LEVELS",
    "OF_MACHINE",
    "OF_THE_MOUNT",
    "OPTIONS",
    "SEMANTICS",
    "MountOptions",
    "Option",
    "changed_options",
    "check_together",
    "format_options",
    "is_option",
    "largest_mem",
    "parse_options",
    "read_options",
]

MIN_MEM: Final = 4 << 20

SEMANTICS: Final = ("device", "file")
"""The values of `semantics`, the keys of `scullvfs.fs.devices.FILE_RULES`."""

LEVELS: Final = ("debug", "info", "warning", "error")
"""The values of `log_level`, the most words first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MountOptions:
    """How one mount is to be; every field bears the name of its option."""

    scullv_devs: int = SCULLV.devs.default
    """How many devices there are; so for each driver."""
    scullv_order: int = SCULLV.measure.default
    """A quantum is PAGE_SIZE << scullv_order bytes; so for scullp."""
    scullv_qset: int = SCULLV.qset.default
    """Quanta in a list item; so for each driver."""
    drivers: str = "scullv"
    """Which of DRIVERS are loaded, in that order, with colons between them."""
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
    fragment: int = 0
    """Percent of its free RAM that is in small pieces from the start."""
    init_on_alloc: bool = True
    """Whether its kernel fills with zeros what is allocated."""
    page_owner: bool = False
    """Whether its kernel keeps who holds which frames."""
    failslab: str = "off"
    """When kmalloc and caches are made to fail: off, or INTERVAL:PROBABILITY:SPACE:TIMES."""
    fail_page_alloc: str = "off"
    """When the page allocator is; the same."""
    restore: str = ""
    """The file of a machine to begin with (`scullvfs.snapshot`); "" for a fresh one."""
    semantics: str = "device"
    """Whose rules reads, writes and opens follow, one of SEMANTICS."""
    writeback: bool = False
    """Whether the kernel keeps what is written in its page cache, and writes it back later."""
    quirks: str = "none"
    """Which mistakes of the original are brought back: none, or ldd3's."""
    hardened_usercopy: bool = False
    """Whether its kernel looks at what is copied to and from processes."""
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
    scullp_devs: int = SCULLP.devs.default
    scullp_order: int = SCULLP.measure.default
    scullp_qset: int = SCULLP.qset.default
    scullc_devs: int = SCULLC.devs.default
    scullc_quantum: int = SCULLC.measure.default
    """Bytes in a quantum; so for scull."""
    scullc_qset: int = SCULLC.qset.default
    scull_nr_devs: int = SCULL.devs.default
    scull_quantum: int = SCULL.measure.default
    scull_qset: int = SCULL.qset.default
    flags: frozenset[str] = frozenset()
    """Those of KERNEL_FLAGS that are on; this field and those below are no options of their own."""
    replay: str = ""
    """The recording whose calls are made before it is mounted, by its absolute path, or nothing."""
    replay_to: int = 0
    """So many of them."""

    def parameters(self, driver: Driver) -> dict[str, int]:
        """The parameters that a driver is loaded with, by their names."""
        return {parameter.name: getattr(self, parameter.name) for parameter in driver.parameters}

    def quantum(self, driver: Driver) -> int:
        """Bytes of a driver's quanta."""
        return driver.quantum(getattr(self, driver.measure.name))

    def quantum_set(self, driver: Driver) -> int:
        """Bytes of the pointers to a list item's quanta."""
        pointers: int = getattr(self, driver.qset.name)
        return pointers * LAYOUTS[self.arch].pointer_size

    def loaded(self) -> list[Driver]:
        """The rows of `drivers`."""
        return [DRIVERS[name] for name in self.drivers.split(":")]

    def as_dict(self) -> dict[str, Any]:
        """Every option and its value, by its long name; the flags that are on are True.

        Without those of drivers that are not loaded.
        """
        values = asdict(self)
        values |= dict.fromkeys(sorted(values.pop("flags")), True)
        del values["replay"], values["replay_to"]
        return {name: value for name, value in values.items() if self._applies(name)}

    def _applies(self, name: str) -> bool:
        driver = driver_of_parameter(name)
        return driver is None or driver in self.loaded()

    def __str__(self) -> str:
        """The machine in a few words, for the log."""
        devices = sum(getattr(self, driver.devs.name) for driver in self.loaded())
        return f"{devices} devices, mem={format_size(self.mem)}, arch={self.arch}"


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


def _of(driver: Driver, whose: str = "") -> Iterator[Option]:
    """The options that are a driver's parameters; of the first one they have short forms, too."""
    for parameter in driver.parameters:
        short = parameter.name.removeprefix("scullv_") if driver is SCULLV else ""
        parse = number(parameter.low, parameter.high)
        yield Option(parameter.name, parse, f"{whose}{parameter.about}", short)


OPTIONS: Final = (
    *_of(SCULLV),
    Option("drivers", several(DRIVERS), "drivers to load"),
    Option("mem", size(MIN_MEM), "RAM of the emulated machine"),
    Option("arch", choice(LAYOUTS), "address-space layout"),
    Option("shuffle", switch(), "page frames come in random order"),
    Option("seed", number(0, (1 << 64) - 1), "the same seed, the same run"),
    Option("cpus", number(1, 8192), "CPUs its kernel believes to have"),
    Option("fragment", number(0, 100), "percent of free RAM in small pieces"),
    Option("init_on_alloc", switch(), "what its kernel allocates is zeros"),
    Option("page_owner", switch(), "keep who holds which frames"),
    Option("failslab", fault(), "kmalloc and caches fail"),
    Option("fail_page_alloc", fault(), "the page allocator fails"),
    Option("restore", path(), "snapshot to begin with"),
    Option("semantics", choice(SEMANTICS), "LDD3's rules, or a file's"),
    Option("writeback", None, "the kernel writes back later"),
    Option("quirks", choice(("none", "ldd3")), "bring LDD3's overrun back"),
    Option("hardened_usercopy", switch(), "its kernel checks copies to users"),
    Option("busy_poll", number(0, 1000), "microseconds of spinning for a call"),
    Option("uid", user(), "owner of the files", whose="you"),
    Option("gid", group(), "group of the files", whose="yours"),
    Option("mode", octal_mode(), "permission bits of the devices"),
    Option("allow_other", None, "let other users in, too"),
    Option("fsname", text(), "what findmnt shows as the source"),
    Option("remount_stale", None, "take a dead scullvfs mount down first"),
    Option("log_level", choice(LEVELS), "level of the log"),
    *(
        option
        for driver in DRIVERS.values()
        if driver is not SCULLV
        for option in _of(driver, f"{driver.name}: ")
    ),
)

OF_MACHINE: Final = (
    *("mem", "arch", "shuffle", "seed", "cpus", "fragment", "init_on_alloc", "page_owner"),
    *("failslab", "fail_page_alloc", "hardened_usercopy"),
)
"""Names of the options that the emulated machine is made by, and not the mount."""

OF_THE_MOUNT: Final = frozenset(
    {
        *("restore", "writeback", "busy_poll", "uid", "gid", "mode", "allow_other", "fsname"),
        *("remount_stale", "log_level", "flags"),
    }
)
"""And of those that say how a mount is served and to whom, whichever machine, drivers and devices
it has; as fields of `MountOptions`."""

_SEE_HELP: Final = "; 'scullvfs mount --help' lists them all"

_BY_FORM: Final = {form: option for option in OPTIONS for form in option.forms}


def parse_options(arguments: Iterable[str]) -> MountOptions:
    """Read the arguments of all `-o`, in their order; of one name the last counts.

    Words of KERNEL_FLAGS go into `MountOptions.flags`. Escapes are those of `optstring`.

    Raises:
        UsageError: an option that does not exist, a value that it cannot have, both forms of
            a name with different values, or values that do not go together.
    """
    values, flags = read_options(arguments)
    options = MountOptions(**values, flags=flags)
    _check_drivers(options, values)
    check_together(options)
    return options


def read_options(arguments: Iterable[str]) -> tuple[dict[str, Any], frozenset[str]]:
    """What is given in all `-o`, by long name, and the flags that are on.

    Raises:
        UsageError: as `parse_options()`, but for values that do not go together.
    """
    given: dict[str, Any] = {}
    flags: frozenset[str] = frozenset()
    items = [unescape(item) for argument in arguments for item in split(argument)]
    for item in items:
        if item in KERNEL_FLAGS:
            flags = set_flag(flags, item)
        else:
            form, equals, text = item.partition("=")
            given[form] = _option(form, items).value_of(form, text if equals else None)
    return _one_value_each(given), flags


def largest_mem(arch: str) -> int:
    """Bytes of RAM that `arch`, a key of LAYOUTS, can address."""
    return LAYOUTS[arch].max_mem


def check_together(options: MountOptions) -> None:
    """See to it that all values go with each other.

    Raises:
        UsageError: they do not.
    """
    most = largest_mem(options.arch)
    if options.mem > most:
        raise UsageError(
            f"mem={format_size(options.mem)} is not possible with arch={options.arch}; "
            f"it addresses {format_size(most)}"
        )
    if options.writeback and options.semantics != "file":
        raise UsageError(
            f"writeback is not possible with semantics={options.semantics}, which has no page "
            "cache; give semantics=file"
        )
    for driver in options.loaded():
        measure, qset = getattr(options, driver.measure.name), getattr(options, driver.qset.name)
        if not driver.fits(measure, qset):
            size = format_size(driver.quantum(measure) * qset)
            names = driver.measure.name, driver.qset.name
            first, second = (_BY_FORM[name].forms[-1] for name in names)
            raise UsageError(
                f"{first}={measure} with {second}={qset} is not possible; a list item would have "
                f"{size}, and the driver counts its bytes in an int, below 2G"
            )


def _check_drivers(options: MountOptions, given: Mapping[str, Any]) -> None:
    """Raise UsageError for an option of a driver that is not loaded."""
    for name in given:
        driver = driver_of_parameter(name)
        if driver is not None and driver not in options.loaded():
            raise UsageError(
                f"{name} is an option of {driver.name}, which is not loaded; "
                f"write 'drivers={options.drivers}:{driver.name}' to have it"
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
    defaults = asdict(MountOptions(uid=uid, gid=gid))  # of all drivers
    return {name: value for name, value in values.items() if value != defaults.get(name)}


def _format_option(name: str, value: Any) -> tuple[str, ...]:
    option = _BY_FORM.get(name)
    if option is None:
        return (name if value is True else f"{name}={escape(str(value))}",)
    if option.parse is None:
        return (name,) if value else ()
    return (f"{name}={escape(option.parse.format(value))}",)


def _option(form: str, items: Iterable[str]) -> Option:
    """The option of that name, or else a UsageError that knows what else is given."""
    try:
        return _BY_FORM[form]
    except KeyError:
        if form == "remount":  # mount(8)'s, and not 'remount_stale' mistyped
            raise UsageError(
                "a mount takes no new options; "
                "'scullvfs reload' sets the order and qset of a running one"
            ) from None
        if form in DRIVERS:
            hint = f"; to load it beside others, write 'drivers=scullv:{form}'"
        elif form in OF_MOUNT_ALONE:
            hint = "; it is for mount(8) and fstab"
        else:
            hint = _meant(form, items) or _SEE_HELP
        raise UsageError(f"unknown option '{mangled(form)}'{hint}") from None


def _meant(form: str, items: Iterable[str]) -> str:
    """The guess at an option: of the driver that is named, or else rather of those loaded."""
    likely = {form.partition("_")[0]} & {*DRIVERS}
    if not likely:
        lists = (item.removeprefix("drivers=") for item in items if item.startswith("drivers="))
        likely = {*[_DEFAULTS.drivers, *lists][-1].split(":")}
    forms = [
        known
        for known, option in _BY_FORM.items()
        if (driver := driver_of_parameter(option.name)) is None or driver.name in likely
    ]
    return did_you_mean(form, (*forms, *KERNEL_FLAGS)) or did_you_mean(form, _BY_FORM)


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
