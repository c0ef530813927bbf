"""Accesses that may lead to what is no quantum of the device's.

With LDD3's mistakes a pointer in a quantum set may be garbage, and an access runs over the end of a
quantum; under hardened_usercopy the kernel forbids some that do neither.  Each of these may end it,
with EFAULT and a report in the log:

    hardened_usercopy  -->  what lies behind in the member's memory  -->  the page tables  -->  done

What a write has changed outside of its quantum is put down (`mm.overrun`).  Where there is neither
quirk nor hardened_usercopy nothing of this is asked.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from scullvfs.mm import Machine, PageFault
from scullvfs.mm.errors import UsercopyAbort
from scullvfs.mm.usercopy import check_object_size

from .oops import driver_oops, usercopy_oops
from .quanta import Quanta

if TYPE_CHECKING:
    from scullvfs.mm.access import Buffer

    from .parameters import Parameters

__all__ = ["CheckedQuanta"]


class CheckedQuanta(Quanta):
    """Quanta, and where accesses to them lead; the arguments are those of `Quanta`."""

    name: str
    """The device's, such as scullv0."""

    def __init__(
        self,
        machine: Machine,
        parameters: Parameters,
        address: int,
        quirk_ldd3: bool,
        shared: Any,
    ) -> None:
        self._checked: Final = quirk_ldd3 or machine.hardened_usercopy
        """Whether to look where an access leads."""
        self._wide: Final = (1 << 8 * machine.layout.pointer_size) - 1
        super().__init__(machine, parameters, address, quirk_ldd3, shared)

    def _check(self, quantum: int, q_pos: int, count: int, write: bool) -> int:
        """Look where an access leads, with the quirk or under hardened_usercopy.

        Returns the address: what is followed may be any bits.

        Raises:
            OSError: EFAULT, with a report in the kernel log.
        """
        machine, name = self.machine, self.driver.name
        address = quantum + q_pos & self._wide
        if machine.hardened_usercopy:
            try:
                check_object_size(machine, address, count, to_user=not write)
            except UsercopyAbort as abort:
                raise usercopy_oops(machine, name, abort, write) from abort
        return self._follow(quantum, q_pos, count, write) if self.quirk_ldd3 else address

    def _follow(self, quantum: int, q_pos: int, count: int, write: bool) -> int:
        """As `_check()`, where it is no copy to or from a process."""
        address = quantum + q_pos & self._wide
        self._check_overrun(quantum, q_pos, count, write)
        try:
            self._memory.translate(address, count, write)
        except PageFault as fault:
            call = "write" if write else "read"
            raise driver_oops(self.machine, self.driver.name, fault, call) from fault
        return address

    def _check_overrun(self, quantum: int, q_pos: int, count: int, write: bool) -> None:
        """Look where an access leads, as the member's memory has a way of its own to tell.

        Raises:
            OSError: EFAULT, with a report in the kernel log.
        """

    def _write_checked(self, quantum: int, q_pos: int, data: Buffer) -> None:
        """Write to what may not be a quantum, or over the end of one."""
        address = self._check(quantum, q_pos, len(data), write=True)
        with self._overrunning(quantum, q_pos, len(data), self.quantum):
            self.copy_from_user(address, data)

    def _overrunning(
        self, quantum: int, q_pos: int, count: int, accessed: int
    ) -> AbstractContextManager[None]:
        """While it lasts, `count` bytes at a place in a quantum are written.

        With the quirk, what does not lie in the quantum is put down (`mm.overrun`).
        """
        if not self.quirk_ldd3:
            return nullcontext()
        size = self._given.size(quantum)
        room = self._room(size) if size else 0
        behind = max(q_pos, room)
        if q_pos + count <= behind:
            return nullcontext()
        name = f"{self.name}: quantum {self.machine.layout.pointer(quantum)}"
        return self.machine.overruns.watching(
            name, room, accessed, quantum + behind & self._wide, q_pos + count - behind
        )

    def whose(self, address: int) -> str | None:
        """What of this device lies at an address, with the quirk."""
        pointer = self.machine.layout.pointer(address)
        if self._given.size(address):
            return f"{self.name} quantum {pointer}"
        if address in self._qsets.values():
            return f"{self.name} quantum set {pointer}"
        return None
