"""The extension under AddressSanitizer and UndefinedBehaviorSanitizer: `make test-asan`.

    python tests/asan [PYTEST-OPTION...]

Copies the package and its tests to a temporary directory, builds the extension there with the
sanitizers in it, and runs the tests that go through it: those below, or those that TESTS in the
environment names.
The checkout and what was built in it stay as they are.  The exit status is pytest's, or 1
where it is 0 but a sanitizer has found something.

A finding ends the process that it is found in.  Daemons are in the background, with nothing to
write to, so sanitizers write to files, which are shown at the end.  Leaks are not looked for:
CPython leaves much to the end of the process.  It takes its memory from malloc() here, since
inside its own pools nothing could tell one object from the next.

The sanitizers' library has to be there before Python's own ones.  Programs that the tests run,
such as dd, do without it: what it finds in them is not ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "docs", "scullvfs", "tests")
UNWANTED = ("*.so", "__pycache__", ".*")

SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1"

TESTS = (
    "tests/fuse/test_lowlevel.py",
    "tests/vfs/test_ioctl.py",
    "tests/vfs/test_transfer.py",
    "tests/vfs/test_errors.py",
    "tests/vfs/test_trace_pipe.py",
    "tests/vfs/test_held.py",
    "tests/vfs/posix/test_io.py",
    "tests/vfs/posix/test_space.py",
    "tests/vfs/posix/test_mapping.py",
)
"""Reads and writes of all sizes, mapped ones, ioctl, lseek, fallocate, and errors in them."""


def build(directory: Path) -> None:
    """Copy the checkout, and build the extension in the copy."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns(*UNWANTED)
            shutil.copytree(ROOT / name, directory / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, directory)
    command = "import setuptools; setuptools.setup()"
    wish = {"CFLAGS": SANITIZE, "LDFLAGS": SANITIZE, "SCULLVFS_EXTENSION": "required"}
    done = subprocess.run(
        [sys.executable, "-c", command, "build_ext", "--inplace"],
        cwd=directory,
        env={**os.environ, "CC": "gcc", **wish},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"the extension cannot be built:\n{done.stdout[-3000:]}")


SITE = """
import ctypes, os, sys

with open("/proc/self/maps") as maps:
    loaded = "libasan" in maps.read()
if not loaded:
    os.environ["LD_PRELOAD"] = {address!r}
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
del os.environ["LD_PRELOAD"]
# Beside libasan it does not look for log_path.
ctypes.CDLL({undefined!r}).__sanitizer_set_report_path({reports!r})
"""
"""As sitecustomize.py: each Python starts itself once more, with the library."""


def library(name: str) -> str:
    """The path of a library of gcc's."""
    path = subprocess.check_output(["gcc", f"-print-file-name={name}.so"], text=True).strip()
    return str(Path(path).resolve())


def environment(directory: Path, reports: Path) -> dict[str, str]:
    """What makes every Python load the copy, with the sanitizers before all else."""
    site = directory.with_name("site")
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        SITE.format(
            address=library("libasan"),
            undefined=library("libubsan"),
            reports=os.fsencode(reports / "undefined"),
        )
    )
    return {
        **os.environ,
        "PYTHONPATH": f"{site}:{directory}",
        "PYTHONMALLOC": "malloc",
        # A test wants to see SIGBUS, from a mapping behind the end of its file; another one looks
        # at how much memory a daemon has, of which what is freed should not be much.
        "ASAN_OPTIONS": "detect_leaks=0:handle_sigbus=0:quarantine_size_mb=16:"
        f"log_path={reports}/address",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def main() -> int:
    """Build, run the tests, and show what the sanitizers have found."""
    with TemporaryDirectory(prefix="scullvfs-asan-") as name:
        directory, reports = Path(name, "checkout"), Path(name, "reports")
        directory.mkdir()
        reports.mkdir()
        Path(name).chmod(0o711)
        reports.chmod(0o1777)  # daemons of ordinary users report, too
        build(directory)
        pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        tests = os.environ.get("TESTS", "").split() or TESTS
        status = subprocess.call(
            [*pytest, *sys.argv[1:], *tests], cwd=directory, env=environment(directory, reports)
        )
        found = sorted(reports.iterdir())
        for report in found:
            print(f"--- {report.name}\n{report.read_text(errors='replace')}", file=sys.stderr)
        if found:
            print(f"the sanitizers have found something, {len(found)} times", file=sys.stderr)
        return status or bool(found)


if __name__ == "__main__":
    sys.exit(main())
