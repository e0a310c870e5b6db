"""Settings: frozen, validated, every time in seconds, every default with its reason."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final, Literal

import attrs

from .backoff import RetryBudget
from .causes import Cause, Verdict
from .checks import callable_or_none, count, flag, instance, number

__all__ = [
    "OPENER",
    "SSE_GET",
    "SSE_POST",
    "WEBSOCKET",
    "Heartbeat",
    "OpenerDefault",
    "OpenerDefaults",
    "Policy",
    "Reconnect",
]

MIB = 1024 * 1024


class OpenerDefault(enum.Enum):
    """The type of :data:`OPENER`."""

    OPENER = "the opener's default"


OPENER: Final = OpenerDefault.OPENER
"""Stands for "what is right for this opener": see :data:`WEBSOCKET`, :data:`SSE_GET` and
:data:`SSE_POST`."""


@attrs.frozen
class Heartbeat:
    """How to find out whether the peer is alive.  Any byte from it counts.

    :param interval: seconds of quiet after which the peer is probed.  20, as the ``websockets``
        library has it: under the 30 s and 60 s after which common proxies drop idle connections.
    :param timeout: seconds that the probe may go unanswered.  20, as ``websockets`` has it.
    :param ping: for servers that want a ping of the application's own, such as
        ``{"type": "ping"}``: called without arguments, gives the message to send.  ``None`` sends a
        WebSocket ping frame (RFC 6455, section 5.5.2).
    :param is_pong: recognises the answer to ``ping``.  Such messages are signs of life; they are
        not delivered, and they are no progress.
    :raises ValueError: when a time is out of bounds, or ``is_pong`` is given without ``ping``.
    """

    interval: float = attrs.field(default=20.0, validator=number(above=0))
    timeout: float = attrs.field(default=20.0, validator=number(above=0))
    ping: Callable[[], str | bytes] | None = attrs.field(default=None, validator=callable_or_none)
    is_pong: Callable[[Any], bool] | None = attrs.field(default=None, validator=callable_or_none)

    def __attrs_post_init__(self) -> None:
        if self.is_pong is not None and self.ping is None:
            raise ValueError("Heartbeat.is_pong needs Heartbeat.ping: there is nothing to answer")


@attrs.frozen
class Reconnect:
    """When to try again, and when to stop trying.

    :param initial: upper bound of the first delay, in seconds.
    :param maximum: upper bound of any delay of our own, in seconds.  1 doubling to 30: an outage of
        a minute sees about seven attempts of each client, one of an hour two a minute.
    :param multiplier: growth of the bound from one retry to the next.
    :param attempts: attempts in a row that may fail before the stream gives up.  An attempt has
        failed when it ends without having moved the stream's position, without a sign of life
        later than ``reset_after``, and, on SSE, without an orderly end after its events.  1 gives
        up at the first attempt that fails; 0 never reconnects at all; ``None`` never gives up.
    :param max_elapsed: seconds after which to give up, counted from the moment at which the stream
        last was sound; ``None`` for no bound.
    :param reset_after: seconds that a connection must have been up, and have delivered a message,
        to count as a success: the delays start again from ``initial``.  5, the ``minUptime`` of
        ``reconnecting-websocket`` and ``partysocket``.  Merely connecting proves nothing: a server
        that accepts and hangs up would be hammered.  A quiet connection has no message to show: it
        counts once the peer was alive for ``maximum``.
    :param immediate_first: whether the first retry after a sound connection goes without a delay of
        our own.  Off: after a restart of the server, everyone's would.
    :param retry_after_maximum: cap on a ``Retry-After``, in seconds.  300: limits per minute are
        over by then, and what asks for more is a quota.
    :param sse_retry_maximum: cap on an SSE ``retry:``, in seconds.
    :param budget: a :class:`~moored.core.backoff.RetryBudget` shared with other streams.
    :raises ValueError: when a setting is out of bounds.
    """

    initial: float = attrs.field(default=1.0, validator=number(above=0))
    maximum: float = attrs.field(default=30.0, validator=number(above=0))
    multiplier: float = attrs.field(default=2.0, validator=number(minimum=1))
    attempts: int | None = attrs.field(default=5, validator=count(minimum=0, optional=True))
    max_elapsed: float | None = attrs.field(default=None, validator=number(above=0, optional=True))
    reset_after: float = attrs.field(default=5.0, validator=number(minimum=0))
    immediate_first: bool = attrs.field(default=False, validator=flag)
    retry_after_maximum: float = attrs.field(default=300.0, validator=number(minimum=0))
    sse_retry_maximum: float = attrs.field(default=60.0, validator=number(minimum=0))
    budget: RetryBudget | None = attrs.field(
        default=None, validator=instance(RetryBudget, optional=True)
    )

    def __attrs_post_init__(self) -> None:
        if self.maximum < self.initial:
            raise ValueError(
                f"Reconnect.maximum must be at least Reconnect.initial={self.initial!r}, "
                f"not {self.maximum!r}"
            )

    @property
    def delay_maximum(self) -> float:
        """No delay is longer than this, in seconds: our own bound, on top of a floor that a
        server or an empty budget sets."""
        return self.maximum + max(self.maximum, self.retry_after_maximum, self.sse_retry_maximum)


# As functions: `@field.validator` hides the field's type from pyright.


def _heartbeat(policy: Policy, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, Heartbeat | OpenerDefault):
        raise TypeError(f"Policy.heartbeat must be a Heartbeat or None, not {value!r}")


def _timeout(policy: Policy, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not OPENER:
        number(above=0, optional=True)(policy, field, value)


def _outbox_full(policy: Policy, field: attrs.Attribute[Any], value: Any) -> None:
    if value not in ("block", "raise", "drop_oldest"):
        raise ValueError(
            f'Policy.outbox_full must be "block", "raise" or "drop_oldest", not {value!r}'
        )


@attrs.frozen
class Policy:
    """Everything that decides how a stream behaves.  Vary it with :func:`attrs.evolve`.

    All times are in seconds.  Where a setting is :data:`OPENER`, the opener puts in its own default
    (``open_websocket``: :data:`WEBSOCKET`; ``open_sse``: :data:`SSE_GET` or :data:`SSE_POST`).

    :param connect_timeout: bound on one attempt: DNS, TCP, TLS and the opening handshake.  10, as
        ``websockets`` has it.  Once an SSE ``POST`` has been sent, its answer is waited for up to
        ``first_message_timeout`` instead: some AI servers send no header before the first token.
    :param close_timeout: bound on the whole of closing: flushing the outbox and the close
        handshake.  5.
    :param heartbeat: how to find out whether the peer is alive; ``None`` for not at all.
    :param idle_timeout: seconds without an application message after which the stream counts as
        stalled, however alive the peer is; ``None`` for no bound.
    :param first_message_timeout: the same bound for the first message of a connection; ``None`` for
        no bound.  By default that of ``idle_timeout``, where the opener has none of its own.
    :param reconnect: when to try again.
    :param verdict: called with each cause; what it returns overrides
        :func:`moored.core.causes.verdict`, unless it returns ``None``.
    :param max_message_bytes: bound on one message or event, in bytes.  16 MiB, the largest single
        messages known being images in base64.
    :param inbox_messages: received messages that may wait for the consumer.  At that bound, reading
        stops, and TCP's backpressure reaches the server.
    :param inbox_bytes: the same bound in bytes.  One message always fits.
    :param outbox_messages: sent messages that may wait for a connection.
    :param outbox_bytes: the same bound in bytes.  A larger message is refused.
    :param outbox_full: what ``send`` does when the outbox is full: ``"block"`` until there is room,
        ``"raise"`` :class:`moored.OutboxFull`, or ``"drop_oldest"``.
    :param remembered_cursors: how many messages with a cursor or an id are remembered, to recognise
        repetitions: a server that replays more than so many is not seen through.  4096, which takes
        up to half a MiB, and only where messages have cursors.
    :raises ValueError: when a setting is out of bounds.
    """

    connect_timeout: float = attrs.field(default=10.0, validator=number(above=0))
    close_timeout: float = attrs.field(default=5.0, validator=number(minimum=0))
    heartbeat: Heartbeat | OpenerDefault | None = attrs.field(default=OPENER, validator=_heartbeat)
    idle_timeout: float | OpenerDefault | None = attrs.field(default=OPENER, validator=_timeout)
    first_message_timeout: float | OpenerDefault | None = attrs.field(
        default=OPENER, validator=_timeout
    )
    reconnect: Reconnect = attrs.field(factory=Reconnect, validator=instance(Reconnect))
    verdict: Callable[[Cause], Verdict | None] | None = attrs.field(
        default=None, validator=callable_or_none
    )
    max_message_bytes: int = attrs.field(default=16 * MIB, validator=count(minimum=1))
    inbox_messages: int = attrs.field(default=256, validator=count(minimum=1))
    inbox_bytes: int = attrs.field(default=16 * MIB, validator=count(minimum=1))
    outbox_messages: int = attrs.field(default=256, validator=count(minimum=1))
    outbox_bytes: int = attrs.field(default=16 * MIB, validator=count(minimum=1))
    outbox_full: Literal["block", "raise", "drop_oldest"] = attrs.field(
        default="block", validator=_outbox_full
    )
    remembered_cursors: int = attrs.field(default=4096, validator=count(minimum=1))

    def resolved(self, defaults: OpenerDefaults) -> Policy:
        """This policy with ``defaults`` wherever it says :data:`OPENER`."""
        heartbeat = defaults.heartbeat if self.heartbeat is OPENER else self.heartbeat
        idle = defaults.idle_timeout if self.idle_timeout is OPENER else self.idle_timeout
        first = self.first_message_timeout
        if first is OPENER:
            first = (
                idle if defaults.first_message_timeout is None else (defaults.first_message_timeout)
            )
        return attrs.evolve(
            self, heartbeat=heartbeat, idle_timeout=idle, first_message_timeout=first
        )


@attrs.frozen
class OpenerDefaults:
    """What one opener puts in for :data:`OPENER`.  The fields are those of :class:`Policy`."""

    heartbeat: Heartbeat | None
    idle_timeout: float | None
    first_message_timeout: float | None


WEBSOCKET = OpenerDefaults(Heartbeat(), idle_timeout=None, first_message_timeout=None)
"""WebSocket: ping after 20 s of quiet, 20 s for an answer.  A quiet channel is normal."""

SSE_GET = OpenerDefaults(
    Heartbeat(interval=30.0, timeout=30.0), idle_timeout=None, first_message_timeout=None
)
"""SSE by GET: any byte within 60 s.  The HTML standard advises servers to send a comment line
"every 15 seconds or so" (section 9.2.7), so four of them would have to be missing."""

SSE_POST = OpenerDefaults(heartbeat=None, idle_timeout=60.0, first_message_timeout=600.0)
"""SSE by POST, an answer being written: no heartbeat, since nobody promises bytes while a model
thinks; 600 s for the first message, the OpenAI and Anthropic SDKs' default timeout; and 60 s from
each message to the next once they come."""
