"""The units and the mount helper under a real systemd: `make test-systemd`.

    python3 -m tests.systemd.run [--cache DIRECTORY] [STEP...]

Makes a Debian with debootstrap in a temporary directory, boots it with systemd-nspawn, and
goes through the steps of `steps.py`, or only those named. Prints ok or FAIL and what was
seen for each, then removes everything. The exit status is 0 if all is well.

Needs root, debootstrap, systemd-nspawn, /dev/fuse and /dev/autofs. With --cache the Debian
is kept as a tar file for the next time; SUITE and MIRROR in the environment choose another.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

from ..debian.tree import Unavailable, directory, leftovers, why_not
from .container import Container, booted, build
from .steps import STEPS, Step


def attempt(step: Step, container: Container) -> bool:
    """Go through one step, and print how it went."""
    begin = time.monotonic()
    try:
        seen, well = step(container), True
    except (AssertionError, subprocess.TimeoutExpired, ValueError) as error:
        seen, well = str(error), False
    took = time.monotonic() - begin
    print(f"{'ok  ' if well else 'FAIL'} {step.__name__} ({took:.1f} s): {seen}", flush=True)
    return well


def main() -> int:
    """Build, boot, go through the steps, and tear down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache", type=Path, help="keep the Debian here for the next time")
    parser.add_argument("steps", nargs="*", metavar="STEP", help="only these")
    arguments = parser.parse_args()
    known = {step.__name__: step for step in STEPS}
    unknown = set(arguments.steps) - set(known)
    if unknown:
        parser.error(f"no step {', '.join(unknown)}; there are {', '.join(known)}")
    reason = why_not("/dev/fuse", "/dev/autofs")
    if reason is not None:
        print(f"tests/systemd: {reason}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the below is undone
    well: list[bool] = []
    try:
        with directory("systemd") as path:
            print("making a Debian with scullvfs ...", flush=True)
            tree = build(path, arguments.cache)
            with booted(tree) as container:
                print(f"booted {container('systemctl --version | head -1')}", flush=True)
                for name in arguments.steps or known:
                    well.append(attempt(known[name], container))
    except Unavailable as error:
        print(f"tests/systemd: cannot get {error}", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"FAIL boot: {error}")
        well.append(False)
    left = leftovers(path)
    print(f"{'FAIL' if left else 'ok  '} teardown: {', '.join(left) or 'nothing is left'}")
    print(f"{well.count(True)} of {len(well)} steps are ok")
    return 0 if all(well) and not left else 1


if __name__ == "__main__":
    sys.exit(main())
