"""What a stream went through: one place where every transition passes as a value, with its time."""

from __future__ import annotations

from collections import deque

import attrs
import trio

from moored.core.causes import Cause
from moored.core.transitions import State

__all__ = ["Stats", "Transition", "Transitions"]

REMEMBERED = 64
"""How many transitions are kept for those who ask late or read slowly."""


@attrs.frozen
class Transition:
    """A change of state.

    :param time: when, in seconds on Trio's clock.
    :param source: the state before; ``None`` for the first of all.
    :param target: the state after.
    :param cause: why a connection or attempt ended; into BACKOFF and CLOSED only.
    :param attempt: the number of the attempt that it belongs to, from 1.
    :param delay: seconds until the next attempt; into BACKOFF only.
    """

    time: float
    source: State | None
    target: State
    cause: Cause | None = None
    attempt: int = 1
    delay: float | None = None


@attrs.frozen
class Stats:
    """Counters of a stream, as of one moment.

    :param attempts: attempts to connect that were begun.
    :param connections: attempts that succeeded.
    :param messages_received: messages that came, without repetitions and pongs.
    :param duplicates_dropped: repetitions that were left out.
    :param gaps: times at which continuity could not be shown.
    :param messages_sent: messages handed to the network whole.
    :param sends_uncertain: messages that were being written when a connection died; they may or may
        not have arrived, and were not sent again.
    :param sends_dropped: messages dropped from a full outbox.
    :param inbox: messages that wait for the consumer.
    :param outbox: messages that wait for a connection.
    """

    attempts: int
    connections: int
    messages_received: int
    duplicates_dropped: int
    gaps: int
    messages_sent: int
    sends_uncertain: int
    sends_dropped: int
    inbox: int
    outbox: int


class History:
    """The latest transitions, and those who wait for the next."""

    def __init__(self) -> None:
        self._kept: deque[Transition] = deque(maxlen=REMEMBERED)
        self._count = 0
        self._readers = trio.lowlevel.ParkingLot()

    @property
    def count(self) -> int:
        """How many transitions there have been."""
        return self._count

    def add(self, transition: Transition) -> None:
        """Keep a transition and wake its readers."""
        self._kept.append(transition)
        self._count += 1
        self._readers.unpark_all()

    async def read(self, index: int) -> tuple[int, Transition]:
        """The transition with number ``index``, or the oldest that is kept after it."""
        while index >= self._count:
            await self._readers.park()
        index = max(index, self._count - len(self._kept))
        return index, self._kept[index - self._count + len(self._kept)]


class Transitions:
    """An async iterator over a stream's transitions: those kept, then those to come.

    It ends after the one into CLOSED.  A reader that falls more than 64 behind misses the oldest.
    """

    def __init__(self, history: History, start: int = 0) -> None:
        self._history = history
        self._next = start
        self._over = False

    def __aiter__(self) -> Transitions:
        return self

    async def __anext__(self) -> Transition:
        await trio.lowlevel.checkpoint()
        if self._over:
            raise StopAsyncIteration
        index, transition = await self._history.read(self._next)
        self._next = index + 1
        self._over = transition.target is State.CLOSED
        return transition
