"""The soak: everything at once on two mounts for an hour, and nothing may be lost or left.

    python -m tests.soak [--minutes 60] [--seed N] [--devices 4]

One mount has `semantics=device`, the other `semantics=file`.  A round lasts a tenth of the time,
a minute at most; `workers` says what happens in it, `books` what has to hold in the rest after
it.  At the end each daemon unloads the module and looks for what is left (checked_daemon.py).

Exit status 0 if all of it held, 1 if not, 130 after Ctrl-C.
"""

from __future__ import annotations

import secrets
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from random import Random

import click

from scullvfs.inherited import STOP_SIGNALS
from scullvfs.testing import Mount, ScullvfsError, served

from .books import Books
from .errors import SoakError
from .fio import TIMEOUT
from .summary import print_summary
from .workers import Scene, geometry, opener, owner, reader

SEMANTICS = ("device", "file")
CHECKED_DAEMON = Path(__file__).parents[1] / "vfs/checked_daemon.py"
SAMPLE_SECONDS = 2.0
MIB = 1 << 20


class Soak:
    """Two mounts, and what has been done to them."""

    def __init__(self, mounts: dict[str, Mount], seconds: float, seed: int) -> None:
        self.mounts = mounts
        self.seconds = seconds
        self.seed = seed
        self.start = time.monotonic()
        self.books = {name: Books(mount, self.start) for name, mount in mounts.items()}
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in mounts}
        self.errors: list[str] = []
        self.rounds = 0
        self.stop = threading.Event()
        self.kill = threading.Event()

    def run(self) -> None:
        """Rounds and rests, at least one, until the time is over or something is found."""
        length = min(60.0, self.seconds / 10)
        self._rest()
        while not self.errors:
            self.rounds += 1
            self._round(length)
            self._rest()
            self._log_rest()
            if time.monotonic() - self.start >= self.seconds:
                break
        for name, books in self.books.items():
            self._note(name, books.growth)

    def end(self) -> None:
        """Unmount; each daemon checks what is left of it."""
        for name, mount in self.mounts.items():
            self._note(name, mount.unmount)
            if mount.log() != "checked\n":
                self.errors.append(f"{name}: the daemon has logged\n{mount.log()}")

    def _round(self, length: float) -> None:
        """Let all workers run for a while."""
        self.stop.clear()
        threads = [
            threading.Thread(target=self._work, args=(name, work), name=name, daemon=True)
            for mount in self.mounts
            for name, work in self._workers(mount)
        ]
        for thread in threads:
            thread.start()
        try:
            end = time.monotonic() + length
            while not self.errors and (left := end - time.monotonic()) > 0:
                self.stop.wait(min(left, SAMPLE_SECONDS))
                for name, books in self.books.items():
                    self._note(name, books.sample)
                self._progress()
        except BaseException:
            self.kill.set()
            raise
        finally:
            self.stop.set()
            deadline = time.monotonic() + TIMEOUT + 30
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    self.errors.append(f"{thread.name} hangs")

    def _workers(self, mount: str) -> Iterator[tuple[str, Callable[[], None]]]:
        """All of one mount, each with random numbers of its own."""
        path, devices = self.mounts[mount].path, self.mounts[mount].devices
        scene = Scene(path, mount, devices, self.stop, self.kill, self.counts[mount])
        workers: dict[str, Callable[[Random], None]] = {
            f"owner of {device.name}": partial(_own, scene, device) for device in devices
        }
        for work in (geometry, reader, opener, opener):
            workers[f"{work.__name__} {len(workers)}"] = partial(work, scene)
        for name, run in workers.items():
            rng = Random(f"{self.seed} {mount} {name} {self.rounds}")
            yield f"{mount}: {name}", partial(run, rng)

    def _work(self, name: str, work: Callable[[], None]) -> None:
        """One worker in its thread: whatever it raises ends the soak."""
        try:
            self._note(name, work)
        finally:
            if self.errors:
                self.stop.set()

    def _rest(self) -> None:
        for name, books in self.books.items():
            if not self.errors:
                self._note(name, books.rest)

    def _log_rest(self) -> None:
        """One line a round, for those who read it later."""
        if not sys.stderr.isatty():
            rss = ", ".join(f"{name} {b.rests[-1].rss / MIB:.1f}" for name, b in self.books.items())
            elapsed = _clock(time.monotonic() - self.start)
            click.echo(f"{elapsed} round {self.rounds}: resident at rest, MiB: {rss}", err=True)

    def _note(self, name: str, step: Callable[[], object]) -> None:
        """Do it, and note what is wrong."""
        try:
            step()
        except (SoakError, ScullvfsError) as error:
            self.errors.append(f"{name}: {error}")
        except Exception:
            self.errors.append(f"{name}: {traceback.format_exc()}")

    def _progress(self) -> None:
        """One line, again and again, for those who watch."""
        if sys.stderr.isatty():
            elapsed = time.monotonic() - self.start
            verified = sum(c["bytes verified"] for c in self.counts.values()) // MIB
            rss = " + ".join(f"{b.peak_rss // MIB}" for b in self.books.values())
            text = f"{_clock(elapsed)} of {_clock(self.seconds)}, round {self.rounds}: "
            text += f"{verified} MiB verified, at most {rss} MiB resident"
            click.echo(f"\r{text:<78}", nl=False, err=True)


def _own(scene: Scene, device: Path, rng: Random) -> None:
    owner(scene, rng, device)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


@contextmanager
def _mounts(mem: str, devices: int, seed: int) -> Iterator[dict[str, Mount]]:
    """A mount for either semantics, by daemons that check themselves at the end."""
    with tempfile.TemporaryDirectory(prefix="scullvfs-soak-") as directory, ExitStack() as stack:
        mounts = {}
        for name in SEMANTICS:
            path = Path(directory, name)
            path.mkdir()
            options = f"mem={mem},devs={devices},semantics={name},seed={seed}"
            command = [sys.executable, str(CHECKED_DAEMON), options, str(path)]
            mounts[name] = stack.enter_context(served(command, path))
        yield mounts


@click.command
@click.option("--minutes", type=click.FloatRange(min=0.02), default=60.0, show_default=True)
@click.option("--seed", type=click.IntRange(0, (1 << 64) - 1), help="A random one if not given.")
@click.option("--devices", type=click.IntRange(1, 16), default=4, show_default=True)
@click.option("--mem", default="256M", show_default=True, help="RAM of either mount.")
def main(minutes: float, seed: int | None, devices: int, mem: str) -> None:
    """Do everything at once to two mounts, and see that nothing is lost or left."""
    for signum in STOP_SIGNALS:  # ignored, even, where a shell runs it in the background
        signal.signal(signum, signal.default_int_handler)
    seed = secrets.randbits(32) if seed is None else seed
    click.echo(f"soak: {minutes:g} minutes, {devices} devices each, mem={mem}, seed {seed}")
    try:
        with _mounts(mem, devices, seed) as mounts:
            soak = Soak(mounts, minutes * 60, seed)
            try:
                soak.run()
                if not soak.errors:
                    soak.end()
            finally:
                if sys.stderr.isatty():
                    click.echo(err=True)
                print_summary(soak.rounds, soak.books, soak.counts)
    except KeyboardInterrupt:
        click.echo("soak: interrupted", err=True)
        sys.exit(130)
    for error in soak.errors:
        click.echo(f"soak: {error}", err=True)
    if soak.errors:
        click.echo(f"soak: failed; seed {seed}", err=True)
        sys.exit(1)
    click.echo("soak: all of it held")


if __name__ == "__main__":
    main()
