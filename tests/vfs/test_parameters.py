"""The files of `sys/`: module parameters, and the attributes of the class's devices."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scullvfs.scull import COMMANDS

from .helpers import MIB, Scullvfs, mount_point, mounted_on, shell

PAGE = 4096
NOBODY = 65534
OTHER = 65533
"""A user that owns nothing here."""

WRITABLE = {"scullv_order": 4, "scullv_qset": 500}
ATTRIBUTES = ["order", "qset", "size", "items", "quanta"]

as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")


@pytest.fixture
def parameters(mnt: Path) -> Path:
    """The directory of the module's parameters."""
    return mnt / "sys/module/scullv/parameters"


def store(path: Path, text: bytes) -> int | str:
    """Write once; returns what write(2) does, or the name of its errno."""
    fd = os.open(path, os.O_WRONLY)
    try:
        return os.write(fd, text)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    finally:
        os.close(fd)


def attributes(mnt: Path, device: str) -> dict[str, int]:
    """What sys/class says of a device."""
    directory = mnt / "sys/class/scullv" / device
    return {name: int((directory / name).read_text()) for name in ATTRIBUTES}


# -- reading and writing ---------------------------------------------------------------------------


def test_parameters_at_load(parameters: Path) -> None:
    """`grep .` shows what there is, and what it is at load."""
    done = shell('cd "$dir" && grep . *', dir=parameters)
    assert done.stdout == "scullv_devs:4\nscullv_order:4\nscullv_qset:500\n"


def test_parameters_as_mounted(mount: Callable[[str], Path]) -> None:
    """The mount options are the parameters of the module."""
    parameters = mount("mem=16M,devs=2,order=1,qset=7") / "sys/module/scullv/parameters"
    done = shell('cd "$dir" && cat *', dir=parameters)
    assert done.stdout == "2\n1\n7\n"


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("command", ["echo 3 >", "printf 3 >", "echo 3 >>", "echo 3 | tee"])
def test_parameter_echo(parameters: Path, name: str, command: str) -> None:
    """The shell sets it, with or without a newline, over or behind the old one."""
    done = shell(f'{command} "$file"; cat "$file"', file=parameters / name)
    assert done.stdout.endswith("3\n")
    assert done.stderr == ""
    assert {key: int((parameters / key).read_text()) for key in WRITABLE} == WRITABLE | {name: 3}


def test_parameter_echo_nonsense(parameters: Path) -> None:
    """The shell says what the kernel says, and the value stays."""
    done = shell('echo many > "$file"', file=parameters / "scullv_qset")
    assert done.returncode == 1
    assert "write error: Invalid argument" in done.stderr
    assert (parameters / "scullv_qset").read_text() == "500\n"


def test_parameter_read_in_pieces(parameters: Path) -> None:
    """The text is made at open, and read from any position, up to its end."""
    fd = os.open(parameters / "scullv_qset", os.O_RDWR)
    try:
        os.write(fd, b"77")
        assert [os.pread(fd, 2, pos) for pos in (0, 2, 3, 4, 100)] == [
            b"50",
            b"0\n",
            b"\n",
            b"",
            b"",
        ]
    finally:
        os.close(fd)
    assert (parameters / "scullv_qset").read_text() == "77\n"


def test_parameter_written_at_a_position(parameters: Path) -> None:
    """Wherever in the file one writes, the text is a whole value."""
    fd = os.open(parameters / "scullv_order", os.O_WRONLY)
    try:
        assert os.pwrite(fd, b"2", 1000) == 1
        assert os.write(fd, b"1") + os.write(fd, b"0") == 2
    finally:
        os.close(fd)
    assert (parameters / "scullv_order").read_text() == "0\n"


def test_parameter_and_ioctl_are_one(parameters: Path, fd: int) -> None:
    """What the file sets ioctl(2) gets, and the other way round."""
    (parameters / "scullv_order").write_text("2")
    (parameters / "scullv_qset").write_text("9\n")
    assert fcntl.ioctl(fd, COMMANDS["QORDER"]) == 2
    assert fcntl.ioctl(fd, COMMANDS["HQSET"], 10) == 9
    assert (parameters / "scullv_qset").read_text() == "10\n"
    fcntl.ioctl(fd, COMMANDS["RESET"])
    assert {name: int((parameters / name).read_text()) for name in WRITABLE} == WRITABLE


