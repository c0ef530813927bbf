"""Builds the extension module and the sdist: run by setuptools, never imported by the program.

pyproject.toml names `BuildInterpose` as its `build_ext` and `CompleteSdist` as its `sdist`.  The
extension needs a C compiler, pkg-config and libfuse3's headers, the same things that pyfuse3
is built with.
"""

import shlex
import subprocess
from pathlib import Path

from cffi import FFI
from setuptools import Extension
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

__all__ = ["BuildInterpose", "CompleteSdist", "ffi_builder"]

DECLARATIONS = """
    typedef ... *fuse_req_t;
    static int scullvfs_copy_file_range_errno;
    static unsigned int scullvfs_max_write;
    static bool scullvfs_auto_inval_data;
    static bool scullvfs_hooked;
    static uint64_t scullvfs_requests;

    enum scullvfs_outcome { SCULLVFS_OTHER, SCULLVFS_TURN, SCULLVFS_IDLE, SCULLVFS_CLOSED, ... };
    static enum scullvfs_outcome scullvfs_serve(int64_t end, int64_t spin_ns, int sleep_ms);

    int fuse_reply_err(fuse_req_t req, int err);
    int fuse_reply_buf(fuse_req_t req, const char *buf, size_t size);
    int fuse_reply_write(fuse_req_t req, size_t count);
    int fuse_reply_ioctl(fuse_req_t req, int result, const void *buf, size_t size);
    int fuse_reply_lseek(fuse_req_t req, int64_t off);

    extern "Python" {
        void scullvfs_read(fuse_req_t req, uint64_t fh, size_t size, int64_t off, bool page_cache);
        void scullvfs_write(fuse_req_t req, uint64_t fh, const char *buf, size_t size, int64_t off,
                            int flags);
        void scullvfs_ioctl(fuse_req_t req, uint64_t fh, unsigned int cmd, uintptr_t arg,
                            const void *in, size_t in_size);
        void scullvfs_lseek(fuse_req_t req, uint64_t fh, int64_t off, int whence);
        void scullvfs_fallocate(fuse_req_t req, uint64_t fh, int mode, int64_t off, int64_t length);
    }
"""


def ffi_builder(module: str) -> FFI:
    """The description of the extension, under its full module name."""
    ffi = FFI()
    ffi.cdef(DECLARATIONS)
    ffi.set_source(module, Path(__file__).with_name("interpose.c").read_text())
    return ffi


class BuildInterpose(build_ext):
    """Generates the C source with cffi, and compiles it against libfuse3."""

    def build_extension(self, ext: Extension) -> None:
        """Build the one extension that there is."""
        source = Path(self.build_temp, "interpose.c")
        source.parent.mkdir(parents=True, exist_ok=True)
        ffi_builder(ext.name).emit_c_code(str(source))
        ext.sources = [str(source)]
        ext.extra_compile_args = self._pkg_config("--cflags")
        ext.extra_link_args = self._pkg_config("--libs")
        super().build_extension(ext)

    @staticmethod
    def _pkg_config(option: str) -> list[str]:
        return shlex.split(subprocess.check_output(["pkg-config", option, "fuse3"], text=True))


class CompleteSdist(sdist):
    """An sdist with all that `make test` needs, where setuptools takes what it installs."""

    FILES = {
        ".": ("CHANGELOG.md", "Makefile"),
        "docs": ("*.py",),
        "tests": ("*.c", "*.json", "*.md", "*.py", "*.toml", "*.txt"),
    }

    def make_distribution(self) -> None:
        """Add the files, and go on as ever."""
        for directory, patterns in self.FILES.items():
            for pattern in patterns:
                if directory == ".":
                    self.filelist.include(pattern)
                else:
                    self.filelist.recursive_include(directory, pattern)
        super().make_distribution()
