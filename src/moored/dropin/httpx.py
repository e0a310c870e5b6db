"""The transport for httpx."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

import httpx

from . import errors
from .library import BodyStream, HttpLibrary
from .limiter import Limiter, estimate_tokens
from .parameters import check_parameters
from .policy import TransportPolicy
from .sending import Sender

__all__ = ["ResilientTransport"]


class _FirstTokenTimeout(errors.FirstTokenTimeout, httpx.ReadTimeout): ...


class _LivenessTimeout(errors.LivenessTimeout, httpx.ReadTimeout): ...


class _ProgressTimeout(errors.ProgressTimeout, httpx.ReadTimeout): ...


class _AnswerTruncated(errors.AnswerTruncated, httpx.RemoteProtocolError): ...


class _AnswerInterrupted(errors.AnswerInterrupted, httpx.ReadError): ...


class _AnswerFailed(errors.AnswerFailed, httpx.ReadError): ...


class _Body(httpx.AsyncByteStream):
    def __init__(self, body: BodyStream) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._body)

    async def aclose(self) -> None:
        await self._body.aclose()


def _make_response(response: httpx.Response, body: BodyStream) -> httpx.Response:
    return httpx.Response(
        status_code=response.status_code,
        headers=response.headers,
        stream=_Body(body),
        extensions=response.extensions,
    )


_LIBRARY = HttpLibrary(
    make_response=_make_response,
    transport_error=httpx.TransportError,
    not_sent=(httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout),
    fatal=(httpx.LocalProtocolError, httpx.UnsupportedProtocol),
    read_timeout=httpx.ReadTimeout,
    not_read=httpx.RequestNotRead,
    after_close=(RuntimeError, httpx.TransportError, httpx.StreamError),
    first_token_timeout=_FirstTokenTimeout,
    liveness_timeout=_LivenessTimeout,
    progress_timeout=_ProgressTimeout,
    truncated=_AnswerTruncated,
    interrupted=_AnswerInterrupted,
    failed=_AnswerFailed,
)


class ResilientTransport(httpx.AsyncBaseTransport):
    """A transport for ``httpx.AsyncClient``, and so for the SDKs that take one, on Trio.

    Event streams are held to :class:`~moored.dropin.TransportPolicy`: three clocks that comments do
    not fool, and an end that is the answer's own.  What goes wrong is raised as an exception of
    httpx's that is also an :class:`~moored.dropin.AnswerError`.  Requests that fail or are refused
    are sent again, one for an event stream as long as nothing of it has been handed over: up to its
    first event, for which :meth:`handle_async_request` waits.

    The bytes that are handed over are the server's, but for a byte order mark before the first
    event, and a ``[DONE]`` behind an error inside a choice.  The answer to a request whose JSON
    says ``"stream": true`` is watched even where its type is not that of an event stream, unless
    that is plainly something else.  Requests that ask for an event stream are sent with
    ``Accept-Encoding: identity``.  A request that the SDK itself sends again
    (``x-stainless-retry-count``) is sent once only.

    :param inner: what carries the requests; by default ``httpx.AsyncHTTPTransport()`` without a
        bound on connections.  It is closed with this one.
    :param policy: the settings.
    :param limiter: what every attempt has to reserve from, such as ``moored.limits.Limiter``.
    :param estimate: gives the tokens to reserve for a request, of its body; by default the
        characters divided by 4 and the bound on the answer.
    :param rng: for the jitter of the delays.
    :param wall_clock: seconds since 1970, for a ``Retry-After`` that is a date.
    :raises TypeError: when a parameter is of a wrong type.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport | None = None,
        *,
        policy: TransportPolicy | None = None,
        limiter: Limiter | None = None,
        estimate: Callable[[bytes], int] = estimate_tokens,
        rng: random.Random | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        check_parameters(
            inner=inner,
            transport=httpx.AsyncBaseTransport,
            policy=policy,
            limiter=limiter,
            estimate=estimate,
            rng=rng,
            wall_clock=wall_clock,
        )
        if inner is None:
            inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=None))
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

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request``, and return its answer: of an event stream, with the first event.

        :raises httpx.TransportError: when the last attempt failed.
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
