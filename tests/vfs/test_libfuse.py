"""The extension and the libfuse of this machine: its header, its library, and the two at work.

libfuse up to 3.16 has fuse_session_new().  From 3.17 on that is an inline function over
fuse_session_new_versioned(), and the symbol of the old name calls the new one.  Which of it is
so here, the header tells; each of Debian 12, 13 and sid has another.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import select
import shlex
import shutil
import subprocess
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyfuse3
import pytest

from scullvfs.fuse import lowlevel
from scullvfs.mounts.mountinfo import mount_at

from .helpers import DEADLINE, MIB, opened, wait_until

LOWLEVEL = Path(lowlevel.__file__).parent
SOURCES = Path(__file__).parent / "libfuse"
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-O2", "-fPIC", f"-I{LOWLEVEL}")


def pkg_config(*options: str) -> list[str]:
    """What a compiler has to be told of libfuse."""
    return shlex.split(subprocess.check_output(["pkg-config", *options, "fuse3"], text=True))


def compiled(*command: object, cwd: Path) -> None:
    """Run a compiler that has to succeed and to say nothing."""
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture(scope="module")
def taken_over() -> set[str]:
    """The functions that stand before libfuse's, by the version that the header says."""
    text = subprocess.check_output(
        ["gcc", "-E", *pkg_config("--cflags"), "-DFUSE_USE_VERSION=314", "-"],
        input="#include <fuse_lowlevel.h>\nversion FUSE_MAJOR_VERSION FUSE_MINOR_VERSION\n",
        text=True,
    )
    found = re.search(r"^version (\d+) (\d+)$", text, re.MULTILINE)
    assert found is not None
    names = {"fuse_session_new", "fuse_session_receive_buf", "fuse_reply_entry"}
    if (int(found[1]), int(found[2])) >= (3, 17):
        names |= {"fuse_session_new_versioned"}
    return names


# -- the header ------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_warning(compiler: str, tmp_path: Path) -> None:
    """The extension compiles with all warnings, by both compilers."""
    if shutil.which(compiler) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI has to try both compilers: {compiler} is missing")
        pytest.skip(f"{compiler} is not installed")
    python = ["-isystem", sysconfig.get_path("include")]
    arguments = ["-c", LOWLEVEL / "module.c", "-o", "module.o"]
    compiled(compiler, *WARNINGS, *python, *pkg_config("--cflags"), *arguments, cwd=tmp_path)


# -- the library -----------------------------------------------------------------------------------


def symbols(library: str, kind: str) -> set[str]:
    """The functions of libfuse that a library defines (T), or wants from another (U)."""
    text = subprocess.check_output(["nm", "-D", library], text=True)
    return set(re.findall(rf" {kind} (fuse_\w+)", text))


def extension() -> str:
    """The extension as it was built for this Python."""
    module = lowlevel._extension
    assert module is not None
    assert module.__file__ is not None
    return module.__file__


def test_symbols_that_are_taken_over(taken_over: set[str]) -> None:
    """Those that this libfuse has, and no more."""
    assert symbols(extension(), "T") == taken_over


def test_symbols_that_pyfuse3_wants(taken_over: set[str]) -> None:
    """The extension stands before each way in which pyfuse3 could make a session or read."""
    assert pyfuse3.__file__ is not None
    wanted = symbols(pyfuse3.__file__, "U")
    assert {"fuse_session_mount", "fuse_session_process_buf", "fuse_reply_entry"} < wanted
    ways = {name for name in wanted if name.startswith(("fuse_session_new", "fuse_session_rec"))}
    assert len(ways) == 2
    assert ways <= taken_over


# -- at work ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server, the same built as for an older libfuse, and the extension for both."""
    path = tmp_path_factory.mktemp("libfuse")
    cflags, libs = pkg_config("--cflags"), pkg_config("--libs")
    server = SOURCES / "server.c"
    compiled("gcc", *WARNINGS, *cflags, "-o", "server", server, *libs, cwd=path)
    compiled("gcc", *WARNINGS, *cflags, "-DOLD", "-o", "old-server", server, *libs, cwd=path)
    for name, *options in (("extension.so",), ("no-memory.so", "-DNO_MEMORY")):
        shared = ["-shared", *options, "-o", name, SOURCES / "extension.c"]
        compiled("gcc", *WARNINGS, *cflags, *shared, *libs, cwd=path)
    return path


