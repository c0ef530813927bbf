"""The extension that hooks ioctl in: a mount without it, and libfuse as it will be.

libfuse up to 3.16 has fuse_session_new().  From 3.17 on that is an inline function over
fuse_session_new_versioned(), and the symbol of the old name calls the new one.  Neither the
header nor the library of 3.17 need be here: a small one of each stands in, which declares
and does what the extension builds on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scullvfs.daemon.errors import ExitStatus
from scullvfs.fuse import lowlevel
from scullvfs.scullv import COMMANDS

from .helpers import QUANTUM, Scullvfs, read_all, shell, wait_until
from .troubles import TROUBLES

INTERPOSE = Path(lowlevel.__file__).with_name("interpose.c")

# -- a mount without the extension -----------------------------------------------------------------

BLOCK = """
import sys

class Block:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "scullvfs.fuse.lowlevel._interpose":
            raise ImportError("libfuse3.so.4: cannot open shared object file", name=name)

sys.meta_path.insert(0, Block)
"""
"""As sitecustomize.py on PYTHONPATH: the extension cannot be imported."""


@pytest.fixture
def without(scullvfs: Scullvfs, tmp_path: Path) -> Scullvfs:
    """The program where its extension is missing."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(BLOCK)
    scullvfs.env["PYTHONPATH"] = f"{tmp_path}/site:{scullvfs.env['PYTHONPATH']}"
    return scullvfs


@pytest.fixture
def bare(without: Scullvfs, mountpoint: Path) -> Iterator[Path]:
    """A mount without the extension."""
    assert without("mount", "-o", "mem=16M", mountpoint).returncode == 0
    yield mountpoint
    assert without("umount", mountpoint).returncode == 0


def log_of(scullvfs: Scullvfs, mountpoint: Path) -> list[str]:
    """What a mount in the foreground says, from its start to its end."""
    with scullvfs.start("mount", "-f", "-o", "mem=16M", mountpoint) as process:
        wait_until(
            lambda: process.poll() is not None or scullvfs.mounted(mountpoint), "it is mounted"
        )
        assert scullvfs("umount", mountpoint).returncode == 0
        return process.communicate()[1].splitlines()


def test_missing_is_logged(without: Scullvfs, mountpoint: Path) -> None:
    """The log says what is missing, what that costs, and what to do."""
    said = log_of(without, mountpoint)
    (line,) = [line for line in said if "mounted" not in line]
    assert line == f"scullvfs: warning: {lowlevel.MISSING}"
    assert TROUBLES["log-extension"].fits(line.removeprefix("scullvfs: "))
    assert "no ioctl" in line
    assert "install scullvfs with gcc, pkg-config and libfuse3-dev" in line


