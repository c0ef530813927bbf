"""Devices of a real mount against a model of a device, in calls that hypothesis thinks up.

After every call the model (device_model.py) has to agree with the mount in all that can be
seen: what the call returned or its errno, positions, attributes, sys/, and under the
rules of files the content.  With `writeback` the driver has it when it was synchronised.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import itertools
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ..thorough import CI, rounds
from .device_model import (
    FAMILY,
    KEEP_SIZE,
    PUNCH_HOLE,
    ZERO_RANGE,
    Device,
    Driver,
    Open,
    Parameters,
    Rules,
    error,
)
from .helpers import mount_point, mounted_on, opened, program

NR_DEVICES = 2
FAR = 20
"""Quanta: how far out positions go."""

FALLOCATE_MODES = [
    0,
    KEEP_SIZE,
    PUNCH_HOLE,
    PUNCH_HOLE | KEEP_SIZE,
    PUNCH_HOLE | KEEP_SIZE,
    PUNCH_HOLE | KEEP_SIZE,
    ZERO_RANGE,
    ZERO_RANGE | KEEP_SIZE,
    COLLAPSE_RANGE := 0x08,
]
MEASURES = {"order": (0, 1, 2), "quantum": (4096, 3999, 8190)}
"""How large quanta are at first."""

# -- the machine ---------------------------------------------------------------------------------

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def fallocate(fd: int, mode: int, pos: int, length: int) -> None:
    """fallocate(2)."""
    if libc.fallocate(fd, mode, pos, length):
        raise error(ctypes.get_errno())


def outcome(call: Callable[..., object], *arguments: object) -> object:
    """What a call returns, or the name of its errno."""
    try:
        return call(*arguments)
    except OSError as failure:
        return errno.errorcode[failure.errno or 0]


places = st.builds(
    lambda quanta, offset: (quanta, offset),
    st.integers(0, FAR),
    st.sampled_from([0, 0, 1, 100, 4095, 4096, -1, -4096]),
)
"""Quanta and bytes, which become a position of 0 or more by a device's own quantum."""

devices = st.integers(0, NR_DEVICES - 1)


def number(path: Path) -> int:
    """What a file of sys/ says, asked after every step and so in no more calls than it takes."""
    with opened(path, os.O_RDONLY) as fd:
        return int(os.read(fd, 64))


