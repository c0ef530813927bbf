"""Commands by a fork of a Python that has imported the program, for what tests stand on.

Most tests need a mount and ask nothing of how it was started, and nine tenths of a start are
Python's and the imports'. From there on all is the program's own: a fork of the server in
here becomes the command, with the arguments, environment, streams and working directory of
the test, forks its daemon and ends. What a test says of a command itself, it says of one that
it has started as a user does.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import NoReturn

MARK = "SCULLVFS_TEST"
"""The variable by which a test finds its processes."""
MARK_LENGTH = 36
IMPORTS = ("cli", "cli.mount", "daemon.start", "daemon.server", "mounts.stale")
LARGEST = 1 << 18
"""Bytes of a request: the arguments and the environment of a command."""


def run(
    arguments: list[str], env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `scullvfs` with these arguments to its end, as `subprocess.run` would.

    Args:
        env: the environment, with a `MARK` in it.
        timeout: seconds that it may take.
    """
    request = {"arguments": arguments, "env": dict(env), "cwd": os.getcwd()}
    with (
        open(os.devnull, "rb") as stdin,
        tempfile.TemporaryFile("w+") as stdout,
        tempfile.TemporaryFile("w+") as stderr,
    ):
        server = _server()
        server.settimeout(timeout)
        streams = [stream.fileno() for stream in (stdin, stdout, stderr)]
        socket.send_fds(server, [json.dumps(request).encode()], streams)
        status = json.loads(server.recv(LARGEST))
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(arguments, status, stdout.read(), stderr.read())


@cache
def _server() -> socket.socket:
    """The end of a new server to ask; it serves as long as this process lives."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(its.fileno())],
            env={**os.environ, MARK: "-" * MARK_LENGTH, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
        )
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


def serve(requests: socket.socket) -> None:
    """Fork a command for each request, and answer with its exit status."""
    for name in IMPORTS:
        import_module(f"scullvfs.{name}")
    gc.freeze()
    while True:
        data, streams, _, _ = socket.recv_fds(requests, LARGEST, 3)
        if not data:
            return
        pid = os.fork()
        if pid == 0:
            requests.close()
            _become(**json.loads(data), streams=streams)
        for fd in streams:
            os.close(fd)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        requests.send(json.dumps(status).encode())


def _become(arguments: list[str], env: dict[str, str], cwd: str, streams: list[int]) -> NoReturn:
    """Be the command."""
    for fd, stream in enumerate(streams):
        os.dup2(stream, fd)
        os.close(stream)
    os.chdir(cwd)
    _mark(env[MARK])
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["scullvfs", *arguments]
    import_module("scullvfs.cli").main(arguments, prog_name="scullvfs")
    raise AssertionError("click ends with SystemExit")


def _mark(value: str) -> None:
    """Write the mark where /proc/PID/environ shows it: into what this process was started with."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    assert len(value) == MARK_LENGTH
    ctypes.memmove(getenv(MARK.encode()), value.encode(), MARK_LENGTH)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
