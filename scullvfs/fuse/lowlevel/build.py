"""Builds the extension module and the sdist: run by setuptools, never imported by the program.

pyproject.toml names `BuildInterpose` as its `build_ext` and `CompleteSdist` as its `sdist`.  The
extension needs a C compiler, pkg-config and libfuse3's headers, the same things that pyfuse3
is built with.
"""

import shlex
import subprocess

from setuptools import Extension
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

__all__ = ["BuildInterpose", "CompleteSdist"]


class BuildInterpose(build_ext):
    """Compiles the extension against libfuse3."""

    def build_extension(self, ext: Extension) -> None:
        """Build the one extension that there is."""
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
        "docs": ("*.css", "*.py"),
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
