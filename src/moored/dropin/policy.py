"""Settings of the transport: frozen, validated, every time in seconds."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import attrs

from moored.core.checks import count, instance, number
from moored.core.sse import DEFAULT_MAX_EVENT_BYTES

__all__ = ["RequiredEnd", "Retry", "TransportPolicy"]

RequiredEnd: TypeAlias = Literal["finish", "terminator", "anything"]
"""A setting of :class:`TransportPolicy`: what has to come for an answer to be complete."""


@attrs.frozen
class Retry:
    """When a request is sent again, and when not.

    :param attempts: how often a request is sent at most, the first time included.  5, as a stream
        of Moored's has it; 1 never retries.
    :param initial: upper bound of the first delay, in seconds.  0.5, as the SDKs of OpenAI and
        Anthropic have it.
    :param maximum: upper bound of any delay of our own, in seconds.  8, as these SDKs have it.
    :param multiplier: growth of the bound from one retry to the next.
    :param retry_after_maximum: the longest ``Retry-After`` that is waited for, in seconds.  60:
        limits per minute are over by then.  A server that asks for more is not asked again, neither
        then nor earlier: its answer is handed over at once, as it is.
    :raises ValueError: when a setting is out of bounds.
    """

    attempts: int = attrs.field(default=5, validator=count(minimum=1))
    initial: float = attrs.field(default=0.5, validator=number(above=0))
    maximum: float = attrs.field(default=8.0, validator=number(above=0))
    multiplier: float = attrs.field(default=2.0, validator=number(minimum=1))
    retry_after_maximum: float = attrs.field(default=60.0, validator=number(minimum=0))

    def __attrs_post_init__(self) -> None:
        if self.maximum < self.initial:
            raise ValueError(
                f"Retry.maximum must be at least Retry.initial={self.initial!r}, "
                f"not {self.maximum!r}"
            )


def _required_end(instance: Any, field: attrs.Attribute[Any], value: Any) -> None:
    known = get_args(RequiredEnd)
    if value not in known:
        raise ValueError(
            f"TransportPolicy.required_end must be one of {', '.join(map(repr, known))}, "
            f"not {value!r}"
        )


@attrs.frozen
class TransportPolicy:
    """What a streamed answer has to keep to.  Other answers are only retried.

    A clock runs only while the SDK waits for bytes: a slow consumer is not a stall.

    :param first_token_timeout: seconds from the sending of a request to the first event with
        content; ``None``: no bound.  600, the SDKs' own read timeout: a model may think for long.
    :param liveness_timeout: seconds without a single byte, once the answer's head has come;
        comments count.  ``None`` (default): none but the HTTP library's read timeout, since nobody
        promises bytes while a model thinks.
    :param progress_timeout: seconds without content, once content has begun; comments, pings and
        empty chunks do not count.  60; ``None``: no bound.  While the model thinks, or a tool runs
        at the provider, ``first_token_timeout`` holds in its place if it is the longer, as far as
        events tell: behind the begin of an item of reasoning, a ``web_search_call`` or the like
        (Responses), of a block of tool use or of thinking (Anthropic), until text comes, or thought
        that is shown as it is made.
    :param drain_timeout: seconds for what may follow a complete answer, such as the usage behind
        the finish reason, and the end of the body.  5.  It runs out without an error.
    :param required_end: what has to come for an answer to be complete.  ``"finish"`` (default):
        ``[DONE]``, ``message_stop``, ``response.completed`` or the like, or a finish reason for
        each choice.  ``"terminator"``: the same without the finish reasons.  ``"anything"``: the
        end of the body will do, as for a feed that has no end of its own.
    :param max_event_bytes: bound on one event, in bytes.
    :param retry: when a request is sent again.
    :raises ValueError: when a setting is out of bounds.
    """

    first_token_timeout: float | None = attrs.field(
        default=600.0, validator=number(above=0, optional=True)
    )
    liveness_timeout: float | None = attrs.field(
        default=None, validator=number(above=0, optional=True)
    )
    progress_timeout: float | None = attrs.field(
        default=60.0, validator=number(above=0, optional=True)
    )
    drain_timeout: float = attrs.field(default=5.0, validator=number(above=0))
    required_end: RequiredEnd = attrs.field(default="finish", validator=_required_end)
    max_event_bytes: int = attrs.field(default=DEFAULT_MAX_EVENT_BYTES, validator=count(minimum=1))
    retry: Retry = attrs.field(factory=Retry, validator=instance(Retry))
