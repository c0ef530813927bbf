"""What a mount needs, and whether this machine has it.

Runs the checks that a mount runs (`requirements`, `memory`), one by one, each with a verdict,
and adds what a mount finds out only later: whether the low-level operations would hook in, and
whether a real mount answers. So a reason against a mount has the same words, and the same exit
status, here and there.
"""

import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from scullvfs.daemon import log
from scullvfs.daemon.start import mount
from scullvfs.errors import ExitStatus, FuseMissingError, HostMemoryError, ScullvfsError
from scullvfs.host import requirements, versions
from scullvfs.host.memory import MIB, available_memory, check_memory, needed_memory
from scullvfs.mounts.mountinfo import read_mounts
from scullvfs.mounts.mountpoint import temporary_mount_point
from scullvfs.mounts.probe import ask
from scullvfs.mounts.unmount import unmount
from scullvfs.options.parsers import format_size
from scullvfs.options.table import MIN_MEM, MountOptions
from scullvfs.text import shown

__all__ = ["Finding", "Verdict", "examine"]

TIMEOUT: Final = 10.0
"""Seconds that the import of pyfuse3, and a daemon's end, may take."""

CPU_LATENCY: Final = "/dev/cpu_dma_latency"

MAX_PAGES_SINCE: Final = (4, 20)
"""Linux: include/uapi/linux/fuse.h:FUSE_MAX_PAGES; before, a request has 32 pages."""


