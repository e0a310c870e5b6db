"""How a client behaves: its clocks, and what it does about interruptions."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

from moored.core.checks import count, flag, instance, number, one_of
from moored.core.policy import MIB, OPENER, OpenerDefault, Reconnect

__all__ = ["OnInterrupt", "Settings"]

OnInterrupt: TypeAlias = Literal["raise", "restart", "continue", "resume"]
"""What to do when an answer is cut whose content has begun; see :class:`moored.chat.Settings`."""

ON_INTERRUPT = ("raise", "restart", "continue", "resume")


def _liveness(settings: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not OPENER:
        number(above=0, optional=True)(settings, field, value)


@attrs.frozen
class Settings:
    """How a client behaves.  Vary it with :func:`attrs.evolve`.  All times are in seconds.

    Each clock has its own error; ``None`` switches one off.

    :param connect_timeout: bound on DNS, TCP, TLS and, on a WebSocket, the opening handshake.  10.
        :class:`moored.chat.ConnectTimeout`.
    :param first_token_timeout: from the begin of a request to the first content, be it reasoning.
        600, as the OpenAI and Anthropic SDKs have it: models that reason take minutes.  Comments
        and chunks without content do not count.  :class:`moored.chat.FirstTokenTimeout`.
    :param liveness_timeout: without a single byte from the server; comments count, and on a
        WebSocket pongs.  By default off on SSE, since nobody promises bytes while a model thinks,
        and 40 on a WebSocket, which is pinged after half of it.
        :class:`moored.chat.LivenessTimeout`.
    :param progress_timeout: from each content to the next.  Comments and chunks without content do
        not count, nor does time in which your own code holds things up.  60.
        :class:`moored.chat.ProgressTimeout`.
    :param total_timeout: for the whole reply, with every attempt and every wait between them.  Off.
        :class:`moored.chat.TotalTimeout`.
    :param drain_timeout: after a finish reason that proves the answer complete, how long to wait
        for the usage and ``[DONE]``.  5.
    :param on_interrupt: what to do when an answer is cut after its content has begun: ``"raise"``
        (default) the error with the partial answer; ``"restart"``, ask again from the start, with a
        :class:`moored.chat.Restarted` event; ``"continue"``, let the model go on with what had
        come, where ``Capabilities.prefill`` says how and the request is for one plain text, with a
        :class:`moored.chat.Continued` event; ``"resume"``, from the server's own cursor, where
        ``Capabilities.resume`` says that it has one, with a :class:`moored.chat.Resumed` event.
        Where a way cannot be taken, the error is raised and ``ReplyError.not_recovered`` says why.
    :param reconnect_before_content: whether to ask again, silently, when the stream breaks before
        any content has come.  On.
    :param reconnect: how often, and how long between attempts.  ``attempts`` counts all failures of
        one reply.  5 in all, as for a stream, and delays from 0.5 s to 8 s, as the OpenAI SDK has
        them.
    :param expected_output_tokens: what limits and budgets reserve for the answer where the request
        sets no ``max_tokens``.  1024; what is not used comes back.
    :param max_endpoint_wait: how long a request waits where every endpoint that could serve it is
        cooling down or out of order; beyond it, :class:`moored.chat.NoHealthyEndpoint`.  60.
    :param max_chunk_bytes: bound on one chunk.  16 MiB.
    :param buffered_events: events that may wait for your code; then reading stops.  1024.
    :raises ValueError: when a setting is out of bounds.
    """

    connect_timeout: float = attrs.field(default=10.0, validator=number(above=0))
    first_token_timeout: float | None = attrs.field(
        default=600.0, validator=number(above=0, optional=True)
    )
    liveness_timeout: float | OpenerDefault | None = attrs.field(
        default=OPENER, validator=_liveness
    )
    progress_timeout: float | None = attrs.field(
        default=60.0, validator=number(above=0, optional=True)
    )
    total_timeout: float | None = attrs.field(
        default=None, validator=number(above=0, optional=True)
    )
    drain_timeout: float = attrs.field(default=5.0, validator=number(minimum=0))
    on_interrupt: OnInterrupt = attrs.field(default="raise", validator=one_of(*ON_INTERRUPT))
    reconnect_before_content: bool = attrs.field(default=True, validator=flag)
    reconnect: Reconnect = attrs.field(
        factory=lambda: Reconnect(initial=0.5, maximum=8.0),
        validator=instance(Reconnect),
    )
    expected_output_tokens: int = attrs.field(default=1024, validator=count(minimum=1))
    max_endpoint_wait: float = attrs.field(default=60.0, validator=number(minimum=0))
    max_chunk_bytes: int = attrs.field(default=16 * MIB, validator=count(minimum=1))
    buffered_events: int = attrs.field(default=1024, validator=count(minimum=1))