# -- numbers, and what is none ---------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0x4", 4),
        (b"0XC\n", 12),
        (b"010", 8),
        (b"+3", 3),
        (b"+0x3\n", 3),
        (b"0" * 100 + b"7", 7),
        (b"0x" + b"0" * 100 + b"F", 15),
        (b"5\0", 5),
        (b"5\n\0 and more", 5),
        (b"5\0" + b"6" * 100, 5),
    ],
    ids=lambda value: repr(value[:8]) if isinstance(value, bytes) else None,
)
def test_parameter_number(parameters: Path, name: str, text: bytes, value: int) -> None:
    """Decimal, 0x, octal and a sign are numbers; a NUL ends the text."""
    (parameters / "scullv_qset").write_text("1\n")
    assert store(parameters / name, text) == len(text)
    assert int((parameters / name).read_text()) == value


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize(
    ("text", "error"),
    [
        *((text, "EINVAL") for text in (b"\n", b" ", b" \n", b"\0", b"\0004", b"four", b"4 \n")),
        *((text, "EINVAL") for text in (b" 4", b"4 5", b"4\n5", b"4,5", b"4\n\n", b"4\t", b"4k")),
        *((text, "EINVAL") for text in (b"0x", b"0xg", b"08", b"1_0", b"4.0", b"1e1", b"0b1")),
        *((text, "EINVAL") for text in (b"+", b"-", b"--4", b"+-4", b"-+4", b"- 4", b"4\r\n")),
        *((text, "EINVAL") for text in (b"-1", b"-4\n", b"-0x4", "٤".encode(), b"\xff", b"4\xa0")),
        *((text, "EINVAL") for text in (b"2147483647", b"-2147483648", b"99999999999x")),
        *((text, "ERANGE") for text in (b"2147483648", b"-2147483649", b"4294967300")),
        *((text, "ERANGE") for text in (b"1" + b"0" * 30, b"0x" + b"f" * 20, b"9" * 3000 + b"x")),
        *((text * MIB, "ERANGE") for text in (b"3", b"7")),
        *((text * MIB, "EINVAL") for text in (b"0x", b" ", b"\n", b"x", b"\0")),
        (b"5" + b"\n" * MIB, "EINVAL"),
    ],
    ids=lambda value: repr(value[:8]) if isinstance(value, bytes) else None,
)
def test_parameter_nonsense(parameters: Path, name: str, text: bytes, error: str) -> None:
    """What is no number of a parameter's range is EINVAL, no int ERANGE; nothing changes."""
    assert store(parameters / name, text) == error
    assert {key: int((parameters / key).read_text()) for key in WRITABLE} == WRITABLE


def test_parameter_long_write_is_cut(parameters: Path) -> None:
    """Of a longer write a page is taken: what is behind it is not looked at."""
    text = b"5\n".rjust(PAGE, b"0")
    assert store(parameters / "scullv_order", text + b"x" * MIB) == PAGE
    assert (parameters / "scullv_order").read_text() == "5\n"
    assert store(parameters / "scullv_qset", b"6\0" + b"x" * MIB) == PAGE
    assert (parameters / "scullv_qset").read_text() == "6\n"


def test_parameter_write_of_nothing(parameters: Path) -> None:
    """A write of 0 bytes returns 0 and changes nothing."""
    assert store(parameters / "scullv_order", b"") == 0
    assert (parameters / "scullv_order").read_text() == "4\n"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("scullv_order", (0, 18), (-1, 19)), ("scullv_qset", (1, 524287), (-1, 0, 524288))],
)
def test_parameter_range(
    parameters: Path, name: str, good: tuple[int, ...], bad: tuple[int, ...]
) -> None:
    """The driver's limits hold for files, too: EINVAL beyond them."""
    (parameters / "scullv_order").write_text("0\n")
    (parameters / "scullv_qset").write_text("1\n")
    for value in good:
        (parameters / name).write_text(f"{value}\n")
        for beyond in bad:
            assert store(parameters / name, b"%d\n" % beyond) == "EINVAL"
        assert (parameters / name).read_text() == f"{value}\n"


@pytest.mark.parametrize("command", [": >", "truncate -s 0", "truncate -s 100"])
def test_parameter_truncate(parameters: Path, command: str) -> None:
    """Truncating is what `echo >` does first: harmless."""
    file = parameters / "scullv_order"
    done = shell(f'{command} "$file"', file=file)
    assert (done.returncode, done.stderr) == (0, "")
    assert file.read_text() == "4\n"
    assert file.stat().st_size == 2


# -- who may ---------------------------------------------------------------------------------------


