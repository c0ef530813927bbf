"""A whole kernel without a mount: machine, drivers, handles, their faults; and random calls."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from scullvfs.daemon.machine import build_machine
from scullvfs.fs.root import build_tree
from scullvfs.mm import KernelBug, Machine
from scullvfs.mm.commands import Commands, Refused
from scullvfs.mm.workqueue import finish
from scullvfs.options.table import MountOptions, parse_options
from scullvfs.scull import DRIVERS, Module
from scullvfs.scull.faults import add_faults
from scullvfs.scull.tracepoints import add_tracepoints
from scullvfs.snapshot import books, picture
from scullvfs.snapshot.options import of_machine


class Kernel:
    """What `daemon.assemble` makes of mount options, as far as it can be saved."""

    def __init__(self, arguments: str) -> None:
        self.options: MountOptions = parse_options([arguments])
        options = self.options
        self.machine = build_machine(options)
        self.modules = [
            Module(
                self.machine,
                driver,
                quirk_ldd3=options.quirks == "ldd3",
                **options.parameters(driver),
            )
            for driver in options.loaded()
        ]
        add_tracepoints(self.machine, self.modules)
        add_faults(self.machine, self.modules)
        self.commands = Commands(self.machine)
        self.tree = build_tree(
            self.machine, self.modules, uid=0, gid=0, mode=0o600, commands=self.commands
        )

    @property
    def parts(self) -> tuple[str, Machine, list[Module], Commands]:
        """What `picture` is given."""
        return of_machine(self.options), self.machine, self.modules, self.commands

    def save(self) -> bytes:
        """A snapshot."""
        data = bytearray()
        picture.write(data.extend, *self.parts)
        return bytes(data)

    def restore(self, path: Path) -> None:
        """Go on as the machine in a file would."""
        picture.restore(str(path), *self.parts)

    def state(self) -> dict[str, Any]:
        """All of its books, but for what is the clock's."""
        state: dict[str, Any] = {**books.state(self.machine, self.modules, self.commands)}
        machine = state["machine"] = {**state["machine"]}
        log = machine["log"]
        records = [(level, text) for level, _, text in log["records"]]
        machine["log"] = {**log, "records": records, "nopage": None}
        machine["page_owner"] = machine["page_owner"] and [
            (pfn, machine["page_owner"]["records"][place]._replace(ts_nsec=0))
            for pfn, place in machine["page_owner"]["blocks"]
        ]
        del state["clock"]
        return state

    def content(self) -> dict[int, bytes]:
        """What is in RAM that is not zeros, by frame."""
        self.machine.page_alloc.release_free()
        ram = self.machine.ram.bytes
        return {
            pfn: bytes(ram[pfn << 12 : pfn + 1 << 12])
            for first, count in self.machine.ram.written()
            for pfn in range(first, first + count)
        }

    def check(self) -> None:
        """All is as it should be."""
        for module in self.modules:
            module.check()
        self.machine.check()

    def close(self) -> None:
        """Give its RAM back."""
        self.machine.close()