class Devices(RuleBasedStateMachine):
    """Calls on the mount and on the model."""

    fds = Bundle("fds")

    def __init__(self, mount: Path, rules: Rules, driver: Driver, writeback: bool = False) -> None:
        super().__init__()
        self.writeback = writeback
        self.driver = driver
        self.paths = [mount / f"{driver.name}{n}" for n in range(NR_DEVICES)]
        self.sys = mount / "sys"
        self.parameters = Parameters(driver)
        self.open_files: dict[int, Open] = {}
        self.written = 0
        fd = os.open(self.paths[0], os.O_RDONLY)
        fcntl.ioctl(fd, driver.magic)
        os.close(fd)
        for path in self.paths:
            os.truncate(path, 0)
        self.models = [Device(rules, self.parameters) for _ in self.paths]
        self.rules = rules

    def place(self, device: Device, place: tuple[int, int]) -> int:
        """A position or a length on a device."""
        return max(0, place[0] * device.quantum + place[1])

    def data(self, count: int) -> bytes:
        """Bytes that were not written before."""
        self.written += 1
        return (b"%d " % self.written * (count // 2 + 1))[:count]

    def at(self, fd: int) -> tuple[Open, Device]:
        """What the model knows of a descriptor."""
        file = self.open_files[fd]
        return file, self.models[file.device]

    @initialize(
        measure=st.integers(0, 2),
        qset=st.integers(1, 5),
        full=st.lists(st.booleans(), max_size=FAR),
    )
    def set_geometry_and_fill(self, measure: int, qset: int, full: list[bool]) -> None:
        """All devices in a new geometry, with data in the same quanta."""
        self.ioctl_on(self.paths[0], "measure", MEASURES[self.driver.word][measure])
        self.ioctl_on(self.paths[0], "qset", qset)
        for path, model in zip(self.paths, self.models, strict=True):
            os.truncate(path, 0)
            model.trim()
            fd = os.open(path, os.O_RDWR)
            for number in itertools.compress(itertools.count(), full):
                pos, data = number * model.quantum, self.data(model.quantum - number)
                assert os.pwrite(fd, data, pos) == model.write(pos, data)
            os.close(fd)

    def ioctl_on(self, path: Path, name: str, value: int) -> None:
        fd = os.open(path, os.O_RDONLY)
        fcntl.ioctl(fd, self.driver.ioctl(name, "T"), value)
        os.close(fd)
        setattr(self.parameters, name, value)

    # -- descriptors

    @rule(
        target=fds,
        number=devices,
        mode=st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR, os.O_RDWR]),
        truncate=st.sampled_from([0, 0, 0, os.O_TRUNC]),
        append=st.sampled_from([0, 0, os.O_APPEND]),
    )
    def open(self, number: int, mode: int, truncate: int, append: int) -> int:
        self.models[number].open(mode, bool(truncate))
        fd = os.open(self.paths[number], mode | truncate | append)
        self.open_files[fd] = Open(number, mode, bool(append))
        return fd

    @rule(target=fds, fd=fds)
    def dup(self, fd: int) -> int:
        copy = os.dup(fd)
        self.open_files[copy] = self.open_files[fd]
        return copy

    @rule(fd=consumes(fds))
    def close(self, fd: int) -> None:
        os.close(fd)
        file = self.open_files.pop(fd)
        mapped = self.models[file.device].mapped
        if file in mapped and all(file is not other for other in self.open_files.values()):
            mapped.remove(file)

    @rule(fd=fds, append=st.booleans())
    def fcntl(self, fd: int, append: bool) -> None:
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND if append else 0)
        self.open_files[fd].append = append

    # -- reading and writing

    @rule(fd=fds, count=places, at=st.none() | places)
    def read(self, fd: int, count: tuple[int, int], at: tuple[int, int] | None) -> None:
        file, model = self.at(fd)
        size = self.place(model, count)
        pos = file.pos if at is None else self.place(model, at)
        found = outcome(os.read, fd, size) if at is None else outcome(os.pread, fd, size, pos)
        expected = model.read(pos, size) if file.readable else "EBADF"
        assert found == expected
        if at is None:
            file.pos += len(expected) if file.readable else 0

    @rule(fd=fds, count=places, at=st.none() | places)
    def write(self, fd: int, count: tuple[int, int], at: tuple[int, int] | None) -> None:
        file, model = self.at(fd)
        data = self.data(min(self.place(model, count), 5 * model.quantum + 5))
        pos = file.pos if at is None else self.place(model, at)
        found = outcome(os.write, fd, data) if at is None else outcome(os.pwrite, fd, data, pos)
        if not file.writable:
            assert found == "EBADF"
            return
        if file.append and data:
            pos = model.size
        assert found == model.write(pos, data)
        if at is None:
            file.pos = pos + found

    @rule(fd=fds, at=places, count=st.integers(1, 9000))
    def store_through_a_mapping(self, fd: int, at: tuple[int, int], count: int) -> None:
        file, model = self.at(fd)
        pos = self.place(model, at)
        data = self.data(max(0, min(count, model.size - pos)))
        if not data:
            return
        if not (file.readable and file.writable):
            assert outcome(mmap.mmap, fd, model.size) == "EACCES"
        elif self.rules == "device":
            assert outcome(mmap.mmap, fd, model.size) == "ENODEV"
        else:
            with mmap.mmap(fd, model.size) as mapping:
                mapping[pos : pos + len(data)] = data
                mapping.flush()
            model.write(pos, data)
            first = pos - pos % mmap.PAGESIZE  # whole pages come back, in more quanta, perhaps
            last = pos + len(data) + -(pos + len(data)) % mmap.PAGESIZE
            model.write(first, model.content(first, last - first))

    @rule(fd=fds)
    def load_through_a_private_mapping(self, fd: int) -> None:
        file, model = self.at(fd)
        if file.readable and model.size:
            with mmap.mmap(fd, model.size, access=mmap.ACCESS_COPY) as mapping:
                assert mapping[:] == model.content()
            if file not in model.mapped:
                model.mapped.append(file)

    # -- positions, sizes, space

    @rule(
        fd=fds,
        at=places,
        sign=st.sampled_from([1, 1, -1]),
        whence=st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END, 5]),
    )
    def lseek(self, fd: int, at: tuple[int, int], sign: int, whence: int) -> None:
        file, model = self.at(fd)
        off = sign * self.place(model, at)
        base = {os.SEEK_SET: 0, os.SEEK_CUR: file.pos, os.SEEK_END: model.size}
        found = outcome(os.lseek, fd, off, whence)
        if whence in base and base[whence] + off >= 0:
            file.pos = base[whence] + off
            assert found == file.pos
        else:
            assert found == "EINVAL"

    @rule(fd=fds, at=places, whence=st.sampled_from([os.SEEK_DATA, os.SEEK_HOLE]))
    def lseek_data_or_hole(self, fd: int, at: tuple[int, int], whence: int) -> None:
        file, model = self.at(fd)
        off = at[0] * model.quantum + at[1]
        found = outcome(os.lseek, fd, off, whence)
        if self.writeback:  # the kernel answers by itself, and takes all for data
            data_or_end = off if whence == os.SEEK_DATA else model.size
            assert found == (data_or_end if 0 <= off < model.size else "ENXIO")
        else:
            assert found == outcome(model.seek, off, whence == os.SEEK_HOLE)
        if isinstance(found, int):
            file.pos = found

    @rule(number=devices, at=places)
    def truncate(self, number: int, at: tuple[int, int]) -> None:
        size = self.place(self.models[number], at)
        os.truncate(self.paths[number], size)
        self.models[number].truncate(size)

    @rule(fd=fds, at=places)
    def ftruncate(self, fd: int, at: tuple[int, int]) -> None:
        file, model = self.at(fd)
        size = self.place(model, at)
        if file.writable:
            os.ftruncate(fd, size)
            model.truncate(size)
        else:
            assert outcome(os.ftruncate, fd, size) == "EINVAL"

    @rule(fd=fds, mode=st.sampled_from(FALLOCATE_MODES), at=places, count=places)
    def fallocate(self, fd: int, mode: int, at: tuple[int, int], count: tuple[int, int]) -> None:
        file, model = self.at(fd)
        pos, length = self.place(model, at), self.place(model, count) or 1
        found = outcome(fallocate, fd, mode, pos, length)
        if mode == PUNCH_HOLE or file.writable:
            assert found == outcome(model.fallocate, mode, pos, length)
        else:
            assert found == "EBADF"

    # -- the module

    @rule(
        fd=fds,
        name=st.sampled_from(["measure", "qset"]),
        letter=st.sampled_from("STGQXH"),
        value=st.integers(0, 2) | st.sampled_from([3, -1, 19, 524287, 524288]),
    )
    def ioctl(self, fd: int, name: str, letter: str, value: int) -> None:
        driver = self.driver
        pointer = bytearray(value.to_bytes(4, "little", signed=True))
        found = outcome(
            fcntl.ioctl, fd, driver.ioctl(name, letter), pointer if letter in "SGX" else value
        )
        old = getattr(self.parameters, name)
        if letter in "GQ":
            value = old
        pair = {"measure": self.parameters.measure, "qset": self.parameters.qset, name: value}
        low = 0 if driver.word == "order" else 1
        possible = low <= pair["measure"] <= driver.most and 1 <= pair["qset"] <= driver.most_qset
        if not possible or driver.quantum(pair["measure"]) * pair["qset"] >= 1 << 31:
            assert found == "EINVAL"
            return
        if letter in "GX":
            assert int.from_bytes(pointer, "little") == old
        assert found == (old if letter in "QH" else 0)
        setattr(self.parameters, name, value)

    @rule(fd=fds)
    def reset(self, fd: int) -> None:
        fcntl.ioctl(fd, self.driver.magic)
        self.parameters.reset()

    @rule(number=devices)
    def read_everything(self, number: int) -> None:
        """Quantum by quantum, and from the driver, not the page cache."""
        model = self.models[number]
        fd = os.open(self.paths[number], os.O_RDONLY)
        if self.writeback:
            os.fsync(fd)
            self.driver_agrees(number)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        for pos in range(0, model.size, model.quantum):
            assert os.pread(fd, model.quantum, pos) == model.read(pos, model.quantum)
        os.close(fd)

    # -- what is visible

    @invariant()
    def attributes_agree(self) -> None:
        for path, model in zip(self.paths, self.models, strict=True):
            status = path.stat()
            blocks = len(model.quanta) * model.quantum // 512
            if self.writeback:
                blocks = status.st_blocks
            assert (status.st_size, status.st_blocks, status.st_blksize) == (
                model.size,
                blocks,
                1 << model.quantum.bit_length() - 1,  # the kernel has its logarithm
            )

    @invariant()
    def positions_agree(self) -> None:
        for fd, file in self.open_files.items():
            assert os.lseek(fd, 0, os.SEEK_CUR) == file.pos

    @invariant()
    def sysfs_agrees(self) -> None:
        driver = self.driver
        parameters = self.sys / f"module/{driver.name}/parameters/{driver.name}_"
        assert number(Path(f"{parameters}{driver.word}")) == self.parameters.measure
        assert number(Path(f"{parameters}qset")) == self.parameters.qset
        for at in range(0 if self.writeback else NR_DEVICES):
            self.driver_agrees(at)

    def driver_agrees(self, at: int) -> None:
        model = self.models[at]
        values = {
            self.driver.word: model.measure,
            "qset": model.qset,
            "size": model.size,
            "items": model.items,
            "quanta": len(model.quanta),
        }
        directory = self.sys / "class" / self.driver.name / self.paths[at].name
        assert {name: number(directory / name) for name in values} == values

    @invariant()
    def content_agrees(self) -> None:
        if self.rules == "file":
            for path, model in zip(self.paths, self.models, strict=True):
                assert path.read_bytes() == model.content()

    def teardown(self) -> None:
        for fd in self.open_files:
            os.close(fd)
        for number in range(NR_DEVICES):
            self.read_everything(number)