def test_present_is_not_logged(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """With the extension there is nothing to say."""
    assert lowlevel.MISSING not in "\n".join(log_of(scullvfs, mountpoint))


def test_missing_devices_work(bare: Path) -> None:
    """dd, cat and the shell do what they do with it."""
    command = """
        head -c 200000 /dev/urandom >"$dir/source" &&
        dd if="$dir/source" of="$mnt/scullv0" bs=64k &&
        cat "$mnt/scullv0" | cmp - "$dir/source" &&
        echo a >"$mnt/scullv1" && echo b >>"$mnt/scullv1" && cat "$mnt/scullv1"
    """
    done = shell(command, mnt=bare, dir=bare.parent)
    assert (done.returncode, done.stdout) == (0, "b\n")


def test_missing_driver_rules(bare: Path) -> None:
    """A write still ends at the quantum, and O_APPEND goes to the end."""
    fd = os.open(bare / "scullv0", os.O_RDWR | os.O_APPEND)
    try:
        assert os.write(fd, b"a" * 100_000) == QUANTUM
        assert os.write(fd, b"b" * 10) == 10
    finally:
        os.close(fd)
    assert read_all(bare / "scullv0") == b"a" * QUANTUM + b"b" * 10


def test_missing_ioctl(bare: Path) -> None:
    """Every command is ENOTTY."""
    fd = os.open(bare / "scullv0", os.O_RDWR)
    try:
        for number in COMMANDS.values():
            with pytest.raises(OSError, match="Inappropriate ioctl") as caught:
                fcntl.ioctl(fd, number, bytearray(4))
            assert caught.value.errno == errno.ENOTTY
    finally:
        os.close(fd)


def test_missing_ioctl_command(without: Scullvfs, bare: Path) -> None:
    """`scullvfs ioctl` says that the mount may be the reason."""
    done = without("ioctl", bare / "scullv0", "query-order")
    assert done.returncode == ExitStatus.NOT_MOUNTED
    assert (
        done.stderr == f"scullvfs: {bare}/scullv0 is no scullv device, or its mount has no ioctl\n"
    )


def test_missing_parameters(bare: Path) -> None:
    """Order and qset can be set all the same, by their files."""
    (bare / "sys/module/scullv/parameters/scullv_order").write_text("1\n")
    (bare / "scullv0").write_bytes(b"")
    assert (bare / "sys/class/scullv/scullv0/order").read_text() == "1\n"


# -- the extension against libfuse 3.14 and 3.17 ---------------------------------------------------

HEADER = """
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#define FUSE_MAKE_VERSION(maj, min) ((maj) * 100 + (min))
#define FUSE_VERSION FUSE_MAKE_VERSION(3, MINOR)
#define FUSE_IOCTL_DIR (1 << 4)

typedef uint64_t fuse_ino_t;
typedef struct fuse_req *fuse_req_t;
struct fuse_args { int argc; char **argv; int allocated; };
#define FUSE_ARGS_INIT(argc, argv) { argc, argv, 0 }
int fuse_opt_add_arg(struct fuse_args *args, const char *arg);
void fuse_opt_free_args(struct fuse_args *args);
struct fuse_bufvec;
struct fuse_session;
enum fuse_buf_flags { FUSE_BUF_IS_FD = 1 << 1 };
struct fuse_buf { size_t size; enum fuse_buf_flags flags; void *mem; };
#define FUSE_CAP_AUTO_INVAL_DATA (1 << 12)
struct fuse_conn_info { unsigned int max_write, max_read, want; };
struct fuse_file_info { int flags; unsigned int writepage : 1; uint64_t fh, lock_owner; };
struct fuse_lowlevel_ops {
    void (*init)(void *, struct fuse_conn_info *);
    void (*read)(fuse_req_t, fuse_ino_t, size_t, off_t, struct fuse_file_info *);
    void (*write)(fuse_req_t, fuse_ino_t, const char *, size_t, off_t, struct fuse_file_info *);
    void (*write_buf)(fuse_req_t, fuse_ino_t, struct fuse_bufvec *, off_t,
                      struct fuse_file_info *);
    void (*ioctl)(fuse_req_t, fuse_ino_t, unsigned int, void *, struct fuse_file_info *,
                  unsigned int, const void *, size_t, size_t);
    void (*fallocate)(fuse_req_t, fuse_ino_t, int, off_t, off_t, struct fuse_file_info *);
    void (*copy_file_range)(fuse_req_t, fuse_ino_t, off_t, struct fuse_file_info *, fuse_ino_t,
                            off_t, struct fuse_file_info *, size_t, int);
    void (*lseek)(fuse_req_t, fuse_ino_t, off_t, int, struct fuse_file_info *);
};
int fuse_reply_err(fuse_req_t req, int err);
int fuse_reply_iov(fuse_req_t req, const struct iovec *iov, int count);
int fuse_session_fd(struct fuse_session *se);
int fuse_session_exited(struct fuse_session *se);
int fuse_session_receive_buf(struct fuse_session *se, struct fuse_buf *buf);
void fuse_session_process_buf(struct fuse_session *se, const struct fuse_buf *buf);

#if MINOR < 17
struct fuse_session *fuse_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
                                      size_t op_size, void *userdata);
#else
struct libfuse_version { uint32_t major, minor, hotfix, padding; };
struct fuse_session *fuse_session_new_versioned(struct fuse_args *args,
        const struct fuse_lowlevel_ops *op, size_t op_size,
        const struct libfuse_version *version, void *userdata);
static inline struct fuse_session *fuse_session_new_inline(struct fuse_args *args,
        const struct fuse_lowlevel_ops *op, size_t op_size, void *userdata)
{
    struct libfuse_version version = { 3, MINOR, 1, 0 };
    return fuse_session_new_versioned(args, op, op_size, &version, userdata);
}
#define fuse_session_new(args, op, op_size, userdata) \\
    fuse_session_new_inline(args, op, op_size, userdata)
#endif
"""
"""What interpose.c takes from fuse_lowlevel.h, as of libfuse 3.MINOR."""

LIBRARY = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fuse_lowlevel.h>

static struct fuse_session *report(const char *name, const struct fuse_args *args,
                                   const struct fuse_lowlevel_ops *op, size_t op_size)
{
    struct fuse_conn_info conn = { 1 << 30, 0, 0 };

    op->init(0, &conn);
    for (int i = 0; i < args->argc; i++)
        printf("%s ", args->argv[i]);
    printf("max_read %u ", conn.max_read);
    printf("%s: read %d write %d write_buf %d ", name, !!op->read, !!op->write, !!op->write_buf);
    printf("ioctl %d lseek %d fallocate %d copy %d max_write %u size %d\\n", !!op->ioctl,
           !!op->lseek, !!op->fallocate, !!op->copy_file_range, conn.max_write,
           op_size == sizeof *op);
    return (struct fuse_session *)op;
}

int fuse_opt_add_arg(struct fuse_args *args, const char *arg)
{
    args->argv = realloc(args->argv, (args->argc + 1) * sizeof *args->argv);
    args->argv[args->argc++] = strdup(arg);
    return 0;
}
void fuse_opt_free_args(struct fuse_args *args)
{
    while (args->argc)
        free(args->argv[--args->argc]);
    free(args->argv);
}
int fuse_reply_err(fuse_req_t req, int err) { (void)req; return err; }
int fuse_reply_iov(fuse_req_t req, const struct iovec *iov, int count)
{ (void)req, (void)iov; return count; }
int fuse_session_fd(struct fuse_session *se) { (void)se; return -1; }
int fuse_session_exited(struct fuse_session *se) { (void)se; return 1; }
void fuse_session_process_buf(struct fuse_session *se, const struct fuse_buf *buf)
{ (void)se, (void)buf; }
int fuse_session_receive_buf(struct fuse_session *se, struct fuse_buf *buf)
{
    (void)se, (void)buf;
    printf("received\\n");
    return 0;
}

#if MINOR < 17
struct fuse_session *fuse_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
                                      size_t op_size, void *userdata)
{
    (void)userdata;
    return report("new", args, op, op_size);
}
#else
struct fuse_session *fuse_session_new_versioned(struct fuse_args *args,
        const struct fuse_lowlevel_ops *op, size_t op_size,
        const struct libfuse_version *version, void *userdata)
{
    (void)userdata;
    printf("version %u.%u.%u ", version->major, version->minor, version->hotfix);
    return report("versioned", args, op, op_size);
}

