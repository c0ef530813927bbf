"""`-o`: from its text to MountOptions."""

import dataclasses
import os
import re
from pathlib import Path

import pytest

from scullvfs.errors import UsageError
from scullvfs.fs.devices import FILE_RULES
from scullvfs.mm.layout import LAYOUTS, PAGE_SIZE
from scullvfs.options.parsers import format_size
from scullvfs.options.table import (
    MIN_MEM,
    OPTIONS,
    SEMANTICS,
    MountOptions,
    Option,
    format_options,
    largest_mem,
    parse_options,
)
from scullvfs.scull.family import SCULLV, driver_of_parameter

PAGES = Path(__file__).parents[2]


def refusal(*arguments: str) -> str:
    """What `parse_options` says against `arguments`."""
    with pytest.raises(UsageError) as refused:
        parse_options(arguments)
    return str(refused.value)


def test_parse_options_defaults() -> None:
    """Without -o everything has the default that the help prints."""
    assert parse_options([]) == MountOptions(
        scullv_devs=4,
        scullv_order=4,
        scullv_qset=500,
        mem=1 << 30,
        arch="x86_64",
        shuffle=True,
        seed=0,
        cpus=1,
        uid=os.getuid(),
        gid=os.getgid(),
        mode=0o664,
        allow_other=False,
    )


def test_parse_options_all() -> None:
    """Every option can be given, over several -o or within one."""
    assert parse_options(
        [
            "scullv_devs=2,scullv_order=0,scullv_qset=1",
            "mem=4M,arch=arm64,shuffle=0,seed=7,cpus=2",
            "uid=1,gid=2,mode=0600,allow_other,fsname=none,ro",
        ]
    ) == MountOptions(
        scullv_devs=2,
        scullv_order=0,
        scullv_qset=1,
        mem=4 << 20,
        arch="arm64",
        shuffle=False,
        seed=7,
        cpus=2,
        uid=1,
        gid=2,
        mode=0o600,
        allow_other=True,
        fsname="none",
        flags=frozenset({"ro"}),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "scullv_devs=9,mem=1536M,shuffle=0,semantics=file,mode=0007,allow_other,uid=5,seed=3",
        "fsname=a disk,ro,noexec",
    ],
)
def test_format_options_is_the_way_back(text: str) -> None:
    """Whatever the options are, what is written of them gives the same ones."""
    options = parse_options([text])
    written = format_options(options.as_dict())
    assert parse_options([written]) == options
    assert set(text.split(",")) <= {*written.split(","), ""}


def test_format_options_unknown() -> None:
    """Those of another version are written as they come."""
    assert format_options({"color": "red", "seed": 4}) == "color=red,seed=4"


def test_options_and_fields_agree() -> None:
    """The table and MountOptions name the same options, in the same order; then what are none."""
    assert [*(option.name for option in OPTIONS), "flags", "replay", "replay_to"] == [
        field.name for field in dataclasses.fields(MountOptions)
    ]


@pytest.mark.parametrize(
    "option", [o for o in OPTIONS if o.parse and o.name not in ("uid", "gid")], ids=lambda o: o.name
)
def test_printed_default_is_the_default(option: Option) -> None:
    """What the help prints as the default gives the default."""
    driver = driver_of_parameter(option.name)
    drivers = driver.name if driver else "scullv"
    if option.name != "drivers":
        given = parse_options([f"drivers={drivers}", f"{option.name}={option.default}"])
    else:
        given = parse_options([f"drivers={option.default}"])
    assert given == MountOptions(drivers=drivers)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("devs=1", "scullv_devs", 1),
        ("devs=1000", "scullv_devs", 1000),
        ("order=0", "scullv_order", 0),
        ("order=18,qset=1", "scullv_order", 18),
        ("qset=1", "scullv_qset", 1),
        ("order=0,qset=524287", "scullv_qset", 524287),
        ("mem=4M", "mem", 4 << 20),
        ("mem=16G", "mem", 16 << 30),
        ("seed=18446744073709551615", "seed", (1 << 64) - 1),
        ("seed=1,seed=2", "seed", 2),
        ("fragment=0", "fragment", 0),
        ("fragment=100", "fragment", 100),
        ("order=3,scullv_order=3", "scullv_order", 3),
        ("order=2,scullv_order=3,order=3", "scullv_order", 3),
        (",,seed=1,", "seed", 1),
    ],
)
def test_parse_options_one(text: str, name: str, value: int) -> None:
    """Ranges include their edges; of one name the last counts; both forms may agree."""
    assert getattr(parse_options([text]), name) == value


