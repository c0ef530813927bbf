"""The life of `scullvfs view`: a port, a page, a browser, until somebody stops it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable

from scullvfs.errors import RefusedError, ScullvfsError
from scullvfs.inherited import heeded

from .live import Live
from .server import LONGEST, Server

__all__ = ["listen", "open_browser", "serve"]


def listen(port: int) -> socket.socket:
    """A socket that listens at a port of 127.0.0.1; 0, at one that is free.

    Raises:
        RefusedError: this user may not have it.
        ScullvfsError: it is in use.
    """
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:  # whose own words have the address, too
        words = f"cannot listen at port {port}: {os.strerror(error.errno or errno.EIO)}"
        raise (RefusedError if error.errno == errno.EACCES else ScullvfsError)(words) from None


def serve(listener: socket.socket, path: str, ready: Callable[[Server], None]) -> None:
    """Serve the page of the mount at a path until SIGINT, SIGTERM or SIGHUP.

    Args:
        ready: called once requests are taken.
    """
    asyncio.run(_serve(listener, path, ready))


async def _serve(listener: socket.socket, path: str, ready: Callable[[Server], None]) -> None:
    stopped = asyncio.Event()
    for signum in heeded():
        asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
    page = Server(Live(path), listener.getsockname()[1])
    server = await asyncio.start_server(page.connected, sock=listener, limit=LONGEST)
    try:
        ready(page)
        await stopped.wait()
    finally:
        server.close()  # what is being asked is cancelled by asyncio.run()


def open_browser(address: str) -> None:
    """Have the user's browser open an address, without waiting for it."""
    subprocess.Popen(
        [sys.executable, "-m", "webbrowser", address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
