"""One WebSocket connection of the mock server: wsproto over any Trio stream."""

from __future__ import annotations

from collections import deque

import h11
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

__all__ = ["WebSocketSession"]

MAX_MESSAGE_BYTES = 1024 * 1024
CLOSE_TIMEOUT = 5.0
_RECEIVE_BYTES = 64 * 1024


class WebSocketSession:
    """The server's side of a WebSocket: answers pings and close frames by itself.

    :param request: the upgrade request, as h11 read it.
    :param trailing: bytes that came behind it.
    :raises RemoteProtocolError: when it is not a valid handshake.
    """

    def __init__(self, stream: trio.abc.Stream, request: h11.Request, trailing: bytes) -> None:
        self._stream = stream
        self._ws = WSConnection(ConnectionType.SERVER)
        self._ws.initiate_upgrade_connection(list(request.headers), request.target)
        self._events: deque[Event] = deque(self._ws.events())
        self._trailing = trailing
        self._sending = trio.Lock()
        self._parts: list[str | bytes] = []
        self._size = 0
        self._over = False

    async def accept(self) -> None:
        """Answer the handshake with 101."""
        await self._send(AcceptConnection())
        if self._trailing:
            self._ws.receive_data(self._trailing)

    async def reject(self, status: int, body: str, content_type: str) -> None:
        """Answer the handshake with another status."""
        data = body.encode()
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(data)).encode()),
            (b"connection", b"close"),
        ]
        await self._send(RejectConnection(status_code=status, headers=headers, has_body=True))
        await self._send(RejectData(data=data))

    async def send_text(self, text: str) -> None:
        """Send one message.

        :raises trio.BrokenResourceError: when the client has gone or has closed.
        """
        await self._send(TextMessage(data=text))

    async def ping(self) -> None:
        """Send a ping."""
        await self._send(Ping(payload=b""))

    async def receive(self) -> str | bytes | Pong | None:
        """The next message, or pong; ``None`` when the client has closed or gone."""
        while True:
            while self._events:
                got = await self._handle(self._events.popleft())
                if got is not None or self._over:
                    return got
            try:
                self._events.extend(self._ws.events())
                if self._events:
                    continue
                data = await self._stream.receive_some(_RECEIVE_BYTES)
                if not data:
                    return None
                self._ws.receive_data(bytes(data))
            except RemoteProtocolError as exc:
                if exc.event_hint is not None:
                    await self._send_if_open(exc.event_hint)
                return None
            except trio.BrokenResourceError:
                return None

    async def close(self, code: int, reason: str = "") -> None:
        """Close with ``code``, and wait a bounded time for the client's answer.

        The end of TCP is left to whoever owns the stream.
        """
        with trio.move_on_after(CLOSE_TIMEOUT):
            if await self._send_if_open(CloseConnection(code=code, reason=reason)):
                while await self.receive() is not None:
                    pass

    async def _handle(self, event: Event) -> str | bytes | Pong | None:
        if isinstance(event, Ping):
            await self._send_if_open(event.response())
        elif isinstance(event, Pong):
            return event
        elif isinstance(event, CloseConnection):
            # The client's close frame, or what wsproto says to a client that broke the protocol:
            # either way this is the answer, and nothing that could be read follows.
            self._over = True
            await self._send_if_open(event.response())
        elif isinstance(event, TextMessage | BytesMessage):
            return await self._assemble(event)
        else:
            assert isinstance(event, Request)  # answered by accept() or reject()
        return None

    async def _assemble(self, event: TextMessage | BytesMessage) -> str | bytes | None:
        self._size += len(event.data)
        if self._size > MAX_MESSAGE_BYTES:
            await self._send_if_open(CloseConnection(code=1009, reason="message too large"))
            return None
        self._parts.append(event.data if isinstance(event, TextMessage) else bytes(event.data))
        if not event.message_finished:
            return None
        parts, self._parts, self._size = self._parts, [], 0
        if isinstance(event, BytesMessage):
            return b"".join(part for part in parts if isinstance(part, bytes | bytearray))
        return "".join(part for part in parts if isinstance(part, str))

    async def _send_if_open(self, event: Event) -> bool:
        try:
            await self._send(event)
        except trio.BrokenResourceError:
            return False
        return True

    async def _send(self, event: Event) -> None:
        async with self._sending:
            if self._ws.connection is not None:
                closing = self._ws.state is ConnectionState.REMOTE_CLOSING
                answers = closing and isinstance(event, CloseConnection)
                if self._ws.state is not ConnectionState.OPEN and not answers:
                    raise trio.BrokenResourceError("the WebSocket is closed")
            await self._stream.send_all(self._ws.send(event))
