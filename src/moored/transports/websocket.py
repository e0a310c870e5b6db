"""WebSocket over wsproto: RFC 6455 on any byte stream.

wsproto speaks the protocol; this module moves the bytes.  There is no task here: the stream's
reader calls :meth:`WebSocketConnection.receive`, and one read gives all the messages in it.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Sequence

import httpx
import trio
import wsproto
from wsproto import events as ws
from wsproto.connection import ConnectionState
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from moored.core.causes import (
    AbnormalClosure,
    Cause,
    ConnectFailed,
    PeerClosed,
    ProtocolViolation,
)

from .answers import MAX_BODY_BYTES, REJECTION_BODY_TIMEOUT, rejection
from .base import Attempt, Connection, ConnectionEnded, Transport
from .dialing import Dial, default_ssl_context, dial
from .target import Target

__all__ = ["WebSocketConnection", "WebSocketTransport"]

READ_BYTES = 64 * 1024
MAX_HANDSHAKE_BYTES = MAX_BODY_BYTES + 64 * 1024  # the body that is kept, and room for headers
_ABNORMAL = 1006


class WebSocketTransport(Transport[str | bytes]):
    """Makes WebSocket connections.

    :param target: where to.
    :param subprotocols: offered in this order (RFC 6455, section 1.9).
    :param ssl_context: for ``wss``; by default one with the system's certificate authorities.
    :param max_message_bytes: bound on one message: bytes of a binary, characters of a text one.
    :param open_stream: opens the byte stream; by default TCP.
    :param wall_clock: seconds since the epoch, for ``Retry-After`` dates.
    """

    sends = True

    def __init__(
        self,
        target: Target,
        *,
        subprotocols: Sequence[str] = (),
        ssl_context: ssl.SSLContext | None = None,
        max_message_bytes: int,
        open_stream: Dial | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._target = target
        self._subprotocols = list(subprotocols)
        self._ssl_context = ssl_context
        self._max_message_bytes = max_message_bytes
        self._open_stream = open_stream
        self._wall_clock = wall_clock

    def size_of(self, message: str | bytes) -> int:
        """The length of a text or binary message."""
        if not isinstance(message, str | bytes | bytearray | memoryview):
            raise TypeError(f"a WebSocket message is str or bytes, not {type(message).__name__}")
        return len(message)

    async def connect(self, attempt: Attempt) -> WebSocketConnection:
        """Dial and shake hands (RFC 6455, section 4.1)."""
        url, headers = await self._target.resolve(attempt.turn)
        secure = url.scheme == "wss"
        context = (self._ssl_context or default_ssl_context("websocket")) if secure else None
        port = url.port or (443 if secure else 80)
        stream = await dial(url.host, port, ssl_context=context, open_stream=self._open_stream)
        try:
            protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
            await self._shake_hands(stream, protocol, url, headers)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return WebSocketConnection(stream, protocol, max_message_bytes=self._max_message_bytes)

    async def _shake_hands(
        self,
        stream: trio.abc.Stream,
        protocol: wsproto.WSConnection,
        url: httpx.URL,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        if url.userinfo and not any(name.lower() == b"authorization" for name, _ in headers):
            basic = httpx.BasicAuth(url.username, url.password)
            request = next(basic.auth_flow(httpx.Request("GET", "http://unused")))
            headers = [*headers, (b"Authorization", request.headers["Authorization"].encode())]
        request_event = ws.Request(
            host=url.netloc.decode("ascii"),
            target=url.raw_path.decode("ascii"),
            subprotocols=self._subprotocols,
            extra_headers=headers,
        )
        try:
            await stream.send_all(protocol.send(request_event))
            await self._read_answer(stream, protocol)
        except trio.BrokenResourceError as exc:
            raise ConnectionEnded(ConnectFailed("handshake", exc.__cause__ or exc)) from exc
        except RemoteProtocolError as exc:
            detail = f"the answer is no WebSocket handshake ({exc})"
            raise ConnectionEnded(ProtocolViolation(detail, exc)) from exc

    async def _read_answer(self, stream: trio.abc.Stream, protocol: wsproto.WSConnection) -> None:
        """Read until the handshake is accepted, or raise why it was not.

        What follows the handshake in the same read stays in ``protocol``.
        """
        size = 0
        while True:
            data = await stream.receive_some(READ_BYTES)
            size += len(data)
            if not data:
                raise ConnectionEnded(ConnectFailed("handshake"))
            if size > MAX_HANDSHAKE_BYTES:
                detail = f"the handshake's answer is longer than {MAX_HANDSHAKE_BYTES} bytes"
                raise ConnectionEnded(ProtocolViolation(detail))
            protocol.receive_data(bytes(data))
            # Only the handshake's own events: frames that came with it are the reader's.
            for event in protocol.handshake.events():
                if isinstance(event, ws.AcceptConnection):
                    return
                if isinstance(event, ws.RejectConnection):
                    await self._reject(stream, protocol, event)

    async def _reject(
        self,
        stream: trio.abc.Stream,
        protocol: wsproto.WSConnection,
        event: ws.RejectConnection,
    ) -> None:
        """Gather the body, as far as it comes, and raise the rejection."""
        body = bytearray()
        finished = not event.has_body
        with trio.move_on_after(REJECTION_BODY_TIMEOUT):
            while not finished and len(body) < MAX_BODY_BYTES:
                for part in protocol.handshake.events():
                    if isinstance(part, ws.RejectData):
                        body += part.data
                        finished = finished or part.body_finished
                if finished:
                    break
                try:
                    data = await stream.receive_some(READ_BYTES)
                    if not data:
                        break
                    protocol.receive_data(bytes(data))
                except (trio.BrokenResourceError, RemoteProtocolError):
                    break  # the status is known, and says enough
        cause = rejection(event.status_code, event.headers, body, wall_time=self._wall_clock())
        raise ConnectionEnded(cause)


class WebSocketConnection(Connection[str | bytes]):
    """One WebSocket connection after its handshake."""

    sends = True
    pings = True

    def __init__(
        self, stream: trio.abc.Stream, protocol: wsproto.WSConnection, *, max_message_bytes: int
    ) -> None:
        self._stream = stream
        self._protocol = protocol
        self._max_message_bytes = max_message_bytes
        self._parts: list[str | bytes | bytearray] = []  # of a message that is not finished
        self._size = 0
        self._end: Cause | None = None  # known, but messages came before it
        self._close_answered = False
        self._tail = b""  # the last bytes received: see _close_code()
        self._writing = trio.Lock()
        self._pong = b""  # the answer to the last ping, while another frame is being written
        self._cut = False  # a frame was begun and not finished: nothing can follow it
        self._first = True  # frames may have come together with the handshake

    async def receive(self) -> Sequence[str | bytes]:
        """All messages of one read."""
        if self._end is not None:
            raise ConnectionEnded(self._end)
        if self._first:
            self._first = False
            messages = await self._events()
            if messages:
                return messages
        try:
            data = await self._stream.receive_some(READ_BYTES)
        except trio.BrokenResourceError as exc:
            raise ConnectionEnded(AbnormalClosure(_ABNORMAL, exc.__cause__ or exc)) from exc
        if not data:
            raise ConnectionEnded(AbnormalClosure(_ABNORMAL))
        self._tail = (self._tail + data[-127:])[-127:]
        self._protocol.receive_data(bytes(data))
        return await self._events()

    async def _events(self) -> list[str | bytes]:
        """Take in what was parsed: messages are returned, everything else is dealt with."""
        messages: list[str | bytes] = []
        for event in self._protocol.events():
            match event:
                case ws.TextMessage() | ws.BytesMessage():
                    self._parts.append(event.data)
                    self._size += len(event.data)
                    if self._size > self._max_message_bytes:
                        await self._fail(
                            1009,
                            f"a message is longer than max_message_bytes={self._max_message_bytes}",
                        )
                        break
                    if event.message_finished:
                        messages.append(self._finished_message())
                case ws.Ping():
                    await self._answer_ping(event)
                case ws.CloseConnection():
                    await self._peer_closed(event)
                case _:
                    pass  # a pong: any byte is a sign of life
        if self._end is not None and not messages:
            raise ConnectionEnded(self._end)
        return messages

    def _finished_message(self) -> str | bytes:
        parts, self._parts, self._size = self._parts, [], 0
        if len(parts) == 1:
            return parts[0] if isinstance(parts[0], str) else bytes(parts[0])
        if isinstance(parts[0], str):
            return "".join(part for part in parts if isinstance(part, str))
        return b"".join(part for part in parts if not isinstance(part, str))

    async def _peer_closed(self, event: ws.CloseConnection) -> None:
        if self._protocol.state is ConnectionState.REMOTE_CLOSING:
            self._end = PeerClosed(int(event.code), event.reason or "")
            await self._try_to_write(self._protocol.send(event.response()))
            self._close_answered = True
            return
        # wsproto tells its own findings about the peer in the shape of a close frame.
        code = self._close_code()
        if code is not None:
            self._end = PeerClosed(*code)
            await self._try_to_write(self._protocol.send(ws.CloseConnection(code=1000)))
            self._close_answered = True
        else:
            await self._fail(int(event.code), event.reason or "broken framing")

    def _close_code(self) -> tuple[int, str] | None:
        """The registered code of a close frame that wsproto refused, and its reason.

        wsproto knows the codes of RFC 6455 but not 1014, which IANA has registered since.  A close
        frame is the last thing that a peer sends (section 5.5.1), so it is the end of what came.
        """
        for length in range(2, min(125, len(self._tail) - 2) + 1):
            frame = self._tail[-length - 2 :]
            if frame[0] == 0x88 and frame[1] == length:
                code = int.from_bytes(frame[2:4], "big")
                if code == 1014:
                    return code, frame[4:].decode("utf-8", "replace")
        return None

    async def _fail(self, code: int, detail: str) -> None:
        """Fail the connection: say so to the peer, and end (RFC 6455, section 7.1.7)."""
        self._end = ProtocolViolation(detail)
        if self._protocol.state is ConnectionState.OPEN:
            reason = CloseReason(code) if code in set(CloseReason) else CloseReason.PROTOCOL_ERROR
            await self._try_to_write(self._protocol.send(ws.CloseConnection(code=reason)))
        self._close_answered = True

    async def _answer_ping(self, event: ws.Ping) -> None:
        if self._protocol.state is not ConnectionState.OPEN:
            return
        # Only the latest ping needs an answer (RFC 6455, section 5.5.3), so one slot will do.
        self._pong = self._protocol.send(event.response())
        if not self._writing.locked():
            await self._try_to_write(b"")

    # ------------------------------------------------------------------ writing

    async def send(self, message: str | bytes) -> None:
        """Send one message as one frame."""
        event: ws.Event
        if isinstance(message, str):
            event = ws.TextMessage(data=message)
        else:
            event = ws.BytesMessage(data=bytes(message))
        await self._send_event(event)

    async def ping(self) -> None:
        """Send a ping frame.  Its answer, like any byte, ends the silence."""
        await self._send_event(ws.Ping())

    async def _send_event(self, event: ws.Event) -> None:
        try:
            await self._write(self._protocol.send(event))
        except LocalProtocolError as exc:  # a close is under way: the reader will say which
            raise ConnectionEnded(AbnormalClosure(_ABNORMAL, exc)) from exc

    async def _try_to_write(self, data: bytes) -> None:
        """Write what the peer need not get: if it cannot, reading will say why."""
        with contextlib.suppress(ConnectionEnded):
            await self._write(data)

    async def _write(self, data: bytes) -> None:
        """Write whole frames, and a pong that is waiting behind them."""
        async with self._writing:
            while data or self._pong:
                if self._cut:
                    raise ConnectionEnded(AbnormalClosure(_ABNORMAL))
                if not data:
                    data, self._pong = self._pong, b""
                self._cut = True
                try:
                    await self._stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                    raise ConnectionEnded(AbnormalClosure(_ABNORMAL, exc)) from exc
                self._cut = False
                data = b""

    # ------------------------------------------------------------------ closing

    async def aclose(self, code: int | None) -> None:
        """Shake hands on the end if ``code`` is given (RFC 6455, section 7.1.2), then hang up."""
        try:
            if code is not None and not self._cut:
                if self._protocol.state is ConnectionState.OPEN:
                    await self._write(self._protocol.send(ws.CloseConnection(code=code)))
                    await self._drain()
                elif self._close_answered:
                    await self._drain()
        except ConnectionEnded:
            pass
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _drain(self) -> None:
        """Read to the peer's close frame, and on to its end of file.

        Hanging up on bytes that were not read would reset the connection, and the peer might never
        see our close frame.
        """
        while True:
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except trio.BrokenResourceError:
                return
            if not data:
                return
            if self._protocol.state is ConnectionState.LOCAL_CLOSING:
                self._protocol.receive_data(bytes(data))
                for _ in self._protocol.events():
                    pass
            if self._is_closed():
                return

    def _is_closed(self) -> bool:
        return self._protocol.state is ConnectionState.CLOSED and not self._close_answered
