"""A mock AI server: an OpenAI-compatible chat and a numbered feed, over SSE and WebSocket."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from wsproto.utilities import RemoteProtocolError

from moored.faults import replies
from moored.faults.endings import finish
from moored.faults.feed import FeedRequest
from moored.faults.listening import authority, background, listen
from moored.faults.record import Changes, Log
from moored.faults.replies import BadRequest
from moored.faults.routes import (
    HTTP_ROUTES,
    WEBSOCKET_ROUTES,
    Exchange,
    Settings,
    authorized,
    respond_json,
)
from moored.faults.server_http import HttpConnection, HttpRequest
from moored.faults.server_websocket import WebSocketSession

__all__ = ["ServedRequest", "Server", "open_server"]


@attrs.frozen
class ServedRequest:
    """One request that the server got, without what holds secrets: query, headers and body.

    :ivar number: from 1, in the order in which the requests came.
    :ivar transport: ``"http"``, ``"sse"`` or ``"websocket"``.
    :ivar status: of the answer; 101 for a WebSocket; ``None`` before there is one.
    :ivar resumed_after: the feed position that the client gave, or ``None``.
    :ivar sent: messages sent so far; the end message does not count.
    :ivar started: when, by Trio's clock, in seconds.
    :ivar ended: when, or ``None`` while it is being served.
    :ivar complete: whether it was answered to the end; ``False`` when the client left before.
    """

    number: int
    method: str
    path: str
    transport: str
    started: float
    status: int | None = None
    resumed_after: int | None = None
    sent: int = 0
    ended: float | None = None
    complete: bool = False


class Server:
    """The mock server.  :func:`open_server` puts one on TCP.

    One that is made by hand listens nowhere: give it connections with :meth:`serve_connection`.

    :param pace: seconds between two tokens or messages.
    :param api_key: what the chat routes ask for as ``Authorization: Bearer``; ``None``: nothing.
    :param keepalive: seconds of quiet after which the SSE feed sends a comment.
    :raises ValueError: for a pace that is negative or not finite, or a keepalive that is not
        positive.
    """

    def __init__(
        self, *, pace: float = 0.0, api_key: str | None = None, keepalive: float = 15.0
    ) -> None:
        if not 0 <= pace < math.inf:
            raise ValueError(f"pace must be a finite number of seconds, at least 0, not {pace!r}")
        if not keepalive > 0:
            raise ValueError(f"keepalive must be more than 0 seconds, not {keepalive!r}")
        self._settings = Settings(pace=pace, api_key=api_key, keepalive=keepalive)
        self._log: Log[ServedRequest] = Log()
        self._changes = Changes()
        self._open: dict[int, Exchange] = {}
        self._count = 0
        self._address: tuple[str, int] | None = None

    @property
    def requests(self) -> tuple[ServedRequest, ...]:
        """The requests so far (the last 10,000), oldest first, those being served included."""
        return tuple(
            attrs.evolve(entry, **_facts(self._open[entry.number]))
            if entry.number in self._open
            else entry
            for entry in self._log.entries()
        )

    @property
    def port(self) -> int:
        """The TCP port.

        :raises RuntimeError: when the server does not listen.
        """
        return self._listening()[1]

    @property
    def url(self) -> str:
        """``http://host:port``, without a slash at the end."""
        return f"http://{authority(*self._listening())}"

    @property
    def ws_url(self) -> str:
        """``ws://host:port``, without a slash at the end."""
        return f"ws://{authority(*self._listening())}"

    def _listening(self) -> tuple[str, int]:
        if self._address is None:
            raise RuntimeError("this server does not listen: use open_server()")
        return self._address

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition()`` is true: asked again whenever a request comes or ends."""
        await self._changes.wait_until(condition)

    async def serve_connection(self, stream: trio.abc.Stream) -> None:
        """Serve one client, to the end of its connection; ``stream`` is closed then."""
        try:
            http = HttpConnection(stream)
            while (request := await http.next_request()) is not None:
                if request.is_upgrade:
                    await self._serve(request, lambda exchange: self._upgrade(exchange, http))
                    break
                await self._serve(request, lambda exchange: self._respond(exchange, http))
            await finish(stream)
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve(
        self, request: HttpRequest, route: Callable[[Exchange], Awaitable[None]]
    ) -> None:
        self._count += 1
        number = self._count
        transport = "websocket" if request.is_upgrade else "http"
        exchange = self._open[number] = Exchange(self._settings, request, transport)
        self._log.add(
            ServedRequest(number, request.method, request.path, transport, trio.current_time())
        )
        self._changes.notify()
        try:
            await route(exchange)
        finally:
            del self._open[number]
            self._log.update(number, **_facts(exchange), ended=trio.current_time())
            self._changes.notify()

    async def _respond(self, exchange: Exchange, http: HttpConnection) -> None:
        request = exchange.request
        if request.path not in HTTP_ROUTES:
            if request.path in WEBSOCKET_ROUTES:
                exchange.status = 426
                body = replies.error_body("this is a WebSocket", "invalid_request_error")
                await http.respond(426, body, "application/json", {"Upgrade": "websocket"})
            else:
                await respond_json(exchange, http, 404, _not_found(request))
            return
        method, route = HTTP_ROUTES[request.path]
        if request.method != method:
            exchange.status = 405
            body = replies.error_body(f"use {method}", "invalid_request_error")
            await http.respond(405, body, "application/json", {"Allow": method})
        elif request.path != "/feed" and not authorized(self._settings, request):
            await respond_json(exchange, http, 401, _unauthorized())
        else:
            await route(exchange, http)

    async def _upgrade(self, exchange: Exchange, http: HttpConnection) -> None:
        request = exchange.request
        try:
            session = WebSocketSession(http.stream, request.raw, http.trailing_data)
        except RemoteProtocolError as exc:
            await respond_json(exchange, http, 400, replies.error_body(str(exc), "bad_handshake"))
            return
        refusal = _refusal(self._settings, request)
        try:
            if refusal is not None:
                status, body = refusal
                exchange.status = status
                await session.reject(status, body, "application/json")
                return
            exchange.status = 101
            await session.accept()
            await WEBSOCKET_ROUTES[request.path](exchange, session)
        except trio.BrokenResourceError:
            pass  # The client has gone.


def _facts(exchange: Exchange) -> dict[str, Any]:
    """What a :class:`ServedRequest` tells of an exchange."""
    return {
        "transport": exchange.transport,
        "status": exchange.status,
        "resumed_after": exchange.resumed_after,
        "sent": exchange.sent,
        "complete": exchange.complete,
    }


def _refusal(settings: Settings, request: HttpRequest) -> tuple[int, str] | None:
    """The status and body with which a handshake is rejected, if it is."""
    if request.path not in WEBSOCKET_ROUTES:
        return 404, _not_found(request)
    if request.path != "/feed":
        return None if authorized(settings, request) else (401, _unauthorized())
    try:
        FeedRequest.parse(request.query, request.headers.get("last-event-id"), settings.pace)
    except BadRequest as exc:
        return 400, replies.error_body(exc.message, "invalid_request_error", exc.param)
    return None


def _not_found(request: HttpRequest) -> str:
    return replies.error_body(f"unknown path {request.path}", "invalid_request_error")


def _unauthorized() -> str:
    message = "incorrect API key provided"
    return replies.error_body(message, "invalid_request_error", code="invalid_api_key")


@asynccontextmanager
async def open_server(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    pace: float = 0.0,
    api_key: str | None = None,
    keepalive: float = 15.0,
) -> AsyncIterator[Server]:
    """Run a mock server on TCP for as long as the block runs.

    :param host: the address to listen on; loopback by default.
    :param port: 0 (default) for one that is free.
    :param pace: seconds between two tokens or messages; 0 (default): as fast as they are taken.
        The feed's ``pace`` parameter goes before it.
    :param api_key: what the chat routes ask for as ``Authorization: Bearer``; ``None`` (default):
        nothing.
    :param keepalive: seconds of quiet after which the SSE feed sends a comment; 15 by default.
    :raises OSError: when the address cannot be had.
    :raises ValueError: as :class:`Server` does.

    ==================================  =========================================================
    ``POST /v1/chat/completions``       OpenAI's, as SSE with ``"stream": true`` (then ends with
                                        ``data: [DONE]``) or as one JSON object
    ``ws: /v1/chat/stream``             the client's first message is the same request; then chunks
                                        as text messages, the text ``[DONE]``, and close 1000
    ``GET /feed``                       SSE, ``id: n`` and ``data: {"id": n, "text": ...}``; resumed
                                        by ``Last-Event-ID``; ends with ``event: end``, whose
                                        id, sent back, is answered 204
    ``ws: /feed``                       the same objects as text messages, resumed by a message
                                        ``{"resume": n}``; ends with ``{"end":true}``, close 1000
    ==================================  =========================================================

    The feed's parameters: ``count`` (20), ``start`` (1), ``pace``, ``follow=1`` (no end),
    ``resume=n`` (continue after n), ``text`` (what the text of each message ends with), for SSE
    ``retry`` (the reconnection time, in milliseconds), and for WebSocket ``wait=1`` and ``grace``.
    A WebSocket client on the feed needs to say nothing to begin at the start; to resume, it sends
    ``{"resume": n}`` as its first message.  The server sends a ping first and begins when either
    the resume message or the pong has come, so that neither client has to wait for a timeout.  Some
    libraries answer a ping before their user can send.  For their clients there are two choices,
    both without the ping: with ``wait=1`` the feed begins only with the resume message
    (``{"resume": 0}`` at the start), and with ``grace=0.5`` half a second after the handshake at
    the latest.
    """
    server = Server(pace=pace, api_key=api_key, keepalive=keepalive)
    async with background() as nursery:
        listener, bound_port = await listen(host, port)
        server._address = (host, bound_port)
        nursery.start_soon(trio.serve_listeners, server.serve_connection, [listener])
        yield server
