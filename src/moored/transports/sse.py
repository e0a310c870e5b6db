"""Server-Sent Events over httpx: one request, one answer that goes on.

The bytes are our own from the wire to the event: httpx's decoders trust the end of a file, and its
line splitter breaks at characters that are none.
"""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import httpx

from moored.core.causes import (
    AbnormalClosure,
    Cause,
    Completed,
    Incomplete,
    PeerClosed,
    ProtocolViolation,
)
from moored.core.sse import EventDecoder, EventTooLarge, ServerSentEvent
from moored.errors import HookFailed

from .answers import header_pairs, rejection
from .base import Attempt, Connection, ConnectionEnded, Transport
from .content_coding import ContentDecoder, UnknownCoding
from .dialing import Dial
from .exchange import Exchange
from .http import OneConnectionTransport
from .redirects import MAX_REDIRECTS, Redirect, harmless, next_request
from .target import RawHeaders, Target, call_sync_hook

__all__ = ["SseConnection", "SseRequest", "SseTransport", "Terminator"]

Terminator = str | Callable[[ServerSentEvent], bool]
"""What ends a stream: the data of a sentinel event, which is not delivered; or a function that
recognises the last event, which is."""

MEDIA_TYPE = "text/event-stream"

MAX_ID_BYTES = 4096
"""A longer id is not sent back: servers take 8 KiB for all headers together (Apache, nginx), and
their refusal would end the stream.  The stream reports a gap then."""


@attrs.frozen
class SseRequest:
    """What to ask for.

    :param target: where.
    :param method: ``"GET"`` or ``"POST"``, or any other.
    :param content: the body, as bytes; ``None`` for no body.
    :param content_type: what the body is, unless the user's headers say it.
    :param repeat: whether a request other than ``GET`` may be made again after events have come.
    :param terminator: what ends the stream; without it, an end is *incomplete*.
    """

    target: Target
    method: str = "GET"
    content: bytes | None = attrs.field(default=None, repr=False)
    content_type: str | None = None
    repeat: bool = False
    terminator: Terminator | None = None

    @property
    def one_shot(self) -> bool:
        """Whether it is one answer to one request, and not a channel to listen to."""
        return self.method != "GET"


