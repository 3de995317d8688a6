"""Who may ask: this page, on this machine, with this start's token.

A server on loopback is still open to every page that its user visits, and to other users of the
machine. So each request must name the very host that was started (a page whose name was pointed at
127.0.0.1 names its own), come from our own origin, and carry the token of the link.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import os
import secrets
import socket
import webbrowser
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rhmnet.errors import InputError, short
from rhmnet.files.reading import parse_json

MOST_JSON = 2**20
"""Bytes of a JSON body."""
MOST_IMPORT = 2**25
"""Bytes of a file that is brought in."""
LONGEST_NAME = 64
"""Characters of a name that a page made, of itself or of an edit."""
PROTOCOL = "rhmnet"
"""WebSocket subprotocol that the server takes; the one beside it carries the token."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MOST_POINTS = 50_000
_FARTHEST = 100_000  # pixels from the frame's corner that a stroke may reach
_LONGEST_TITLE = 80  # characters of an object's name
_MOST_WAITING = 4096  # messages for a tab that does not read them; then its socket is closed
_TOKEN_PREFIX = "token."
_SUBPROTOCOL = b"sec-websocket-protocol"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Refused(Exception):
    """A request that is not answered: its status, and one line that says why."""

    def __init__(self, status: int, why: str, **more: Any) -> None:
        super().__init__(why)
        self.status, self.content = status, {"error": why, **more}

    def response(self) -> JSONResponse:
        """What is sent instead."""
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else None
        return JSONResponse(self.content, self.status, headers)


class Stale(Exception):
    """An edit that is based on another revision than the present one."""

    def __init__(self, revision: int) -> None:
        super().__init__("the strokes have changed since; load them anew")
        self.revision = revision


def new_token() -> str:
    """A fresh secret, 192 bits, of characters that a link and a header may hold."""
    return secrets.token_urlsafe(24)


def hosts_of(args: argparse.Namespace, port: int) -> list[str]:
    """The values of `Host` that are this server's."""
    names = [*LOOPBACK]
    if args.host not in LOOPBACK:
        names += [args.host] if args.host not in ("0.0.0.0", "::") else [socket.gethostname()]
    return [f"{named(name)}:{port}" for name in names] + args.origin


