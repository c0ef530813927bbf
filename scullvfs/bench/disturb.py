"""What else went on while something was measured, and how the machine stood.

A number from a busy machine is not worth much, and it does not show. So what can be known is
said with it: the load, the processing time that others took and who they were, the time that a
hypervisor took (steal), the CPUs' frequency and who sets it, and what was pinned. What the
kernel does for nobody in particular counts as others', too.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from scullvfs.text import shell_word

__all__ = ["Disturbance", "Watch", "watched"]

GOVERNORS: Final = "cpu[0-9]*/cpufreq/scaling_governor"
CPUS: Final = Path("/sys/devices/system/cpu")

NOTABLE: Final = 0.05
"""The share of one CPU from which a process is named, and others' time is called a disturbance."""

MOST: Final = 5
"""How many processes are named."""

FREQUENCY: Final = 0.05
"""By how much of its highest value the frequency may vary before it is called a disturbance."""


@dataclass(slots=True)
class Disturbance:
    """What was seen between the start and the end of a measurement."""

    seconds: float = 0.0
    cpus: int = 0
    pinned: int | None = None
    """The CPU that dd and the servers were pinned to."""
    load: tuple[float, float] = (0.0, 0.0)
    """Load average over one minute, at the start and at the end; ours is in the second."""
    others: float = 0.0
    """Processing time of everyone else, in CPUs: 0.5 is half of one."""
    busy: dict[str, float] = field(default_factory=dict)
    """`name (pid)` of others that ran at the start and at the end -> the CPUs they took."""
    steal: float = 0.0
    """What a hypervisor gave to other machines, in CPUs."""
    mhz: tuple[float, float] | None = None
    """Lowest and highest frequency seen; None if it is not known."""
    governors: tuple[str, ...] = ()
    """The names of the CPUs' frequency governors; none if they are not known."""

    def sentences(self) -> list[str]:
        """What a reader should know, the worst not softened."""
        return [
            f"{self.seconds:.0f} s on {self.cpus} CPUs; {self._pinned()}",
            f"load {self.load[0]:.2f} before, {self.load[1]:.2f} after (this benchmark included)",
            self._others(),
            *([f"steal: the hypervisor took {_cpus(self.steal)}"] if self.steal >= 0.005 else []),
            self._frequency(),
        ]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def _pinned(self) -> str:
        if self.pinned is not None:
            return f"dd and the servers pinned to CPU {self.pinned}"
        return "nothing pinned (--pin CPU does)"

    def _others(self) -> str:
        if self.others < NOTABLE and not self.busy:
            return "other processes: nothing to speak of"
        names = ", ".join(f"{name} {cpus:.2f}" for name, cpus in self.busy.items())
        return f"DISTURBED: other processes took {_cpus(self.others)}" + (names and f": {names}")

    def _frequency(self) -> str:
        governors = ", ".join(self.governors) or "not known"
        if self.mhz is None:
            return f"CPU frequency not known, governor {governors}"
        low, high = self.mhz
        seen = f"{low:.0f} MHz" if round(low) == round(high) else f"{low:.0f} to {high:.0f} MHz"
        warning = "DISTURBED: " if high - low > FREQUENCY * high else ""
        return f"{warning}CPU frequency {seen}, governor {governors}"


def _cpus(value: float) -> str:
    return f"{value:.2f} of a CPU"


class Watch:
    """Takes the books at the start, samples in between, and closes them at the end."""

    def __init__(self, servers: Iterable[int], pinned: int | None) -> None:
        self.seen = Disturbance(pinned=pinned)
        self._ours = {os.getpid(), *servers}
        self._start = time.monotonic()
        self._load = os.getloadavg()[0]
        self._machine = psutil.cpu_times()
        self._processes = _processes()
        self._own = self._own_time()
        self._mhz: list[float] = []
        self.sample()

    def sample(self) -> None:
        """Look at what has a value now only."""
        self._mhz += [one.current for one in psutil.cpu_freq(percpu=True) or [] if one.current]

    def close(self) -> None:
        """Complete `seen`."""
        self.sample()
        result = self.seen
        seconds = max(time.monotonic() - self._start, 1e-3)
        machine = psutil.cpu_times()
        busy = _busy(machine) - _busy(self._machine)
        result.seconds = seconds
        result.cpus = os.cpu_count() or 1
        result.load = (self._load, os.getloadavg()[0])
        result.others = max(busy - (self._own_time() - self._own), 0.0) / seconds
        result.busy = self._others(seconds)
        result.steal = (machine.steal - self._machine.steal) / seconds
        result.mhz = (min(self._mhz), max(self._mhz)) if self._mhz else None
        result.governors = _governors()

    def _own_time(self) -> float:
        """CPU seconds of this process, of its children that have ended, and of the servers."""
        own = 0.0
        for pid in self._ours:
            try:
                times = psutil.Process(pid).cpu_times()
            except psutil.Error:  # it has ended; what it took cannot be told from others' time
                continue
            own += times.user + times.system
            if pid == os.getpid():
                own += times.children_user + times.children_system
        return own

    def _others(self, seconds: float) -> dict[str, float]:
        shares = {
            f"{shell_word(name)} ({pid})": (used - self._processes[pid, started, name]) / seconds
            for (pid, started, name), used in _processes().items()
            if pid not in self._ours and (pid, started, name) in self._processes
        }
        busy = sorted(
            (item for item in shares.items() if item[1] >= NOTABLE), key=lambda item: -item[1]
        )
        return {name: round(share, 3) for name, share in busy[:MOST]}


@contextmanager
def watched(servers: Iterable[int], *, pinned: int | None = None) -> Iterator[Watch]:
    """Watch the machine; what was `seen` is complete once the context is left.

    `servers` are the pids of the FUSE servers whose work belongs to the measurement.
    """
    watch = Watch(servers, pinned)
    yield watch
    watch.close()


def _processes() -> dict[tuple[int, float, str], float]:
    """(pid, start time, name) -> CPU seconds, of all that this user may see."""
    found = {}
    for process in psutil.process_iter(["pid", "create_time", "name", "cpu_times"]):
        info = process.info
        if info["cpu_times"] is not None:
            key = (info["pid"], info["create_time"], info["name"])
            found[key] = info["cpu_times"].user + info["cpu_times"].system
    return found


def _busy(times: Any) -> float:
    """CPU seconds in which the machine worked. Guests' time is in that of user and nice."""
    work: float = times.user + times.nice + times.system + times.irq + times.softirq
    return work


def _governors(cpus: Path = CPUS) -> tuple[str, ...]:
    names = set()
    for path in cpus.glob(GOVERNORS):
        try:
            names.add(path.read_text().strip())
        except OSError:  # the CPU is off
            continue
    return tuple(sorted(names))
