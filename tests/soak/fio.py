"""fio with verify: write a device, then read it and compare every block."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random
from threading import Event

from .errors import SoakError

__all__ = ["TIMEOUT", "run_fio"]

KIB = 1 << 10
MIB = 1 << 20

TIMEOUT = 120
"""Seconds after which a run hangs; it takes less than two."""

ENGINES = {
    "device": ["psync", "sync", "pvsync", "libaio", "posixaio"],
    "file": ["psync", "sync", "pvsync", "libaio", "posixaio", "mmap"],
}
ASYNCHRONOUS = {"libaio", "posixaio"}
BLOCK_SIZES = [512, 3 * KIB, 4 * KIB, 4 * KIB, 16 * KIB, 64 * KIB, 100 * KIB, 256 * KIB]


def run_fio(device: Path, semantics: str, rng: Random, kill: Event) -> int:
    """Fill an empty device and verify it; returns how many bytes were verified.

    Args:
        kill: set to end it half-way; what it did does not count then.

    Raises:
        SoakError: fio failed, and what it said.
    """
    quantum = device.stat().st_blksize
    engine = rng.choice(ENGINES[semantics])
    sizes = BLOCK_SIZES
    if engine in ASYNCHRONOUS and semantics == "device":
        # An asynchronous call that crosses a quantum is short, and FUSE makes that EIO.
        sizes = [size for size in sizes if quantum % size == 0]
    block = rng.choice(sizes)
    size = rng.choice([MIB, 4 * MIB, 8 * MIB]) // block * block
    if block < 4 * KIB:
        size = min(size, MIB // block * block)
    command = [
        "fio",
        "--name=soak",
        f"--filename={device}",
        f"--rw={rng.choice(['write', 'randwrite'])}",
        f"--bs={block}",
        f"--size={size}",
        f"--ioengine={engine}",
        f"--iodepth={rng.choice([1, 8, 32])}",
        f"--verify={rng.choice(['crc32c', 'md5', 'xxhash'])}",
        f"--randseed={rng.randrange(1 << 31)}",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--fallocate=none",
        # Lay nothing out: fio would remove the device for that.
        "--create_on_open=1",
        # libaio waits in each call unless the page cache is left out.
        f"--direct={int(engine == 'libaio' and block % 512 == 0)}",
    ]
    if semantics == "file":
        with device.open("r+b") as file:
            file.truncate(size)  # mmap needs the size first
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C is for the soak
    ) as process:
        output = _wait(process, kill)
    if kill.is_set():
        return 0
    if process.returncode != 0:
        told = [line for line in output.splitlines() if line.startswith(("verify:", "fio:"))]
        words = "\n".join(told) or output
        raise SoakError(f"{' '.join(command)}: status {process.returncode}\n{words}")
    return size


def _wait(process: subprocess.Popen[str], kill: Event) -> str:
    """What the process prints until its end, which comes early if it is killed."""
    waited = 0.0
    while True:
        try:
            return process.communicate(timeout=0.5)[0]
        except subprocess.TimeoutExpired:
            waited += 0.5
            if kill.is_set() or waited > TIMEOUT:
                process.kill()