def named(host: str) -> str:
    """A host as links write it."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


@contextmanager
def shown_in_browser(link: str, folder: Path) -> Iterator[None]:
    """Have the browser follow the link, by a file in `folder` that leads to it, which then goes.

    The file is readable to its user alone. What stands on a command line, as the link with its
    token would on the browser's, all users of a machine can see. A browser may be shut out of the
    system's folder for temporary files, but hardly of the one that the videos lie in.
    """
    place = folder if os.access(folder, os.W_OK) else None
    with NamedTemporaryFile("w", dir=place, prefix="rhmnet-", suffix=".html") as file:
        file.write(f'<meta http-equiv="refresh" content="0;url={link}"><a href="{link}">Canvas</a>')
        file.flush()
        webbrowser.open(Path(file.name).resolve().as_uri())
        yield


class Guard:
    """ASGI middleware: refuses strangers, and adds what browsers must keep to.

    hosts: the values of `Host` that are ours, as `localhost:8765`. token: what a request for
    anything under /api must carry; the page itself holds no secret.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], token: str) -> None:
        self._app, self._hosts, self._token = app, frozenset(hosts), token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        host = _only(scope, b"host")

        async def send_guarded(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                _add_headers(message, host if host in self._hosts else "localhost")
            await send(message)

        try:
            self._check(scope, host)
        except Refused as refused:
            await _refuse(scope, receive, send_guarded, refused)
            return
        await self._app(scope, receive, send_guarded)

    def _check(self, scope: Scope, host: str | None) -> None:
        """Raise `Refused` for a host, an origin or a token that is not ours."""
        if host not in self._hosts:
            raise Refused(403, "this host is not the canvas'; use the link that it printed")
        socket = scope["type"] == "websocket"
        origins = _values(scope, b"origin")
        if any(origin != f"http://{host}" for origin in origins) or (socket and not origins):
            raise Refused(403, "this origin is not the canvas' page; use the link that it printed")
        if _only(scope, b"sec-fetch-site") not in (None, "same-origin", "none") and not (
            _is_followed_link(scope)
        ):
            raise Refused(403, "asked by another site; use the link that the canvas printed")
        if not scope["path"].startswith("/api/"):
            return
        if not hmac.compare_digest(_token_of(scope).encode(), self._token.encode()):
            raise Refused(
                401, "the token is missing or of an earlier start; use the link that was printed"
            )


class Tabs:
    """The sockets of all tabs, and which of them may edit.

    Its methods run in the server's loop, but for `publish`.
    """

    def __init__(self) -> None:
        self.editor: str | None = None
        self._queues: dict[asyncio.Queue, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def publish(self, message: dict[str, Any]) -> None:
        """Tell all tabs; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._spread, message)

    def join(self, client: str) -> asyncio.Queue:
        """A new tab: its messages. The first one is the editor."""
        self._loop = asyncio.get_running_loop()
        queue: asyncio.Queue = asyncio.Queue()
        self._queues[queue] = client
        if self.editor is None:
            self.take(client)
        return queue

    def leave(self, queue: asyncio.Queue) -> None:
        """A tab is gone. Where it was the editor, the next one to edit becomes it."""
        client = self._queues.pop(queue, None)
        if client == self.editor and client not in self._queues.values():
            self.take(None)

    def take(self, client: str | None) -> None:
        """Make a tab the editor; the others become viewers."""
        self.editor = client
        self._spread({"type": "editor", "client": client})

    def check(self, client: str) -> None:
        """Raise `Refused` for a viewer."""
        if self.editor is None:
            self.take(client)
        if client != self.editor:
            raise Refused(409, "another tab is at work; take over there first", editor=False)

    def _spread(self, message: dict[str, Any]) -> None:
        for queue in self._queues:
            if queue.qsize() == _MOST_WAITING:
                message = None  # its socket closes; the page comes again, and asks for all anew
            queue.put_nowait(message)


async def read_body(request: Request, most: int) -> bytes:
    """A body of at most `most` bytes; reading ends where it is longer. Raises `Refused`."""
    why = f"the body is longer than {most} bytes; send less at a time"
    said = request.headers.get("content-length", "0")
    if not said.isdecimal() or int(said) > most:
        raise Refused(413, why)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise Refused(413, why)
    return bytes(data)


async def read_json_body(request: Request) -> dict[str, Any]:
    """A body that is one JSON object. Raises `Refused`, and InputError for what is no JSON."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "expected Content-Type: application/json")
    content = parse_json(await read_body(request, MOST_JSON), "the body", "one JSON object")
    if not isinstance(content, dict):
        raise Refused(400, "the body is no JSON object; expected {...}")
    return content


def number_in(value: Any, name: str, least: int, most: int) -> Any:
    """A whole number of a body or an address; None only where an address lacks it."""
    if value is None and name == "w":
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 12:
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        raise Refused(400, f"{name}: {short(value)}; expected a number from {least} to {most}")
    return value


def word_in(value: Any, name: str) -> str:
    """A short name that a page made."""
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= LONGEST_NAME:
        raise Refused(400, f"{name}: {short(value)}; expected 1 to {LONGEST_NAME} characters")
    return value


def points_in(given: Any) -> np.ndarray:
    """A stroke's points, float64 [P, 2] (x, y): whole pixels, none like the one before it.

    Raises InputError for anything else.
    """
    numbers = isinstance(given, list) and 1 <= len(given) <= _MOST_POINTS
    numbers = numbers and all(
        isinstance(point, list)
        and len(point) == 2
        and all(type(v) in (int, float) and abs(v) <= _FARTHEST for v in point)
        for point in given
    )
    if not numbers:
        raise InputError(
            f"points: expected 1 to {_MOST_POINTS} pairs [x, y] in pixels of the video, found "
            f"{short(given)}"
        )
    points = np.floor(np.array(given, np.float64) + 0.5)
    moved = np.ones(len(points), bool)
    moved[1:] = (np.diff(points, axis=0) != 0).any(axis=1)
    return points[moved]


def name_in(given: Any) -> str:
    """An object's name. Raises InputError."""
    name = given.strip() if isinstance(given, str) else ""
    if not name.isprintable() or not 0 < len(name) <= _LONGEST_TITLE:
        raise InputError(f"name: {short(given)}; expected 1 to {_LONGEST_TITLE} characters")
    return name


async def _refuse(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    """Answer with the refusal; a WebSocket is closed before it opens."""
    if scope["type"] == "http":
        await refused.response()(scope, receive, send)
        return
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 4000 + refused.status})
        return
    body = json.dumps(refused.content).encode()
    headers = [(b"content-type", b"application/json")]
    await send(
        {
            "type": "websocket.http.response.start",
            "status": refused.status,
            "headers": headers,
        }
    )
    await send({"type": "websocket.http.response.body", "body": body})


def _add_headers(message: Message, host: str) -> None:
    headers = list(message.get("headers", ()))
    there = {name.lower() for name, _ in headers}
    wanted = {**_HEADERS, "Content-Security-Policy": _POLICY.format(host=host)}
    wanted["Cache-Control"] = "no-store"  # unless the answer itself says otherwise
    for name, value in wanted.items():
        if name.lower().encode() not in there:
            headers.append((name.encode(), value.encode()))
    message["headers"] = headers


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _only(scope: Scope, name: bytes) -> str | None:
    """A header's value; None where it is not there, and a value of nobody where it is doubled."""
    values = _values(scope, name)
    return values[0] if len(values) == 1 else ("" if values else None)


def _is_followed_link(scope: Scope) -> bool:
    """Whether a link elsewhere, as in a terminal in a browser, leads to the page: a new document.

    The page itself holds no secret.
    """
    how = _only(scope, b"sec-fetch-mode"), _only(scope, b"sec-fetch-dest"), scope.get("method")
    return how == ("navigate", "document", "GET") and not scope["path"].startswith("/api/")


def _token_of(scope: Scope) -> str:
    if scope["type"] == "websocket":
        offered = [word.strip() for word in ",".join(_values(scope, _SUBPROTOCOL)).split(",")]
        tokens = [word for word in offered if word.startswith(_TOKEN_PREFIX)]
        return tokens[0][len(_TOKEN_PREFIX) :] if PROTOCOL in offered and tokens else ""
    kind, _, token = (_only(scope, b"authorization") or "").partition(" ")
    return token if kind.lower() == "bearer" else ""
