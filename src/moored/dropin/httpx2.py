"""The transport for httpx2."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

import httpx2

from . import errors
from .library import BodyStream, HttpLibrary
from .limiter import Limiter, estimate_tokens
from .parameters import check_parameters
from .policy import TransportPolicy
from .sending import Sender

__all__ = ["ResilientTransport"]


class _FirstTokenTimeout(errors.FirstTokenTimeout, httpx2.ReadTimeout): ...


class _LivenessTimeout(errors.LivenessTimeout, httpx2.ReadTimeout): ...


class _ProgressTimeout(errors.ProgressTimeout, httpx2.ReadTimeout): ...


class _AnswerTruncated(errors.AnswerTruncated, httpx2.RemoteProtocolError): ...


class _AnswerInterrupted(errors.AnswerInterrupted, httpx2.ReadError): ...


class _AnswerFailed(errors.AnswerFailed, httpx2.ReadError): ...


class _Body(httpx2.AsyncByteStream):
    def __init__(self, body: BodyStream) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._body)

    async def aclose(self) -> None:
        await self._body.aclose()


def _make_response(response: httpx2.Response, body: BodyStream) -> httpx2.Response:
    return httpx2.Response(
        status_code=response.status_code,
        headers=response.headers,
        stream=_Body(body),
        extensions=response.extensions,
    )


_LIBRARY = HttpLibrary(
    make_response=_make_response,
    transport_error=httpx2.TransportError,
    not_sent=(httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout),
    fatal=(httpx2.LocalProtocolError, httpx2.UnsupportedProtocol),
    read_timeout=httpx2.ReadTimeout,
    not_read=httpx2.RequestNotRead,
    after_close=(RuntimeError, httpx2.TransportError, httpx2.StreamError),
    first_token_timeout=_FirstTokenTimeout,
    liveness_timeout=_LivenessTimeout,
    progress_timeout=_ProgressTimeout,
    truncated=_AnswerTruncated,
    interrupted=_AnswerInterrupted,
    failed=_AnswerFailed,
)


class ResilientTransport(httpx2.AsyncBaseTransport):
    """What :class:`moored.dropin.ResilientTransport` is, for ``httpx2.AsyncClient``.

    The parameters are the same; the inner transport, and what is raised, are httpx2's.
    """

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport | None = None,
        *,
        policy: TransportPolicy | None = None,
        limiter: Limiter | None = None,
        estimate: Callable[[bytes], int] = estimate_tokens,
        rng: random.Random | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        check_parameters(
            inner=inner,
            transport=httpx2.AsyncBaseTransport,
            policy=policy,
            limiter=limiter,
            estimate=estimate,
            rng=rng,
            wall_clock=wall_clock,
        )
        if inner is None:
            inner = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=None))
        self._inner = inner
        self._sender = Sender(
            library=_LIBRARY,
            handle=inner.handle_async_request,
            policy=TransportPolicy() if policy is None else policy,
            limiter=limiter,
            estimate=estimate,
            rng=random.Random() if rng is None else rng,
            wall_clock=wall_clock,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request``, and return its answer: of an event stream, with the first event.

        :raises httpx2.TransportError: when the last attempt failed.
        """
        return await self._sender.send(request)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc_value, traceback)