def test_attribute_modes(mnt: Path) -> None:
    """Who may read and write each file."""
    modes = {
        str(path.relative_to(mnt / "sys")): stat.filemode(path.stat().st_mode)
        for path in (mnt / "sys").rglob("*")
        if "scullv1" not in path.parts and path.is_file() and "kernel" not in path.parts
    }
    names = {name.rpartition("/")[2]: mode for name, mode in modes.items()}
    assert names == dict.fromkeys(ATTRIBUTES, "-r--r--r--") | {
        "scullv_devs": "-r--r--r--",
        "scullv_order": "-rw-r--r--",
        "scullv_qset": "-rw-r--r--",
    }


@pytest.mark.parametrize(
    "name", ["module/scullv/parameters/scullv_devs", "class/scullv/scullv0/order"]
)
@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR], ids=["write", "read-write"])
def test_attribute_read_only(mnt: Path, name: str, flags: int) -> None:
    """What only shows something cannot be opened for writing, by root neither."""
    with pytest.raises(PermissionError):
        os.close(os.open(mnt / "sys" / name, flags))


@pytest.mark.parametrize("name", ["chmod 0666", "chown 12", "rm", "mv -t .."])
def test_attribute_is_the_kernels(parameters: Path, name: str) -> None:
    """A parameter's file cannot be given away, removed or renamed."""
    done = shell(f'cd "$dir" && {name} scullv_order', dir=parameters)
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr
    assert (parameters / "scullv_order").read_text() == "4\n"


@pytest.fixture
def of_nobody(scullvfs: Scullvfs) -> Iterator[Path]:
    """The parameters of a mount that belongs to nobody and is open to all."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # pytest's own directories are closed to others
        options = "mem=16M,allow_other,uid=nobody,gid=nogroup"
        with (
            mount_point(scullvfs, Path(directory, "mnt")) as path,
            mounted_on(scullvfs, path, options),
        ):
            yield path / "sys/module/scullv/parameters"


def as_user(uid: int, command: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a directory as another user, who is in no group of the system's."""
    return subprocess.run(
        ["sh", "-c", command],
        cwd=path,
        user=uid,
        group=uid,
        extra_groups=[],
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )


@as_root
def test_parameter_owner_writes(of_nobody: Path) -> None:
    """The owner of the mount, an ordinary user, sets it; root does, too."""
    assert as_user(NOBODY, "echo 2 > scullv_order && cat scullv_order", of_nobody).stdout == "2\n"
    (of_nobody / "scullv_order").write_text("3\n")
    assert as_user(NOBODY, "cat scullv_order", of_nobody).stdout == "3\n"


@pytest.mark.long
@as_root
def test_parameter_others_only_read(of_nobody: Path) -> None:
    """Another user reads it; writing and truncating is refused."""
    assert as_user(OTHER, "cat scullv_order", of_nobody).stdout == "4\n"
    for command in ("echo 2 > scullv_order", "truncate -s 0 scullv_qset", "echo 2 > scullv_devs"):
        done = as_user(OTHER, command, of_nobody)
        assert done.returncode != 0
        assert "ermission denied" in done.stderr
    assert as_user(OTHER, "cat *", of_nobody).stdout == "4\n4\n500\n"


# -- the devices -----------------------------------------------------------------------------------


def test_class_of_empty_devices(mnt: Path) -> None:
    """Each device is there, with one list item and nothing in it."""
    assert sorted(os.listdir(mnt / "sys/class/scullv")) == [f"scullv{n}" for n in range(4)]
    empty = {"order": 4, "qset": 500, "size": 0, "items": 1, "quanta": 0}
    assert attributes(mnt, "scullv3") == empty


def test_class_follows_the_device(mnt: Path, parameters: Path, fd: int) -> None:
    """The values are the device's own, and true after each step."""
    (parameters / "scullv_order").write_text("0")
    (parameters / "scullv_qset").write_text("2")
    os.pwrite(fd, b"x", 3 * 65536 + 9)
    expected = {"order": 4, "qset": 500, "size": 3 * 65536 + 10, "items": 1, "quanta": 1}
    assert attributes(mnt, "scullv0") == expected

    os.ftruncate(fd, 0)
    assert attributes(mnt, "scullv0") == dict.fromkeys(ATTRIBUTES, 0) | {"qset": 2, "items": 1}
    for pos in (0, 4096, 5 * 4096):
        os.pwrite(fd, b"x" * 4096, pos)
    expected = {"order": 0, "qset": 2, "size": 6 * 4096, "items": 3, "quanta": 3}
    assert attributes(mnt, "scullv0") == expected
    os.ftruncate(fd, 4097)
    expected = {"order": 0, "qset": 2, "size": 4097, "items": 1, "quanta": 2}
    assert attributes(mnt, "scullv0") == expected
    assert attributes(mnt, "scullv1")["quanta"] == 0
