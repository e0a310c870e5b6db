"""The opening handshake of a WebSocket (RFC 6455, section 4.1), and every answer that is no yes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httpx
import trio
import wsproto
from wsproto import events as ws
from wsproto.utilities import RemoteProtocolError

from moored.core.causes import ConnectFailed, ProtocolViolation

from .answers import MAX_BODY_BYTES, body_timeout, rejection
from .base import ConnectionEnded
from .target import RawHeaders

__all__ = ["OF_THE_HANDSHAKE", "READ_BYTES", "shake_hands"]

OF_THE_HANDSHAKE = frozenset(
    {
        b"connection",
        b"content-length",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""The headers of RFC 6455, section 4.1, and those of a body, which a handshake has not."""

READ_BYTES = 64 * 1024
MAX_HANDSHAKE_BYTES = MAX_BODY_BYTES + 64 * 1024  # the body that is kept, and room for headers


async def shake_hands(
    stream: trio.abc.Stream,
    url: httpx.URL,
    headers: RawHeaders,
    *,
    subprotocols: Sequence[str],
    wall_clock: Callable[[], float],
) -> tuple[wsproto.WSConnection, ws.AcceptConnection, bytes]:
    """Ask for a WebSocket, and return once the server has said yes.

    :returns: the protocol, which holds what followed the handshake in the same read; the
        server's answer; and that read.

    :raises ConnectionEnded: when it said anything else.
    """
    protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    if url.userinfo and not any(name.lower() == b"authorization" for name, _ in headers):
        basic = httpx.BasicAuth(url.username, url.password)
        request = next(basic.auth_flow(httpx.Request("GET", "http://unused")))
        headers = [*headers, (b"Authorization", request.headers["Authorization"].encode())]
    hosts = [value for name, value in headers if name.lower() == b"host"] or [url.netloc]
    request_event = ws.Request(
        host=hosts[-1].decode("latin-1"),
        target=url.raw_path.decode("ascii"),
        subprotocols=list(subprotocols),
        extra_headers=[pair for pair in headers if pair[0].lower() != b"host"],
    )
    try:
        await stream.send_all(protocol.send(request_event))
        answer, data = await _read_answer(stream, protocol)
        if isinstance(answer, ws.AcceptConnection):
            return protocol, answer, data
        body = await _read_body(stream, protocol) if answer.has_body else b""
    except trio.BrokenResourceError as exc:
        raise ConnectionEnded(ConnectFailed("handshake", exc.__cause__ or exc)) from exc
    except RemoteProtocolError as exc:
        detail = f"the answer is no WebSocket handshake ({exc})"
        raise ConnectionEnded(ProtocolViolation(detail, exc)) from exc
    raise ConnectionEnded(
        rejection(answer.status_code, answer.headers, body, wall_time=wall_clock())
    )


async def _read_answer(
    stream: trio.abc.Stream, protocol: wsproto.WSConnection
) -> tuple[ws.AcceptConnection | ws.RejectConnection, bytes]:
    """Read until the server has decided; its answer, and the last read."""
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
                return event, bytes(data)
            # Early hints and the like (RFC 9110, section 15.2) decide nothing.
            if isinstance(event, ws.RejectConnection) and event.status_code >= 200:
                return event, bytes(data)


async def _read_body(stream: trio.abc.Stream, protocol: wsproto.WSConnection) -> bytes:
    """A refusal's body, as far as it comes in time."""
    body = bytearray()
    with trio.move_on_after(body_timeout()):
        while len(body) < MAX_BODY_BYTES:
            for part in protocol.handshake.events():
                if isinstance(part, ws.RejectData):
                    body += part.data
                    if part.body_finished:
                        return bytes(body)
            try:
                data = await stream.receive_some(READ_BYTES)
                if not data:
                    break
                protocol.receive_data(bytes(data))
            except (trio.BrokenResourceError, RemoteProtocolError):
                break  # the status is known, and says enough
    return bytes(body)
