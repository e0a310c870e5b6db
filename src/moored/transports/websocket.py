"""WebSocket over wsproto: RFC 6455 on any byte stream.

wsproto speaks the protocol; this module moves the bytes.  There is no task here: the stream's
reader calls :meth:`WebSocketConnection.receive`, and one read gives all the messages in it.
"""

from __future__ import annotations

import io
import re
import ssl
import time
from collections.abc import Callable, Sequence

import trio
import wsproto
from wsproto import events as ws
from wsproto.connection import ConnectionState
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

from moored.core.causes import AbnormalClosure, Cause, PeerClosed, ProtocolViolation

from .answers import header_pairs
from .base import Attempt, Connection, ConnectionEnded, Transport
from .dialing import Dial, default_ssl_context, dial
from .target import Target
from .websocket_handshake import READ_BYTES, shake_hands

__all__ = ["WebSocketConnection", "WebSocketTransport"]

_ABNORMAL = 1006
MAX_PONG_BYTES = 16 * 1024  # that wait for a peer that pings and does not read
_CLOSE_1014 = re.compile(rb"\x88([\x02-\x7d])\x03\xf6", re.DOTALL)  # RFC 6455, section 5.5.1


class WebSocketTransport(Transport[str | bytes]):
    """Makes WebSocket connections.

    :param target: where to.
    :param subprotocols: offered in this order (RFC 6455, section 1.9).
    :param ssl_context: for ``wss``; by default one with the system's certificate authorities.
    :param max_message_bytes: bound on one message, a text one as UTF-8.
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
        """The bytes of a message, a text one as UTF-8."""
        if not isinstance(message, str | bytes):
            raise TypeError(f"a WebSocket message is str or bytes, not {type(message).__name__}")
        return _size(message)

    async def connect(self, attempt: Attempt) -> WebSocketConnection:
        """Dial and shake hands (RFC 6455, section 4.1)."""
        url, headers = await self._target.resolve(attempt.turn)
        secure = url.scheme == "wss"
        context = (self._ssl_context or default_ssl_context("websocket")) if secure else None
        port = url.port or (443 if secure else 80)
        stream = await dial(url.host, port, ssl_context=context, open_stream=self._open_stream)
        try:
            protocol, answer, recent = await shake_hands(
                stream,
                url,
                headers,
                subprotocols=self._subprotocols,
                wall_clock=self._wall_clock,
            )
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        connection = WebSocketConnection(
            stream, protocol, max_message_bytes=self._max_message_bytes, recent=recent
        )
        connection.subprotocol = answer.subprotocol
        connection.response_headers = header_pairs(answer.extra_headers)
        return connection


class WebSocketConnection(Connection[str | bytes]):
    """One WebSocket connection after its handshake."""

    sends = True
    pings = True

    def __init__(
        self,
        stream: trio.abc.Stream,
        protocol: wsproto.WSConnection,
        *,
        max_message_bytes: int,
        recent: bytes = b"",
    ) -> None:
        self._stream = stream
        self._protocol = protocol
        self._max_message_bytes = max_message_bytes
        # Of a message that is not finished.  In one buffer: a list of its fragments could take far
        # more memory than what is in them.
        self._text: io.StringIO | None = None
        self._binary: bytearray | None = None
        self._size = 0
        self._end: Cause | None = None
        self._farewell = b""  # our answer to the peer's close frame, or to its violation
        self._recent = recent  # bytes received: see _close_code()
        self._writing = trio.Lock()
        self._pongs = b""  # answers to pings that were not sent yet
        self._cut = False  # a frame was begun and not finished: nothing can follow it
        self._first = True  # frames may have come together with the handshake

    @property
    def end_cause(self) -> Cause | None:
        """Known once the peer has closed, or broken the protocol."""
        return self._end

    async def receive(self) -> Sequence[str | bytes]:
        """All messages of one read.  Nothing is written here, so no peer can block it."""
        if self._end is not None:
            raise ConnectionEnded(self._end)
        if self._first:
            self._first = False
            messages = self._events()
            if messages or self._pongs:
                return messages
        try:
            data = await self._stream.receive_some(READ_BYTES)
        except trio.BrokenResourceError as exc:
            raise ConnectionEnded(AbnormalClosure(_ABNORMAL, exc.__cause__ or exc)) from exc
        if not data:
            raise ConnectionEnded(AbnormalClosure(_ABNORMAL))
        self._recent = self._recent + data
        self._protocol.receive_data(bytes(data))
        messages = self._events()
        self._recent = self._recent[-127:]
        return messages

    def _events(self) -> list[str | bytes]:
        """Take in what was parsed: messages are returned, everything else is dealt with."""
        messages: list[str | bytes] = []
        for event in self._protocol.events():
            match event:
                case ws.TextMessage() | ws.BytesMessage():
                    self._size += _size(event.data)
                    if self._size > self._max_message_bytes:
                        bound = f"max_message_bytes={self._max_message_bytes}"
                        self._fail(1009, f"a message is longer than {bound}")
                        break
                    message = self._assembled(event)
                    if message is not None:
                        messages.append(message)
                case ws.Ping() if self._protocol.state is ConnectionState.OPEN:
                    if len(self._pongs) > MAX_PONG_BYTES:
                        self._pongs = b""  # only the latest needs one (RFC 6455, section 5.5.3)
                    self._pongs += self._protocol.send(event.response())
                case ws.CloseConnection():
                    self._peer_closed(event)
                case _:
                    pass  # a pong: any byte is a sign of life
        if self._end is not None and not messages:
            raise ConnectionEnded(self._end)
        return messages

    def _assembled(self, event: ws.TextMessage | ws.BytesMessage) -> str | bytes | None:
        """The message, if ``event`` finishes it."""
        data = event.data
        if event.message_finished and self._text is None and self._binary is None:
            self._size = 0
            return data if isinstance(data, str) else bytes(data)
        if isinstance(data, str):
            self._text = self._text or io.StringIO()
            self._text.write(data)
        else:
            self._binary = bytearray() if self._binary is None else self._binary
            self._binary += data
        if not event.message_finished:
            return None
        whole = self._text.getvalue() if self._text is not None else bytes(self._binary or b"")
        self._text = self._binary = None
        self._size = 0
        return whole

    def _peer_closed(self, event: ws.CloseConnection) -> None:
        if self._protocol.state is ConnectionState.REMOTE_CLOSING:
            self._end = PeerClosed(int(event.code), event.reason or "")
            self._farewell = self._protocol.send(event.response())
            return
        # wsproto tells its own findings about the peer in the shape of a close frame.
        code = self._close_code()
        if code is not None:
            self._end = PeerClosed(*code)
            self._farewell = self._protocol.send(ws.CloseConnection(code=1000))
        else:
            self._fail(int(event.code), event.reason or "broken framing")

    def _close_code(self) -> tuple[int, str] | None:
        """The registered code of a close frame that wsproto refused, and its reason.

        wsproto knows the codes of RFC 6455 but not 1014, which IANA has registered since.
        """
        found = _CLOSE_1014.search(self._recent)
        if found is None or len(self._recent) < found.start() + 2 + found[1][0]:
            return None
        reason = self._recent[found.end() : found.start() + 2 + found[1][0]]
        return 1014, reason.decode("utf-8", "replace")

    def _fail(self, code: int, detail: str) -> None:
        """Fail the connection, and say so to the peer as we leave (RFC 6455, section 7.1.7)."""
        self._end = ProtocolViolation(detail)
        if self._protocol.state is ConnectionState.OPEN:
            reason = CloseReason(code) if code in set(CloseReason) else CloseReason.PROTOCOL_ERROR
            self._farewell = self._protocol.send(ws.CloseConnection(code=reason))

    # ------------------------------------------------------------------ writing

    async def send(self, message: str | bytes) -> None:
        """Send one message as one frame."""
        event: ws.Event
        if isinstance(message, str):
            event = ws.TextMessage(data=message)
        else:
            event = ws.BytesMessage(data=message)
        await self._send_event(event)

    async def ping(self) -> None:
        """Send a ping frame.  Its answer, like any byte, ends the silence."""
        await self._send_event(ws.Ping())

    @property
    def reply_due(self) -> bool:
        """Whether a pong waits, and nobody is writing who would take it along."""
        return bool(self._pongs) and not self._writing.locked()

    async def reply(self) -> None:
        """Send the pong."""
        await self._write(b"")

    async def _send_event(self, event: ws.Event) -> None:
        try:
            await self._write(self._protocol.send(event))
        except LocalProtocolError as exc:  # a close is under way: the reader will say which
            raise ConnectionEnded(AbnormalClosure(_ABNORMAL, exc)) from exc

    async def _write(self, data: bytes) -> None:
        """Write whole frames, and a pong that is waiting behind them."""
        async with self._writing:
            while data or self._pongs:
                if self._cut:
                    raise ConnectionEnded(AbnormalClosure(_ABNORMAL))
                if not data:
                    data, self._pongs = self._pongs, b""
                await trio.lowlevel.checkpoint_if_cancelled()  # the last one before bytes go out
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
        farewell = self._farewell
        if not farewell and code is not None and self._protocol.state is ConnectionState.OPEN:
            farewell = self._protocol.send(ws.CloseConnection(code=code))
        pong, self._pongs = self._pongs, b""  # nothing may follow a close frame
        try:
            if farewell and code is not None:
                await self._write(pong + farewell)
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
        return self._protocol.state is ConnectionState.CLOSED and not self._farewell


def _size(message: str | bytes | bytearray) -> int:
    if isinstance(message, str) and not message.isascii():
        return len(message.encode())
    return len(message)
