"""The mock server's routes: chat and the numbered feed, each over HTTP and over WebSocket."""

from __future__ import annotations

import hmac
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

import attrs
import trio
from wsproto.events import Pong

from moored.faults import feed, replies
from moored.faults.feed import FeedRequest
from moored.faults.replies import BadRequest, ChatRequest, Reply
from moored.faults.server_http import HttpConnection, HttpRequest, Send
from moored.faults.server_websocket import WebSocketSession

__all__ = ["HTTP_ROUTES", "WEBSOCKET_ROUTES", "Exchange", "Settings", "authorized"]

START_TIMEOUT = 5.0
"""How long the WebSocket feed waits for the answer to its first ping, in seconds."""

_INVALID_REQUEST = "invalid_request_error"


@attrs.frozen
class Settings:
    """How a server behaves; see :func:`moored.faults.open_server`."""

    pace: float = 0.0
    api_key: str | None = attrs.field(default=None, repr=False)
    keepalive: float = 15.0


@attrs.define
class Exchange:
    """One request while it is being served, and what became of it so far.

    :ivar status: of the answer.
    :ivar transport: ``"http"``, ``"sse"`` or ``"websocket"``.
    :ivar sent: messages sent, not counting the end message.
    :ivar resumed_after: the feed position that the client gave, if it gave one.
    :ivar complete: whether the answer was sent to its end.
    """

    settings: Settings
    request: HttpRequest
    transport: str = "http"
    status: int | None = None
    sent: int = 0
    resumed_after: int | None = None
    complete: bool = False

    async def pause(self, pace: float) -> None:
        """Keep the pace between two messages."""
        if pace and self.sent:
            await trio.sleep(pace)


HttpRoute: TypeAlias = Callable[[Exchange, HttpConnection], Awaitable[None]]
WebSocketRoute: TypeAlias = Callable[[Exchange, WebSocketSession], Awaitable[None]]


def authorized(settings: Settings, request: HttpRequest) -> bool:
    """Whether the request carries the API key, if the server asks for one."""
    if settings.api_key is None:
        return True
    given = request.headers.get("authorization", "")
    return hmac.compare_digest(given.encode(), f"Bearer {settings.api_key}".encode())


async def respond_json(exchange: Exchange, http: HttpConnection, status: int, body: str) -> None:
    """Answer with JSON."""
    exchange.status = status
    await http.respond(status, body, "application/json")
    exchange.complete = True


async def chat_over_http(exchange: Exchange, http: HttpConnection) -> None:
    """``POST /v1/chat/completions``, streamed as SSE or in one piece."""
    try:
        request = ChatRequest.parse(exchange.request.body)
    except BadRequest as exc:
        body = replies.error_body(exc.message, _INVALID_REQUEST, exc.param)
        await respond_json(exchange, http, 400, body)
        return
    reply = Reply(request)
    if not request.stream:
        await respond_json(exchange, http, 200, reply.completion())
        return

    async def produce(send: Send) -> None:
        for chunk in reply.chunks():
            await exchange.pause(exchange.settings.pace)
            await send(f"data: {chunk}\n\n")
            exchange.sent += 1
        await send(f"data: {replies.DONE}\n\n")

    exchange.transport, exchange.status = "sse", 200
    exchange.complete = await http.respond_with_events(produce)


async def feed_over_http(exchange: Exchange, http: HttpConnection) -> None:
    """``GET /feed``: numbered events, continued after ``Last-Event-ID``."""
    request = exchange.request
    try:
        wanted = FeedRequest.parse(
            request.query, request.headers.get("last-event-id"), exchange.settings.pace
        )
    except BadRequest as exc:
        body = replies.error_body(exc.message, _INVALID_REQUEST, exc.param)
        await respond_json(exchange, http, 400, body)
        return
    exchange.resumed_after = wanted.resumed_after
    if wanted.past_the_end:
        # HTML, section 9.2.3: a 204 tells an event source to stop reconnecting.
        exchange.status = 204
        await http.respond_empty(204)
        exchange.complete = True
        return

    async def produce(send: Send) -> None:
        number = wanted.next
        # Not as a block of its own, which some clients take for an event.
        first = "" if wanted.retry is None else f"retry: {wanted.retry}\n"
        while wanted.last is None or number <= wanted.last:
            if exchange.sent:
                await _quiet(send, wanted.pace, exchange.settings.keepalive)
            await send(f"{first}id: {number}\ndata: {feed.message(number, wanted.text)}\n\n")
            first = ""
            exchange.sent += 1
            number += 1
        await send(f"{first}event: end\nid: {wanted.end_number}\ndata: {feed.END}\n\n")

    exchange.transport, exchange.status = "sse", 200
    exchange.complete = await http.respond_with_events(produce)


