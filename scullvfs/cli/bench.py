"""`scullvfs bench`: the command line of `scullvfs.bench`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from scullvfs.bench.plan import (
    DEFAULT_SIZES,
    LIMIT,
    MAX_SIZE,
    MIN_BLOCKS,
    MIN_SIZE,
    ROUNDS,
    SECONDS,
    Plan,
    parse_sizes,
)
from scullvfs.errors import ExitStatus, ScullvfsError, UsageError
from scullvfs.options.optstring import split
from scullvfs.options.parsers import format_size, parse_size
from scullvfs.scull.family import SCULLV, driver_of_device
from scullvfs.text import one_line, shell_word, shown, unicode

from .candidates import complete_mount_options, complete_mounts
from .hang import hang
from .help import Command
from .seconds import Seconds

if TYPE_CHECKING:
    from scullvfs.bench.dd import Outcome
    from scullvfs.bench.measure import Sample
    from scullvfs.bench.targets import Target

__all__ = ["bench"]


@click.command(
    cls=Command,
    examples=[
        ("scullvfs bench", "A temporary mount, beside a tmpfs and the floor; about a minute."),
        ("scullvfs bench -o semantics=file --sizes 4K,64K", "By the rules of a regular file."),
        ("scullvfs bench --pin 0 --plot bench.png", "All on one CPU, and a picture of it."),
    ],
    statuses=set(ExitStatus) - {ExitStatus.INTERRUPTED, ExitStatus.FOUND, ExitStatus.DIFFERENT},
)
@click.option(
    "-o",
    "options",
    multiple=True,
    metavar="OPT[,OPT]...",
    help="Options of the temporary mount, as 'scullvfs mount' takes them.",
    shell_complete=complete_mount_options,
)
@click.option("--device", metavar="NAME", help="The device, such as scullp0.  [default: scullv0]")
@click.option(
    "--sizes",
    default=DEFAULT_SIZES,
    show_default=True,
    metavar="LIST",
    help=f"Block sizes, {format_size(MIN_SIZE)} to {format_size(MAX_SIZE)}: a list like 4K,64K, a "
    "range like 512-4M (each size twice the one before) or 512-4Mx4 (four times), or both.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 1000),
    default=ROUNDS,
    show_default=True,
    help="How often each number is measured.",
)
@click.option(
    "--seconds",
    type=Seconds(0.001, 60),
    default=SECONDS,
    show_default=True,
    help="About how long one dd takes at most; small blocks move less data for it.",
)
@click.option(
    "--bytes",
    "limit",
    default=format_size(LIMIT),
    show_default=True,
    metavar="SIZE",
    help=f"The most that one dd moves, but {MIN_BLOCKS} blocks at least.",
)
@click.option(
    "--pin",
    type=click.IntRange(min=0),
    metavar="CPU",
    help="Run dd and all FUSE servers on this CPU: the cost of the work, without wake-ups between "
    "CPUs.",
)
@click.option("--no-tmpfs", is_flag=True, help="Do not measure a tmpfs beside it.")
@click.option("--no-floor", is_flag=True, help="Do not build and measure the floor beside it.")
@click.option("--json", "kind", flag_value="json", help="Print JSON, with every round.")
@click.option("--csv", "kind", flag_value="csv", help="Print CSV, one line a number.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True),
    help="Write JSON or CSV into this file, and the table as usual.",
)
@click.option(
    "--plot",
    "picture",
    metavar="FILE",
    help="Draw the table into FILE: .png, .svg, .pdf. Needs matplotlib: scullvfs[plot].",
)
@click.option("-v", "--verbose", is_flag=True, help="Show each dd and its rate on stderr.")
# Not a click.Path, which would look at it.
@click.argument("mount", required=False, shell_complete=complete_mounts)
def bench(
    options: tuple[str, ...],
    device: str | None,
    sizes: str,
    rounds: int,
    seconds: float,
    limit: str,
    pin: int | None,
    no_tmpfs: bool,
    no_floor: bool,
    kind: str | None,
    output: str | None,
    picture: str | None,
    verbose: bool,
    mount: str | None,
) -> None:
    """Measure writes, rewrites and reads with dd on a device.

    On a temporary mount, or on MOUNT: the path of a scullvfs mount, or of a device in one.
    What the device of MOUNT holds is OVERWRITTEN, and it is empty afterwards.

    Beside it, in turn, the same is measured on a tmpfs and, if a C compiler and the headers
    of libfuse 3 are there, on the floor: a FUSE server in C that keeps nothing, and uses the
    page cache as the device does. The numbers are dd's own. What disturbed the measurement is said
    below the table.
    """
    from scullvfs.bench import plot, results, targets
    from scullvfs.bench.affinity import pinned
    from scullvfs.bench.disturb import watched
    from scullvfs.host.versions import version_line
    from scullvfs.interrupts import interruptible
    from scullvfs.snapshot.options import mount_options

    plan = Plan(sizes=parse_sizes(sizes), rounds=rounds, seconds=seconds, limit=_limit(limit))
    if output is not None and kind is None:
        raise UsageError("--output needs --json or --csv")
    if mount is not None and options:
        raise UsageError(f"-o is for a temporary mount, but {shown(mount)} is mounted already")
    options = (*_loading(device, options), *options)
    temporary = mount_options(options)
    if picture is not None:
        plot.check(picture)
    notes: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(interruptible())
        stack.enter_context(pinned(pin))
        if mount is None:
            ours = targets.own_mount(temporary, device)
        else:
            ours = targets.existing_mount(mount, device, pin)
        chosen = [stack.enter_context(ours)]
        cache = chosen[0].cache
        chosen += _beside(stack, notes, cache, tmpfs=not no_tmpfs, floor_too=not no_floor)
        samples = []
        with watched([target.server for target in chosen if target.server], pinned=pin) as watch:
            for sample in _with_progress(plan, chosen, verbose):
                samples.append(sample)
                watch.sample()
        # Said before anything is taken away, which may fail, too.
        place = unicode(mount) if mount is not None else _temporary(options)
        file = unicode(chosen[0].file)
        what = file if mount is not None else f"{os.path.basename(file)} of {place}"
        rows = results.rows(samples)
        about = {
            "version": version_line(),
            "mount": place,
            "device": file,
            "sizes": sizes,
            "rounds": rounds,
            "seconds": seconds,
            "bytes": plan.limit,
        }
        if kind == "json":
            _print(results.as_json(rows, watch.seen, about, notes), output)
        elif kind == "csv":
            _print(results.as_csv(rows), output)
        if kind is None or output is not None:
            for line in (version_line(), f"dd on {one_line(what)}"):
                click.echo(hang(line, 2))
            click.echo(f"\n{results.table(rows)}\n")
            for line in (*notes, *watch.seen.sentences()):
                click.echo(hang(one_line(line), 2))
        if picture is not None:
            plot.draw(rows, f"scullvfs bench, {one_line(what)}", picture)


def _limit(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError:
        raise UsageError(f"--bytes {text} is not possible; write a size like 512K or 64M") from None


def _loading(device: str | None, options: Sequence[str]) -> tuple[str, ...]:
    """The option that loads the driver of the device, if it is needed and not given."""
    driver = None if device is None else driver_of_device(device)
    given = any(item.startswith("drivers=") for option in options for item in split(option))
    return () if given or driver in (None, SCULLV) else (f"drivers={driver.name}",)


def _temporary(options: Sequence[str]) -> str:
    words = ["a temporary mount", *(f"-o {shell_word(option)}" for option in options)]
    return " ".join(words)


def _beside(
    stack: ExitStack, notes: list[str], cache: str, *, tmpfs: bool, floor_too: bool
) -> list[Target]:
    """What to compare with; what there is not here is said in `notes`.

    Args:
        cache: how what is compared uses the page cache, for so does the floor.
    """
    from scullvfs.bench import targets
    from scullvfs.bench.floor import floor, floor_missing

    found = []
    if tmpfs:
        missing = targets.tmpfs_missing()
        if missing is None:
            found.append(stack.enter_context(targets.tmpfs()))
        else:
            notes.append(f"no tmpfs beside it: {missing}")
    if floor_too:
        missing = floor_missing()
        try:
            if missing is None:
                found.append(stack.enter_context(floor(cache)))
        except ScullvfsError as error:
            missing = str(error)
        if missing is not None:
            notes.append(f"no floor beside it: {missing}")
    return found


def _with_progress(plan: Plan, chosen: Sequence[Target], verbose: bool) -> Iterator[Sample]:
    """All runs, with a bar on stderr if that is a terminal."""
    from scullvfs.bench.measure import measure, runs

    def tell(command: list[str], outcome: Outcome) -> None:
        click.echo(f"{' '.join(map(shell_word, command))}: {outcome.rate:.4g} MB/s", err=True)

    if verbose:
        yield from measure(plan, chosen, tell)
        return
    with click.progressbar(
        measure(plan, chosen),
        length=runs(plan, chosen),
        label="measuring",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    ) as bar:
        yield from bar


def _print(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text)
        return
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise ScullvfsError(f"cannot write {shown(output)}: {error.strerror}") from None
