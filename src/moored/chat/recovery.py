"""How a reply goes on after a failure: decided here, with no I/O; carried out by the exchange."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from .answer import Answer
from .endpoint import Endpoint
from .errors import ReplyError, StreamTruncated
from .request import Request
from .settings import Settings
from .verdicts import asks_too_long, is_the_requests_fault, may_retry

__all__ = ["Standing", "Way", "way_after", "why_not_by"]

Way: TypeAlias = Literal["again", "restart", "continue", "resume"]
"""How another attempt goes on: ``"again"`` where nothing had come that it could collide with."""


@attrs.frozen
class Standing:
    """What there is to decide on.

    :param settings: of the reply.
    :param request: what is asked for.
    :param endpoint: who was asked last.
    :param answer: what has come.
    :param failures: attempts that have failed.
    :param cursor: where the server could go on, if it said so.
    :param has_other: whether an endpoint that was not asked yet could answer now.
    """

    settings: Settings
    request: Request
    endpoint: Endpoint
    answer: Answer
    failures: int = attrs.field(kw_only=True)
    cursor: str | int | None = attrs.field(kw_only=True)
    has_other: bool = attrs.field(kw_only=True)


def way_after(error: ReplyError, standing: Standing) -> Way | None:
    """How to go on after ``error``; ``None`` where there is no way, and the error may say why."""
    settings, begun = standing.settings, standing.answer.begun
    reconnect, wanted = settings.reconnect, settings.on_interrupt
    if not begun and standing.has_other and not is_the_requests_fault(error):
        return "again"  # what is wrong with this endpoint need not be with the other
    used_up = reconnect.attempts is not None and standing.failures >= reconnect.attempts
    if used_up or not may_retry(error):
        return None
    if asks_too_long(error, reconnect):
        error.not_recovered = "it asks for more time than Reconnect.retry_after_maximum"
        return None
    if not begun:
        if wanted == "resume" and not _why_not(wanted, standing):
            return wanted  # what was ordered is not ordered twice
        broken = isinstance(error, StreamTruncated)
        return "again" if settings.reconnect_before_content or not broken else None
    if wanted == "raise":
        return None
    error.not_recovered = _why_not(wanted, standing)
    return None if error.not_recovered else wanted


def _why_not(wanted: str, standing: Standing) -> str:
    """Why the answer cannot be recovered as wanted; ``""`` where it can."""
    endpoint, answer = standing.endpoint, standing.answer
    if wanted == "continue":
        if endpoint.capabilities.prefill is None or endpoint.api == "responses":
            return "the endpoint is not marked as capable of prefill"
        if answer.choices and not answer.choice(0).only_text:
            return "the answer has more than text"
        if answer.finish_reason is not None:
            return "the answer has its finish reason, and only its end is missing"
        if not answer.text:
            return "no text has come that could be continued"
        return standing.request.why_not_continued
    if wanted == "resume":
        if not endpoint.capabilities.resume:
            return "the endpoint is not marked as capable of resuming"
        if standing.cursor is None:
            return "the server gave no cursor"
    return ""


def why_not_by(endpoint: Endpoint, way: Way, before: Endpoint) -> str:
    """Why ``endpoint`` cannot go on with what the one before began; ``""`` where it can."""
    if endpoint is before or way in ("again", "restart"):
        return ""
    if way == "continue" and endpoint.capabilities.prefill and endpoint.api == "chat":
        return ""
    return "the endpoint that began it cannot be asked now"
