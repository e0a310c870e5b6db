"""One HTTP/1.1 connection of the mock server: h11 over any Trio stream."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

import attrs
import h11
import trio

__all__ = ["HttpConnection", "HttpRequest", "Producer", "Send"]

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 1024 * 1024
_RECEIVE_BYTES = 64 * 1024

Send: TypeAlias = Callable[[str], Awaitable[None]]
Producer: TypeAlias = Callable[[Send], Awaitable[None]]


@attrs.frozen
class HttpRequest:
    """A request that has come whole.

    :ivar path: the path, without the query.
    :ivar query: the query's parameters; of a repeated one, the last.
    :ivar headers: by lower-case name; of a repeated one, the last.
    :ivar raw: what h11 made of the head, for the WebSocket handshake.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    raw: h11.Request

    @property
    def is_upgrade(self) -> bool:
        """Whether it asks for a WebSocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"


class HttpConnection:
    """Requests in, answers out, one after the other."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._head_only = False

    async def next_request(self) -> HttpRequest | None:
        """The next request with its body, or ``None`` when the client is done.

        A request that cannot be read is answered with 400, and one that is too large with 413.
        """
        try:
            return await self._read_request()
        except ValueError:  # a target that is no URL
            await self.respond(400, "bad request target\n", "text/plain")
        except h11.RemoteProtocolError as exc:
            if self._h11.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await self.respond(exc.error_status_hint, f"{exc}\n", "text/plain")
        except trio.BrokenResourceError:
            pass  # The client went away before it had asked for anything.
        return None

    async def _read_request(self) -> HttpRequest | None:
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        elif self._h11.our_state is not h11.IDLE:
            return None
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                if self._h11.they_are_waiting_for_100_continue:
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
                self._h11.receive_data(bytes(await self.stream.receive_some(_RECEIVE_BYTES)))
            elif isinstance(event, h11.Request):
                head = event
                self._head_only = event.method == b"HEAD"
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY_BYTES:
                    await self.respond(413, "the body is too large\n", "text/plain")
                    return None
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return _request(head, bytes(body))
            else:
                return None

    @property
    def trailing_data(self) -> bytes:
        """What the client sent behind its request."""
        return self._h11.trailing_data[0]

    async def respond(
        self, status: int, body: str, content_type: str, headers: dict[str, str] | None = None
    ) -> None:
        """Answer in one piece."""
        data = body.encode()
        fields = {
            "Content-Type": content_type,
            "Content-Length": str(len(data)),
            **(headers or {}),
        }
        head = self._h11.send(h11.Response(status_code=status, headers=list(fields.items())))
        has_body = data and not self._head_only
        rest = self._h11.send(h11.Data(data=data)) if has_body else b""
        end = self._h11.send(h11.EndOfMessage())
        try:
            await self.stream.send_all((head or b"") + (rest or b"") + (end or b""))
        except trio.BrokenResourceError:
            return

    async def respond_empty(self, status: int) -> None:
        """Answer with a status that has no body, such as 204."""
        head = self._h11.send(h11.Response(status_code=status, headers=[]))
        end = self._h11.send(h11.EndOfMessage())
        with contextlib.suppress(trio.BrokenResourceError):
            await self.stream.send_all((head or b"") + (end or b""))

    async def respond_with_events(self, produce: Producer) -> bool:
        """Answer with an event stream, as long as the client stays.

        :param produce: called with a function that sends a piece of the body at once.
        :returns: whether the stream was sent to its end; ``False``: the client left before.
        """
        headers = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")]
        complete = False
        async with trio.open_nursery() as nursery:
            # Without a reader, a client that left a quiet stream would never be noticed.
            nursery.start_soon(self._watch, nursery.cancel_scope)
            try:
                await self._send(h11.Response(status_code=200, headers=headers))
                await produce(self._send_text)
                await self._send(h11.EndOfMessage())
                complete = True
            except trio.BrokenResourceError:
                pass
            nursery.cancel_scope.cancel()
        return complete

    async def _watch(self, scope: trio.CancelScope) -> None:
        """Cancel ``scope`` when the client goes away.

        An end of file counts as going away: a client that wants the rest does not close its side.
        """
        try:
            data = await self.stream.receive_some(_RECEIVE_BYTES)
        except trio.BrokenResourceError:
            scope.cancel()
            return
        # Bytes are a next request that did not wait for its turn: h11 keeps them, unread.
        self._h11.receive_data(bytes(data))
        if not data:
            scope.cancel()

    async def _send_text(self, text: str) -> None:
        await self._send(h11.Data(data=text.encode()))

    async def _send(self, event: h11.Event) -> None:
        data = self._h11.send(event)
        if data:
            await self.stream.send_all(data)


def _request(head: h11.Request, body: bytes) -> HttpRequest:
    target = urlsplit(head.target.decode("ascii"))
    return HttpRequest(
        method=head.method.decode("ascii"),
        path=target.path,
        query=dict(parse_qsl(target.query, keep_blank_values=True)),
        headers={name.decode(): value.decode("utf-8", "replace") for name, value in head.headers},
        body=body,
        raw=head,
    )
