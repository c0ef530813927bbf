"""What a device is made to do wrong: fail, give or take less than it could, and take its time.

    write(2) --> delayed? --> cut short? --> fails? --> DeviceHandle.write()
                  | `Delayed`                  | OSError
                  v                            v
                held, others are served      in the trace, the log and the books

It sits where a call comes in, so all rules (`devices`) and drivers have the same faults, and a call
counts once, whatever the driver makes of it.  As for other faults a method that may fail stands in
the place of the plain one only while there is something to do (`mm.replacing`): a device that has
no fault set has nothing on its path.

What the page cache does counts as calls, too, but goes by rules of its own.  It takes a short fill
for the end of the file, and a short write of mapped pages for all of it, so these are answered in
full or with an error.  And there are errors that nobody hears of: what is read ahead is asked for
again when somebody wants it, and a write(2) of several requests, of which one fails that is not the
first, gives what the others have written.  The next call in that place then has the error, which
counts once (`RefusedFills`, `RefusedWrite`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

from scullvfs.mm import PAGE_SIZE, outside
from scullvfs.mm.replacing import Layer, Replaced, around, replace

from .node import refused
from .op_fault import OPERATIONS, DeviceKnob, OpFault
from .refused import RefusedFills, RefusedWrite
from .waiting import Delayed, Waiters

if TYPE_CHECKING:
    from scullvfs.mm.access import Buffer, View
    from scullvfs.mm.fault_inject import FaultInjection
    from scullvfs.mm.workqueue import Steps

    from .devices import DeviceFile

__all__ = ["DeviceFaults"]


class DeviceFaults:
    """The faults of one device.

    Args:
        file: the device's.
        faults: of the machine.
    """

    def __init__(self, file: DeviceFile, faults: FaultInjection) -> None:
        device = file.device
        name, driver = device.name, device.driver.name
        self._file: Final = file
        self._faults: Final = faults
        self._waiting: Final[Waiters] = {}
        """Who is delayed."""
        self._fills: Final = RefusedFills()
        self._written: Final = RefusedWrite()
        self._refused: Final[dict[str, RefusedFills | RefusedWrite]] = {
            "read": self._fills,
            "write": self._written,
        }
        """What has failed, and is to fail again, of some operations."""
        self._on: Final[set[OpFault]] = set()
        """Those that stand on the path."""
        self.operations: Final[dict[str, OpFault]] = {}
        """By the names of OPERATIONS."""
        self.short_read: Final = self._knob("short_read")
        """Bytes that a read(2) gives at the most."""
        self.short_write: Final = self._knob("short_write")
        """Bytes that a write(2) takes at the most."""
        self.delay_us: Final = self._knob("delay_us")
        """Microseconds that each call takes at least."""
        arch = device.machine.layout.name
        for operation in OPERATIONS:
            function = f"{driver}_{operation} [{driver}]"
            fault = OpFault(f"{name}/{operation}", faults, function, arch, self.update)
            self.operations[operation] = fault
            faults.add(fault, self._switched)

    def _knob(self, name: str) -> DeviceKnob:
        knob = DeviceKnob(f"{self._file.device.name}/{name}", self._faults, self.update)
        self._faults.add(knob, self._switched)
        return knob

    def reset(self) -> None:
        """Have all as it is at first."""
        for knob in (self.short_read, self.short_write, self.delay_us):
            knob.reset()
        for fault in self.operations.values():
            fault.reset()

    def __repr__(self) -> str:
        on = sorted(fault.operation for fault in self._on)
        return f"<DeviceFaults {self._file.device.name} on={on}>"

    # -- on and off --------------------------------------------------------------------------

    def _switched(self, on: bool) -> None:
        """A fault may come from now on, or not any more."""
        self.update()

    def update(self) -> None:
        """Have those on the path that have something to do there; who is delayed looks again."""
        for fault in self.operations.values():
            refused = self._refused.get(fault.operation)
            if refused is not None and not fault.error:
                refused.clear()  # it is to fail no more
            on = self._has_to_do(fault)
            if on != (fault in self._on):
                (self._on.add if on else self._on.discard)(fault)
                self._stand(fault, on)
                if on and refused is not None and not refused.unheard:
                    refused.clear()  # what has come meanwhile nobody has seen
        for wake in [*self._waiting]:
            wake()

    def _has_to_do(self, fault: OpFault) -> bool:
        short = {"read": self.short_read, "write": self.short_write}.get(fault.operation)
        refused = self._refused.get(fault.operation)
        return bool(
            self.delay_us.value
            or (short is not None and short.value)
            or fault.is_armed
            or fault.counts
            or (fault.error and self._faults.tasks.fail_nth)
            or (refused is not None and refused.unheard)
        )

    def _stand(self, fault: OpFault, on: bool) -> None:
        makers: dict[str, dict[str, Callable[[OpFault, Replaced], Replaced]]] = {
            "read": {"read": self._read, "read_pages": self._read_pages},
            "write": {"write": self._write, "write_pages": self._write_pages},
            "ioctl": {"ioctl": partial(self._any, more=(None,))},
            "llseek": {"lseek": self._any},
            "fallocate": {"fallocate": self._fallocate},
        }
        for name, make in makers.get(fault.operation, {}).items():
            self._file.replace_in_handles(name, partial(make, fault) if on else None)
        if fault.operation not in makers:
            wrap = partial(self._any, fault) if on else None
            replace(self._file, fault.operation, Layer.ENTRY, wrap)

    # -- delays ------------------------------------------------------------------------------

    def _delay(self, fault: OpFault) -> int:
        return self.delay_us.value + fault.delay_us

    def _delayed(self, fault: OpFault, go_on: Callable[[], Any]) -> Any:
        """Go on, or have it held until the delay is over."""
        delay = self._delay(fault)
        if not delay:
            return go_on()
        result = f"{delay} us"
        if self.delay_us.value:
            self.delay_us.inject(fault.function, result)
        else:
            self._faults.injected(fault, fault.function, result)
        return self._go_on(fault, go_on, outside.monotonic_ns() / 1e9)

    def _later(self, fault: OpFault, now: Replaced) -> Replaced:
        """A call whose arguments can be kept, at once or after the delay."""

        def call(*arguments: Any) -> Any:
            return self._delayed(fault, partial(now, *arguments))

        return call

    def _go_on(self, fault: OpFault, go_on: Callable[[], Any], began: float) -> Any:
        until = began + self._delay(fault) / 1_000_000
        if outside.monotonic_ns() / 1e9 < until:
            again = partial(self._go_on, fault, go_on, began)
            raise Delayed(self._waiting, again, until)
        return go_on()

    # -- the calls ---------------------------------------------------------------------------

    def _fail(self, fault: OpFault, *arguments: Any) -> NoReturn:
        """Raise the error, and have it recorded where the driver's function is traced."""

        def fail(*_: Any) -> NoReturn:
            raise refused(fault.error)

        around(self._file.device, fault.operation, Layer.TRACE, fail)(*arguments)
        raise AssertionError("it has to raise")

    def _any(self, fault: OpFault, method: Replaced, more: tuple[object, ...] = ()) -> Replaced:
        """A call that fails or does not.

        Args:
            more: what the driver's function is given besides.
        """

        def now(*arguments: Any) -> Any:
            if fault.begin() is None:
                self._fail(fault, *arguments, *more)
            return method(*arguments)

        return self._later(fault, now)

    def _read(self, fault: OpFault, method: Replaced) -> Replaced:
        device = self._file.device

        def now(pos: int, count: int) -> View:
            most = self.short_read.limit(count, fault.function)
            there = max(min(pos + most, device.size), pos)
            end = fault.begin(pos, there)
            if end is None:
                self._fail(fault, pos, count)
            data: View = method(pos, most if end == there else end - pos)
            return data

        return self._later(fault, now)

    def _read_pages(self, fault: OpFault, method: Replaced) -> Replaced:
        device = self._file.device
        refused = self._fills

        def now(pos: int, count: int) -> View:
            if refused.fails_again(pos, count):
                self.update()
                self._fail(fault, pos, count)
            end = max(min(pos + count, device.size), pos)
            if fault.reaches(pos + PAGE_SIZE, end):
                self._fail(fault, pos, count)  # its pages are asked for by themselves then
            if fault.begin(pos, end, whole=True) is None:
                refused.failed(pos, count)
                self.update()
                self._fail(fault, pos, count)
            refused.filled(pos, count)
            data: View = method(pos, count)
            return data

        return self._later(fault, now)

    def _write(self, fault: OpFault, method: Replaced) -> Replaced:
        device = self._file.device

        def now(pos: int, data: Buffer, append: bool) -> int:
            at = min(pos, device.size) if append else pos
            if self._written.fails_again(at):
                self.update()
                self._fail(fault, at, data)
            most = self.short_write.limit(len(data), fault.function)
            end = fault.begin(at, at + most)
            if end is None:
                if not self._file.direct_io:
                    self._written.failed(at)
                    self.update()
                self._fail(fault, at, data)
            count: int = method(pos, data if end - at == len(data) else data[: end - at], append)
            self._written.written(at, at + count)
            return count

        def write(pos: int, data: Buffer, append: bool) -> int:
            if self._delay(fault):
                data = bytes(data)  # by then it is gone
            count: int = self._delayed(fault, partial(now, pos, data, append))
            return count

        return write

    def _write_pages(self, fault: OpFault, method: Replaced) -> Replaced:
        """Not delayed: who waits for it, as sync(2) does, cannot be interrupted."""

        def write_pages(pos: int, data: Buffer) -> int:
            if fault.begin(pos, pos + len(data), whole=True) is None:
                self._fail(fault, pos, data)
            count: int = method(pos, data)
            return count

        return write_pages

    def _fallocate(self, fault: OpFault, method: Replaced) -> Replaced:
        def now(mode: int, off: int, length: int) -> Steps[None]:
            if fault.begin(off, off + length, whole=True) is None:
                self._fail(fault)
            steps: Steps[None] = method(mode, off, length)
            return steps

        return self._later(fault, now)