class SseTransport(Transport[ServerSentEvent]):
    """Makes SSE connections.

    :param request: what to ask for.
    :param client: the caller's own client, used as it is and never closed; by default a connection
        of its own for each attempt.
    :param http2: whether to offer HTTP/2 over TLS.
    :param ssl_context: for ``https``.
    :param max_event_bytes: bound on one event.
    :param open_stream: opens the byte stream; by default TCP.
    :param wall_clock: seconds since the epoch, for ``Retry-After`` dates.
    """

    def __init__(
        self,
        request: SseRequest,
        *,
        client: httpx.AsyncClient | None = None,
        http2: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        max_event_bytes: int,
        open_stream: Dial | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._request = request
        self._client = client
        self._http2 = http2
        self._ssl_context = ssl_context
        self._max_event_bytes = max_event_bytes
        self._open_stream = open_stream
        self._wall_clock = wall_clock
        self.one_shot: bool = request.one_shot

    def size_of(self, message: ServerSentEvent) -> int:
        """The bytes of an event's fields, as UTF-8."""
        data = message.data
        size = len(data) if data.isascii() else len(data.encode())
        return size + len(message.event) + len(message.id)

    def cursor_of(self, message: ServerSentEvent) -> Any:
        """An event's own id."""
        return message.id if message.has_id else None

    def identity_of(self, message: ServerSentEvent) -> Any:
        """An event's own id together with what it says.

        Servers exist that give several events one id, so only the same id *and* the same content is
        a repetition.
        """
        own = message.has_id and message.id
        return (message.id, message.event, message.data) if own else None

    async def connect(self, attempt: Attempt) -> SseConnection:
        """Ask, follow redirects, and check that the answer is a stream."""
        url, headers = await self._request.target.resolve(attempt.turn)
        client, transport = self._client, None
        if client is None:
            transport = OneConnectionTransport(
                http2=self._http2, ssl_context=self._ssl_context, open_stream=self._open_stream
            )
            client = httpx.AsyncClient(transport=transport, trust_env=False)
        exchange = Exchange(client, transport)
        try:
            await self._ask(exchange, url, headers, attempt)
            assert exchange.response is not None
            coding = exchange.response.headers.get("content-encoding", "")
            connection = SseConnection(
                exchange,
                self._request,
                attempt,
                content=ContentDecoder(coding),
                decoder=EventDecoder(attempt.cursor or "", max_event_bytes=self._max_event_bytes),
            )
            connection.response_headers = header_pairs(exchange.response.headers.raw)
            return connection
        except UnknownCoding as exc:
            cause = await self._rejection(exchange, str(exc))
            await exchange.aclose()
            raise ConnectionEnded(cause) from exc
        except BaseException:
            await exchange.aclose()
            raise

    async def _ask(
        self, exchange: Exchange, url: httpx.URL, headers: RawHeaders, attempt: Attempt
    ) -> None:
        """Send the request, and each one that a redirect leads to."""
        request = self._first_request(exchange.client, url, headers, attempt)
        for _ in range(MAX_REDIRECTS + 1):
            await exchange.send(request)
            response = exchange.response
            assert response is not None
            redirect = Redirect.of(response)
            if redirect is None:
                await self._check(exchange)
                return
            same_origin = exchange.carries_credentials and redirect.same_origin(request.url)
            if redirect.insecure_after(request.url):
                cause = await self._rejection(exchange, "the redirect leaves https")
                raise ConnectionEnded(cause)
            request = next_request(exchange.client, request, redirect)
            if not same_origin:
                exchange.carries_credentials = False
                harmless(request)
                exchange.resumed = False
        cause = await self._rejection(exchange, f"more than {MAX_REDIRECTS} redirects")
        raise ConnectionEnded(cause)

    def _first_request(
        self,
        client: httpx.AsyncClient,
        url: httpx.URL,
        headers: RawHeaders,
        attempt: Attempt,
    ) -> httpx.Request:
        given = {name.lower() for name, _ in headers}
        ours: RawHeaders = [
            (b"Accept", MEDIA_TYPE.encode()),
            # Our clocks and our end of file know nothing of a compressor's buffers.
            (b"Accept-Encoding", b"identity"),
            (b"Cache-Control", b"no-cache"),
            (b"User-Agent", b"moored"),
        ]
        if self._request.content_type is not None:
            ours.append((b"Content-Type", self._request.content_type.encode("ascii")))
        merged = [pair for pair in ours if pair[0].lower() not in given] + list(headers)
        position = _header_value(attempt.cursor)
        if position is not None:
            merged = [pair for pair in merged if pair[0].lower() != b"last-event-id"]
            merged.append((b"Last-Event-ID", position))
        extensions: dict[str, Any] = {}
        if self._request.one_shot:
            extensions["trace"] = _RequestWatch(attempt).trace
        return client.build_request(
            self._request.method,
            url,
            headers=merged,
            content=self._request.content,
            timeout=None,  # every clock is ours: httpx's read timeout would race them
            extensions=extensions,
        )

    async def _check(self, exchange: Exchange) -> None:
        """Is the answer a stream?  HTML 9.2.3: status 200 and the media type, nothing else."""
        response = exchange.response
        assert response is not None
        if response.status_code == 204:
            raise ConnectionEnded(Completed("status 204, no content"))
        if response.status_code != 200:
            raise ConnectionEnded(await self._rejection(exchange))
        # RFC 9110, section 8.3.1: whole, without case, parameters ignored.
        media_type = response.headers.get("content-type", "").partition(";")[0].strip()
        if media_type.lower() != MEDIA_TYPE:
            detail = f"its content type is {media_type[:80]!r}, not {MEDIA_TYPE!r}"
            raise ConnectionEnded(await self._rejection(exchange, detail))

    async def _rejection(self, exchange: Exchange, detail: str = "") -> Cause:
        response = exchange.response
        assert response is not None
        return rejection(
            response.status_code,
            response.headers.raw,
            await exchange.read_body(),
            wall_time=self._wall_clock(),
            detail=detail,
        )


class _RequestWatch:
    """Tells the attempt when its request is out."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    async def trace(self, event: str, _info: dict[str, Any]) -> None:
        if event.endswith("send_request_body.complete"):
            self._attempt.request_sent()


class SseConnection(Connection[ServerSentEvent]):
    """One answer being read."""

    def __init__(
        self,
        exchange: Exchange,
        request: SseRequest,
        attempt: Attempt,
        *,
        content: ContentDecoder,
        decoder: EventDecoder,
    ) -> None:
        self._exchange = exchange
        self._request = request
        self._attempt = attempt
        self._content = content
        self._decoder = decoder
        self._received = False
        self._end: Cause | None = None
        self._failure: HookFailed | None = None
        self._has_cursors = False

    @property
    def end_cause(self) -> Cause | None:
        """Known once the terminator has come, or an event that is too large."""
        return self._end

    @property
    def cursor(self) -> str:
        """The last event id."""
        return self._decoder.last_event_id

    @property
    def has_cursors(self) -> bool:
        """Whether any event had an id of its own."""
        return self._has_cursors

    @property
    def resumed(self) -> bool:
        """Whether ``Last-Event-ID`` reached the server that answered."""
        return self._exchange.resumed and _header_value(self._attempt.cursor) is not None

    @property
    def repeatable(self) -> bool:
        """Not once a one-shot answer has begun, unless the server gave ids or the user chose so."""
        request = self._request
        return (
            not request.one_shot
            or request.repeat
            or not self._received
            or bool(self._decoder.last_event_id)
        )

    async def receive(self) -> Sequence[ServerSentEvent]:
        """The events of one read."""
        if self._failure is not None:
            raise self._failure from self._failure.__cause__
        if self._end is not None:
            raise ConnectionEnded(self._end)
        if not self._content.pending:  # else there is more in the last read than one piece
            chunk = await self._exchange.next_chunk()
            if chunk is None:
                raise ConnectionEnded(self._end_of_body())
            self._content.feed(chunk)
        try:
            data = self._content.take()
        except zlib.error as exc:
            detail = f"the body is not what its content coding says ({exc})"
            raise ConnectionEnded(ProtocolViolation(detail, exc)) from exc
        retry = self._decoder.retry
        try:
            events = self._decoder.feed(data)
        except EventTooLarge as exc:
            events = exc.events
            self._end = ProtocolViolation(str(exc), exc)
        if self._decoder.retry is not None and self._decoder.retry != retry:
            self._attempt.server_retry(self._decoder.retry / 1000)
        if self._request.terminator is not None:
            events = self._up_to_terminator(events)
        self._received = self._received or bool(events)
        self._has_cursors = self._has_cursors or any(event.has_id for event in events)
        if self._end is not None and not events:
            raise ConnectionEnded(self._end)
        return events

    def _up_to_terminator(self, events: list[ServerSentEvent]) -> list[ServerSentEvent]:
        terminator = self._request.terminator
        for index, event in enumerate(events):
            if isinstance(terminator, str):
                if event.data == terminator:
                    self._end = Completed("the terminator came")
                    return events[:index]
            elif terminator is not None:
                try:
                    last = call_sync_hook("terminator", terminator, event)
                except HookFailed as exc:
                    self._failure = exc  # what came before it is delivered first
                    return events[:index]
                if last:
                    self._end = Completed("the terminator came")
                    return events[: index + 1]
        return events

    def _end_of_body(self) -> Cause:
        """What a body's end in good order, as far as HTTP goes, amounts to."""
        request = self._request
        if self._content.incomplete:
            return AbnormalClosure(exception=EOFError("the compressed body was cut"))
        if request.terminator is not None:
            which = repr(request.terminator) if isinstance(request.terminator, str) else "an event"
            return Incomplete(f"its terminator, {which}")
        if self._decoder.incomplete:
            return Incomplete("the rest of an event")
        if request.one_shot:
            return Completed("the answer ended")
        return PeerClosed(reason="the response ended")

    async def aclose(self, code: int | None) -> None:
        """Hang up: an answer has no handshake for its end."""
        await self._exchange.aclose()


def _header_value(cursor: Any) -> bytes | None:
    """The cursor as it goes over the wire: UTF-8, or ``None`` where it cannot stand in a header.

    Without white space around it, as browsers send it (Fetch, "normalize"): no server would see it.
    """
    if not cursor or not isinstance(cursor, str):
        return None
    raw = cursor.encode("utf-8", "replace").strip(b" \t")
    unfit = any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in raw)
    return None if unfit or len(raw) > MAX_ID_BYTES else raw or None
