"""What the demo plays: which streams, through which faults, with which patience."""

from __future__ import annotations

import sys
from typing import Any, Literal

import attrs

import moored
from moored.faults import Cut, Fault, Refuse, Stall

__all__ = ["Part", "scenario"]

MESSAGES = 60
PACE = 0.1
RETRY_AFTER = 1
RECONNECTS = range(2, sys.maxsize)


@attrs.frozen
class Part:
    """One stream of the demo.

    :ivar name: what it is called on the screen.
    :ivar kind: which server it talks to, and how.
    :ivar count: messages that a feed has.
    :ivar pace: seconds between two of them.
    :ivar schedule: what its own proxy does to it.  Every fault has its ``times``, and no fault
        relies on the number of a connection, so a reconnection more makes none of them miss.
    :ivar policy: how patient it is.
    """

    name: str
    kind: Literal["SSE", "WebSocket", "SSE POST"]
    schedule: tuple[Fault, ...]
    policy: moored.Policy
    count: int = MESSAGES
    pace: float = PACE

    @property
    def faults(self) -> int:
        """How many faults are to come."""
        return sum(fault.times or 0 for fault in self.schedule)


def scenario(*, speed: float = 1.0, recovery: bool = True) -> tuple[Part, ...]:
    """The streams of the demo.

    :param speed: divides every time but ``Retry-After``, which HTTP has in whole seconds.
    :param recovery: whether streams reconnect.
    """
    reconnect = moored.Reconnect(
        initial=0.8 / speed, maximum=2 / speed, reset_after=1 / speed, attempts=8 if recovery else 0
    )
    heartbeat = moored.Heartbeat(interval=0.6 / speed, timeout=0.6 / speed)

    def policy(**settings: Any) -> moored.Policy:
        return moored.Policy(reconnect=reconnect, connect_timeout=5, close_timeout=1, **settings)

    refused = Refuse(times=1, retry_after=RETRY_AFTER)
    # On a connection, what comes after fewer messages comes first.
    return (
        Part(
            "news",
            "SSE",
            (Cut(after_messages=10, how="rst", times=1), Stall(after_messages=16, times=1)),
            policy(idle_timeout=1 / speed),
            pace=PACE / speed,
        ),
        Part(
            "alerts",
            "SSE",
            (
                Cut(after_messages=22, how="fin", times=1),
                attrs.evolve(refused, connection=RECONNECTS),
            ),
            policy(idle_timeout=2 / speed),
            pace=PACE / speed,
        ),
        Part(
            "prices",
            "WebSocket",
            (
                Cut(after_messages=16, how="rst", times=1),
                Stall(after_messages=20, pings="answered", times=1),
            ),
            policy(heartbeat=heartbeat, idle_timeout=1.4 / speed),
            pace=PACE / speed,
        ),
        Part(
            "orders",
            "WebSocket",
            (
                refused,
                Stall(after_messages=8, pings="swallowed", times=1),
                Cut(after_messages=18, how="fin", times=1),
            ),
            policy(heartbeat=heartbeat, idle_timeout=5 / speed),
            pace=PACE / speed,
        ),
        Part(
            "chat",
            "SSE POST",
            (attrs.evolve(refused, times=2), Stall(after_messages=0, times=1)),
            policy(idle_timeout=2 / speed, first_message_timeout=1 / speed),
            pace=PACE / speed,
        ),
    )
