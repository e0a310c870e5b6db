"""When what happened to a request; the limiter tells it what it alone knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar

import attrs
import trio

from moored.cli.load.measures import BusiestMinute
from moored.limits import Limiter, Reservation

__all__ = ["MeasuredLimiter", "Timing", "current"]


@attrs.define(eq=False)
class Timing:
    """Of one request; times are Trio's.

    :ivar arrived: when it began to wait for a slot.
    :ivar pool_wait: seconds until it had one; ``None`` before.
    :ivar limiter_wait: seconds that its attempts waited for the limiter.
    :ivar sent: when its first attempt was let through; ``None`` before.
    :ivar resent: when the last one was.
    :ivar first_token: seconds from the sending of an attempt to its first content; ``None`` before.
    :ivar scope: cancels it.
    """

    arrived: float
    pool_wait: float | None = None
    limiter_wait: float = 0.0
    sent: float | None = None
    resent: float = 0.0
    first_token: float | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


# Client.stream() asks the limiter in a task of its own, which inherits this from the request's.
current: ContextVar[Timing] = ContextVar("moored.cli.load.timing")


class MeasuredLimiter:
    """A limiter for :class:`moored.chat.Client` that measures.

    :param limiter: what limits; without one nothing does, and a 429 holds up nobody else.
    :ivar waiting: attempts that wait now.
    :ivar rate_limited: answers with status 429 so far.
    :ivar used: attempts that were let through.
    """

    def __init__(self, limiter: Limiter | None) -> None:
        self.waiting: int = 0
        self.rate_limited: int = 0
        self.used: BusiestMinute = BusiestMinute()
        self._limiter = limiter
        self._unlimited = Limiter()

    @asynccontextmanager
    async def reserve(self, requests: float = 1, **amounts: float) -> AsyncIterator[Reservation]:
        """As :meth:`moored.limits.Limiter.reserve`."""
        reserving = (self._limiter or self._unlimited).reserve(requests, **amounts)
        granted = False
        self.waiting += 1
        try:
            async with reserving as reservation:
                granted = True
                self.waiting -= 1
                self._let_through(requests, reservation.waited)
                yield reservation
        finally:
            self.waiting -= not granted

    def _let_through(self, requests: float, waited: float) -> None:
        timing, now = current.get(), trio.current_time()
        timing.limiter_wait += waited
        timing.sent = now if timing.sent is None else timing.sent
        timing.resent = now
        self.used.add(requests, now)

    def pause(self, seconds: float) -> None:
        """As :meth:`moored.limits.Limiter.pause`."""
        if self._limiter is not None:
            self._limiter.pause(seconds)

    def observe(
        self,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
        status: int = 200,
        *,
        wall_time: float | None = None,
    ) -> None:
        """As :meth:`moored.limits.Limiter.observe`."""
        self.rate_limited += status == 429
        if self._limiter is not None:
            self._limiter.observe(headers, status, wall_time=wall_time)

    @property
    def paused_for(self) -> float:
        """Seconds until anybody is let through again; 0 while not paused."""
        return 0.0 if self._limiter is None else self._limiter.statistics().paused_for