class Verdict(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARN = "warn"
    """A mount works, but something of it does not, or takes longer."""
    MISSING = "missing"
    """Without it there is no mount."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    text: str
    """What was found; of what is missing, how to get it."""
    status: ExitStatus = ExitStatus.SUCCESS
    """What a mount would exit with for want of it."""


def examine(*, try_mount: bool) -> Iterator[Finding]:
    """Look at one thing after the other; with `try_mount` make a mount at the end.

    The mount is made only if nothing is missing, on a temporary directory, and is taken
    down again.

    Raises:
        ScullvfsError: /proc is missing, so that nothing can be looked at.
    """
    read_mounts()
    works = True
    for name, check in CHECKS:
        finding = _finding(name, check)
        works &= finding.verdict != Verdict.MISSING
        yield finding
    if try_mount and works:
        yield _finding("mount", _mount)


class _Warning(Exception):
    """A check's way to say WARN."""


def _finding(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, Verdict.OK, check())
    except _Warning as warning:
        return Finding(name, Verdict.WARN, str(warning))
    except ScullvfsError as error:
        return Finding(name, Verdict.MISSING, str(error), error.status)


@contextmanager
def _only_a_warning(*, when: bool = True) -> Iterator[None]:
    """What would be missing is only worth a warning."""
    try:
        yield
    except ScullvfsError as error:
        if when:
            raise _Warning(str(error)) from None
        raise


def _is_root() -> bool:
    return os.getuid() == 0


def _python() -> str:
    return platform.python_version()


def _kernel() -> str:
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    if release is not None and (int(release[1]), int(release[2])) < MAX_PAGES_SINCE:
        raise _Warning(
            f"{versions.kernel()} cuts large calls into requests of 128 KiB; Linux 4.20 does not"
        )
    return versions.kernel()


def _dev_fuse() -> str:
    requirements.check_dev_fuse()
    return "can be opened by you"


def _fuse_module() -> str:
    """Linux: fs/filesystems.c; opening /dev/fuse has loaded the module, if it could be."""
    if "fuse" not in Path("/proc/filesystems").read_text().split():
        raise FuseMissingError(f"the kernel has no fuse; {requirements.ADVICE}")
    return "the kernel has it"


def _fusermount() -> str:
    with _only_a_warning(when=_is_root()):
        return f"{shown(requirements.check_fusermount())}: ordinary users can mount"


def _mtab() -> str:
    with _only_a_warning(when=_is_root()):
        requirements.check_mtab()
    return "is there: fusermount3 can unmount"


def _allow_other() -> str:
    with _only_a_warning():
        requirements.check_allow_other()
    return "user_allow_other: ordinary users can mount with allow_other"


def _libfuse() -> str:
    version = versions.libfuse()
    if version in ("missing", "unusable"):
        raise requirements.library_missing(versions.libfuse_soname())
    return version


def _package(name: str) -> Callable[[], str]:
    def check() -> str:
        version = versions.package(name)
        if version is None:
            raise requirements.package_missing(name)
        return version

    return check


def _lowlevel() -> str:
    """Whether they hook in shows in a process that loads pyfuse3, and no mount is needed."""
    try:
        answer = ask(_load_pyfuse3, timeout=TIMEOUT).decode()
    except OSError as error:
        raise FuseMissingError(f"pyfuse3 cannot be loaded ({error.strerror})") from None
    kind, _, words = answer.partition(" ")
    if kind == "ok":
        return "ioctl, SEEK_DATA and fallocate hook in"
    if kind == "warn":
        raise _Warning(words)
    raise FuseMissingError(words)


def _load_pyfuse3() -> bytes:
    """In a child process: a verdict and its words."""
    try:
        from scullvfs.daemon.session import lacks_for_want_of_extension
    except ImportError as error:
        return f"missing {requirements.explain_import_error(error) or error}".encode()
    lacks = lacks_for_want_of_extension()
    return b"ok" if lacks is None else f"warn {lacks}".encode()


def _memory() -> str:
    available, default = available_memory(), MountOptions()
    with _only_a_warning(when=available >= needed_memory(replace(default, mem=MIN_MEM))):
        try:
            check_memory(default)
        except HostMemoryError as error:
            asks = format_size(default.mem)
            raise HostMemoryError(f"{error}; without 'mem=' a mount asks for {asks}") from None
    takes = (
        f"{-(-needed_memory(replace(default, scullv_order=order)) // MIB)}M with order={order}"
        for order in (default.scullv_order, 0)
    )
    return (
        f"{available // MIB}M can be had; mem={format_size(default.mem)}, the default, takes "
        f"{', '.join(takes)}"
    )


def _idle_cpus() -> str:
    """Whether fuse/cpu_latency.py gets what it asks for. A mount does without, only slower."""
    if os.access(CPU_LATENCY, os.W_OK):
        return "a busy mount of yours keeps idle CPUs awake"
    why = "is not yours to write" if os.path.exists(CPU_LATENCY) else "is not there"
    raise _Warning(f"{why}: idle CPUs halt under a busy mount of yours, and calls take longer")


def _log() -> str:
    """Where a daemon in the background writes what it has to say."""
    place = shown(log.destination(log.SYSLOG))
    if not log.can_be_kept(log.SYSLOG):
        raise _Warning(
            f"there is no {log.SYSLOG}, and {place} cannot be written; "
            "only 'scullvfs mount -f' shows what a daemon has to say"
        )
    return f"{place} has what a daemon has to say"


def _mount() -> str:
    """Mount for a moment, with the least memory."""
    with temporary_mount_point("scullvfs-doctor-") as directory:
        mount(MountOptions(mem=MIN_MEM, scullv_devs=1), directory, foreground=False)
        unmount(directory, lazy=False, timeout=TIMEOUT)
    return "a temporary mount answered, and is gone again"


CHECKS: Final[tuple[tuple[str, Callable[[], str]], ...]] = (
    ("python", _python),
    ("kernel", _kernel),
    ("/dev/fuse", _dev_fuse),
    ("fuse", _fuse_module),
    ("fusermount3", _fusermount),
    ("/etc/mtab", _mtab),
    ("/etc/fuse.conf", _allow_other),
    ("libfuse", _libfuse),
    ("pyfuse3", _package("pyfuse3")),
    ("trio", _package("trio")),
    ("extension", _lowlevel),
    ("memory", _memory),
    ("log", _log),
    (CPU_LATENCY, _idle_cpus),
)
"""Name -> what raises an error if it is missing, and else says what there is."""
