"""The server of `scullvfs view`: what it answers to whom.

Its mount is none, so that the page has a trouble to tell, and nothing has to be mounted.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from scullvfs.view import server
from scullvfs.view.live import Live
from scullvfs.view.server import PAGE, Server

PORT = 4321


@pytest.fixture
def page(tmp_path: Path) -> Server:
    """A page of a directory."""
    return Server(Live(str(tmp_path)), PORT)


def exchange(page: Server, *requests: bytes) -> list[tuple[str, dict[str, str], bytes]]:
    """What each of some connections gets: status line, headers, body."""

    async def all_of_them() -> list[bytes]:
        listening = await asyncio.start_server(page.connected, "127.0.0.1", 0, limit=1 << 14)
        port = listening.sockets[0].getsockname()[1]
        answers = []
        for request in requests:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            writer.write_eof()
            answers.append(await reader.read())
            writer.close()
        listening.close()
        return answers

    return [split(answer) for answer in asyncio.run(all_of_them())]


def split(answer: bytes) -> tuple[str, dict[str, str], bytes]:
    """The parts of an answer; of none, empty ones."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    return status, dict(line.split(": ", 1) for line in headers), body


def ask(page: Server, path: str, method: str = "GET", host: str = f"127.0.0.1:{PORT}") -> bytes:
    """The bytes of a request for a path behind the token, or for another one with a slash."""
    target = path if path.startswith("/") else page.address.removeprefix(f"http://{LOCAL}") + path
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


LOCAL = f"127.0.0.1:{PORT}"


def test_page(page: Server) -> None:
    """The page and its parts, each of its type, and nothing of it from elsewhere."""
    names = ["", *(path.name for path in PAGE.iterdir())]
    assert {"index.html", "main.js", "view.css", "icon.svg"} <= {*names}
    for name, (status, headers, body) in zip(
        names, exchange(page, *(ask(page, name) for name in names)), strict=True
    ):
        assert status == "HTTP/1.1 200 OK"
        assert body == (PAGE / (name or "index.html")).read_bytes()
        assert headers["Content-Type"] == server.TYPES[Path(name or "index.html").suffix]
        assert b"://" not in body.replace(b"http://www.w3.org/2000/svg", b"")


def test_page_runs_nothing_of_its_own() -> None:
    """The policy allows neither scripts nor styles within the page, and none are there."""
    html = (PAGE / "index.html").read_text()
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]* src=)", html)
    for path in PAGE.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|setAttribute\(.style",
            path.read_text(),
        )


def test_headers(page: Server) -> None:
    """Every answer has them, a refusal, too."""
    refused = ask(page, "/wrong/")
    for _, headers, _ in exchange(page, ask(page, ""), ask(page, "state"), refused, b"x\r\n\r\n"):
        policy = headers["Content-Security-Policy"].split("; ")
        assert policy[0] == "default-src 'none'"
        assert "frame-ancestors 'none'" in policy
        assert not any("unsafe" in part or "http" in part or "*" in part for part in policy)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert not [name for name in headers if name.startswith("Access-Control")]
        assert "Server" not in headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_token(page: Server, method: str) -> None:
    """Without the right one there is nothing, not even whether a file is there."""
    token = page.address.split("/")[3]
    wrong = [
        "/",
        "/state",
        "/index.html",
        f"/{token[:-1]}/",
        f"/{token}x/state",
        f"/{token.swapcase()}/",
        "/\x80/",
        f"/x/../{token}/",
        f"//evil.example/{token}/",
        "*",
    ]
    asked = [ask(page, path, method) if path != "*" else b"%s * HTTP/1.1\r\nHost: %s\r\n\r\n"
             % (method.encode(), LOCAL.encode()) for path in wrong]  # fmt: skip
    for status, _, body in exchange(page, *asked):
        assert status == "HTTP/1.1 403 Forbidden"
        assert body == (b"Forbidden\n" if method == "GET" else b"")


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        f"evil.example:{PORT}",
        "127.0.0.1",
        f"127.0.0.1:{PORT + 1}",
        f"127.0.0.1.evil.example:{PORT}",
        f"[::1]:{PORT}",
        f"0.0.0.0:{PORT}",
        f"{LOCAL}\r\nHost: evil.example",
        f"{LOCAL}, evil.example",
    ],
)
def test_foreign_host(page: Server, host: str) -> None:
    """With the token, but by a name that is another's."""
    ((status, _, body),) = exchange(page, ask(page, "state", host=host))
    assert (status, body) == ("HTTP/1.1 403 Forbidden", b"Forbidden\n")


def test_no_host(page: Server) -> None:
    """An old request has none, and is refused."""
    path = page.address.removeprefix(f"http://{LOCAL}")
    requests = (f"GET {path} HTTP/1.0\r\n\r\n", f"GET {path}\r\n\r\n")
    for status, *_ in exchange(page, *(request.encode() for request in requests)):
        assert status == "HTTP/1.1 403 Forbidden"


@pytest.mark.parametrize(
    ("authority", "status"),
    [(LOCAL, "200"), (f"LOCALHOST:{PORT}", "200"), ("evil.example", "403"), (f"a@{LOCAL}", "403")],
)
def test_absolute_address(page: Server, authority: str, status: str) -> None:
    """A request may name the host in its first line, and that counts more than the header."""
    path = page.address.removeprefix(f"http://{LOCAL}")
    request = f"GET http://{authority}{path} HTTP/1.1\r\nHost: {LOCAL}\r\n\r\n"
    ((line, *_),) = exchange(page, request.encode())
    assert line.split()[1] == status


