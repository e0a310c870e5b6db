"""A limiter in this process: several limits, taken all or nothing, first come first served."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping

import attrs
import trio

from .concurrency import AdaptiveConcurrency, ConcurrencySlot
from .costs import checked_costs, checked_rates, checked_seconds, within_debt
from .gcra import Bucket
from .headers import parse_headers
from .pacing import OVERLOADED, pace
from .rate import Rate
from .reservation import Reservation
from .statistics import LimiterStatistics, Tally

__all__ = ["Limiter"]

_MOST_PARTS = 64


class Limiter:
    """Lets callers through as fast as a set of limits allows.

    Callers are served strictly in the order in which they came: one that asks for much is not
    overtaken by those that ask for little.  All limits are taken together or not at all.

    ::

        limiter = Limiter(requests=Rate.per_minute(500), tokens=Rate.per_minute(200_000))

        async with limiter.reserve(tokens=1200) as reservation:
            ...
            reservation.settle(tokens=900)

    One object limits what one process does.  For a limit that several processes share, see
    :class:`moored.limits.redis.RedisLimiter`.

    :param concurrency: also bound how many reservations are held at once, adaptively.
    :param max_pause: the longest pause, in seconds, that a server's headers can cause.
    :param rates: the limit of each dimension.  The usual names are ``requests``, ``tokens``,
        ``input_tokens`` and ``output_tokens``; any others can be used.
    :raises ValueError: when a setting is out of bounds.
    """

    def __init__(
        self,
        /,
        *,
        concurrency: AdaptiveConcurrency | None = None,
        max_pause: float = 3600.0,
        **rates: Rate,
    ) -> None:
        if concurrency is not None and not isinstance(concurrency, AdaptiveConcurrency):
            raise TypeError(
                f"Limiter.concurrency must be an AdaptiveConcurrency or None, not {concurrency!r}"
            )
        self._rates = checked_rates("Limiter", rates)
        self._max_pause = checked_seconds("Limiter.max_pause", max_pause)
        self._buckets = {name: Bucket(rate) for name, rate in self._rates.items()}
        self._concurrency = concurrency
        self._paused_until = -math.inf
        self._turn = trio.StrictFIFOLock()
        self._changed = trio.Event()
        self._tally = Tally()

    @property
    def rates(self) -> Mapping[str, Rate]:
        """The limit of each dimension."""
        return dict(self._rates)

    def reserve(self, requests: float = 1, **amounts: float) -> Reservation:
        """Reserve what a request will use; ``async with`` waits for it.

        The four usual names are accepted also where the limiter has no such limit, so that callers
        can always say all they know.

        :param requests: how many requests.
        :param amounts: how much of every other dimension; 0 where not given.
        :raises CostTooLarge: when it would never fit.
        :raises TypeError: for a dimension that the limiter does not know.
        """
        costs = checked_costs(self._rates, {"requests": requests, **amounts})
        return Reservation(self._rates, lambda: self._take(costs), lambda: self._take_now(costs))

    def pause(self, seconds: float) -> None:
        """Grant nothing for so many seconds, to anybody; of several pauses the longest counts."""
        until = trio.current_time() + checked_seconds("seconds", seconds)
        self._paused_until = max(self._paused_until, until)

    def observe(
        self,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
        status: int = 200,
        *,
        wall_time: float | None = None,
    ) -> None:
        """Learn from an answer's headers, see :mod:`moored.limits.headers`.

        It pauses where the server says so, and where the server has less left than this limiter
        believes, the limiter takes that for true.  It never grants more than its own limits.

        :param status: the answer's HTTP status: 429, 503 and 529 also lower the concurrency.
        :param wall_time: the present, in seconds since the epoch; by default the system's.
        """
        if wall_time is None:
            wall_time = time.time()
        seen = parse_headers(headers, wall_time=wall_time)
        told = pace(seen, status, self._rates, max_pause=self._max_pause)
        if told.pause:
            self.pause(told.pause)
        self._lower(told.remaining)
        if self._concurrency is not None and status in OVERLOADED:
            self._concurrency.overloaded()

    def statistics(self) -> LimiterStatistics:
        """The limiter as it is now."""
        now = trio.current_time()
        turn = self._turn.statistics()
        return LimiterStatistics(
            waiting=turn.tasks_waiting + turn.locked,
            granted=self._tally.granted,
            available={name: bucket.available(now) for name, bucket in self._buckets.items()},
            paused_for=max(0.0, self._paused_until - now),
            waited_total=self._tally.total,
            waited_longest=self._tally.longest,
        )

    def _lower(self, remaining: Mapping[str, float]) -> None:
        now = trio.current_time()
        for name, units in remaining.items():
            self._buckets[name].lower_to(units, now)

    def _note(self, costs: Mapping[str, float]) -> None:
        """Count what was granted elsewhere, as far as there is room for it."""
        now = trio.current_time()
        for name, cost in costs.items():
            bucket = self._buckets[name]
            bucket.charge(min(cost, max(0.0, bucket.available(now))), now)

    def _begin_at(self, parts: Mapping[str, float]) -> dict[str, float]:
        """Hold no more than so much of each burst, and mark that for :meth:`_taken_since`."""
        now = trio.current_time()
        for name, part in parts.items():
            bucket = self._buckets[name]
            bucket.charge(max(0.0, bucket.available(now) - part * bucket.rate.burst), now)
        return {name: bucket.mark(now) for name, bucket in self._buckets.items()}

    def _taken_since(self, marks: Mapping[str, float]) -> dict[str, float]:
        now = trio.current_time()
        return {name: self._buckets[name].taken_since(mark, now) for name, mark in marks.items()}

    async def _take(self, costs: Mapping[str, float]) -> _Taken:
        """Wait for ``costs``, and take them; cancelled, it has taken nothing."""
        asked_at = trio.current_time()
        slot = None
        async with self._turn:
            if self._concurrency is not None:
                slot = await self._concurrency.acquire()
            try:
                await self._ready(costs)
            except BaseException:
                if self._concurrency is not None and slot is not None:
                    self._concurrency.release(slot, succeeded=False)
                raise
            return self._grant(costs, slot, trio.current_time() - asked_at)

    async def _take_now(self, costs: Mapping[str, float]) -> _Taken | None:
        """The same without waiting."""
        await trio.lowlevel.checkpoint()
        if self._turn.locked() or self._ready_at(costs) > trio.current_time():
            return None
        slot = None
        if self._concurrency is not None:
            slot = self._concurrency.acquire_nowait()
            if slot is None:
                return None
        return self._grant(costs, slot, 0.0)

    def _grant(
        self, costs: Mapping[str, float], slot: ConcurrencySlot | None, waited: float
    ) -> _Taken:
        now = trio.current_time()
        tickets = {name: self._buckets[name].take(cost, now) for name, cost in costs.items()}
        self._tally.add(waited)
        parts = {name: [(tickets[name], cost)] for name, cost in costs.items()}
        return _Taken(self, waited, dict(costs), parts, slot)

    def _ready_at(self, costs: Mapping[str, float]) -> float:
        return max(
            self._paused_until,
            *(self._buckets[name].ready_at(cost) for name, cost in costs.items() if cost),
            -math.inf,
        )

    async def _ready(self, costs: Mapping[str, float]) -> None:
        while True:
            ready_at = self._ready_at(costs)
            if ready_at <= trio.current_time():
                return
            # Woken early when something came back; a pause that came is seen on waking.
            self._changed = trio.Event()
            with trio.move_on_at(ready_at):
                await self._changed.wait()

    def _settle(self, taken: _Taken, amounts: Mapping[str, float]) -> None:
        now = trio.current_time()
        for name, used in amounts.items():
            bucket, parts = self._buckets[name], taken.parts[name]
            change = within_debt(bucket.rate, taken.costs[name], used) - sum(
                units for _, units in parts
            )
            if change > 0:
                parts.append((bucket.take(change, now), change))
            while change < 0:  # what was taken last comes back first
                ticket, units = parts.pop()
                returned = min(units, -change)
                bucket.give_back(ticket, returned, now)
                change = change + returned if parts else 0.0
                if units > returned or not parts:
                    parts.append((ticket, units - returned))
            if len(parts) > _MOST_PARTS:
                (first, one), (_, two) = parts[:2]
                parts[:2] = [(first, one + two)]
        self._changed.set()

    def _end(self, taken: _Taken, succeeded: bool) -> None:
        if self._concurrency is not None and taken.slot is not None:
            self._concurrency.release(taken.slot, succeeded=succeeded)


@attrs.define(eq=False)
class _Taken:
    """A :class:`~moored.limits.reservation.Grant` of a limiter in this process."""

    limiter: Limiter
    waited: float
    costs: dict[str, float]
    parts: dict[str, list[tuple[int, float]]]  # the tickets, and the units held with each
    slot: ConcurrencySlot | None

    def settle(self, amounts: Mapping[str, float]) -> None:
        self.limiter._settle(self, amounts)

    async def end(self, *, succeeded: bool) -> None:
        # No checkpoint: to be cancelled here would hide how the block ended.
        self.limiter._end(self, succeeded)
