"""The server of `scullvfs view`: a page on 127.0.0.1 for who has its address, and for nobody else.

    GET /TOKEN/                                the page; view.css and *.js beside it
    GET /TOKEN/state?have=VERSION              what has changed since (`live`)
    GET /TOKEN/quantum?device=NAME&number=N    a quantum (`state.Chosen`)
    GET /TOKEN/band?from=ADDRESS&to=ADDRESS    a part of the window (`state.Cells`)
    GET /ONCE/                                 once: leads to /TOKEN/

Another user of this machine can reach the port, and another site can have a browser ask it; neither
knows the token.  A name that leads to 127.0.0.1 is refused by the Host header (DNS rebinding).  The
browser is given an address that holds once, since everybody can read the arguments of a program.
Nothing is written, to no mount either, and no page of another site may show, read or run any of it.

Requests are read by http.server, but its servers have threads, and whoever asks a mount forks
(`live`): so the connections are asyncio's.  A request has to come, and its answer to go, in
TIMEOUT seconds, and at most CONNECTIONS are open at a time.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from hmac import compare_digest
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from .live import Live

__all__ = ["Server"]

TIMEOUT: Final = 30.0
CONNECTIONS: Final = 64
LONGEST: Final = 1 << 14
"""Bytes of a request."""
MOST: Final = (1 << 63) - 1
"""The largest number of a quantum, or of a version, that is asked for."""

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PAGE: Final = Path(__file__).with_name("page")

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Connection": "close",
}
"""What every answer has."""
ALLOWED: Final = ("GET", "HEAD")
DEVICE: Final = re.compile(r"scull[a-z]?\d{1,4}", re.ASCII)


class Answer:
    """What a request gets."""

    def __init__(
        self, status: HTTPStatus, kind: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.body = body
        self.headers = {**HEADERS, "Content-Type": kind, **(headers or {})}

    def sent(self, with_body: bool) -> bytes:
        """The bytes of it."""
        headers = {**self.headers, "Content-Length": str(len(self.body))}
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        head = "".join(f"{line}\r\n" for line in lines) + "\r\n"
        return head.encode("ascii") + (self.body if with_body else b"")


def _refusal(status: int, **headers: str) -> Answer:
    known = HTTPStatus(status)
    return Answer(known, "text/plain; charset=utf-8", f"{known.phrase}\n".encode(), headers)


class Request(BaseHTTPRequestHandler):
    """A request whose bytes are all there, read; `error` is a status if it is none."""

    def __init__(self, head: bytes) -> None:
        self.rfile, self.wfile = BytesIO(head), BytesIO()
        self.raw_requestline = self.rfile.readline()
        self.command = ""
        self.error = 0
        if not self.parse_request() and not self.error:
            self.error = HTTPStatus.BAD_REQUEST

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Keep what is wrong: what is sent says the same for all refusals."""
        self.error = code


class Server:
    """The page of a mount.

    Args:
        port: that it is reached at.
    """

    def __init__(self, live: Live, port: int) -> None:
        self._live = live
        self._token = secrets.token_urlsafe(32)
        self._once = secrets.token_urlsafe(32)
        names = ("127.0.0.1", "localhost")
        self._hosts = {f"{name}:{port}" for name in names} | ({*names} if port == 80 else set())
        self._origin = f"http://127.0.0.1:{port}"
        self._files = {
            path.name: (TYPES[path.suffix], path.read_bytes())
            for path in PAGE.iterdir()
            if path.suffix in TYPES
        }
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Where the page is, for who started it."""
        return f"{self._origin}/{self._token}/"

    @property
    def once(self) -> str:
        """What leads there once."""
        return f"{self._origin}/{self._once}/"

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection, which has one request; its reader has LONGEST for a limit.

        In a task of ours: of its own tasks asyncio complains when they are cancelled.
        """
        if len(self._connections) >= CONNECTIONS:
            writer.close()
            return
        task = asyncio.create_task(self._exchange(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                writer.write(await self._served(reader))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            pass  # it is the other one's loss
        finally:
            writer.close()

    async def _served(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE).sent(True)
        request = Request(head)
        return (await self.answer(request)).sent(request.command != "HEAD")

    async def answer(self, request: Request) -> Answer:
        """What a request gets."""
        if request.error:
            return _refusal(request.error)
        hosts = request.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].strip().lower() not in self._hosts:
            return _refusal(HTTPStatus.FORBIDDEN)
        try:
            target = urlsplit(request.path)
            query = parse_qs(target.query, max_num_fields=8)
        except ValueError:
            return _refusal(HTTPStatus.BAD_REQUEST)
        if target.netloc and target.netloc.lower() not in self._hosts:  # it says more than Host
            return _refusal(HTTPStatus.FORBIDDEN)
        token, slash, name = target.path.removeprefix("/").partition("/")
        once = self._once and _same(token, self._once)
        if not once and not _same(token, self._token):
            return _refusal(HTTPStatus.FORBIDDEN)
        if request.command not in ALLOWED:
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, Allow=", ".join(ALLOWED))
        if once or not slash:
            if once and request.command == "GET":
                self._once = ""
            return _refusal(HTTPStatus.SEE_OTHER, Location=f"/{self._token}/")
        return await self._content(name, query)

    async def _content(self, name: str, query: dict[str, list[str]]) -> Answer:
        """What is behind the token."""
        if name in ("state", "quantum", "band"):
            said = await self._said(name, {key: values[-1] for key, values in query.items()})
            if said is None:
                return _refusal(HTTPStatus.BAD_REQUEST)
            return Answer(HTTPStatus.OK, "application/json", said.encode())
        file = self._files.get(name or "index.html")
        if file is None:
            return _refusal(HTTPStatus.NOT_FOUND)
        return Answer(HTTPStatus.OK, *file)

    async def _said(self, name: str, asked: dict[str, str]) -> str | None:
        """What the mount says, as JSON; None, that is no question."""
        if name == "band":
            first, last = _address(asked.get("from", "")), _address(asked.get("to", ""))
            return None if first is None or last is None else await self._live.band(first, last)
        number = _number(asked.get("have" if name == "state" else "number", "0"))
        if number is None:
            return None
        if name == "state":
            return await self._live.state(number)
        device = asked.get("device", "")
        return await self._live.chosen(device, number) if DEVICE.fullmatch(device) else None


def _same(token: str, right: str) -> bool:
    """Whether they are the same; how long it takes says nothing of how much of it is."""
    return compare_digest(token.encode("utf-8", "surrogatepass"), right.encode())


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) and int(text) <= MOST else None


def _address(text: str) -> int | None:
    return int(text, 16) if re.fullmatch(r"[0-9a-f]{1,16}", text) else None