@pytest.mark.parametrize(
    "text",
    [
        *("devs=0", "devs=1001", "devs=four", "order=-1", "order=19", "qset=0", "qset=1048577"),
        *("mem=4095K", "mem=4194305", "mem=lots", "arch=vax", "shuffle=2", "seed=-1"),
        *("cpus=0", "cpus=8193", "cpus=two", "fragment=-1", "fragment=101", "fragment=50%"),
        *("init_on_alloc=2", "init_on_alloc=yes"),
        *("uid=no-such-user", "gid=no-such-group", "mode=0888", "mode=1777"),
    ],
)
def test_parse_options_impossible_value(text: str) -> None:
    """A value out of range names the option, the value and what is possible."""
    name = text.partition("=")[0]
    assert refusal(text).startswith(f"{text} is not possible; {name} must be ")


def test_parse_options_last_one_is_checked_too() -> None:
    """A bad value is refused even where a later one would count."""
    assert refusal("order=19,order=3").startswith("order=19 is not possible")


@pytest.mark.parametrize("text", ["order", "order=", "mem="])
def test_parse_options_without_value(text: str) -> None:
    """An option that needs a value says which."""
    name = text.rstrip("=")
    assert refusal(text).startswith(f"option '{name}' needs a value: write '{name}=...'")


def test_parse_options_flag_with_value() -> None:
    """allow_other is on or not there."""
    assert (
        refusal("allow_other=1") == "option 'allow_other' takes no value; write just 'allow_other'"
    )


def test_parse_options_unknown_but_close() -> None:
    """A slip of the pen gets a suggestion."""
    assert refusal("ordr=3") == "unknown option 'ordr'; did you mean 'order'?"
    assert (
        refusal("scullv_odrer=3") == "unknown option 'scullv_odrer'; did you mean 'scullv_order'?"
    )


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("drivers=scull,scull_devs=3", "scull_nr_devs"),
        ("scull_devs=3,drivers=scull", "scull_nr_devs"),
        ("drivers=scullc,scullc_order=1", "scullc_devs"),
        ("drivers=scull,scullp_ordr=1", "scullp_order"),
        ("scull_devs=3", "scull_nr_devs"),
        ("drivers=scullc,quantum=16", "scullc_quantum"),
        ("quantum=16,drivers=scull", "scull_quantum"),
    ],
)
def test_parse_options_unknown_of_a_driver(text: str, meant: str) -> None:
    """It is rather one of the driver that is named, or is loaded, wherever that is said."""
    assert refusal(text).endswith(f"; did you mean '{meant}'?")


def test_parse_options_unknown() -> None:
    """Anything else gets the way to the list."""
    assert refusal("zzz") == "unknown option 'zzz'; 'scullvfs mount --help' lists them all"


@pytest.mark.parametrize("word", ["nofail", "owner", "silent", "lazytime", "auto"])
def test_parse_options_of_mount(word: str) -> None:
    """Words of mount(8) are none of ours mistyped."""
    assert refusal(word) == f"unknown option '{word}'; it is for mount(8) and fstab"


@pytest.mark.parametrize("names", ["scullx", "scullv:scullx", "scullp:scullp", "scullv:", "SCULLP"])
def test_parse_options_drivers_impossible(names: str) -> None:
    """One that there is not, one twice, or none between the colons."""
    assert refusal(f"drivers={names}") == (
        f"drivers={names} is not possible; drivers must be names of scullv, scullp, scullc, scull "
        "with colons between them, each once"
    )


@pytest.mark.parametrize("text", ["drivers", "drivers="])
def test_parse_options_drivers_without_value(text: str) -> None:
    """Nor can a mount be without any."""
    assert refusal(text).startswith("option 'drivers' needs a value: write 'drivers=...'")


@pytest.mark.parametrize(
    ("text", "name", "driver", "wanted"),
    [
        ("scullp_order=2", "scullp_order", "scullp", "scullv:scullp"),
        ("drivers=scullp,order=2", "scullv_order", "scullv", "scullp:scullv"),
        ("scull_qset=1000,drivers=scullc:scullp", "scull_qset", "scull", "scullc:scullp:scull"),
    ],
)
def test_parse_options_of_a_driver_that_is_not_loaded(
    text: str, name: str, driver: str, wanted: str
) -> None:
    """Whose option it is, and what to write to have it; its default is no exception."""
    assert refusal(text) == (
        f"{name} is an option of {driver}, which is not loaded; write 'drivers={wanted}' to have it"
    )


