"""The opening handshake of a WebSocket (RFC 6455, section 4.1), and every answer that is no yes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httpx
import trio
import wsproto
from wsproto import events as ws
from wsproto.utilities import RemoteProtocolError

from moored.core.causes import ConnectFailed, ProtocolViolation

from .answers import MAX_BODY_BYTES, REJECTION_BODY_TIMEOUT, rejection
from .base import ConnectionEnded
from .target import RawHeaders

__all__ = ["READ_BYTES", "shake_hands"]

READ_BYTES = 64 * 1024
MAX_HANDSHAKE_BYTES = MAX_BODY_BYTES + 64 * 1024  # the body that is kept, and room for headers


async def shake_hands(
    stream: trio.abc.Stream,
    url: httpx.URL,
    headers: RawHeaders,
    *,
    subprotocols: Sequence[str],
    wall_clock: Callable[[], float],
) -> tuple[wsproto.WSConnection, bytes]:
    """Ask for a WebSocket, and return once the server has said yes.

    :returns: the protocol, which holds what followed the handshake in the same read; and that read.

    :raises ConnectionEnded: when it said anything else.
    """
    protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    if url.userinfo and not any(name.lower() == b"authorization" for name, _ in headers):
        basic = httpx.BasicAuth(url.username, url.password)
        request = next(basic.auth_flow(httpx.Request("GET", "http://unused")))
        headers = [*headers, (b"Authorization", request.headers["Authorization"].encode())]
    request_event = ws.Request(
        host=url.netloc.decode("ascii"),
        target=url.raw_path.decode("ascii"),
        subprotocols=list(subprotocols),
        extra_headers=headers,
    )
    try:
        await stream.send_all(protocol.send(request_event))
        refusal, data = await _read_answer(stream, protocol)
        if refusal is None:
            return protocol, data
        body = await _read_body(stream, protocol) if refusal.has_body else b""
    except trio.BrokenResourceError as exc:
        raise ConnectionEnded(ConnectFailed("handshake", exc.__cause__ or exc)) from exc
    except RemoteProtocolError as exc:
        detail = f"the answer is no WebSocket handshake ({exc})"
        raise ConnectionEnded(ProtocolViolation(detail, exc)) from exc
    raise ConnectionEnded(
        rejection(refusal.status_code, refusal.headers, body, wall_time=wall_clock())
    )


async def _read_answer(
    stream: trio.abc.Stream, protocol: wsproto.WSConnection
) -> tuple[ws.RejectConnection | None, bytes]:
    """Read until the server has decided; what it refused with, or ``None``, and the last read."""
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
                return None, bytes(data)
            # Early hints and the like (RFC 9110, section 15.2) decide nothing.
            if isinstance(event, ws.RejectConnection) and event.status_code >= 200:
                return event, bytes(data)


async def _read_body(stream: trio.abc.Stream, protocol: wsproto.WSConnection) -> bytes:
    """A refusal's body, as far as it comes in time."""
    body = bytearray()
    with trio.move_on_after(REJECTION_BODY_TIMEOUT):
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
