"""Many streams at once, but not too many: bounded, queued, fair and counted."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

import attrs
import trio

from moored.core.checks import count, number
from moored.core.priority_queue import PriorityQueue
from moored.errors import MooredError
from moored.limits import LimiterStatistics, Reservation
from moored.limits.costs import checked_costs

__all__ = [
    "Pool",
    "PoolClosed",
    "PoolFull",
    "PoolStatistics",
    "PoolTimeout",
    "Slot",
    "SupportsReserve",
]

logger: logging.Logger = logging.getLogger("moored.pool")


class PoolFull(MooredError):
    """All slots are taken, and the queue is full.

    :ivar max_active: how many slots there are.
    :ivar max_queued: how many may wait.
    """

    def __init__(self, max_active: int, max_queued: int) -> None:
        super().__init__(
            f"the pool is full: {max_active} are active (Pool.max_active) and "
            f"{max_queued} wait (Pool.max_queued)"
        )
        self.max_active = max_active
        self.max_queued = max_queued


class PoolClosed(MooredError):
    """The pool is draining, or has been drained: it gives no more slots."""

    def __init__(self) -> None:
        super().__init__("the pool is closed: it is draining, or has been drained")


class PoolTimeout(MooredError):
    """No slot was granted in time.

    :ivar timeout: the seconds that were allowed.
    """

    def __init__(self, timeout: float) -> None:
        super().__init__(f"no slot was granted within {timeout:g} s")
        self.timeout = timeout


class SupportsReserve(Protocol):
    """A limiter: :class:`moored.limits.Limiter` or :class:`moored.limits.redis.RedisLimiter`."""

    def reserve(self, requests: float = 1, **amounts: float) -> Reservation:
        """Reserve what a request will use."""
        ...

    def statistics(self) -> LimiterStatistics:
        """The limiter as it is now."""
        ...


@attrs.frozen
class PoolStatistics:
    """A pool at one moment.

    :param active: slots that are held, with those that wait for the limiter.
    :param queued: callers that wait for a slot.
    :param limited: those of ``active`` that wait for the limiter.
    :param granted: slots granted so far.
    :param rejected: callers refused so far because the queue was full.
    :param timed_out: callers so far for whom it took too long.
    :param waited_count: granted slots that had to be waited for.
    :param waited_total: seconds that these waited, together.
    :param waited_longest: the longest that one of them waited, in seconds.
    :param available: units that the limiter has left, by dimension.
    """

    active: int
    queued: int
    limited: int
    granted: int
    rejected: int
    timed_out: int
    waited_count: int
    waited_total: float
    waited_longest: float
    available: Mapping[str, float]


@attrs.define(eq=False)
class _Counts:
    granted: int = 0
    rejected: int = 0
    timed_out: int = 0
    waited_count: int = 0
    waited_total: float = 0.0
    waited_longest: float = 0.0


def _limiter_or_none(instance: object, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not callable(getattr(value, "reserve", None)):
        raise TypeError(f"Pool.limiter must be a limiter or None, not {value!r}")


@attrs.define(eq=False)
class _Waiter:
    woken: trio.Event = attrs.field(factory=trio.Event)
    granted: bool = False


@attrs.define(eq=False)
class Pool:
    """Bounds how many streams are under way at once, and how many wait for that.

    ::

        async with Pool(100, max_queued=1000, limiter=limiter) as pool:
            ...
            async with pool.slot(tokens=1200) as slot:
                async with client.stream(...) as reply:
                    ...
                slot.settle(reply.usage.total_tokens)

    Who waits is served by priority, and among equals in the order of arrival.  No priority starves
    the others: one step of it is worth ``aging`` seconds of waiting, so that a caller of priority 1
    goes before those of priority 0 that came up to ``aging`` seconds earlier, and before no others.

    With a ``limiter``, a caller that has its slot then waits for the limiter, while it holds the
    slot: what the limiter grants is used at once.

    Left without an exception, ``async with`` drains the pool; left with one, it only closes it.

    :param max_active: slots.
    :param max_queued: callers that may wait for a slot; 0 for none.
    :param limiter: what is reserved from for every slot, or ``None``.
    :param drain_timeout: seconds for which leaving the block waits for active slots.
    :param aging: seconds of waiting that one step of priority is worth.
    :raises ValueError: when a setting is out of bounds.
    """

    max_active: int = attrs.field(validator=count(minimum=1))
    max_queued: int = attrs.field(default=1000, kw_only=True, validator=count(minimum=0))
    limiter: SupportsReserve | None = attrs.field(
        default=None, kw_only=True, repr=False, validator=_limiter_or_none
    )
    drain_timeout: float = attrs.field(default=30.0, kw_only=True, validator=number(minimum=0.0))
    aging: float = attrs.field(default=30.0, kw_only=True, validator=number(above=0.0))
    _active: int = attrs.field(init=False, default=0)
    _closed: bool = attrs.field(init=False, default=False)
    _queue: PriorityQueue[_Waiter] = attrs.field(init=False, factory=PriorityQueue, repr=False)
    _limited: set[trio.CancelScope] = attrs.field(init=False, factory=set, repr=False)
    _idle: trio.Event = attrs.field(init=False, factory=trio.Event, repr=False)
    _counts: _Counts = attrs.field(init=False, factory=_Counts, repr=False)

    def slot(self, priority: float = 0, timeout: float | None = None, **amounts: float) -> Slot:
        """A slot, for one use; ``async with`` waits for it.

        :param priority: the higher go first.
        :param timeout: seconds for which to wait for the slot and for the limiter; 0 for at once
            or not at all, ``None`` for no bound.
        :param amounts: what to reserve from the limiter: see :meth:`moored.limits.Limiter.reserve`.
        :raises PoolFull: on entering, at once, when it would have to wait and the queue is full.
        :raises PoolTimeout: on entering, when it takes longer than ``timeout``.
        :raises PoolClosed: on entering, when the pool is closed, or is closed meanwhile.
        :raises moored.limits.CostTooLarge: when the limiter would never grant it.
        """
        _finite("priority", priority)
        if timeout is not None and _finite("timeout", timeout) < 0:
            raise ValueError(f"timeout must be at least 0 or None, not {timeout!r}")
        reservation = None
        if self.limiter is not None:
            reservation = self.limiter.reserve(**amounts)
        else:
            checked_costs({}, amounts)  # a typo is one also without a limiter
        return Slot(self, priority, timeout, reservation)

    async def drain(self, timeout: float | None = None) -> bool:
        """Give no more slots, refuse those who wait, and wait for the active ones to end.

        :param timeout: seconds for which to wait; ``None`` for no bound.
        :returns: whether all have ended.  What has not is left alone: it belongs to its own task.
        """
        self._close()
        with trio.move_on_after(math.inf if timeout is None else timeout):
            await trio.lowlevel.checkpoint()
            while self._active:
                if self._idle.is_set():
                    self._idle = trio.Event()
                await self._idle.wait()
        return not self._active

    def statistics(self) -> PoolStatistics:
        """The pool as it is now."""
        counts = self._counts
        return PoolStatistics(
            active=self._active,
            queued=len(self._queue),
            limited=len(self._limited),
            granted=counts.granted,
            rejected=counts.rejected,
            timed_out=counts.timed_out,
            waited_count=counts.waited_count,
            waited_total=counts.waited_total,
            waited_longest=counts.waited_longest,
            available={} if self.limiter is None else self.limiter.statistics().available,
        )

    async def __aenter__(self) -> Pool:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()
        if error is None and not await self.drain(self.drain_timeout):
            logger.warning(
                "%d slots were still active after %g s of draining",
                self._active,
                self.drain_timeout,
            )

    # ------------------------------------------------------------------------ slots

    async def _acquire(self, priority: float, *, wait: bool) -> bool:
        """Wait for a slot; cancelled, it holds none."""
        if self._closed:
            raise PoolClosed
        if self._active < self.max_active:  # nobody waits then
            self._active += 1
            try:
                await trio.lowlevel.checkpoint()
            except BaseException:
                self._release()
                raise
            return True
        if not wait:
            await trio.lowlevel.checkpoint()
            return False
        if len(self._queue) >= self.max_queued:
            self._counts.rejected += 1
            raise PoolFull(self.max_active, self.max_queued)
        # Older is better, and so is a higher priority: a rank that need not change with time.
        rank = trio.current_time() - priority * self.aging
        waiter = _Waiter()
        place = self._queue.push(waiter, rank)
        try:
            await waiter.woken.wait()
        except BaseException:
            if waiter.granted:
                self._release()
            self._queue.discard(place)
            raise
        if not waiter.granted:
            raise PoolClosed
        return True

    def _release(self) -> None:
        """Hand the slot to the first who waits, if any does."""
        if self._queue:
            first = self._queue.pop()
            first.granted = True
            first.woken.set()
            return
        self._active -= 1
        if not self._active:
            self._idle.set()

    def _close(self) -> None:
        self._closed = True
        while self._queue:
            self._queue.pop().woken.set()
        for scope in self._limited:
            scope.cancel()


class Slot:
    """What :meth:`Pool.slot` gives: an async context manager, for one use."""

    def __init__(
        self,
        pool: Pool,
        priority: float,
        timeout: float | None,
        reservation: Reservation | None,
    ) -> None:
        self._pool = pool
        self._priority = priority
        self._timeout = timeout
        self._reservation = reservation
        self._entered = False
        self._waited = 0.0

    @property
    def waited(self) -> float:
        """Seconds until it was granted, by the limiter too; 0 before."""
        return self._waited

    def settle(self, used: float | None = None, /, **amounts: float) -> None:
        """Say what was really used: see :meth:`moored.limits.Reservation.settle`.

        Without a limiter it does nothing.
        """
        if self._reservation is not None:
            self._reservation.settle(used, **amounts)

    async def __aenter__(self) -> Slot:
        if self._entered:
            raise RuntimeError("a slot can be entered only once")
        self._entered = True
        counts = self._pool._counts
        asked_at = trio.current_time()
        granted = False
        # A deadline that has passed would cancel the first checkpoint; for 0 nothing waits.
        with trio.move_on_after(self._timeout or math.inf):
            if await self._pool._acquire(self._priority, wait=self._timeout != 0):
                try:
                    granted = await self._pass_the_limiter()
                finally:
                    if not granted:
                        self._pool._release()
        if not granted:
            counts.timed_out += 1
            assert self._timeout is not None
            raise PoolTimeout(self._timeout)
        self._waited = trio.current_time() - asked_at
        counts.granted += 1
        counts.waited_count += self._waited > 0
        counts.waited_total += self._waited
        counts.waited_longest = max(counts.waited_longest, self._waited)
        return self

    async def _pass_the_limiter(self) -> bool:
        if self._reservation is None:
            return True
        pool = self._pool
        if pool._closed:
            raise PoolClosed
        granted = False
        with trio.CancelScope() as closing:
            pool._limited.add(closing)
            try:
                if self._timeout == 0:
                    granted = await self._reservation.enter_now()
                else:
                    await self._reservation.__aenter__()
                    granted = True
            finally:
                pool._limited.discard(closing)
        if closing.cancelled_caught:
            raise PoolClosed
        return granted

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._reservation is not None:
                await self._reservation.__aexit__(kind, error, traceback)
        finally:
            self._pool._release()


def _finite(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {value!r}")
    return value
