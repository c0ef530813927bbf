"""Builds the extension module and the sdist: run by setuptools, never imported by the program.

pyproject.toml names the classes below as its commands.  The extension needs a C compiler,
pkg-config and libfuse3's headers, the same things that pyfuse3 is built with.  Where one of
them is missing, the package is built without it, and the build's output says what to install;
pip shows that output only with -v, so `scullvfs doctor` and the log of a mount say it again.
With SCULLVFS_EXTENSION=required in the environment that is an error.

Whatever is made on the way is made in a temporary directory: a checkout that was built from is
as it was.
"""

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from setuptools import Extension
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.command.egg_info import egg_info
from setuptools.command.sdist import sdist
from setuptools.errors import BaseError, CCompilerError, CompileError, OptionError, PlatformError

__all__ = ["BuildElsewhere", "BuildInterpose", "CompleteSdist", "EggInfoElsewhere"]

WITHOUT = (
    "scullvfs is built without its extension: {reason}. All works without it, but there is no "
    "ioctl, SEEK_DATA or fallocate, cp within a mount is cut at the end of a quantum, and reads "
    "and writes take longer. Install gcc, pkg-config, libfuse3-dev and python3-dev (Debian's "
    "names), then scullvfs once more."
)
REQUIRED = "required"


class BuildInterpose(build_ext):
    """Compiles the extension against libfuse3."""

    def build_extension(self, ext: Extension) -> None:
        """Build the one extension that there is, or say why not.

        Raises:
            PlatformError: it cannot be built, and SCULLVFS_EXTENSION=required.
            OptionError: SCULLVFS_EXTENSION has another value.
        """
        wish = os.environ.get("SCULLVFS_EXTENSION", "")
        if wish not in ("", REQUIRED):
            raise OptionError(f"SCULLVFS_EXTENSION={wish} is not possible; it may be '{REQUIRED}'")
        ext.optional = not wish  # for what setuptools does with the file afterwards
        try:
            self._build(ext)
        except PlatformError as error:
            if wish:
                raise PlatformError(f"the extension cannot be built: {error}") from None
            self.warn(WITHOUT.format(reason=error))

    def _build(self, ext: Extension) -> None:
        ext.extra_compile_args = self._pkg_config("--cflags")
        ext.extra_link_args = self._pkg_config("--libs")
        compiler = self.compiler.compiler_so[0]
        if shutil.which(compiler) is None:
            raise PlatformError(f"there is no C compiler ({compiler})")
        try:
            super().build_extension(ext)
        except (BaseError, CCompilerError, CompileError):
            raise PlatformError(f"{compiler} fails, with the words above") from None

    @staticmethod
    def _pkg_config(option: str) -> list[str]:
        """What the compiler has to be told of libfuse3."""
        try:
            done = subprocess.run(
                ["pkg-config", option, "fuse3"], capture_output=True, text=True, check=True
            )
        except OSError as error:
            raise PlatformError(f"pkg-config cannot be run ({error.strerror})") from None
        except subprocess.CalledProcessError as error:
            words = error.stderr.partition("\n")[0]
            raise PlatformError(f"pkg-config finds no fuse3 ({words})") from None
        return shlex.split(done.stdout)


_temporary: dict[str, TemporaryDirectory[str]] = {}
"""What a directory is for -> one that is removed at the end of this process."""


def _elsewhere(purpose: str) -> str:
    if purpose not in _temporary:
        _temporary[purpose] = TemporaryDirectory(prefix=f"scullvfs-{purpose}-")
    return _temporary[purpose].name


class BuildElsewhere(build):
    """Builds outside the checkout, unless told where."""

    def initialize_options(self) -> None:
        """Take another default."""
        super().initialize_options()
        self.build_base = _elsewhere("build")


class EggInfoElsewhere(egg_info):
    """Leaves no metadata in the checkout, unless told to."""

    def finalize_options(self) -> None:
        """Take another default."""
        self.egg_base = self.egg_base or _elsewhere("metadata")
        super().finalize_options()


class CompleteSdist(sdist):
    """An sdist with all that `make test` needs, where setuptools takes what it installs."""

    FILES = {
        ".": ("CHANGELOG.md", "Makefile"),
        "docs": ("*.css", "*.html", "*.po", "*.py"),
        "tests": ("*.c", "*.json", "*.md", "*.py", "*.toml", "*.txt"),
    }

    def run(self) -> None:
        """Make it; the metadata go into it, so they have to be in the checkout meanwhile."""
        metadata = cast(egg_info, self.reinitialize_command("egg_info"))
        metadata.egg_base = os.curdir
        metadata.ensure_finalized()
        was_there = Path(metadata.egg_info).exists()
        try:
            super().run()
        finally:
            if not was_there:
                shutil.rmtree(metadata.egg_info, ignore_errors=True)

    def make_distribution(self) -> None:
        """Add the files, and go on as ever."""
        for directory, patterns in self.FILES.items():
            for pattern in patterns:
                if directory == ".":
                    self.filelist.include(pattern)
                else:
                    self.filelist.recursive_include(directory, pattern)
        super().make_distribution()