async def _quiet(send: Send, seconds: float, keepalive: float) -> None:
    """Let ``seconds`` pass, with a comment after each ``keepalive`` of them."""
    end = trio.current_time() + seconds
    while end - trio.current_time() > keepalive:
        await trio.sleep(keepalive)
        await send(": keep-alive\n\n")
    await trio.sleep_until(end)


async def chat_over_websocket(exchange: Exchange, session: WebSocketSession) -> None:
    """``/v1/chat/stream``: a request, its chunks, ``[DONE]``, close 1000."""
    message = await session.receive()
    while isinstance(message, Pong):
        message = await session.receive()
    if message is None:
        return
    try:
        reply = Reply(ChatRequest.parse(message))
    except BadRequest as exc:
        exchange.status = 400
        await session.send_text(replies.error_body(exc.message, _INVALID_REQUEST, exc.param))
        await session.close(1008, "bad request")
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_until_closed, session, nursery.cancel_scope)
        try:
            for chunk in reply.chunks():
                await exchange.pause(exchange.settings.pace)
                await session.send_text(chunk)
                exchange.sent += 1
            await session.send_text(replies.DONE)
            exchange.complete = True
        except trio.BrokenResourceError:
            pass
        nursery.cancel_scope.cancel()
    if exchange.complete:
        await session.close(1000)


async def _until_closed(session: WebSocketSession, scope: trio.CancelScope) -> None:
    while await session.receive() is not None:
        pass
    scope.cancel()


async def feed_over_websocket(exchange: Exchange, session: WebSocketSession) -> None:
    """``/feed`` as text messages; how it is resumed is told at :class:`_FeedSession`."""
    request = exchange.request
    wanted = FeedRequest.parse(
        request.query, request.headers.get("last-event-id"), exchange.settings.pace
    )
    exchange.resumed_after = wanted.resumed_after
    await _FeedSession(exchange, session, wanted).run()


class _FeedSession:
    """One WebSocket on the feed.

    A new client sends nothing and a returning one sends ``{"resume": n}`` first, so at the start
    the server cannot know which of them it has.  It asks without a clock: its first frame is a
    ping, and the feed begins with whichever comes first, a resume message or the pong.  A client
    that sends its resume message before it reads is therefore served from n + 1 exactly, and one
    that sends nothing is served one round trip later.  (A client without pongs is served after
    ``START_TIMEOUT``.)  A position in the URL or in ``Last-Event-ID`` starts the feed at once, and
    ``wait=1`` makes it wait for the first message, without the ping.  With ``grace=s`` it waits so
    for ``s`` seconds at most: some libraries answer a ping before their user can send.

    A resume message that comes later moves the feed to n + 1 all the same.
    """

    def __init__(self, exchange: Exchange, session: WebSocketSession, wanted: FeedRequest) -> None:
        self._exchange = exchange
        self._session = session
        self._wanted = wanted
        self._next = wanted.next
        self._may_start = trio.Event()
        self._refusal = ""

    async def run(self) -> None:
        wanted = self._wanted
        if wanted.resumed_after is not None and not wanted.wait:
            self._may_start.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, nursery.cancel_scope)
            with suppress(trio.BrokenResourceError):
                await self._send_feed()
            nursery.cancel_scope.cancel()
        if self._refusal:
            await self._session.close(1008, self._refusal)
        elif self._exchange.complete:
            await self._session.close(1000)

    async def _send_feed(self) -> None:
        wanted, exchange = self._wanted, self._exchange
        patience = START_TIMEOUT if wanted.grace is None else wanted.grace
        if not self._may_start.is_set() and not wanted.wait and wanted.grace is None:
            await self._session.ping()
        with trio.move_on_after(math.inf if wanted.wait else patience):
            await self._may_start.wait()
        while wanted.last is None or self._next <= wanted.last:
            await exchange.pause(wanted.pace)
            number, self._next = self._next, self._next + 1
            await self._session.send_text(feed.message(number, wanted.text))
            exchange.sent += 1
        await self._session.send_text(feed.END)
        exchange.complete = True

    async def _listen(self, scope: trio.CancelScope) -> None:
        while (message := await self._session.receive()) is not None:
            if isinstance(message, str):
                position = feed.resume_position(message)
                if position is None:
                    self._refusal = 'expected {"resume": n}'
                    break
                self._next = position + 1
                self._exchange.resumed_after = position
            elif not isinstance(message, Pong):
                self._refusal = "expected text"
                break
            elif self._wanted.wait or self._wanted.grace is not None:
                continue
            self._may_start.set()
        scope.cancel()


HTTP_ROUTES: dict[str, tuple[str, HttpRoute]] = {
    "/v1/chat/completions": ("POST", chat_over_http),
    "/feed": ("GET", feed_over_http),
}
WEBSOCKET_ROUTES: dict[str, WebSocketRoute] = {
    "/v1/chat/stream": chat_over_websocket,
    "/feed": feed_over_websocket,
}
