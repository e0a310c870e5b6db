"""How many requests at once a server bears, found by trying: additive increase, multiplicative
decrease (AIMD), as TCP finds its window (Chiu and Jain, 1989; RFC 5681)."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from moored.core.checks import count, number

__all__ = ["AdaptiveConcurrency", "ConcurrencySlot"]


@attrs.define(eq=False)
class ConcurrencySlot:
    """One of the requests that are under way.

    :ivar waited: seconds until it was granted.
    """

    waited: float = 0.0
    _round: int = attrs.field(alias="round", default=0)


@attrs.define(eq=False)
class AdaptiveConcurrency:
    """A limit on what is under way at once, which adapts itself to the server.

    Every success while the limit is used raises it, by ``increase`` for a whole round of as many
    successes as the limit; every overload multiplies it by ``decrease``.  Callers are served in the
    order in which they came.

    :param initial: where the limit begins.
    :param minimum: the limit never falls below it.
    :param maximum: the limit never rises above it.
    :param increase: what a round of successes adds.
    :param decrease: the factor at an overload; by default a half, as in TCP.
    :param cooldown: at most one decrease in so many seconds: the requests that were under way
        together are refused together, and that is one overload.
    :raises ValueError: when a setting is out of bounds.
    """

    initial: int = attrs.field(default=8, validator=count(minimum=1))
    minimum: int = attrs.field(default=1, validator=count(minimum=1))
    maximum: int = attrs.field(default=256, validator=count(minimum=1))
    increase: float = attrs.field(default=1.0, validator=number(minimum=0.0))
    decrease: float = attrs.field(default=0.5, validator=number(above=0.0, maximum=1.0))
    cooldown: float = attrs.field(default=1.0, validator=number(minimum=0.0))
    _limit: float = attrs.field(init=False)
    _active: int = attrs.field(init=False, default=0)
    _round: int = attrs.field(init=False, default=0)
    _decreased_at: float = attrs.field(init=False, default=-math.inf)
    _turn: trio.StrictFIFOLock = attrs.field(init=False, factory=trio.StrictFIFOLock)
    _changed: trio.Event = attrs.field(init=False, factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        if not self.minimum <= self.initial <= self.maximum:
            raise ValueError(
                f"AdaptiveConcurrency.initial must be from {self.minimum} to {self.maximum} "
                f"(minimum and maximum), not {self.initial}"
            )
        self._limit = float(self.initial)

    @property
    def limit(self) -> int:
        """How many may be under way at once, now."""
        return int(self._limit)

    @property
    def active(self) -> int:
        """How many are under way."""
        return self._active

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        state = self._turn.statistics()
        return state.tasks_waiting + state.locked

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[ConcurrencySlot]:
        """Wait for room, and hold it through the block.

        A block that ends without an exception counts as a success.
        """
        slot = await self.acquire()
        try:
            yield slot
        except BaseException:
            self.release(slot, succeeded=False)
            raise
        self.release(slot, succeeded=True)

    async def acquire(self) -> ConcurrencySlot:
        """Wait for room.  What it returns has to be given to :meth:`release`."""
        asked_at = trio.current_time()
        async with self._turn:
            while self._active >= self.limit:
                self._changed = trio.Event()
                await self._changed.wait()
            self._active += 1
        return ConcurrencySlot(waited=trio.current_time() - asked_at, round=self._round)

    def acquire_nowait(self) -> ConcurrencySlot | None:
        """The same without waiting: ``None`` where there is no room, or others wait."""
        if self.waiting or self._active >= self.limit:
            return None
        self._active += 1
        return ConcurrencySlot(round=self._round)

    def release(self, slot: ConcurrencySlot, *, succeeded: bool) -> None:
        """Give back the room of a request that has ended."""
        in_use = 2 * self._active >= self.limit  # else the limit was not what was tried
        # What began before the last overload tells nothing about the limit since.
        if succeeded and in_use and slot._round == self._round:
            self._limit = min(self.maximum, self._limit + self.increase / self._limit)
        self._active -= 1
        self._changed.set()

    def overloaded(self) -> None:
        """The server has refused a request because there are too many: lower the limit."""
        now = trio.current_time()
        if now - self._decreased_at >= self.cooldown:
            self._decreased_at = now
            self._round += 1
            self._limit = max(self.minimum, self._limit * self.decrease)
