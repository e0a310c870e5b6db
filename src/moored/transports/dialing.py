"""Opening the byte stream below a connection: DNS, TCP and TLS, nothing left open on the way."""

from __future__ import annotations

import functools
import socket
import ssl
from collections.abc import Awaitable, Callable

import trio

from moored.core.causes import ConnectFailed
from moored.errors import HookFailed

from .base import ConnectionEnded

__all__ = ["Dial", "default_ssl_context", "dial"]

Dial = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Opens a byte stream to a host and a port: ``trio.open_tcp_stream``, or anything else, such as a
SOCKS tunnel, a Unix socket or a stream in memory.  TLS goes on top of it."""


@functools.cache
def default_ssl_context(purpose: str) -> ssl.SSLContext:
    """The TLS context for ``purpose``, made once: loading the CA bundle blocks for 20 ms.

    HTTP/1.1, HTTP/2 and WebSocket have one each, since each names its own protocol in ALPN.
    """
    context = ssl.create_default_context()
    protocols = {"websocket": ["http/1.1"], "http1": ["http/1.1"], "http2": ["h2", "http/1.1"]}
    context.set_alpn_protocols(protocols[purpose])
    return context


async def dial(
    host: str, port: int, *, ssl_context: ssl.SSLContext | None, open_stream: Dial | None
) -> trio.abc.Stream:
    """Open a byte stream to ``host``, with TLS where a context is given.

    :raises ConnectionEnded: with :class:`~moored.core.causes.ConnectFailed`.
    :raises HookFailed: when ``open_stream`` raised what is no failure of a network.
    """
    try:
        stream = await _open(host, port, open_stream)
    except (socket.gaierror, UnicodeError) as exc:  # UnicodeError: no name for IDNA, as "a..b"
        raise ConnectionEnded(ConnectFailed("dns", exc)) from exc
    except (OSError, trio.BrokenResourceError) as exc:
        raise ConnectionEnded(ConnectFailed("tcp", exc)) from exc
    if ssl_context is None:
        return stream
    # HTTPS and WSS peers end without a TLS close_notify: what is complete, only their protocols
    # can say.  A name may end in a dot, a certificate's may not (RFC 6066, section 3).
    name = host.removesuffix(".")
    tls = trio.SSLStream(stream, ssl_context, server_hostname=name, https_compatible=True)
    try:
        await tls.do_handshake()
    except (trio.BrokenResourceError, ssl.SSLError, OSError) as exc:
        await trio.aclose_forcefully(stream)
        failure = exc.__cause__ or exc
        raise ConnectionEnded(ConnectFailed("tls", failure)) from exc
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return tls


async def _open(host: str, port: int, open_stream: Dial | None) -> trio.abc.Stream:
    if open_stream is None:
        return await trio.open_tcp_stream(host, port)
    try:
        return await open_stream(host, port)
    except (OSError, UnicodeError, trio.BrokenResourceError):
        raise
    except Exception as exc:
        raise HookFailed("dial") from exc
