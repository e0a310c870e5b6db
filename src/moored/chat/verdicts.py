"""Which failures another request may mend, and how long to wait before it."""

from __future__ import annotations

import random
from collections.abc import Mapping

import trio

from moored.core.backoff import ceiling, delay
from moored.core.causes import (
    Cause,
    Completed,
    ConnectFailed,
    HandshakeRejected,
    HeartbeatLost,
    PeerClosed,
    ProtocolViolation,
    Verdict,
    is_retried_by_apis,
    verdict,
)
from moored.core.policy import Reconnect
from moored.core.sse import EventTooLarge

from .answer import Answer
from .errors import (
    ConnectionFailed,
    ConnectTimeout,
    LivenessTimeout,
    MalformedChunk,
    NotResumed,
    ProviderStreamError,
    ReplyError,
    RequestRejected,
    StreamTruncated,
    TimeoutExceeded,
    TotalTimeout,
)
from .settings import Settings

__all__ = [
    "asks_too_long",
    "backoff",
    "error_of",
    "is_rate_limit",
    "is_the_requests_fault",
    "may_retry",
]

_TRANSIENT = frozenset(
    {
        "api_error",
        "internal_error",
        "internal_server_error",
        "overloaded_error",
        "rate_limit_error",
        "rate_limit_exceeded",
        "server_error",
        "server_overloaded",
        "service_unavailable",
        "timeout",
        "timeout_error",
        "unavailable",
    }
)
"""Types and codes of errors inside a stream after which another request may succeed: those of
OpenAI, Anthropic and Google that stand for 429 and 5xx."""


def error_of(cause: Cause, answer: Answer, settings: Settings) -> ReplyError:
    """The error that the end of a connection amounts to, where the answer is not complete."""
    match cause:
        case ConnectFailed(stage="timeout"):
            words = f"no connection within {settings.connect_timeout:g} s"
            return ConnectTimeout(words, answer, settings.connect_timeout)
        case ConnectFailed():
            return ConnectionFailed(str(cause), answer, cause)
        case HandshakeRejected():
            return RequestRejected(answer, cause, _body_words(cause))
        case HeartbeatLost(silent_for=seconds):
            words = f"not a single byte for {seconds:g} s"
            return LivenessTimeout(words, answer, seconds)
        case Completed() | PeerClosed(code=1000):
            words = "the stream ended, in good order, before the answer was complete"
            return StreamTruncated(words, answer, cause)
        case _:
            words = f"the stream ended before the answer was complete: {cause}"
            return StreamTruncated(words, answer, cause)


def _body_words(cause: HandshakeRejected) -> str:
    """What an error's body says in words, bounded: it is the provider's, and shown to people."""
    try:
        text = cause.body[:2000].decode("utf-8", "ignore" if len(cause.body) > 2000 else "strict")
    except UnicodeDecodeError:
        return ""  # compressed, or no text at all
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in words)[:300]


def may_retry(error: ReplyError) -> bool:
    """Whether another request may succeed where this one did not."""
    match error:
        case TotalTimeout() | MalformedChunk() | NotResumed():
            return False
        case RequestRejected():
            return is_retried_by_apis(error.status, dict(error.headers).get("x-should-retry", ""))
        case ProviderStreamError():
            return _is_transient(error)
        case StreamTruncated(cause=ProtocolViolation(exception=EventTooLarge())):
            return False  # it would be again
        case StreamTruncated(cause=Completed() | PeerClosed(code=1000)):
            return True  # a good end, as far as the transport goes
        case ConnectionFailed() | StreamTruncated():
            return verdict(error.cause) is Verdict.RETRY
        case TimeoutExceeded():
            return True
        case _:
            return False


def _is_transient(error: ProviderStreamError) -> bool:
    body = error.body if isinstance(error.body, Mapping) else {}
    for name in ("code", "status", "type"):
        value = body.get(name)
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return is_retried_by_apis(value)
        if isinstance(value, str) and value.lower() in _TRANSIENT:
            return True
    return False


_OF_THE_REQUEST = frozenset({400, 413, 414, 415, 422})
"""Statuses that say that the request is at fault: another endpoint would find so too."""


def is_the_requests_fault(error: ReplyError) -> bool:
    """Whether any other endpoint would say the same."""
    if isinstance(error, RequestRejected):
        return error.status in _OF_THE_REQUEST
    if isinstance(error, ProviderStreamError):
        return "invalid_request_error" in (error.type, error.code)
    return isinstance(error, TotalTimeout)


def asks_too_long(error: ReplyError, reconnect: Reconnect) -> bool:
    """Whether the endpoint wants to be left alone for longer than anybody would wait."""
    after = error.retry_after if isinstance(error, RequestRejected) else None
    return after is not None and after > reconnect.retry_after_maximum


def is_rate_limit(error: ReplyError) -> bool:
    """Whether the endpoint said that it is asked too much: a cooldown and not a failure."""
    if isinstance(error, RequestRejected):
        return error.status == 429
    if isinstance(error, ProviderStreamError):
        words = {str(error.code), str(error.type)}
        return bool(words & {"429", "rate_limit_error", "rate_limit_exceeded"})
    return False


def backoff(
    error: ReplyError,
    failures: int,
    reconnect: Reconnect,
    rng: random.Random,
    *,
    obeys: bool = True,
) -> float:
    """Seconds to wait before the next attempt: full jitter, above what the server asked for.

    :param failures: attempts that have failed, at least 1.
    :param obeys: whether what the server asked for counts: not where somebody else is asked next.
    """
    asked = error.retry_after if isinstance(error, RequestRejected) else None
    floor = min(asked or 0.0, reconnect.retry_after_maximum) if obeys else 0.0
    upper = ceiling(
        failures - 1,
        initial=reconnect.initial,
        maximum=reconnect.maximum,
        multiplier=reconnect.multiplier,
    )
    seconds = delay(upper, rng, floor=floor)
    budget = reconnect.budget
    while budget is not None and not budget.withdraw(trio.current_time() + seconds):
        seconds += budget.wait(trio.current_time() + seconds)
    return seconds