@contextmanager
def served(
    programs: Path, server: str, mountpoint: Path, extension: str = ""
) -> Iterator[list[str]]:
    """A mount of *server*; yields where the lines that it printed go when it has ended."""
    said: list[str] = []
    with subprocess.Popen(
        [programs / server, mountpoint],
        env={**os.environ, "LD_PRELOAD": extension},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(
            lambda: process.poll() is not None or mount_at(str(mountpoint)) is not None,
            "it is mounted",
        )
        # A call that is never answered cannot be interrupted; it ends with its server.
        last_resort = threading.Timer(DEADLINE, process.kill)
        last_resort.start()
        try:
            yield said
        finally:
            last_resort.cancel()
            if mount_at(str(mountpoint)) is not None:
                subprocess.run(["fusermount3", "-u", mountpoint], check=True)
        said += process.communicate()[0].splitlines()
        assert process.returncode == 0


def mount_options(mountpoint: Path) -> list[str]:
    """Those that the kernel has for the mount."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        source, path, _, options, *_ = line.split()
        if path.replace(r"\040", " ") == str(mountpoint):
            assert source == "server"
            return options.split(",")
    raise AssertionError("not mounted")


@pytest.mark.long
@pytest.mark.parametrize("server", ["server", "old-server"])
def test_server_with_the_extension(programs: Path, server: str, mountpoint: Path) -> None:
    """Reads and writes of 1 MiB arrive at the extension, and what the server has no word for.

    With the old server on a new libfuse one function that is taken over calls the other.
    """
    with served(programs, server, mountpoint, str(programs / "extension.so")) as said:
        buffer = mmap.mmap(-1, MIB + 4096)  # at the begin of a page: a request has 256 of them
        assert mount_options(mountpoint).count(f"max_read={MIB}") == 1
        with opened(mountpoint / "file") as fd, opened(mountpoint / "file") as other:
            assert os.preadv(fd, [buffer], 5) == len(b"extension")
            assert buffer[:10] == b"extension\0"
            assert os.pwrite(fd, buffer, 6) == MIB + 4096
            assert fcntl.ioctl(fd, 0x6B04, 8) == 7
            assert os.lseek(fd, 9, os.SEEK_DATA) == 1009
            with pytest.raises(OSError, match=os.strerror(errno.EXDEV)):
                os.posix_fallocate(fd, 10, 11)
            poll = select.poll()
            poll.register(fd, select.POLLIN | select.POLLPRI)
            assert poll.poll(0) == [(fd, select.POLLPRI)]
            with pytest.raises(OSError, match=os.strerror(errno.EDQUOT)):
                os.copy_file_range(fd, other, 12, 0, 100)
    assert said == [
        f"read fh 33: {MIB} at 5",
        f"write fh 33: {MIB} at 6",
        f"write fh 33: 4096 at {MIB + 6}",
        f"ioctl fh 33: {0x6B04} at 8",
        f"lseek fh 33: {os.SEEK_DATA} at 9",
        "fallocate fh 33: 11 at 10",
        "poll fh 33: 0 at 0",
    ]


@pytest.mark.parametrize("server", ["server", "old-server"])
def test_server_without_memory(programs: Path, server: str, mountpoint: Path) -> None:
    """Where libfuse has none for another option there is no session, and no mount with less."""
    done = subprocess.run(
        [programs / server, mountpoint],
        env={**os.environ, "LD_PRELOAD": str(programs / "no-memory.so")},
        timeout=DEADLINE,
    )
    assert done.returncode == 1
    assert mount_at(str(mountpoint)) is None


@pytest.mark.parametrize("server", ["server", "old-server"])
def test_server_without_the_extension(programs: Path, server: str, mountpoint: Path) -> None:
    """What the server and libfuse do if nothing is taken over."""
    with served(programs, server, mountpoint) as said:
        assert not any("max_read" in option for option in mount_options(mountpoint))
        with opened(mountpoint / "file") as fd:
            assert os.pread(fd, 2 * MIB, 5) == b"server"
            with pytest.raises(OSError, match=os.strerror(errno.ENOTTY)):
                fcntl.ioctl(fd, 0x6B04, 8)
            assert os.lseek(fd, 9, os.SEEK_DATA) == 9
    assert said == []