def test_parse_options_drivers_order() -> None:
    """Of two the last counts, and the options of its drivers may be before it."""
    options = parse_options(["drivers=scullv,scull_qset=7", "drivers=scull:scullp"])
    assert [driver.name for driver in options.loaded()] == ["scull", "scullp"]
    assert options.scull_qset == 7
    assert "scullv_order" not in options.as_dict()


@pytest.mark.parametrize("arguments", [["order=3,scullv_order=4"], ["scullv_order=4", "order=3"]])
def test_parse_options_contradiction(arguments: list[str]) -> None:
    """The long and the short form of one option must agree."""
    assert refusal(*arguments) == (
        "scullv_order=4 and order=3 contradict each other; "
        "'order' is short for 'scullv_order', give only one"
    )


@pytest.mark.parametrize("arch", LAYOUTS)
def test_parse_options_mem_of_the_architecture(arch: str) -> None:
    """All that it addresses, and no page more."""
    most = largest_mem(arch)
    assert parse_options([f"mem={most},arch={arch}"]).mem == most
    assert refusal(f"mem={most + PAGE_SIZE},arch={arch}").startswith(
        f"mem={most // 1024 + 4}K is not possible with arch={arch}; it addresses "
    )


def test_parse_options_mem_before_arch() -> None:
    """What is checked is what counts in the end, in whatever order it comes."""
    assert refusal("arch=i386,mem=5G") == ("mem=5G is not possible with arch=i386; it addresses 4G")
    assert parse_options(["mem=5G,arch=i386,arch=x86_64"]).arch == "x86_64"


@pytest.mark.parametrize(
    "text", ["qset=65536", "order=11", "order=18,qset=2", "order=2,qset=524287"]
)
def test_parse_options_items_that_are_no_int(text: str) -> None:
    """Order and qset have to fit together, by C's arithmetic; a default counts, too."""
    assert "the driver counts its bytes in an int, below 2G" in refusal(text)
    assert parse_options(["order=11,qset=255"]).quantum(SCULLV) == 8 << 20


def documented(page: str) -> list[Option]:
    """The options that a page has; README.md leaves those of other drivers than scullv out."""
    found = [(option, driver_of_parameter(option.name)) for option in OPTIONS]
    return [o for o, driver in found if page != "README.md" or driver in (None, SCULLV)]


@pytest.mark.parametrize("page", ["README.md", "docs/mount.md"])
def test_options_are_documented(page: str) -> None:
    """The table of the page has a row for every option, short form included, and for no other."""
    text = (PAGES / page).read_text()
    rows = re.findall(r"^\| `([a-z_]+)=?` \| (?:`([a-z]+)=?`)? ?\|", text, re.MULTILINE)
    assert rows == [(option.name, option.short) for option in documented(page)]


def numbers(text: str) -> list[str]:
    """Those in `text`, with their suffixes."""
    return re.findall(r"\d+[KMGT]?", text)


@pytest.mark.parametrize(
    ("page", "option"),
    [(page, option) for page in ("README.md", "docs/mount.md") for option in documented(page)],
    ids=lambda value: value.name if isinstance(value, Option) else value,
)
def test_ranges_in_the_documentation(page: str, option: Option) -> None:
    """What a page says of a range and a default is what the table has."""
    text = (PAGES / page).read_text()
    row = re.search(rf"^\| `{option.name}=?` \| [^|]*\| ([^|]*) \| ([^|]*) \|", text, re.MULTILINE)
    assert row is not None
    taken, default = (cell.replace("`", "") for cell in row.groups())
    assert default == option.default or option.whose
    if option.name == "mem":
        least = numbers(taken)[0]
        assert (least, option.parse is not None) == (format_size(MIN_MEM), True)
        limits = re.findall(r"; (\w+) (\S+) at most", taken)
        assert all(largest == format_size(largest_mem(arch)) for arch, largest in limits)
    elif option.parse is not None and option.name != "fsname":
        assert numbers(taken) in (numbers(option.parse.brief), numbers(option.parse.expects))


def test_ranges_in_sentences() -> None:
    """What an ioctl refuses is said on several pages, and the same on all of them."""
    found = [
        (f"scullv_{name}", (int(low), int(high)))
        for page in [PAGES / "README.md", *PAGES.glob("docs/*.md")]
        for name, low, high in re.findall(r"(order|qset) outside (\d+)\.\.(\d+)", page.read_text())
    ]
    assert len(found) >= 8
    ranges = {parameter.name: (parameter.low, parameter.high) for parameter in SCULLV.parameters}
    assert all(ranges[name] == values for name, values in found)


def test_semantics_are_those_of_the_files() -> None:
    """What the option takes is what the tree can be built with."""
    assert list(SEMANTICS) == list(FILE_RULES)
