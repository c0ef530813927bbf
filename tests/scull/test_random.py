"""Random operations on several devices, each compared with a few lines of plain Python."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random

import pytest

from scullvfs.scull import Module, ScullDev

from ..mm.helpers import books
from ..thorough import rounds
from .helpers import MIB, Oracle, shortage

SPAN = 400_000
"""Operations happen below this byte, in some 100 quanta."""


class Pair:
    """A device and what it should be."""

    def __init__(self, device: ScullDev) -> None:
        self.device = device
        self.oracle = Oracle(device.measure, device.qset)

    def step(self, rng: Random) -> None:
        """Do one random operation to both and compare the result."""
        choice = rng.random()
        pos = rng.choice([rng.randrange(SPAN), self.oracle.size])
        count = rng.choice([1, rng.randrange(1, 100), rng.randrange(1, 50_000)])
        if choice < 0.5:
            data = rng.randbytes(count)
            assert self.device.write(pos, data) == self.oracle.write(pos, data)
        elif choice < 0.85:
            assert self.device.read(pos, count) == self.oracle.read(pos, count)
        elif choice < 0.98:
            length = rng.choice([pos, pos // self.oracle.quantum * self.oracle.quantum])
            self.truncate(length)
        else:
            self.truncate(0)

    def truncate(self, length: int) -> None:
        """Truncate both; to 0 is a trim."""
        self.device.truncate(length)
        if length:
            self.oracle.truncate(length)
        else:
            parameters = self.device.parameters
            self.oracle.trim(parameters["scullv_order"], parameters["scullv_qset"])

    def compare(self) -> None:
        """Compare all there is to see, but the number of items."""
        device, oracle = self.device, self.oracle
        device.check()
        assert (device.size, device.nr_quanta) == (oracle.size, len(oracle.quanta))
        assert (device.quantum, device.itemsize) == (oracle.quantum, oracle.item)
        for number in range(SPAN // oracle.quantum + 1):
            pos = number * oracle.quantum
            assert device.peek(pos, oracle.quantum) == oracle.peek(pos, oracle.quantum)


@pytest.mark.parametrize("arch", ["x86_64", "i386"])
@pytest.mark.parametrize("seed", range(4))
def test_random_operations(load: Callable[..., Module], arch: str, seed: int) -> None:
    """Bytes, sizes, counts of quanta and of items are the oracle's after any operations."""
    rng = Random(seed)
    module = load(3, arch=arch, seed=seed)
    pairs = [Pair(device) for device in module.devices]
    for step in range(rounds(1500, 500)):
        if rng.random() < 0.02:
            module.parameters["scullv_order"], module.parameters["scullv_qset"] = (
                rng.randrange(4),
                rng.randrange(1, 9),
            )
        pair = rng.choice(pairs)
        pair.step(rng)
        assert pair.device.items.count == pair.oracle.items
        if step % 100 == 99:
            for pair in pairs:
                pair.compare()
            module.machine.check()


def write(device: ScullDev, pos: int, data: bytes) -> int:
    """Write; 0 if there is no memory."""
    try:
        return device.write(pos, data)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        return 0


@pytest.mark.parametrize("seed", range(3))
def test_random_operations_short_of_memory(load: Callable[..., Module], seed: int) -> None:
    """An operation that fails with ENOMEM changes no byte and no size of any device."""
    rng = Random(seed)
    module = load(3, seed=seed, mem=MIB)
    before = books(module.machine)
    pairs = [Pair(device) for device in module.devices]
    failed = 0
    with shortage(module.machine, leave=100):
        for step in range(1000):
            pair = rng.choice(pairs)
            size, quanta = pair.device.size, pair.device.nr_quanta
            pos, data = rng.randrange(SPAN), rng.randbytes(rng.randrange(1, 20_000))
            count = write(pair.device, pos, data)
            if count:
                assert count == pair.oracle.write(pos, data)
            else:
                assert (pair.device.size, pair.device.nr_quanta) == (size, quanta)
                failed += 1
                if rng.random() < 0.1:
                    rng.choice(pairs).truncate(0)
            if step % 50 == 49:
                for pair in pairs:
                    pair.compare()
    assert failed > 20
    for pair in pairs:
        pair.truncate(0)
    assert books(module.machine) == before
