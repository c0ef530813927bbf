"""One process of the hammer: run as a program, it writes and reads its stripes of a device.

    python hammer.py DEVICE FIRST STEP COUNT LENGTH SEED SECONDS

The stripes are `COUNT` ranges of `LENGTH` bytes, the first one at byte `FIRST`, each `STEP` bytes
behind the one before.  They belong to this process alone, but they lie in quanta together
with those of others.  Every byte read has to be the one that was written last.
"""

from __future__ import annotations

import os
import sys
import time
from random import Random


class Stripe:
    """A range of bytes of the device, and what has to be in it."""

    def __init__(self, fd: int, start: int, length: int) -> None:
        self.fd = fd
        self.start = start
        self.content = bytearray(length)
        self.short = 0
        """Calls that moved less than was asked for."""

    def write(self, at: int, data: bytes) -> None:
        """Write all of `data`, in as many calls as it takes."""
        self.content[at : at + len(data)] = data
        while data:
            count = os.pwrite(self.fd, data, self.start + at)
            self.short += count < len(data)
            at, data = at + count, data[count:]

    def check(self, at: int, count: int) -> None:
        """Read `count` bytes in as many calls as it takes, and compare."""
        while count:
            data = os.pread(self.fd, count, self.start + at)
            if data != self.content[at : at + len(data)]:
                sys.exit(f"wrong bytes at {self.start + at}, {count} wanted")
            if not data:
                sys.exit(f"nothing to read at {self.start + at}, {count} wanted")
            self.short += len(data) < count
            at, count = at + len(data), count - len(data)


def main(device: str, *numbers: str) -> None:
    """Fill the stripes, then write and read at random until the time is over."""
    first, step, count, length, seed, seconds = map(int, numbers)
    rng = Random(seed)
    fd = os.open(device, os.O_RDWR)
    stripes = [Stripe(fd, first + number * step, length) for number in range(count)]
    for stripe in stripes:
        stripe.write(0, rng.randbytes(length))
    end = time.monotonic() + seconds
    calls = 0
    while time.monotonic() < end:
        stripe = rng.choice(stripes)
        at = rng.randrange(length)
        size = min(rng.choice([1, 512, 4096, 65_536, length]), length - at)
        if rng.random() < 0.5:
            stripe.write(at, rng.randbytes(size))
        else:
            stripe.check(at, size)
        calls += 1
    for stripe in stripes:
        stripe.check(0, length)
    print(calls, sum(stripe.short for stripe in stripes))


if __name__ == "__main__":
    main(*sys.argv[1:])
