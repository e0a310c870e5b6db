"""Why a connection ended, as values from a closed set, and what each one calls for.

Every way in which an attempt or a connection can end is one of the classes below, with the facts
that a decision needs.  One function, :func:`verdict`, maps each to *retry*, *stop* or *finish*; it
serves the first connect and every reconnect alike.
"""

from __future__ import annotations

import enum
import ssl
from collections.abc import Iterator, Mapping
from typing import Literal

import attrs

__all__ = [
    "CLOSE_CODES",
    "RETRIED_STATUSES",
    "AbnormalClosure",
    "Cause",
    "ClosedByUs",
    "Completed",
    "ConnectFailed",
    "HandshakeRejected",
    "HeartbeatLost",
    "Incomplete",
    "PeerClosed",
    "ProtocolViolation",
    "RateLimited",
    "Stalled",
    "Verdict",
    "close_code_verdict",
    "is_certificate_failure",
    "is_retried_by_apis",
    "status_verdict",
    "verdict",
]


class Verdict(enum.Enum):
    """What to do about a cause."""

    RETRY = "retry"
    """Another attempt may well succeed: back off, then connect again."""
    STOP = "stop"
    """Another attempt would fail alike, or do harm: end the stream with an error."""
    FINISH = "finish"
    """The stream is over, and that is no failure."""


@attrs.frozen
class Cause:
    """Base of all causes.  Not made itself."""

    def __str__(self) -> str:
        raise NotImplementedError


ConnectStage = Literal["credentials", "dns", "tcp", "tls", "handshake", "timeout"]


@attrs.frozen
class ConnectFailed(Cause):
    """No connection came about.

    :param stage: how far it got: ``"credentials"`` (the callable that gives headers or the URL
        failed), ``"dns"``, ``"tcp"``, ``"tls"``, ``"handshake"`` (the peer hung up before it
        answered) or ``"timeout"`` (``connect_timeout`` passed).
    :param exception: what was raised, if anything was.
    :param detail: one more fact for a reader, such as the bound that passed.
    """

    stage: ConnectStage
    exception: BaseException | None = attrs.field(default=None, eq=False)
    detail: str = ""

    def __str__(self) -> str:
        what = {
            "credentials": "the credentials could not be had",
            "dns": "the name did not resolve",
            "tcp": "no TCP connection",
            "tls": "the TLS handshake failed",
            "handshake": "the peer hung up before it answered",
            "timeout": "no connection in time",
        }[self.stage]
        return _sentence(f"connect failed: {what}", self.detail or _words(self.exception))


Headers = tuple[tuple[str, str], ...]


