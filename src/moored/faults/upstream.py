"""The server behind the proxy: its URL, and how to connect to it."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import attrs
import trio

__all__ = ["CONNECT_TIMEOUT", "Upstream"]

CONNECT_TIMEOUT = 10.0
"""How long connecting to the upstream may take, TLS included, in seconds."""

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


@attrs.frozen
class Upstream:
    """Where requests are forwarded to.

    :ivar scheme: ``http``, ``https``, ``ws`` or ``wss``.
    :ivar host: without brackets.
    :ivar authority: what the ``Host`` header says.
    :ivar suffix: path and query of the URL as it was given.
    """

    scheme: str
    host: str
    port: int
    authority: str
    suffix: str

    @classmethod
    def parse(cls, url: str) -> Upstream:
        """Read a URL.

        :raises ValueError: for another scheme, no host, or credentials in the URL.
        """
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        if scheme not in _DEFAULT_PORTS:
            schemes = ", ".join(_DEFAULT_PORTS)
            raise ValueError(f"the upstream's scheme must be one of {schemes}, not {scheme!r}")
        if not parts.hostname:
            raise ValueError("the upstream's URL must have a host")
        if "@" in parts.netloc:
            raise ValueError("the upstream's URL must not hold credentials: send them as headers")
        return cls(
            scheme=scheme,
            host=parts.hostname,
            port=_DEFAULT_PORTS[scheme] if parts.port is None else parts.port,
            authority=parts.netloc,
            suffix=parts.path + (f"?{parts.query}" if parts.query else ""),
        )

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("https", "wss")

    @property
    def is_websocket(self) -> bool:
        """Whether the URL names a WebSocket."""
        return self.scheme in ("ws", "wss")

    async def connect(self, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
        """Open a connection.

        :param ssl_context: for TLS; ``None`` only without TLS.
        :raises OSError: when there is none within :data:`CONNECT_TIMEOUT` seconds.
        :raises trio.BrokenResourceError: when the TLS handshake fails.
        """
        try:
            with trio.fail_after(CONNECT_TIMEOUT):
                return await self._connect(ssl_context)
        except trio.TooSlowError:
            raise TimeoutError(f"no connection within {CONNECT_TIMEOUT:g} s") from None

    async def _connect(self, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
        tcp = await trio.open_tcp_stream(self.host, self.port)
        if ssl_context is None:
            return tcp
        tls = trio.SSLStream(tcp, ssl_context, server_hostname=self.host, https_compatible=True)
        try:
            await tls.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(tls)
            raise
        return tls
