"""One HTTP connection for each attempt, behind httpx's transport seam.

A pool would make streams share limits and fates: httpx's own holds 100 connections, and cancelling
requests under contention orphans its slots.  So every attempt has a connection of its own, over a
byte stream that Moored opened and can therefore always close; what is shared is the TLS context.
"""

from __future__ import annotations

import ssl
import typing
from collections.abc import AsyncIterator, Iterable

import httpcore
import httpx
import trio

from .dialing import Dial, default_ssl_context, dial

__all__ = ["OF_THE_FRAMING", "OneConnectionTransport", "chain"]

OF_THE_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
"""The headers that say where a request ends, which are not the user's to set."""


class _NetworkStream(httpcore.AsyncNetworkStream):
    """A Trio byte stream as httpcore wants it.  The timeouts are ours, so its are ignored."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise httpcore.ReadError(str(exc)) from exc

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            if buffer:
                await self._stream.send_all(buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise httpcore.WriteError(str(exc)) from exc

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise NotImplementedError("TLS is made before httpcore sees the stream")

    def get_extra_info(self, info: str) -> typing.Any:
        if info == "is_readable":
            return False  # never asked: a connection is not used twice
        return None


class _Body(httpx.AsyncByteStream):
    """An answer's body, from httpcore to httpx."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(typing.cast("typing.AsyncIterable[bytes]", self._response.stream))

    async def aclose(self) -> None:
        await self._response.aclose()


class OneConnectionTransport(httpx.AsyncBaseTransport):
    """Opens a connection for each request, and closes the one before it.

    :param http2: whether to offer HTTP/2 (needs ``moored[http2]``; over TLS only, by ALPN).
    :param ssl_context: for ``https``; by default one with the system's certificate authorities.
    :param open_stream: opens the byte stream; by default TCP.
    """

    def __init__(
        self,
        *,
        http2: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        open_stream: Dial | None = None,
    ) -> None:
        self._http2 = http2
        self._ssl_context = ssl_context
        self._open_stream = open_stream
        self._stream: trio.abc.Stream | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` on a new connection.

        :raises moored.transports.base.ConnectionEnded: when there is no connection to be had.
        """
        await self.aclose()
        url = request.url
        secure = url.scheme == "https"
        context = None
        if secure:
            context = self._ssl_context or default_ssl_context("http2" if self._http2 else "http1")
        port = url.port or (443 if secure else 80)
        self._stream = await dial(
            url.host, port, ssl_context=context, open_stream=self._open_stream
        )
        core_request = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions={**request.extensions, "timeout": {}},
        )
        connection = self._connection(httpcore.Origin(url.raw_scheme, url.raw_host, port))
        response = await connection.handle_async_request(core_request)
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    def _connection(self, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        assert self._stream is not None
        stream = _NetworkStream(self._stream)
        tls = self._stream if isinstance(self._stream, trio.SSLStream) else None
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            return httpcore.AsyncHTTP2Connection(origin, stream)
        return httpcore.AsyncHTTP11Connection(origin, stream)

    async def aclose(self) -> None:
        """Close the connection, at once."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)


def chain(exc: BaseException) -> Iterable[BaseException]:
    """The exceptions that led to ``exc``, itself first."""
    seen: set[int] = set()
    each: BaseException | None = exc
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__