CASES = [
    *[(semantics, name) for semantics in ("device", "file") for name in FAMILY],
    *[("file,writeback", name) for name, driver in FAMILY.items() if driver.word == "order"],
]
"""Pages are written back as a whole, so with `writeback` quanta that end with one are compared."""


@pytest.fixture(scope="module")
def mounted_by(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    """A mount of the family for all examples, and its rules."""
    options = (
        f"semantics={request.param},drivers={':'.join(FAMILY)},mem=256M,devs={NR_DEVICES},"
        f"scullp_devs={NR_DEVICES},scullc_devs={NR_DEVICES},scull_nr_devs={NR_DEVICES},"
        f"scullc_quantum={FAMILY['scullc'].most}"
    )
    with (
        program() as scullvfs,
        mount_point(scullvfs, tmp_path_factory.mktemp("model") / "mnt") as path,
        mounted_on(scullvfs, path, options),
    ):
        yield path, request.param


# Passing takes seconds; a failure may be shrunk for up to five minutes.
@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("mounted_by", "name"), CASES, indirect=["mounted_by"])
def test_devices_are_as_the_model_says(mounted_by: tuple[Path, str], name: str) -> None:
    """Whatever is called, the mount and the model agree in all that can be seen.

    The rules are written once for the family, so that scullv has most of the examples.
    """
    mount, semantics = mounted_by
    rules: Rules = "device" if semantics == "device" else "file"
    examples = rounds(80, 12)
    run_state_machine_as_test(
        lambda: Devices(mount, rules, FAMILY[name], writeback="writeback" in semantics),
        settings=settings(
            max_examples=examples if name == "scullv" else examples // 4,
            stateful_step_count=40,
            deadline=None,
            derandomize=CI,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
