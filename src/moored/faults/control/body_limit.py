"""What is wrong with a request's body before any route can say so: too long, or never whole."""

from __future__ import annotations

import json
from contextlib import suppress

import trio
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from moored.faults.control.bodies import MAX_BODY_BYTES
from moored.faults.endings import LINGER

__all__ = ["BodyLimit"]


class BodyLimit:
    """An ASGI application before another one, whose requests have bodies that may be read.

    One that is announced to be too long is refused before it comes.  A client that leaves in the
    midst of its body gets no answer, and nobody is told: it is no failure of the server.

    :param app: the other one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "http" and _announced(scope) > MAX_BODY_BYTES:
            await _refuse(scope, receive, send)
            return
        with suppress(ClientDisconnect):
            await self._app(scope, receive, send)


def _announced(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    words = {"error": f"body of more than {MAX_BODY_BYTES} bytes", "status": 413}
    body = json.dumps(words).encode() + b"\n"
    # Toxiproxy's errors are JSON too, and call themselves text.
    ours = scope["path"].startswith("/moored")
    headers = [
        (b"content-type", b"application/json" if ours else b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    # Closing with unread bytes would be a reset, which destroys the answer on its way.
    with trio.move_on_after(LINGER):
        while (await receive())["type"] != "http.disconnect":
            pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