def test_localhost(page: Server) -> None:
    """The other name that is ours."""
    ((status, *_),) = exchange(page, ask(page, "", host=f"LocalHost:{PORT}"))
    assert status == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO"])
def test_other_methods(page: Server, method: str) -> None:
    """Nothing is written here, and nothing is asked before."""
    ((status, headers, _),) = exchange(page, ask(page, "state", method))
    assert (status, headers["Allow"]) == ("HTTP/1.1 405 Method Not Allowed", "GET, HEAD")


def test_head(page: Server) -> None:
    """As GET, without the body."""
    (_, whole, body), (status, head, nothing) = exchange(
        page, ask(page, "main.js"), ask(page, "main.js", "HEAD")
    )
    assert (status, head, nothing) == ("HTTP/1.1 200 OK", whole, b"")
    assert int(head["Content-Length"]) == len(body)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nothing", 404),
        ("../server.py", 404),
        ("..%2fserver.py", 404),
        ("page/main.js", 404),
        ("state?have=x", 400),
        ("state?have=-1", 400),
        ("state?have=99999999999999999999", 400),
        ("state?" + "a=1&" * 20, 400),
        ("quantum", 400),
        ("quantum?device=proc&number=0", 400),
        ("quantum?device=scullv0&number=1e9", 400),
        ("quantum?device=scullv0%0a&number=1", 400),
        ("quantum?device=scullv&number=1", 400),
        ("band", 400),
        ("band?from=0", 400),
        ("band?from=0x10&to=20", 400),
        ("band?from=-1&to=20", 400),
        ("band?from=0&to=10000000000000000", 400),
    ],
)
def test_bad_paths(page: Server, path: str, status: int) -> None:
    """What is not there, and what cannot be asked."""
    ((line, *_),) = exchange(page, ask(page, path))
    assert line.split()[1] == str(status)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\r\n\r\n", "400"),
        (b"GET\r\n\r\n", "400"),
        (b"GET / HTTP/9.9\r\n\r\n", "505"),
        (b"GET / FTP/1.1\r\n\r\n", "400"),
        (b"\xff\xfe\x00 / HTTP/1.1\r\n\r\n", "403"),
        (b"GET http://[ HTTP/1.1\r\nHost: 127.0.0.1:4321\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", "431"),
        (b"GET /" + b"a" * (1 << 15) + b" HTTP/1.1\r\n\r\n", "431"),
    ],
)
def test_no_requests(page: Server, request_: bytes, status: str) -> None:
    """Each gets an answer, and the next one its own."""
    (line, *_), (after, *_) = exchange(page, request_, ask(page, ""))
    assert line.split()[1] == status
    assert after == "HTTP/1.1 200 OK"


def test_half_a_request(page: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets none; one that never comes is not waited for."""
    ((status, *_),) = exchange(page, b"GET / HTTP/1.1\r\nHost: ")
    assert status == ""
    monkeypatch.setattr(server, "TIMEOUT", 0.01)

    async def silent() -> bytes:
        listening = await asyncio.start_server(page.connected, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        try:
            return await reader.read()
        finally:
            writer.close()
            listening.close()

    assert asyncio.run(silent()) == b""


def test_too_many_connections(page: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much is closed, and the others are served."""
    monkeypatch.setattr(server, "CONNECTIONS", 1)

    async def two() -> tuple[bytes, bytes]:
        listening = await asyncio.start_server(page.connected, "127.0.0.1", 0)
        address = listening.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        late, more = await asyncio.open_connection(*address)
        refused = await late.read()
        writer.write(ask(page, ""))
        served = await reader.read()
        for each in (writer, more):
            each.close()
        listening.close()
        return refused, served

    refused, served = asyncio.run(two())
    assert (refused, served[:15]) == (b"", b"HTTP/1.1 200 OK")


def test_once(page: Server) -> None:
    """The browser's address leads to the page, and then nowhere."""
    path = page.once.removeprefix(f"http://{LOCAL}")
    head, first, second = exchange(
        page, ask(page, path, "HEAD"), ask(page, path + "x"), ask(page, path)
    )
    for status, headers, _ in (head, first):
        assert status == "HTTP/1.1 303 See Other"
        assert f"http://{LOCAL}{headers['Location']}" == page.address
    assert second[0] == "HTTP/1.1 403 Forbidden"
    assert path.strip("/") not in page.address


def test_state_of_no_mount(page: Server, tmp_path: Path) -> None:
    """What is wrong is told once, and then that nothing is new."""
    ((*_, body),) = exchange(page, ask(page, "state"))
    state = json.loads(body)
    assert state["mount"] == str(tmp_path)
    assert state["trouble"].startswith(f"{tmp_path} is not mounted")
    ((*_, body),) = exchange(page, ask(page, f"state?have={state['version']}"))
    assert json.loads(body) == {"version": state["version"], "silence": 0, "behind": False}


@pytest.mark.parametrize("path", ["quantum?device=scullv0&number=3", "band?from=0&to=1000"])
def test_parts_of_no_mount(page: Server, path: str) -> None:
    """The same for a quantum, and for a part of the window."""
    ((status, _, body),) = exchange(page, ask(page, path))
    assert status == "HTTP/1.1 200 OK"
    assert "is not mounted" in json.loads(body)["trouble"]


def test_tokens_differ(tmp_path: Path) -> None:
    """Each server has its own, of 256 bits."""
    addresses = {Server(Live(str(tmp_path)), PORT).address for _ in range(4)}
    assert len(addresses) == 4
    assert {len(address.split("/")[3]) for address in addresses} == {43}
