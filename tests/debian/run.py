"""The README's commands on a fresh Debian: `make test-debian SUITE=trixie`.

    python3 -m tests.debian.run [--suite SUITE] [--cache DIRECTORY] [--optional]
                                [--seconds SECONDS] [STEP...]

Makes a Debian with debootstrap's minbase and git, make, python3 and ca-certificates in a
temporary directory, puts this checkout into it, and goes through the steps, or only those
named. Prints what they print, then removes everything. The exit status is 0 if all is well,
1 if a step failed, 2 if nobody can run a container here, and 3 if the Debian cannot be fetched;
with --optional it is 0 in place of 2 and 3.

Needs root, debootstrap, systemd-nspawn and /dev/fuse. With --cache the Debian is kept as a tar
file for the next time; MIRROR in the environment is where it comes from.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .tree import (
    PATH,
    Debian,
    Unavailable,
    copy_checkout,
    directory,
    leftovers,
    nspawn,
    run,
    why_not,
    with_pip,
)

PACKAGES = ("git", "make", "python3", "ca-certificates")
"""What the README takes for granted."""
SOURCE = "/usr/src/scullvfs"
USER = "ada"

PREPARE = f"""
set -e
ln -sf /proc/self/mounts /etc/mtab  # as systemd-tmpfiles makes it where a system is booted
cp -r /mnt {SOURCE}
useradd --create-home --shell /bin/bash {USER}
cp -r /mnt /home/{USER}/scullvfs
chown -R {USER}: /home/{USER}
"""
DEVICES = "mknod -m 666 /dev/fuse c 10 229"
"""Open to all, as udev makes it, whatever it is on the host."""

OWN = (
    "commands/test_faults",
    "commands/test_lab",
    "commands/test_pictures",
    "commands/test_report",
    "commands/test_top",
    "commands/test_top_terminal",
    "commands/test_view",
    "test_faults",
    "test_fifth_member",
    "test_model_device",
    "test_overruns",
    "test_testing_fill",
)
PART = " ".join(
    ["tests/fuse tests/fs tests/bench_cli tests/vfs"]
    + [f"--ignore=tests/vfs/{name}.py" for name in OWN]
)
"""The tests that libfuse, Python or coreutils may spoil.  Those OWN are long, and about what the
machine does, or what is drawn of its files; the step `test` has them, too."""

STEPS = {
    "demo": f"cd {SOURCE} && make demo",
    "test": f"cd {SOURCE} && make test",
    "part": f"cd {SOURCE} && SCULLVFS_ROUNDS=quick make pytest TESTS='{PART}'",
    "readme": f"python3 {SOURCE}/tests/debian/walk.py /home/{USER}/scullvfs/README.md {USER}",
}
"""Name -> what root's shell runs in the container."""
DEFAULT = ("demo", "test", "readme")


def attempt(step: str, tree: Path, end: float) -> bool:
    """Go through one step in a container of its own; what it prints is printed.

    At that time it is interrupted, as by Ctrl-C, so that pytest tells what it has found.
    """
    begin = time.monotonic()
    seconds = max(1, int(end - begin))
    print(f"-- {step}: {STEPS[step]}", flush=True)
    environment = [f"--setenv={name}" for name in (f"PATH={PATH}", "LC_ALL=C.UTF-8", "CI=true")]
    shell = ["timeout", "--signal=INT", "--kill-after=60", str(seconds), "sh", "-c"]
    command = ["--as-pid2", *with_pip(), *environment, *shell, f"{DEVICES} && {STEPS[step]}"]
    done = subprocess.run(nspawn(tree, *command), stdin=subprocess.DEVNULL, check=False)
    took = time.monotonic() - begin
    print(f"{'FAIL' if done.returncode else 'ok  '} {step} ({took:.0f} s)", flush=True)
    return done.returncode == 0


def build(suite: str, path: Path, cache: Path | None, seconds: float) -> Path:
    """Make the Debian, with this checkout in root's hands and in a user's.

    Raises:
        Unavailable: it cannot be fetched, or not in a third of the time that there is.
    """
    print(f"making a Debian {suite} ...", flush=True)
    begin = time.monotonic()
    tree = Debian(suite, PACKAGES).build(path, cache, seconds / 3)
    print(f"made it in {time.monotonic() - begin:.0f} s", flush=True)
    source = path / "source"
    copy_checkout(source)
    run(nspawn(tree, f"--bind-ro={source}:/mnt", "sh", "-c", PREPARE))
    shutil.rmtree(source)
    return tree


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, go through the steps, and tear down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--suite", default="trixie", help="the release; trixie if not given")
    parser.add_argument("--cache", type=Path, help="keep the Debian here for the next time")
    parser.add_argument("--optional", action="store_true", help="go on where there is none")
    parser.add_argument("--seconds", type=int, default=7200, help="what all of it may take")
    parser.add_argument("steps", nargs="*", metavar="STEP", help="only these")
    given = parser.parse_args(arguments)
    unknown = set(given.steps) - set(STEPS)
    if unknown:
        parser.error(f"no step {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    reason = why_not("/dev/fuse")
    if reason is not None:
        print(f"tests/debian: {reason}", file=sys.stderr)
        return 0 if given.optional else 2
    # So that what is below is undone, and nobody has to read a traceback.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    end = time.monotonic() + given.seconds
    try:
        with directory(given.suite) as path:
            tree = build(given.suite, path, given.cache, given.seconds)
            well = [attempt(step, tree, end) for step in given.steps or DEFAULT]
    except Unavailable as error:
        print(f"tests/debian: cannot get {error}", file=sys.stderr)
        return 0 if given.optional else 3
    left = leftovers(path)
    print(f"{'FAIL' if left else 'ok  '} teardown: {', '.join(left) or 'nothing is left'}")
    print(f"{well.count(True)} of {len(well)} steps are ok on {given.suite}")
    return 0 if all(well) and not left else 1


if __name__ == "__main__":
    sys.exit(main())
