"""One request, sent until it is answered: the limiter, the attempts, the watched body."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import attrs
import trio

from moored.core.causes import is_certificate_failure
from moored.transports.content_coding import UnknownCoding

from .answer import AnswerWatch
from .body import EventBody, MeteredBody, Source
from .library import HttpLibrary, HttpRequest, HttpResponse
from .limiter import Lease, Limiter
from .policy import TransportPolicy
from .retries import asks_too_much, delay, is_sdk_retry, retry_after, should_retry

__all__ = ["Sender"]

RequestT = TypeVar("RequestT", bound=HttpRequest)
ResponseT = TypeVar("ResponseT", bound=HttpResponse)

_log = logging.getLogger("moored.dropin")

# What other streams than events come in: Ollama's own API, and Amazon Bedrock's.
_OTHER_STREAMS = frozenset(
    {"application/x-ndjson", "application/jsonl", "application/vnd.amazon.eventstream"}
)


@attrs.frozen
class _Asked:
    """What a request asks for.

    :ivar body: as it is sent, or ``None`` where it comes from a generator and cannot be repeated.
    :ivar accepts_stream: whether an event stream is asked for, by ``Accept``.
    :ivar stream: the same, by ``"stream": true`` in the body, as the SDKs' APIs have it.
    :ivar choices: how many answers.
    """

    body: bytes | None
    accepts_stream: bool = False
    stream: bool = False
    choices: int = 1

    @property
    def streams(self) -> bool:
        """Whether an event stream is asked for."""
        return self.accepts_stream or self.stream


@attrs.frozen
class _Again:
    """An attempt that calls for another one.

    :ivar why: for the log.
    :ivar after: the delay that the server asked for, or ``None``.
    """

    why: str
    after: float | None = None


@attrs.define(eq=False)
class Sender(Generic[RequestT, ResponseT]):
    """Sends the requests of one transport.

    :param handle: the inner transport's ``handle_async_request``.
    """

    library: HttpLibrary[ResponseT]
    handle: Callable[[RequestT], Awaitable[ResponseT]]
    policy: TransportPolicy
    limiter: Limiter | None
    estimate: Callable[[bytes], int]
    rng: random.Random
    wall_clock: Callable[[], float]
    _warned: bool = attrs.field(init=False, default=False)

    async def send(self, request: RequestT) -> ResponseT:
        """Send ``request``, again if need be, and return the answer that is to be had."""
        asked = self._read(request)
        if asked.streams:
            # What is compressed comes in larger pieces, and is cut where no event ends.
            request.headers["Accept-Encoding"] = "identity"
        attempts = self.policy.retry.attempts
        if asked.body is None or is_sdk_retry(request.headers):
            attempts = 1
        attempt = 1
        while True:
            outcome = await self._attempt(request, asked, attempt, last=attempt >= attempts)
            if not isinstance(outcome, _Again):
                return outcome
            seconds = delay(self.policy.retry, attempt - 1, outcome.after, self.rng)
            _log.info("%s: attempt %d of %d in %.1f s", outcome.why, attempt + 1, attempts, seconds)
            await trio.sleep(seconds)
            attempt += 1

    def _read(self, request: RequestT) -> _Asked:
        try:
            body = request.content
        except self.library.not_read:
            return _Asked(None)
        accepts = "text/event-stream" in request.headers.get("Accept", "")
        try:
            value = json.loads(body) if body else None
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            return _Asked(body, accepts)
        choices = value.get("n")
        return _Asked(
            body,
            accepts,
            value.get("stream") is True,
            choices if isinstance(choices, int) and choices > 0 else 1,
        )

    async def _attempt(
        self, request: RequestT, asked: _Asked, attempt: int, *, last: bool
    ) -> ResponseT | _Again:
        lease = Lease(self.limiter, self.estimate(asked.body or b"") if self.limiter else 0)
        await lease.take()
        used: int | None = None
        failure: Exception | None = None
        handed_over = False
        try:
            outcome = await self._answer(request, asked, attempt, lease, last=last)
            if isinstance(outcome, _Again):
                used = 0
            else:
                handed_over = True
            return outcome
        except self.library.transport_error as exc:
            failure = exc
            if isinstance(exc, self.library.not_sent):
                used = 0
            if last or isinstance(exc, self.library.fatal) or is_certificate_failure(exc):
                raise
            return _Again(type(exc).__name__)
        finally:
            if not handed_over:
                await lease.release(used, failure)

    async def _answer(
        self, request: RequestT, asked: _Asked, attempt: int, lease: Lease, *, last: bool
    ) -> ResponseT | _Again:
        began = trio.current_time()
        response = await self._head(request, asked, attempt)
        source = Source(self.library, response)
        handed_over = False
        try:
            if self.limiter is not None:
                self.limiter.observe(response.headers, response.status_code)
            if should_retry(response.status_code, response.headers):
                after = retry_after(response.headers, wall_time=self.wall_clock())
                if not last and not asks_too_much(self.policy.retry, after):
                    return _Again(f"status {response.status_code}", after)
            elif self._is_event_stream(response, asked):
                body = self._event_body(request, asked, attempt, lease, source, response)
                if body is not None:
                    body.waited = trio.current_time() - began
                    await body.begin()
                    handed_over = True
                    return self.library.make_response(response, body)
            handed_over = True
            if self.limiter is None:
                return response
            coding = response.headers.get("Content-Encoding", "")
            return self.library.make_response(response, MeteredBody(source, lease, coding))
        finally:
            if not handed_over:
                await source.aclose()

    def _is_event_stream(self, response: ResponseT, asked: _Asked) -> bool:
        """Whether the answer is an event stream: it says so, or was asked to and says no other."""
        said = response.headers.get("Content-Type", "")
        media_type = said.partition(";")[0].strip().lower()
        if media_type == "text/event-stream":
            return 200 <= response.status_code < 300
        if not asked.stream or response.status_code != 200 or _is_something_else(media_type):
            return False
        if not self._warned:
            self._warned = True
            _log.warning(
                "an answer to a request for a stream is %s and not text/event-stream: it is "
                "watched as one, and so are others after it",
                f"of type {said[:80]!r}" if said else "of no type",
            )
        return True

    async def _head(self, request: RequestT, asked: _Asked, attempt: int) -> ResponseT:
        bound = self.policy.first_token_timeout if asked.streams else None
        with trio.move_on_after(float("inf") if bound is None else bound):
            return await self.handle(request)
        raise self.library.first_token_timeout(
            f"not even a head came within first_token_timeout={bound:g} s",
            seconds=bound or 0.0,
            attempts=attempt,
        )

    def _event_body(
        self,
        request: RequestT,
        asked: _Asked,
        attempt: int,
        lease: Lease,
        source: Source,
        response: ResponseT,
    ) -> EventBody | None:
        try:
            watch = AnswerWatch(
                coding=response.headers.get("Content-Encoding", ""),
                choices=asked.choices,
                max_event_bytes=self.policy.max_event_bytes,
            )
        except UnknownCoding as exc:
            _log.warning("an event stream passes unwatched: %s", exc)
            return None
        timeout: Any = request.extensions.get("timeout", {})
        return EventBody(
            library=self.library,
            source=source,
            watch=watch,
            policy=self.policy,
            lease=lease,
            attempts=attempt,
            waited=0.0,
            read_timeout=timeout.get("read"),
        )


def _is_something_else(media_type: str) -> bool:
    """Whether it is a type of which no server says that its events are."""
    return (
        media_type.startswith(("audio/", "image/", "video/"))
        or media_type.endswith(("+json", "/json"))
        or media_type in _OTHER_STREAMS
    )
