"""Measures what must not grow with the work: `python tests/bench/scale.py`.

A large device, many devices, many descriptors, an idle mount and a busy one, each on a
mount of its own.  The devices are sparse: a byte in each quantum, so that 9 GiB of quanta
take the host some 600 MB.  Not a test: pytest does not collect it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from scullvfs.mounts.mountpoint import temporary_mount_point
from scullvfs.testing import mounted

QUANTUM = 1 << 16
GIB = 1 << 30
SCULLVFS = [sys.executable, "-m", "scullvfs"]


def row(name: str, value: str) -> None:
    """One line of the table."""
    print(f"| {name} | {value} |", flush=True)


@contextlib.contextmanager
def opened(path: Path, mode: str = "r+b") -> Iterator[int]:
    """A descriptor of a device."""
    with open(path, mode, buffering=0) as file:
        yield file.fileno()


def read_cost(fds: list[int], offsets: list[int], rounds: int) -> list[float]:
    """Microseconds of a 4 KiB read at each place, in turn, round by round: the medians."""
    times: list[list[float]] = [[] for _ in fds]
    for _ in range(rounds):
        for number, (fd, offset) in enumerate(zip(fds, offsets, strict=True)):
            began = time.perf_counter()
            for _ in range(500):
                os.pread(fd, 4096, offset)
            times[number].append((time.perf_counter() - began) / 500 * 1e6)
    return [statistics.median(each) for each in times]


def large_device(rounds: int) -> None:
    """9 GiB: the price of a read far out, of a quantum, and of emptying it."""
    with mounted(mem="11G") as mnt, opened(mnt / "scullv0") as fd:
        daemon = psutil.Process(mnt.pid)
        before = daemon.memory_info().rss
        nr_quanta = 9 * GIB // QUANTUM
        for number in range(nr_quanta):
            os.pwrite(fd, b"x", number * QUANTUM)
        # Data, entries of the page tables, and the array of the page pointers.
        touched = nr_quanta * (4096 + 2 * 16 * 8)
        metadata = (daemon.memory_info().rss - before - touched) / nr_quanta
        near, far = read_cost([fd, fd], [0, 8 * GIB], rounds)
        row("4 KiB read at offset 0 of a 9 GiB device", f"{near:.1f} us")
        row("the same at offset 8 GiB", f"{far:.1f} us, {far / near:.2f} times that")
        row("memory of the daemon for a quantum of 64 KiB, its data aside", f"{metadata:.0f} bytes")
        with opened(mnt / "scullv1") as other:
            os.write(other, b"y" * 4096)
            seconds, reads, longest = trim_beside_reads(mnt / "scullv0", other)
        row("emptying 9 GiB while another device is read", f"{seconds:.2f} s")
        row("reads of the other device in that time, the longest", f"{reads}, {longest:.0f} ms")


def trim_beside_reads(device: Path, other: int) -> tuple[float, int, float]:
    """Empty a device, and read another one: seconds, reads, milliseconds of the longest."""
    done = threading.Event()
    longest = 0.0
    reads = 0

    def read() -> None:
        nonlocal longest, reads
        while not done.is_set():
            began = time.perf_counter()
            os.pread(other, 4096, 0)
            longest = max(longest, time.perf_counter() - began)
            reads += 1
            time.sleep(0.001)

    reader = threading.Thread(target=read)
    reader.start()
    began = time.perf_counter()
    with opened(device, "wb"):
        seconds = time.perf_counter() - began
    done.set()
    reader.join()
    return seconds, reads, longest * 1000


LONG_CALLS = {
    "nothing": ["sleep", "1"],
    "fallocate": ["fallocate", "-l", "{length}", "{device}"],
    "SEEK_HOLE": [
        sys.executable,
        "-c",
        "import os, sys; os.lseek(os.open(sys.argv[1], 0), 0, os.SEEK_HOLE)",
        "{device}",
    ],
    "fallocate --zero-range": ["fallocate", "-z", "-l", "{zeroed}", "{device}"],
    "fallocate --punch-hole": ["fallocate", "-p", "-l", "{zeroed}", "{device}"],
    "truncate": ["truncate", "-s", "4096", "{device}"],
}
"""What takes long on a large device, in this order."""


def long_calls(gib: int, rounds: int) -> None:
    """Quanta of a page: how long others wait beside what takes long, the longest of each round."""
    length = gib * GIB * 96 // 100
    texts = {"length": str(length), "zeroed": str(length // 8)}
    seconds: dict[str, list[float]] = {name: [] for name in LONG_CALLS}
    longest: dict[str, list[float]] = {name: [] for name in LONG_CALLS}
    with mounted(mem=f"{gib}G", scullv_order=0, semantics="file") as mnt:
        texts["device"] = str(mnt / "scullv0")
        for _ in range(rounds):
            for name, command in LONG_CALLS.items():
                with subprocess.Popen([word.format(**texts) for word in command]) as process:
                    began = time.perf_counter()
                    longest[name].append(longest_request(mnt / "scullv1", process))
                    seconds[name].append(time.perf_counter() - began)
                assert process.returncode == 0, name
    for name in LONG_CALLS:
        row(
            f"{gib} GiB at order 0, `{name}`: time; longest request beside it, median and worst",
            f"{statistics.median(seconds[name]):.1f} s; {statistics.median(longest[name]):.1f} ms, "
            f"{max(longest[name]):.1f} ms",
        )


def longest_request(other: Path, process: subprocess.Popen[bytes]) -> float:
    """Ask the daemon for little every millisecond until a process ends: milliseconds, the worst."""
    longest = 0.0
    with opened(other) as fd:
        while process.poll() is None:
            began = time.perf_counter()
            os.fsync(fd)
            longest = max(longest, time.perf_counter() - began)
            time.sleep(0.001)
    return longest * 1000


def many_devices(rounds: int) -> None:
    """1,000 devices: the mount, and whether the last one is as quick as the first."""
    with temporary_mount_point() as directory:
        began = time.perf_counter()
        subprocess.run([*SCULLVFS, "mount", "-o", "scullv_devs=1000", directory], check=True)
        row("`scullvfs mount` of 1,000 devices", f"{time.perf_counter() - began:.2f} s")
        subprocess.run([*SCULLVFS, "umount", directory], check=True)
    with mounted(scullv_devs=1000) as mnt:
        with opened(mnt / "scullv0") as first, opened(mnt / "scullv999") as last:
            os.write(first, b"x" * 4096)
            os.write(last, b"x" * 4096)
            near, far = read_cost([first, last], [0, 0], rounds)
        row("4 KiB read of scullv0, of scullv999", f"{near:.1f} us, {far:.1f} us")


def many_descriptors(rounds: int) -> None:
    """256 of them: what they cost the daemon and a read."""
    with mounted(mem="256M") as mnt, opened(mnt / "scullv0") as fd:
        daemon = psutil.Process(mnt.pid)
        os.write(fd, b"x" * 4096)
        (alone,) = read_cost([fd], [0], rounds)
        before = daemon.memory_info().rss
        with contextlib.ExitStack() as stack:
            for _ in range(256):
                stack.enter_context(opened(mnt / "scullv0"))
            grown = (daemon.memory_info().rss - before) / 256
            (among,) = read_cost([fd], [0], rounds)
        row("4 KiB read with 1 and with 257 descriptors", f"{alone:.1f} us, {among:.1f} us")
        row("memory of the daemon for a descriptor", f"{grown:.0f} bytes")


def idle(seconds: float) -> None:
    """What a mount uses that nobody uses."""
    with mounted(mem="256M") as mnt:
        daemon = psutil.Process(mnt.pid)
        (mnt / "scullv0").write_bytes(b"x" * 100_000)
        time.sleep(1)
        before = daemon.cpu_times()
        time.sleep(seconds)
        after = daemon.cpu_times()
        used = after.user + after.system - before.user - before.system
        row(f"CPU time of an idle mount in {seconds:.0f} s", f"{used:.2f} s")


def signal_under_load(rounds: int) -> None:
    """How soon a signal is served: from SIGTERM to the line in the log, under full load."""
    delays = []
    for _ in range(rounds):
        with (
            temporary_mount_point() as directory,
            subprocess.Popen(
                [*SCULLVFS, "mount", "-f", "-o", "scullv_order=8", directory],
                stderr=subprocess.PIPE,
                text=True,
            ) as daemon,
        ):
            assert daemon.stderr is not None
            daemon.stderr.readline()
            with subprocess.Popen(
                ["dd", "if=/dev/zero", f"of={directory}/scullv0", "bs=1M", "count=100000"],
                stderr=subprocess.DEVNULL,
            ) as dd:
                time.sleep(0.3)
                began = time.perf_counter()
                daemon.terminate()
                line = daemon.stderr.readline()
                delays.append((time.perf_counter() - began) * 1000)
                assert "SIGTERM" in line, line
                dd.terminate()
            daemon.stderr.read()
    row(
        "from SIGTERM to the daemon's answer under `dd bs=1M`, median and longest",
        f"{statistics.median(delays):.1f} ms, {max(delays):.1f} ms",
    )


def main() -> None:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--gib", type=int, default=8, help="of the device of small quanta")
    parser.add_argument("--idle", type=float, default=30, help="seconds of an idle mount")
    arguments = parser.parse_args()
    print("| | |\n|---|---:|")
    large_device(arguments.rounds)
    long_calls(arguments.gib, min(arguments.rounds, 10))
    many_devices(arguments.rounds)
    many_descriptors(arguments.rounds)
    signal_under_load(arguments.rounds)
    idle(arguments.idle)


if __name__ == "__main__":
    main()
