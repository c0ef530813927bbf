"""The line to the service manager: sd_notify(3), in the few lines that it takes.

The protocol is one datagram of `NAME=value` lines to the socket that $NOTIFY_SOCKET
names, and is promised to stay so (systemd: sd_notify(3), "Standalone implementations").
The libraries for it are a binding to libsystemd, which wants its headers to be built and
is no use without systemd, or have had no release for years. Used by `service_manager`; knows
nothing of FUSE and trio.
"""

import os
import socket
from collections.abc import MutableMapping
from typing import Final, Self

__all__ = ["Notifier", "forget_service_manager"]

_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Tells the service manager how this process fares.

    Attributes:
        watchdog: seconds within which it wants to hear `WATCHDOG=1`; None for never.
    """

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        # A name in the abstract namespace begins with NUL, written as @.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog = watchdog

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Self | None:
        """The service manager that started this process; None if none did.

        Takes the variables away, so that no child speaks for this process.
        """
        address = environment.get("NOTIFY_SOCKET", "")
        usec = environment.get("WATCHDOG_USEC", "")
        pid = environment.get("WATCHDOG_PID") or str(os.getpid())
        forget_service_manager(environment)
        if address[:1] not in ("/", "@"):
            return None
        mine = usec.isdecimal() and int(usec) > 0 and pid == str(os.getpid())
        return cls(address, int(usec) / 1_000_000 if mine else None)

    def __call__(self, **state: str) -> None:
        """Send `state`: `notify(READY="1", STATUS="...")`.

        A service manager that cannot be reached is none: nothing is raised.
        """
        lines = {name: value.replace("\n", " ") for name, value in state.items()}
        message = "\n".join(f"{name}={value}" for name, value in lines.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notify:
            try:
                notify.sendto(message.encode(errors="surrogateescape"), self._address)
            except OSError:
                pass


def forget_service_manager(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make this process one that no service manager waits for."""
    for variable in _VARIABLES:
        environment.pop(variable, None)