class Play:
    """Random calls of all kinds on a kernel, which can be exchanged for another one meanwhile."""

    def __init__(self, kernel: Kernel, seed: int) -> None:
        self.kernel = kernel
        self.rng = Random(seed)
        self.names: list[str] = []
        self.copies: list[int] = []
        """Per-cpu objects."""
        self.kinds: list[Callable[[], object]] = [
            *[self.write] * 6,
            *[self.read] * 2,
            *[self.allocate] * 4,
            *[self.free] * 3,
            *(self.truncate, self.empty, self.map, self.poke, self.set_parameter),
            *(self.fail, self.trace, self.percpu, self.later),
        ]

    def step(self) -> object:
        """Make a call; returns what it has given."""
        call = self.rng.choice(self.kinds)
        try:
            return call.__name__, call()
        except OSError as error:
            return call.__name__, error.errno
        except (Refused, KernelBug) as error:
            return call.__name__, str(error)

    def _device(self) -> Any:
        return self.rng.choice(self.rng.choice(self.kernel.modules).devices[:2])

    def _pos(self, device: Any) -> int:
        span = self.rng.choice([1, 3, 40, 700]) * device.quantum
        return self.rng.randrange(min(span, 1 << 21))

    def write(self) -> object:
        """On a device, anywhere."""
        device = self._device()
        data = self.rng.randbytes(self.rng.choice([1, 100, 4096, 20_000]))
        return device.write(self._pos(device), data)

    def read(self) -> object:
        """Likewise."""
        device = self._device()
        return bytes(device.read(self._pos(device), self.rng.choice([1, 5000])))

    def truncate(self) -> object:
        """Likewise; what is cut off is freed later."""
        device = self._device()
        finish(device.truncating(self._pos(device)))
        return device.size

    def empty(self) -> object:
        """With quanta as they are to be now; they are freed later."""
        device = self._device()
        device.open(os.O_WRONLY, later=True)
        return device.measure

    def set_parameter(self) -> object:
        """For the next time."""
        parameters = self.rng.choice(self.kernel.modules).parameters
        name = self.rng.choice(parameters.driver.settable)
        low = 1 if name == parameters.driver.qset.name else 0
        if parameters.driver.by_order or low:
            parameters.store(name, self.rng.randrange(low, 4))
        else:
            parameters.store(name, self.rng.choice([500, 3000]))
        return parameters.as_dict()

    def allocate(self) -> object:
        """Memory by hand."""
        name = f"n{self.rng.randrange(1 << 40)}"
        kind = self.rng.choice(["vmalloc", "kmalloc", "get_free_pages", "kvmalloc", "vzalloc"])
        size = self.rng.choice([1, 100, 5000, 70_000, 3 << 20])
        given = self.rng.randrange(5) if kind == "get_free_pages" else size
        answer = self.kernel.commands.do(f"{kind} {name} {given}")
        self.names.append(name)
        return answer

    def map(self) -> object:
        """What was allocated, or a device."""
        name = f"m{self.rng.randrange(1 << 40)}"
        words = ["ioremap {} 0xfe000000 4096"]
        if self.names:
            source = self.rng.choice(self.names)
            words += [f"vmap {{}} 3 {source}", f"vm_map_ram {{}} 5 {source}"]
        answer = self.kernel.commands.do(self.rng.choice(words).format(name))
        self.names.append(name)
        return answer

    def free(self) -> object:
        """One of these."""
        if not self.names:
            return None
        name = self.rng.choice(self.names)
        answer = self.kernel.commands.do(f"free {name}")
        self.names.remove(name)
        return answer

    def poke(self) -> object:
        """Write to one of these, and read it."""
        if not self.names:
            return None
        name = self.rng.choice(self.names)
        self.kernel.commands.do(f"poke {name} 0 {self.rng.randrange(256)}")
        return self.kernel.commands.do(f"peek {name} 0 16")

    def percpu(self) -> object:
        """An object of which each CPU has a copy comes, or goes."""
        percpu = self.kernel.machine.percpu
        if self.copies and self.rng.random() < 0.4:
            percpu.free_percpu(self.copies.pop(self.rng.randrange(len(self.copies))))
            return len(self.copies)
        address = percpu.alloc_percpu(self.rng.choice([4, 100, 5000, 30_000]), 16)
        if address is not None:
            self.copies.append(address)
        return address

    def later(self) -> object:
        """Some memory is to be freed when nobody can be reading it."""
        machine = self.kernel.machine
        for _ in range(self.rng.choice([1, 40])):
            machine.krc.kvfree_rcu(machine.vm.vmalloc(5000))
            machine.krc.kvfree_rcu(machine.slab.kmalloc(50))
        return machine.krc.statistics()

    def fail(self) -> object:
        """Have something fail, or nothing any more."""
        faults = self.kernel.machine.faults
        which = self.rng.randrange(5)
        if which == 0:
            faults.failslab.ignore_gfp_wait = False
            faults.failslab.arm(probability=20, times=self.rng.choice([-1, 5]))
        elif which == 1:
            faults.fail_page_alloc.min_order = 0
            faults.fail_page_alloc.ignore_gfp_wait = False
            faults.fail_page_alloc.arm(probability=5, interval=2, times=-1, space=3)
        elif which == 2:
            faults.fail_usercopy.arm(probability=10, times=3)
        else:
            faults.reset()
        return faults.statistics()

    def trace(self) -> object:
        """Some events, by the clock that counts."""
        trace = self.kernel.machine.trace
        if trace.clock != "counter":
            trace.set_clock("counter")
        trace.set_event(self.rng.choice(["kmalloc", "vmalloc", "scull", "kfree"]), on=True)
        text = trace.take(300)
        trace.set_event(self.rng.choice(["kmem", "scull"]), on=False)
        return text


assert set(DRIVERS) == {"scullv", "scullp", "scullc", "scull"}
