"""One HTTP request and its answer, whoever's client it is, and what goes wrong with it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import h11
import httpcore
import httpx
import trio

from moored.core.causes import AbnormalClosure, Cause, ConnectFailed, ProtocolViolation
from moored.errors import HookFailed

from .answers import MAX_BODY_BYTES, body_timeout
from .base import ConnectionEnded
from .http import OneConnectionTransport, chain

__all__ = ["Exchange"]

# InvalidURL: httpx looks at a redirect's Location also when it is not to follow it.
_HTTP_ERRORS = (
    httpx.TransportError,
    httpx.InvalidURL,
    httpcore.ProtocolError,
    httpcore.NetworkError,
)
CLOSE_TIMEOUT = 1.0
"""Seconds that closing an answer of a caller's client may take."""


class Exchange:
    """A request and its answer, whoever's client it is."""

    def __init__(self, client: httpx.AsyncClient, transport: OneConnectionTransport | None) -> None:
        self.client = client
        self._transport = transport
        self.response: httpx.Response | None = None
        self.resumed = True
        self.carries_credentials = True
        self._chunks: AsyncIterator[bytes] | None = None

    async def send(self, request: httpx.Request) -> None:
        """Send ``request``, and read its answer's head."""
        await self._end_response()
        try:
            if self._transport is not None:
                self.response = await self._send_on(self._transport, request)
            else:
                auth: Any = httpx.USE_CLIENT_DEFAULT if self.carries_credentials else None
                self.response = await self.client.send(
                    request, stream=True, auth=auth, follow_redirects=False
                )
        except _HTTP_ERRORS as exc:
            raise ConnectionEnded(connect_cause(exc)) from exc
        except ConnectionEnded:
            raise
        except Exception as exc:
            if self._transport is not None:
                raise
            # A closed client, an event hook, an auth flow: whatever the caller's own does.
            raise HookFailed("client") from exc

    async def _send_on(
        self, transport: OneConnectionTransport, request: httpx.Request
    ) -> httpx.Response:
        """Send ``request`` as the client would, but for its log: that holds the whole URL."""
        url = request.url
        if self.carries_credentials and url.userinfo and "authorization" not in request.headers:
            next(httpx.BasicAuth(url.username, url.password).auth_flow(request))  # sets the header
        response = await transport.handle_async_request(request)
        response.request = request
        self.client.cookies.extract_cookies(response)
        return response

    async def next_chunk(self) -> bytes | None:
        """The next bytes of the body as they came; ``None`` at its end."""
        assert self.response is not None
        if self._chunks is None:
            # Ours needs none of httpx's accounting; and what httpx.MockTransport makes of bytes is
            # consumed already.
            direct = self._transport is not None or self.response.is_stream_consumed
            stream: Any = self.response.stream if direct else self.response.aiter_raw()
            self._chunks = aiter(stream)
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            return None
        except _HTTP_ERRORS as exc:
            raise ConnectionEnded(AbnormalClosure(exception=exc)) from exc
        except Exception as exc:
            if self._transport is not None:
                raise
            raise HookFailed("client") from exc

    async def read_body(self) -> bytes:
        """The first 64 KiB of the body, or as much as comes in time."""
        body = b""
        with trio.move_on_after(body_timeout()):
            while len(body) < MAX_BODY_BYTES:
                try:
                    chunk = await self.next_chunk()
                except ConnectionEnded:
                    break
                if chunk is None:
                    break
                body += chunk
        return body[:MAX_BODY_BYTES]

    async def _end_response(self) -> None:
        response, self.response = self.response, None
        chunks, self._chunks = self._chunks, None
        if response is None:
            return
        await response.aclose()
        if chunks is not None:
            # Run httpx's generators to their end, or the garbage collector would find them.
            try:
                while True:
                    await anext(chunks)
            except (StopAsyncIteration, httpx.StreamError, *_HTTP_ERRORS, RuntimeError):
                pass

    async def aclose(self) -> None:
        """Close the answer, and the connection if it is ours."""
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            if self._transport is not None:
                await self._transport.aclose()  # first: nothing can block on it then
            await self._end_response()


def connect_cause(exc: BaseException) -> Cause:
    """What a request that got no answer amounts to, by the types on the way, never by the text."""
    for each in chain(exc):
        if isinstance(each, ssl.SSLError):
            return ConnectFailed("tls", each)
        if isinstance(each, socket.gaierror):
            return ConnectFailed("dns", each)
        if isinstance(each, h11.RemoteProtocolError):
            return ProtocolViolation("the answer is no HTTP", each)
        if isinstance(each, httpx.InvalidURL):
            return ProtocolViolation("it redirects to what is no URL", each)
    if isinstance(exc, httpx.ConnectError | httpcore.ConnectError):
        return ConnectFailed("tcp", exc)
    return ConnectFailed("handshake", exc)
