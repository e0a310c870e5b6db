"""A limiter that processes on several machines share, on Redis.

It needs the extra ``moored[redis]``, which brings coredis, and Redis 6 or later.
"""

from __future__ import annotations

import math
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import attrs
import trio

from .costs import checked_costs, checked_rates, checked_seconds, checked_timeout
from .errors import LimiterUnavailable
from .events import RedisEvent
from .headers import parse_headers
from .limiter import Limiter
from .pacing import pace
from .rate import Rate
from .redis_calls import Answer, Calls, Client
from .redis_requests import Unsent, Waiting, changes, request
from .reservation import Grant, Reservation
from .statistics import LimiterStatistics, Tally

__all__ = ["RedisLimiter"]

_FIRST_SLEEP = 0.1
_LONGEST_SLEEP = 1.0
"""Seconds after which the first in line asks again in any case, doubling up to the longest: what
other processes gave back is seen only by asking."""

_MOST_AT_ONCE = 8
"""Callers for whom one call asks: more would let one process take a whole burst."""


class RedisLimiter:
    """The same as :class:`moored.limits.Limiter`, with its buckets on Redis.

    All processes whose limiter has the same ``name`` on the same Redis share the limits, which have
    to be the same for all.  In each process callers are served in the order in which they came;
    between processes those that are first in line take turns.  What one process gives back is seen
    by those who wait in another when they ask again: 0.1 s after they began to wait, then after
    twice as long each time, up to a second.

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
        default ``rates``.  It begins with what Redis last said was there, less what this process
        has used of late, and what it grants is charged on Redis when that is back.
    :param on_event: called with a :class:`~moored.limits.RedisLost` or
        :class:`~moored.limits.RedisRecovered`; both are logged too.
    :param timeout: seconds for one call to Redis; more than 0.
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
        timeout = checked_timeout("RedisLimiter.timeout", timeout)
        if on_event is not None and not callable(on_event):
            raise TypeError(f"RedisLimiter.on_event must be callable or None, not {on_event!r}")
        self._calls = Calls(client, name, fail=fail, timeout=timeout, on_event=on_event)
        self._process = uuid.uuid4().hex
        self._local = Limiter(**dict[str, Any](own))
        self._line: OrderedDict[Waiting, None] = OrderedDict()  # the first asks, for all
        self._placed: Waiting | None = None  # has this process's place on Redis
        self._ask_at = -math.inf
        self._sleep_most = _FIRST_SLEEP
        self._first: trio.CancelScope | None = None  # in which the first in line sleeps
        self._tally = Tally()
        self._unsent = Unsent()
        self._seen: tuple[Answer, float] | None = None
        self._marks: dict[str, float] | None = None  # of the local buckets, when Redis was lost

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
        paused_for = self._local.statistics().paused_for
        if self._seen is not None:
            answer, at = self._seen
            paused_for = max(paused_for, answer.paused_for - (now - at))
        return LimiterStatistics(
            waiting=len(self._line),
            granted=self._tally.granted,
            available=self._available(now),
            paused_for=paused_for,
            waited_total=self._tally.total,
            waited_longest=self._tally.longest,
        )

    def _available(self, now: float) -> dict[str, float]:
        if self._seen is None:
            return {name: rate.burst for name, rate in self._rates.items()}
        answer, at = self._seen
        return answer.left_after(now - at, self._rates)

    # ------------------------------------------------------------------------ waiting

    async def _take(self, costs: Mapping[str, float]) -> Grant:
        asked_at = trio.current_time()
        mine = Waiting(dict(costs))
        self._line[mine] = None
        try:
            if self._first_in_line() is not mine:
                await mine.woken.wait()
            if mine.grant is None:
                await self._ask(mine)
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            await self._give_up(mine)
            raise
        assert mine.grant is not None
        mine.grant.waited = trio.current_time() - asked_at
        self._tally.add(mine.grant.waited)
        return mine.grant

    async def _take_now(self, costs: Mapping[str, float]) -> Grant | None:
        """The same without waiting, but for the answer to one call."""
        await trio.lowlevel.checkpoint()
        if self._line:
            return None
        mine = Waiting(dict(costs))
        self._line[mine] = None
        try:
            answer = await self._call(take=[mine], leave=True)
            if answer is not None:
                self._hand_out([mine], answer)
                self._placed = None
            elif self._fail == "closed":
                raise LimiterUnavailable(self._name, self._calls.reason)
            else:
                mine.grant = await self._local._take_now(self._local_costs(costs))
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            await self._give_up(mine)
            raise
        self._step_out(mine)
        if mine.grant is not None:
            self._tally.add(0.0)
        return mine.grant

    def _first_in_line(self) -> Waiting | None:
        return next(iter(self._line), None)

    def _step_out(self, waiting: Waiting) -> None:
        """One waits no more; the next asks from now on, if that one did."""
        self._line.pop(waiting, None)
        first = self._first_in_line()
        if first is not None:
            first.woken.set()

    async def _ask(self, mine: Waiting) -> None:
        """As the first in line of this process, for as many of the next as there is room for."""
        while mine.grant is None:
            if self._placed is mine:
                await self._sleep_until(self._ask_at)
            batch = [*islice(self._line, _MOST_AT_ONCE)]
            answer = await self._call(take=batch)
            if answer is not None:
                if not self._hand_out(batch, answer):
                    await self._call()  # somebody gave up meanwhile: give that back
                continue
            self._placed = None
            mine.grant = await self._take_without_redis(mine.costs)
        self._step_out(mine)
        await self._leave_if_nobody_waits()  # those for whom it asked may have given up

    def _hand_out(self, batch: list[Waiting], answer: Answer) -> bool:
        """Give everyone what was granted; whether all were still there."""
        all_there = True
        for waiting in batch[: answer.granted]:
            grant = _Shared(self, waiting.costs, answer)
            if waiting.gone:
                all_there = False
                grant.settle(dict.fromkeys(grant.costs, 0.0))
                grant.note_changes()
                continue
            waiting.grant = grant
            self._local._note(grant.costs)
            self._line.pop(waiting, None)
            waiting.woken.set()
        self._placed = batch[answer.granted] if answer.granted < len(batch) else None
        self._ask_at = trio.current_time() + answer.wait
        longer = min(2 * self._sleep_most, _LONGEST_SLEEP)
        self._sleep_most = _FIRST_SLEEP if answer.granted else longer
        return all_there

    async def _give_up(self, mine: Waiting) -> None:
        mine.gone = True
        self._step_out(mine)
        if mine.grant is not None:
            mine.grant.settle(dict.fromkeys(mine.costs, 0.0))
            await mine.grant.end(succeeded=False)
        await self._leave_if_nobody_waits()

    async def _leave_if_nobody_waits(self) -> None:
        # Another caller inherits this process's place on Redis, which would hold the others up.
        if not self._line and self._placed is not None:
            self._placed = None
            await self._call(leave=True)

    async def _sleep_until(self, deadline: float) -> None:
        with trio.CancelScope(deadline=deadline) as self._first:
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

    def _local_costs(self, costs: Mapping[str, float]) -> Mapping[str, float]:
        # Open, it waits for a pause all the same.
        return dict.fromkeys(costs, 0.0) if self._fail == "open" else costs

    def _go_local(self) -> None:
        """Redis was lost: go on from what it last said."""
        if self._marks is None and self._fail == "local" and self._calls.lost:
            now = trio.current_time()
            left = self._available(now) if self._seen is not None else {}
            self._marks = self._local._begin_at(
                {name: units / self._rates[name].burst for name, units in left.items()}
            )

    def _granted_locally(self) -> list[list[Any]]:
        """What Redis, which is back, has not been told of."""
        if self._marks is None:
            return []
        taken, self._marks = self._local._taken_since(self._marks), None
        units = [[name, min(taken[name], rate.burst)] for name, rate in self._rates.items()]
        return [["", 0, *units]]

    # ------------------------------------------------------------------------ calling

    async def _call(self, *, take: Sequence[Waiting] = (), leave: bool = False) -> Answer | None:
        # Of what was granted meanwhile Redis is told once, and so not before it answers.
        probe = self._request(Unsent(), (), leave=False)
        if self._marks is not None and self._calls.lost and not await self._calls.call(probe):
            return None
        unsent, self._unsent = self._unsent, Unsent()
        unsent.settle += self._granted_locally()
        answer = await self._calls.call(self._request(unsent, take, leave=leave))
        now = trio.current_time()
        if answer is None:
            # Not what was to settle: it may have been carried out.
            self._unsent.pause(unsent.paused_until)
            self._unsent.lower = unsent.lower | self._unsent.lower
            self._go_local()
            return None
        self._seen = answer, now
        if not take and self._first is not None:
            self._first.deadline = min(self._first.deadline, now + answer.wait)
        return answer

    def _request(self, unsent: Unsent, take: Sequence[Waiting], *, leave: bool) -> dict[str, Any]:
        options = {"longest": self._sleep_most if take else _LONGEST_SLEEP}
        options["now"] = trio.current_time()
        return request(self._rates, self._process, unsent, take, leave=leave, **options)


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

    def note_changes(self) -> None:
        """Have the next call say what was used."""
        settled = changes(self.limiter._rates, self.costs, self.used)
        if settled:
            settlement = [self.answer.identity, self.answer.ticket, *settled]
            self.limiter._unsent.settle.append(settlement)

    async def end(self, *, succeeded: bool) -> None:
        self.note_changes()
        if self.limiter._unsent:
            await self.limiter._call()
