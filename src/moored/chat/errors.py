"""What can go wrong with an answer: a small tree, each with its facts as fields."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from moored.core.causes import Cause, HandshakeRejected
from moored.errors import MooredError

if TYPE_CHECKING:
    from .answer import Answer

__all__ = [
    "AnswerRestarted",
    "BudgetExceeded",
    "BudgetUnavailable",
    "ChatError",
    "ConnectTimeout",
    "ConnectionFailed",
    "FirstTokenTimeout",
    "LivenessTimeout",
    "MalformedChunk",
    "NoHealthyEndpoint",
    "NoSuitableModel",
    "NotResumed",
    "PriceUnknown",
    "ProgressTimeout",
    "ProviderStreamError",
    "ReplyError",
    "RequestRejected",
    "StreamTruncated",
    "TimeoutExceeded",
    "TotalTimeout",
]


class ChatError(MooredError):
    """Base of all errors of :mod:`moored.chat`."""


class PriceUnknown(ChatError):
    """A request was not sent, since there is a budget and nothing says what the model costs.

    Say it with ``prices={"the-model": chat.Price(...)}``, to the client or its endpoint.

    :ivar model: the model.
    :ivar endpoint: the endpoint's name.
    """

    def __init__(self, model: str, endpoint: str) -> None:
        super().__init__(f"there is a budget, and no price is known for {model!r} at {endpoint!r}")
        self.model = model
        self.endpoint = endpoint


class ReplyError(ChatError):
    """A reply failed.

    :ivar answer: what had come of it, which may be nothing.
    :ivar earlier: the errors of the attempts before the last, oldest first.
    :ivar not_recovered: why the way to recover that was asked for could not be taken; ``""`` where
        none was, or where the attempts were used up.
    """

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer
        self.earlier: tuple[ReplyError, ...] = ()
        self.not_recovered = ""

    def __str__(self) -> str:
        words = str(self.args[0])
        if self.not_recovered:
            words += f" (not recovered: {self.not_recovered})"
        if self.earlier:
            words += f" (after {len(self.earlier) + 1} attempts)"
        return words


class ConnectionFailed(ReplyError):
    """There was no connection to the endpoint.

    :ivar cause: why.
    """

    def __init__(self, message: str, answer: Answer, cause: Cause) -> None:
        super().__init__(message, answer)
        self.cause = cause


class RequestRejected(ReplyError):
    """The endpoint answered with a status that is not the answer.

    :ivar status: the HTTP status.
    :ivar headers: the answer's headers, pairs of name in lower case and value.
    :ivar body: up to 64 KiB of the answer's body.
    :ivar retry_after: the delay that the endpoint asked for, in seconds, or ``None``.
    """

    def __init__(self, answer: Answer, cause: HandshakeRejected, words: str = "") -> None:
        super().__init__(f"{cause}: {words}" if words else str(cause), answer)
        self.cause: HandshakeRejected = cause
        self.status: int = cause.status
        self.headers: tuple[tuple[str, str], ...] = cause.headers
        self.body: bytes = cause.body
        self.retry_after: float | None = cause.retry_after


class StreamTruncated(ReplyError):
    """The stream ended, and nothing proves that the answer is complete.

    :ivar cause: how it ended.
    """

    def __init__(self, message: str, answer: Answer, cause: Cause) -> None:
        super().__init__(message, answer)
        self.cause = cause


class NotResumed(StreamTruncated):
    """The stream was cut, and the server showed that it did not go on from where it was asked to:
    to append what it sent would splice two answers, or hide a gap."""


class ProviderStreamError(ReplyError):
    """The provider reported an error inside of the stream, after status 200.

    :ivar body: what it sent: the value of ``error`` where there is one, else the whole of it; text
        where it was no JSON.
    :ivar code: its ``code``, or ``None``.
    :ivar type: its ``type``, or ``None``.
    """

    def __init__(self, body: Any, answer: Answer) -> None:
        fields: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
        self.body: Any = body
        self.code: str | int | None = _plain(fields.get("code"))
        self.type: str | int | None = _plain(fields.get("type"))
        message = fields.get("message")
        words = message if isinstance(message, str) else str(body)
        which = self.type or self.code
        start = "the provider reported an error inside the stream"
        super().__init__(f"{start}{f' ({which})' if which else ''}: {words[:500]}", answer)


class MalformedChunk(ReplyError):
    """A chunk of the stream was no JSON object, and ``Endpoint.malformed`` says ``"raise"``.

    :ivar chunk: its first 200 characters.
    """

    def __init__(self, chunk: str, answer: Answer) -> None:
        super().__init__(f"a chunk is not a JSON object: {chunk[:80]!r}", answer)
        self.chunk: str = chunk[:200]


class TimeoutExceeded(ReplyError):
    """One of the clocks ran out.  Each has a subclass of its own.

    :ivar seconds: the bound that passed.
    """

    def __init__(self, message: str, answer: Answer, seconds: float) -> None:
        super().__init__(message, answer)
        self.seconds = seconds


class ConnectTimeout(TimeoutExceeded):
    """No connection within ``Settings.connect_timeout``."""


class FirstTokenTimeout(TimeoutExceeded):
    """No content within ``Settings.first_token_timeout``, however alive the connection is."""


class LivenessTimeout(TimeoutExceeded):
    """Not a single byte within ``Settings.liveness_timeout``."""


class ProgressTimeout(TimeoutExceeded):
    """No further content within ``Settings.progress_timeout``, however alive the connection is."""


class TotalTimeout(TimeoutExceeded):
    """The reply was not complete within ``Settings.total_timeout``."""


class AnswerRestarted(ReplyError):
    """:meth:`moored.chat.Reply.text` cannot say that text it gave has to be discarded.

    Iterate over the reply itself, and look for :class:`moored.chat.Restarted`.
    """


def _budget(scope: str) -> str:
    return f'the budget "{scope}"' if scope else "the budget"


class BudgetExceeded(ChatError):
    """A request was not sent, since it might cost more than its budget has left.

    :ivar limit_usd: what the budget allows.
    :ivar spent_usd: what is spent of it.
    :ivar reserved_usd: what requests under way have reserved of it.
    :ivar requested_usd: what the request was expected to cost.
    :ivar window: the seconds over which the limit holds, or ``None``.
    :ivar scope: what the budget is for.
    :ivar retry_after: in how many seconds enough of what was spent leaves the window; ``None``
        where that alone does not make room.
    """

    def __init__(
        self,
        *,
        limit_usd: Decimal,
        spent_usd: Decimal,
        reserved_usd: Decimal,
        requested_usd: Decimal,
        window: float | None,
        scope: str,
        retry_after: float | None,
    ) -> None:
        self.limit_usd = limit_usd
        self.spent_usd = spent_usd
        self.reserved_usd = reserved_usd
        self.requested_usd = requested_usd
        self.window = window
        self.scope = scope
        self.retry_after = retry_after
        over = "" if window is None else f" in {window:g} s"
        retry = "" if retry_after is None else f"; there is room in {retry_after:g} s"
        super().__init__(
            f"{_budget(scope)} of ${limit_usd:f}{over} has no room for ${requested_usd:f}: "
            f"${spent_usd:f} spent, ${reserved_usd:f} reserved{retry}"
        )


class BudgetUnavailable(ChatError):
    """A request was not sent, since its budget's store cannot be used.

    What went wrong is the ``__cause__``.

    :ivar scope: what the budget is for.
    """

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(f"{_budget(scope)} cannot be used: its store is lost")


class NoHealthyEndpoint(ChatError):
    """No endpoint can serve the request, or none soon enough.

    :ivar model: the model that was asked for.
    :ivar reasons: why not, in words, by the endpoint's name.
    :ivar retry_after: seconds until the first of them may be asked again; ``None`` where none ever
        can serve it.
    """

    def __init__(
        self, model: str, reasons: Mapping[str, str], *, retry_after: float | None = None
    ) -> None:
        each = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        when = "" if retry_after is None else " soon enough"
        super().__init__(f"no endpoint can serve model {model!r}{when}: {each}")
        self.model = model
        self.reasons: Mapping[str, str] = dict(reasons)
        self.retry_after = retry_after


class NoSuitableModel(ChatError):
    """The request needs more than any model can do that the router's rules lead to.

    :ivar reasons: what each model lacks, in words, by the model's name.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        each = "; ".join(f"{model} {reason}" for model, reason in reasons.items())
        super().__init__(f"no model suits the request: {each}")
        self.reasons: Mapping[str, str] = dict(reasons)


def _plain(value: Any) -> str | int | None:
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None
