"""Keeping idle CPUs from halting while requests come one after the other.

A client that waits for its answer leaves its CPU idle, and an idle CPU halts.  To wake it takes
longer than to serve the request, in a virtual machine many times as long: it has to leave
the CPU to the host, and to be called back.  Linux lets a program say how long that may take
(Linux: Documentation/power/pm_qos_interface.rst): while it holds /dev/cpu_dma_latency
open with a 0 in it, idle CPUs poll for work instead.

That is for all CPUs and takes power, so `polling` asks for it only while it is busy.  The
kernel forgets it when the daemon is gone, however it goes.  By default only root may ask.
"""

from __future__ import annotations

import logging
import os
from typing import Final

__all__ = ["DEVICE", "CpuLatency"]

log = logging.getLogger(__name__)

DEVICE: Final = "/dev/cpu_dma_latency"

NO_LATENCY: Final = bytes(4)
"""The most microseconds that an idle CPU may take to wake, as a signed 32-bit number."""


class CpuLatency:
    """A request to the kernel, made by `hold()` and taken back by `release()`.

    Where the kernel refuses it once, it is not asked again.
    """

    def __init__(self, device: str = DEVICE) -> None:
        self._device = device
        self._fd = -1
        self._refused = False

    def hold(self) -> None:
        """Let no idle CPU halt from now on; nothing happens if that is so, or refused."""
        if self._fd >= 0 or self._refused:
            return
        try:
            self._fd = os.open(self._device, os.O_WRONLY)
            os.write(self._fd, NO_LATENCY)
        except OSError as error:
            log.debug("idle CPUs halt under load, too: %s: %s", self._device, error.strerror)
            self._refused = True
            self.release()

    def release(self) -> None:
        """Let idle CPUs do what they did before."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