#undef fuse_session_new
struct fuse_session *fuse_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
                                      size_t op_size, void *userdata)
{
    struct libfuse_version unknown = { 0, 0, 0, 0 };
    return fuse_session_new_versioned(args, op, op_size, &unknown, userdata);
}
#endif
"""
"""A libfuse that only says what table of operations it was given, and by which function."""

PROGRAM = """
#include <fuse_lowlevel.h>

static void init(void *userdata, struct fuse_conn_info *conn) { (void)userdata, (void)conn; }
static void read_(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                  struct fuse_file_info *fi)
{ (void)req, (void)ino, (void)size, (void)off, (void)fi; }
static void write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *bufv, off_t off,
                      struct fuse_file_info *fi)
{ (void)req, (void)ino, (void)bufv, (void)off, (void)fi; }

int main(void)
{
    struct fuse_lowlevel_ops ops = { .init = init, .read = read_, .write_buf = write_buf };
    char *argv[] = { "program", "-oro" };
    struct fuse_args args = FUSE_ARGS_INIT(2, argv);
    struct fuse_session *se = fuse_session_new(&args, &ops, sizeof ops, (void *)0);
    struct fuse_buf buf = { 0 };

    return !se || fuse_session_receive_buf(se, &buf) != 0;
}
"""
"""Calls libfuse as pyfuse3 does, with a table that has no ioctl."""

EXTENSION = """
static void scullvfs_read(fuse_req_t req, uint64_t fh, size_t size, int64_t off, bool page_cache)
{ (void)req, (void)fh, (void)size, (void)off, (void)page_cache; }
static void scullvfs_write(fuse_req_t req, uint64_t fh, const char *buf, size_t size, int64_t off,
                           int flags)
{ (void)req, (void)fh, (void)buf, (void)size, (void)off, (void)flags; }
static void scullvfs_ioctl(fuse_req_t req, uint64_t fh, unsigned int cmd, uintptr_t arg,
                           const void *in, size_t in_size)
{ (void)req, (void)fh, (void)cmd, (void)arg, (void)in, (void)in_size; }
static void scullvfs_lseek(fuse_req_t req, uint64_t fh, int64_t off, int whence)
{ (void)req, (void)fh, (void)off, (void)whence; }
static void scullvfs_fallocate(fuse_req_t req, uint64_t fh, int mode, int64_t off, int64_t length)
{ (void)req, (void)fh, (void)mode, (void)off, (void)length; }
static bool scullvfs_wait(int64_t now, int64_t spin_ns, int sleep_ms)
{ return readable(now, spin_ns, sleep_ms); }
enum scullvfs_outcome (*const serve)(int64_t, int64_t, int) = scullvfs_serve;
bool (*const check)(const struct scullvfs_sg *, size_t, size_t) = in_ram;
void (*const copy)(const struct scullvfs_sg *, const char *) = copy_from_buffer;
void (*const reply)(fuse_req_t, const struct scullvfs_sg *) = reply_sg;
"""
"""In the place of module.c: the way into Python, and out of it."""

COMPLETE = (
    "read 1 write 1 write_buf 0 ioctl 1 lseek 1 fallocate 1 copy 1 max_write 1048576 size 1\n"
    "received\n"
)
ARGS = "program -oro -omax_read=1048576 max_read 1048576 "


def build(directory: Path, minor: int) -> None:
    """Compile a libfuse 3.`minor`, a program for it, and the extension, with all warnings."""
    directory.mkdir()
    (directory / "fuse_lowlevel.h").write_text(HEADER)
    (directory / "libfuse.c").write_text(LIBRARY)
    (directory / "program.c").write_text(PROGRAM)
    (directory / "extension.c").write_text(f'#include "{INTERPOSE}"\n{EXTENSION}')
    gcc = ["gcc", "-Wall", "-Wextra", "-Werror", f"-DMINOR={minor}", "-I."]
    library = ["-fPIC", "-shared"]
    for arguments in (
        [*library, "-o", "libfuse.so", "libfuse.c"],
        [*library, "-o", "extension.so", "extension.c", "./libfuse.so"],
        ["-o", "program", "program.c", "./libfuse.so"],
    ):
        done = subprocess.run([*gcc, *arguments], cwd=directory, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def run(program: Path, extension: Path, libfuse: Path) -> str:
    """Run a program with an extension loaded before it, on a libfuse."""
    return subprocess.run(
        [program],
        cwd=libfuse,
        env={"LD_PRELOAD": str(extension)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def symbols(extension: Path) -> set[str]:
    """The functions that an extension takes over from libfuse."""
    text = subprocess.check_output(["nm", "-D", "--defined-only", extension], text=True)
    return {line.split()[2] for line in text.splitlines() if " T " in line}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything built with the header of libfuse 3.14."""
    path = tmp_path_factory.mktemp("lowlevel") / "3.14"
    build(path, 14)
    return path


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything built with the header of libfuse 3.17."""
    path = tmp_path_factory.mktemp("lowlevel") / "3.17"
    build(path, 17)
    return path


def test_extension_of_libfuse_3_14(old: Path) -> None:
    """fuse_session_new() gets the completed table."""
    assert symbols(old / "extension.so") == {"fuse_session_new", "fuse_session_receive_buf"}
    assert run(old / "program", old / "extension.so", old) == f"{ARGS}new: {COMPLETE}"


def test_extension_of_libfuse_3_17(new: Path) -> None:
    """fuse_session_new_versioned() gets the completed table, and the version untouched."""
    assert symbols(new / "extension.so") == {
        "fuse_session_new",
        "fuse_session_new_versioned",
        "fuse_session_receive_buf",
    }
    output = run(new / "program", new / "extension.so", new)
    assert output == f"version 3.17.1 {ARGS}versioned: {COMPLETE}"


def test_extension_of_libfuse_3_17_under_an_older_program(old: Path, new: Path) -> None:
    """A program that was built with the old header gets the completed table, too.

    The old function of the new library calls the new one, and both are taken over.
    """
    output = run(old / "program", new / "extension.so", new)
    assert output == f"version 0.0.0 {ARGS}versioned: {COMPLETE}"


def test_extension_of_libfuse_3_14_on_a_newer_library(old: Path, new: Path) -> None:
    """An extension that was built with the old header still serves programs built with it."""
    output = run(old / "program", old / "extension.so", new)
    assert output == f"version 0.0.0 {ARGS}versioned: {COMPLETE}"


def test_program_without_the_extension(new: Path) -> None:
    """What the stand-ins say if nothing is taken over."""
    output = subprocess.check_output([new / "program"], cwd=new, text=True)
    assert output == (
        "version 3.17.1 program -oro max_read 0 versioned: read 1 write 0 write_buf 1 ioctl 0 "
        "lseek 0 fallocate 0 copy 0 max_write 1073741824 size 1\nreceived\n"
    )