@attrs.frozen
class HandshakeRejected(Cause):
    """The server answered the opening request with something other than the stream.

    Headers and body are kept out of the repr, since they may hold secrets.

    :param status: the HTTP status.
    :param headers: the answer's headers, names in lower case.
    :param body: up to 64 KiB of the answer's body.
    :param retry_after: the delay that the server asked for, in seconds, or ``None``.
    :param detail: what was wrong, where the status alone does not say (a content type, say).
    """

    status: int
    headers: Headers = attrs.field(default=(), repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    retry_after: float | None = None
    detail: str = ""

    def __str__(self) -> str:
        after = "" if self.retry_after is None else f"retry after {self.retry_after:g} s"
        return _sentence(f"rejected with status {self.status}", self.detail, after)


@attrs.frozen
class RateLimited(HandshakeRejected):
    """Status 429: too many requests (RFC 6585, section 4)."""

    status: int = 429

    def __str__(self) -> str:
        after = "" if self.retry_after is None else f"retry after {self.retry_after:g} s"
        return _sentence(f"rate limited (status {self.status})", self.detail, after)


@attrs.frozen
class PeerClosed(Cause):
    """The peer ended the connection in good order.

    :param code: the WebSocket close code; 1005 where the close frame held none (RFC 6455, section
        7.1.5); ``None`` on transports that have no codes, such as SSE.
    :param reason: the peer's own words.
    """

    code: int | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.code is None:
            return _sentence("the peer ended the stream", self.reason)
        name = CLOSE_CODES.get(self.code, ("", None))[0]
        words = f"closed by the peer with code {self.code}"
        return _sentence(f"{words} ({name})" if name else words, self.reason)


@attrs.frozen
class AbnormalClosure(Cause):
    """The connection vanished without the protocol's own end.

    :param code: 1006 on a WebSocket, where no close frame came (RFC 6455, section 7.1.5); ``None``
        on transports without codes.
    :param exception: the reset, the broken transfer, or ``None`` for a bare end of file.
    """

    code: int | None = None
    exception: BaseException | None = attrs.field(default=None, eq=False)

    def __str__(self) -> str:
        words = "the connection vanished without an end"
        return _sentence(
            words if self.code is None else f"{words} (code {self.code})", _words(self.exception)
        )


@attrs.frozen
class HeartbeatLost(Cause):
    """Nothing at all came from the peer, and no answer to the probe.

    :param silent_for: seconds since the last sign of life.
    """

    silent_for: float

    def __str__(self) -> str:
        return f"heartbeat lost: nothing at all for {self.silent_for:g} s"


@attrs.frozen
class Stalled(Cause):
    """The peer may be alive, but the stream made no progress.

    :param silent_for: seconds since the last application message, or since the connection opened.
    :param before_first: whether not even the first message came.
    """

    silent_for: float
    before_first: bool = False

    def __str__(self) -> str:
        which = "not even a first message" if self.before_first else "no message"
        return f"stalled: {which} for {self.silent_for:g} s"


@attrs.frozen
class Incomplete(Cause):
    """The body ended, in good order as far as HTTP goes, without the end that was due.

    :param missing: what did not come: the terminator, or the rest of an event.
    """

    missing: str

    def __str__(self) -> str:
        return _sentence("incomplete: the body ended without", self.missing)


@attrs.frozen
class ProtocolViolation(Cause):
    """The peer broke its protocol, or went over a limit of ours.

    :param detail: what it did.
    :param exception: what the parser raised, if anything.
    """

    detail: str
    exception: BaseException | None = attrs.field(default=None, eq=False)

    def __str__(self) -> str:
        return _sentence("protocol violation", self.detail)


@attrs.frozen
class Completed(Cause):
    """The stream reached its end: its terminator, a 204, or the end of a one-shot answer.

    :param detail: which of these.
    """

    detail: str = ""

    def __str__(self) -> str:
        return _sentence("completed", self.detail)


@attrs.frozen
class ClosedByUs(Cause):
    """We closed the stream.

    :param code: the close code that we gave.
    """

    code: int = 1000

    def __str__(self) -> str:
        return "closed by us"


_RETRY, _STOP, _FINISH = Verdict.RETRY, Verdict.STOP, Verdict.FINISH

CLOSE_CODES: Mapping[int, tuple[str, Verdict]] = {
    # RFC 6455, section 7.4.1, and the IANA registry "WebSocket Close Code Number".
    1000: ("normal closure", _FINISH),
    1001: ("going away", _RETRY),
    1002: ("protocol error", _STOP),  # the peer finds our bytes wrong: they would be again
    1003: ("unsupported data", _STOP),
    1004: ("reserved", _STOP),
    1005: ("no status received", _RETRY),
    1006: ("abnormal closure", _RETRY),
    1007: ("invalid payload data", _STOP),
    1008: ("policy violation", _STOP),
    1009: ("message too big", _STOP),
    1010: ("mandatory extension", _STOP),
    1011: ("internal error", _RETRY),
    1012: ("service restart", _RETRY),
    1013: ("try again later", _RETRY),
    1014: ("bad gateway", _RETRY),
    1015: ("TLS handshake", _RETRY),
    3000: ("unauthorized", _STOP),
    3003: ("forbidden", _STOP),
    3008: ("timeout", _RETRY),
}
"""The registered close codes: name and default verdict."""


def close_code_verdict(code: int | None) -> Verdict:
    """The default verdict on a close frame with ``code``.

    Unregistered codes from 3000 to 4999 belong to libraries and applications, which mean different
    things by them: they are retried, within the bound on attempts.  What is outside of every range
    of RFC 6455, section 7.4.2, stops.
    """
    if code is None:
        return _RETRY
    if code in CLOSE_CODES:
        return CLOSE_CODES[code][1]
    return _RETRY if 3000 <= code <= 4999 else _STOP


RETRIED_STATUSES = frozenset({408, 425, 429})
"""The statuses outside of 5xx that are retried: request timeout, too early, too many requests."""


def status_verdict(status: int) -> Verdict:
    """The default verdict on an HTTP status that is not the stream itself.

    5xx and :data:`RETRIED_STATUSES` are retried.  Everything else stops: 1xx and 2xx are answers of
    something that is not this stream, a redirect that was not followed leads back to itself, and
    4xx says that the request is at fault.
    """
    return _RETRY if status >= 500 or status in RETRIED_STATUSES else _STOP


def is_retried_by_apis(status: int, should_retry: str = "") -> bool:
    """Whether a request to an AI provider's API that was answered so is sent again.

    As the OpenAI and Anthropic SDKs do: also after 409, a lock that was not had in time, and where
    the header ``x-should-retry`` says something, as it says.

    :param should_retry: that header's value.
    """
    said = should_retry.strip().lower()
    if said in ("true", "false"):  # the server knows
        return said == "true"
    return status == 409 or status_verdict(status) is _RETRY


def verdict(cause: Cause) -> Verdict:
    """The default verdict: the one table from cause to retry, stop or finish.

    :raises TypeError: when ``cause`` is not from the closed set.
    """
    match cause:
        case ConnectFailed(stage="tls", exception=exception) if is_certificate_failure(exception):
            # A certificate does not become valid by asking again.
            return _STOP
        case ConnectFailed():
            return _RETRY
        case HandshakeRejected(status=status):
            return status_verdict(status)
        case PeerClosed(code=code):
            return close_code_verdict(code)
        case AbnormalClosure() | HeartbeatLost() | Stalled() | Incomplete() | ProtocolViolation():
            return _RETRY
        case Completed() | ClosedByUs():
            return _FINISH
        case _:
            raise TypeError(f"not a cause: {cause!r}")


def is_certificate_failure(exception: BaseException | None) -> bool:
    """Whether ``exception`` comes from a certificate that failed verification.

    Walks causes, contexts and the members of groups; never looks at the text.
    """
    return any(isinstance(each, ssl.SSLCertVerificationError) for each in _related(exception))


def _related(exception: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    pending = [exception]
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        pending += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            pending += each.exceptions


def _words(exception: BaseException | None) -> str:
    if exception is None:
        return ""
    return str(exception) or type(exception).__name__


def _sentence(start: str, *facts: str) -> str:
    facts = tuple(filter(None, map(_one_line, facts)))
    return f"{start}: {', '.join(facts)}" if facts else start


def _one_line(words: str) -> str:
    """``words`` without line ends, and without the control characters that move a terminal.

    Reasons and messages are the peer's own bytes: they must not forge a second line of a log.
    """
    words = " ".join(words.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
