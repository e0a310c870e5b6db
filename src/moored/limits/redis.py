"""A limiter that processes on several machines share, on Redis.

It needs the extra ``moored[redis]``, which brings coredis, and Redis 6 or later.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import attrs
import trio

from .costs import checked_costs, checked_rates, checked_seconds
from .errors import LimiterUnavailable
from .events import RedisEvent
from .headers import parse_headers
from .limiter import Limiter
from .pacing import pace
from .rate import Rate
from .redis_calls import Answer, Calls, Client
from .reservation import Grant, Reservation
from .statistics import LimiterStatistics, Tally

__all__ = ["RedisLimiter"]

_LONGEST_SLEEP = 1.0
"""Seconds after which the first in line asks again in any case: what other processes gave back is
seen only by asking."""


class RedisLimiter:
    """The same as :class:`moored.limits.Limiter`, with its buckets on Redis.

    All processes whose limiter has the same ``name`` on the same Redis share the limits, which have
    to be the same for all.  In each process callers are served in the order in which they came;
    between processes those that are first in line take turns.

    ::

        async with coredis.Redis.from_url(url) as client:
            limiter = RedisLimiter(client, "my-key", {"tokens": Rate.per_minute(200_000)})
            async with limiter.reserve(tokens=1200) as reservation:
                ...
                reservation.settle(900)

    What :meth:`~moored.limits.reservation.Reservation.settle` and :meth:`observe` say is sent when
    the block of the reservation ends, and a pause with the next call; :meth:`flush` sends all at
    once.  A call is not cancelled half-way: a cancellation may be late by ``timeout``.

    Where Redis cannot be used, ``fail`` says what happens.  It is tried again meanwhile, by the
    callers themselves: there is no task in the background.

    :param client: an open coredis client, which stays the caller's.
    :param name: names the limiter on Redis, such as the account whose limits these are.
    :param rates: the limit of each dimension.
    :param fail: without Redis, ``"local"`` (default) limits this process by itself, ``"open"``
        lets everyone through, and ``"closed"`` raises :class:`~moored.limits.LimiterUnavailable`.
    :param local: the limits of this process for ``fail="local"``, such as its part of the whole; by
        default ``rates``.  It begins with what this process has used of late.
    :param on_event: called with a :class:`~moored.limits.RedisLost` or
        :class:`~moored.limits.RedisRecovered`; both are logged too.
    :param timeout: seconds for one call to Redis.
    :param max_pause: the longest pause, in seconds, that a server's headers can cause.
    :raises ValueError: when a setting is out of bounds.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        rates: Mapping[str, Rate],
        *,
        fail: Literal["local", "open", "closed"] = "local",
        local: Mapping[str, Rate] | None = None,
        on_event: Callable[[RedisEvent], object] | None = None,
        timeout: float = 1.0,
        max_pause: float = 3600.0,
    ) -> None:
        if fail not in ("local", "open", "closed"):
            raise ValueError(f'RedisLimiter.fail must be "local", "open" or "closed", not {fail!r}')
        if not name or "{" in name or "}" in name:
            raise ValueError(f"RedisLimiter.name must be some text without braces, not {name!r}")
        self._rates = checked_rates("RedisLimiter", rates)
        own = self._rates if local is None else checked_rates("RedisLimiter.local", local)
        if set(own) != set(self._rates):
            raise ValueError(
                f"RedisLimiter.local must have the dimensions {sorted(self._rates)}, "
                f"not {sorted(own)}"
            )
        self._name = name
        self._fail = fail
        self._max_pause = checked_seconds("RedisLimiter.max_pause", max_pause)
        timeout = checked_seconds("RedisLimiter.timeout", timeout)
        self._calls = Calls(client, name, fail=fail, timeout=timeout, on_event=on_event)
        self._process = uuid.uuid4().hex
        self._local = Limiter(**dict[str, Any](own))
        self._turn = trio.StrictFIFOLock()
        self._first: trio.CancelScope | None = None  # in which the first in line sleeps
        self._tally = Tally()
        self._unsent = _Unsent()
        self._seen: tuple[Answer, float] | None = None

    @property
    def rates(self) -> Mapping[str, Rate]:
        """The limit of each dimension."""
        return dict(self._rates)

    @property
    def lost(self) -> bool:
        """Whether Redis is lost, as far as is known."""
        return self._calls.lost

    @property
    def calls(self) -> int:
        """How many calls to Redis were made."""
        return self._calls.count

    def reserve(self, requests: float = 1, **amounts: float) -> Reservation:
        """Reserve what a request will use; ``async with`` waits for it.

        :param requests: how many requests.
        :param amounts: how much of every other dimension; 0 where not given.
        :raises CostTooLarge: when it would never fit, with ``fail="local"`` also when it would not
            fit this process's own limits.
        :raises TypeError: for a dimension that the limiter does not know.
        """
        asked = {"requests": requests, **amounts}
        costs = checked_costs(self._rates, asked)
        if self._fail == "local":
            checked_costs(self._local.rates, asked)
        return Reservation(self._rates, lambda: self._take(costs), lambda: self._take_now(costs))

    def pause(self, seconds: float) -> None:
        """Grant nothing for so many seconds, to anybody in any process; the longest pause counts.

        The others learn of it with this process's next call, see :meth:`flush`.
        """
        self._local.pause(seconds)
        self._unsent.pause(trio.current_time() + seconds)

    def observe(
        self,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
        status: int = 200,
        *,
        wall_time: float | None = None,
    ) -> None:
        """Learn from an answer's headers, for all processes: as :meth:`Limiter.observe`."""
        if wall_time is None:
            wall_time = time.time()
        seen = parse_headers(headers, wall_time=wall_time)
        told = pace(seen, status, self._rates, max_pause=self._max_pause)
        if told.pause:
            self.pause(told.pause)
        self._local._lower(told.remaining)
        now = trio.current_time()
        self._unsent.lower |= {name: (left, now) for name, left in told.remaining.items()}

    async def flush(self) -> None:
        """Tell the other processes now what :meth:`pause` and :meth:`observe` said."""
        await trio.lowlevel.checkpoint()
        if self._unsent:
            await self._call()

    def statistics(self) -> LimiterStatistics:
        """The limiter as it is now: this process's callers, and the buckets as last heard of."""
        now = trio.current_time()
        turn = self._turn.statistics()
        available = {name: rate.burst for name, rate in self._rates.items()}
        paused_for = self._local.statistics().paused_for
        if self._seen is not None:
            answer, at = self._seen
            for (name, rate), units in zip(self._rates.items(), answer.available, strict=True):
                grown = units + (now - at) / rate.seconds_per_unit
                available[name] = min(rate.burst, grown)
            paused_for = max(paused_for, answer.paused_for - (now - at))
        return LimiterStatistics(
            waiting=turn.tasks_waiting + turn.locked,
            granted=self._tally.granted,
            available=available,
            paused_for=paused_for,
            waited_total=self._tally.total,
            waited_longest=self._tally.longest,
        )

    # ------------------------------------------------------------------------ waiting

    async def _take(self, costs: Mapping[str, float]) -> Grant:
        asked_at = trio.current_time()
        async with self._turn:
            grant = await self._wait(costs)
        grant.waited = trio.current_time() - asked_at
        self._tally.add(grant.waited)
        return grant

    async def _take_now(self, costs: Mapping[str, float]) -> Grant | None:
        """The same without waiting, but for the answer to one call."""
        await trio.lowlevel.checkpoint()
        if self._turn.locked():
            return None
        grant: Grant | None = None
        async with self._turn:
            answer = await self._call(take=[*costs.items()], leave=True)
            if answer is None:
                if self._fail == "closed":
                    raise LimiterUnavailable(self._name, self._calls.reason)
                grant = await self._local._take_now(self._local_costs(costs))
            elif answer.ticket:
                grant = await self._keep(_Shared(self, dict(costs), answer))
        if grant is not None:
            self._tally.add(grant.waited)
        return grant

    def _local_costs(self, costs: Mapping[str, float]) -> Mapping[str, float]:
        # Open, it waits for a pause all the same.
        return dict.fromkeys(costs, 0.0) if self._fail == "open" else costs

    async def _wait(self, costs: Mapping[str, float]) -> Grant:
        """As the first in line of this process."""
        has_place = False
        try:
            while True:
                answer = await self._call(take=[*costs.items()])
                has_place = answer is not None and not answer.ticket
                if answer is None:
                    grant = await self._take_without_redis(costs)
                    if grant is not None:
                        return grant
                elif answer.ticket:
                    return await self._keep(_Shared(self, dict(costs), answer))
                else:
                    await self._sleep(answer.wait)
        except BaseException:
            # Another caller of this process inherits the place; without one it would be held up.
            if has_place and not self._turn.statistics().tasks_waiting:
                await self._call(leave=True)
            raise

    async def _keep(self, grant: _Shared) -> Grant:
        """Give it back where the caller was cancelled meanwhile."""
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except trio.Cancelled:
            grant.settle(dict.fromkeys(grant.costs, 0.0))
            await grant.end(succeeded=False)
            raise
        self._local._note(grant.costs)
        return grant

    async def _sleep(self, seconds: float) -> None:
        with trio.CancelScope(deadline=trio.current_time() + seconds) as self._first:
            try:
                await trio.sleep_forever()
            finally:
                self._first = None

    async def _take_without_redis(self, costs: Mapping[str, float]) -> Grant | None:
        """``None`` where it is time to try Redis again."""
        if self._fail == "closed":
            raise LimiterUnavailable(self._name, self._calls.reason)
        with trio.move_on_at(self._calls.retry_at):
            return await self._local._take(self._local_costs(costs))
        return None

    # ------------------------------------------------------------------------ calling

    async def _call(
        self, *, take: list[tuple[str, float]] | None = None, leave: bool = False
    ) -> Answer | None:
        now = trio.current_time()
        unsent, self._unsent = self._unsent, _Unsent()
        rates = [(name, rate.seconds_per_unit, rate.burst) for name, rate in self._rates.items()]
        answer = await self._calls.call(
            {
                "rates": rates,
                "process": self._process,
                "longest": _LONGEST_SLEEP,
                "pause": max(0.0, unsent.paused_until - now),
                # What has come back since it was told.
                "lower": [
                    (name, left + (now - at) / self._rates[name].seconds_per_unit)
                    for name, (left, at) in unsent.lower.items()
                ],
                "settle": unsent.settle,
                "take": take,
                "leave": leave,
            }
        )
        now = trio.current_time()
        if answer is None:
            # Not what was to settle: it may have been carried out.
            self._unsent.pause(unsent.paused_until)
            self._unsent.lower = unsent.lower | self._unsent.lower
            return None
        self._seen = answer, now
        if take is None and self._first is not None:
            self._first.deadline = min(self._first.deadline, now + answer.wait)
        return answer


@attrs.define(eq=False)
class _Unsent:
    """What the other processes have not been told yet."""

    paused_until: float = -math.inf
    lower: dict[str, tuple[float, float]] = attrs.field(factory=dict)  # units, and when told
    settle: list[list[Any]] = attrs.field(factory=list)

    def pause(self, until: float) -> None:
        self.paused_until = max(self.paused_until, until)

    def __bool__(self) -> bool:
        return bool(self.lower or self.settle) or self.paused_until > trio.current_time()


@attrs.define(eq=False)
class _Shared:
    """A :class:`~moored.limits.reservation.Grant` of Redis."""

    limiter: RedisLimiter
    costs: dict[str, float]
    answer: Answer
    waited: float = 0.0
    used: dict[str, float] = attrs.field(factory=dict)

    def settle(self, amounts: Mapping[str, float]) -> None:
        self.used |= amounts

    async def end(self, *, succeeded: bool) -> None:
        changes = [(name, used - self.costs[name]) for name, used in self.used.items()]
        changes = [(name, change) for name, change in changes if change]
        unsent = self.limiter._unsent
        if changes:
            unsent.settle.append([self.answer.identity, self.answer.ticket, *changes])
        if unsent:
            await self.limiter._call()
