"""The requests: each arrives, waits for its slot, asks, and is counted."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import trio

from moored import chat
from moored.cli.load.plan import Plan
from moored.cli.load.tally import Outcome, Tally
from moored.cli.load.timing import MeasuredLimiter, Timing, current
from moored.cli.running import Stop
from moored.errors import MooredError
from moored.pool import Pool

__all__ = ["Burst"]

ARRIVALS_PER_CHECKPOINT = 50
"""Where all arrive at once, those that are refused make room for the next ones."""


class Burst:
    """Runs the requests of a plan, a task each.

    There are never more tasks than slots, places in the queue and these few: memory is bounded,
    however many requests there are.

    :param client: asks; its limiter is ``limiter``.
    :ivar started: when, by Trio's clock.
    :ivar draining: whether a signal has come.
    """

    def __init__(self, plan: Plan, client: chat.Client, limiter: MeasuredLimiter) -> None:
        self.plan = plan
        self.limiter = limiter
        self.pool: Pool = Pool(plan.concurrency, max_queued=plan.max_queued)
        self.tally: Tally = Tally()
        self.started: float = trio.current_time()
        self.draining: bool = False
        self._ended: float | None = None
        self._client = client
        self._live: set[Timing] = set()
        self._arrivals = trio.CancelScope()

    @property
    def seconds(self) -> float:
        """How long it has been running, or ran."""
        return (trio.current_time() if self._ended is None else self._ended) - self.started

    async def run(self, stop: Stop) -> None:
        """Run all of them.

        When ``stop`` says so, no more arrive, what was not sent yet is given up, and what is under
        way may end, for as long as the plan allows.
        """
        async with trio.open_nursery() as watchers:
            async with trio.open_nursery() as requests:
                watchers.start_soon(self._drain, stop, requests.cancel_scope)
                with self._arrivals:
                    await self._arrive(requests)
            self._ended = trio.current_time()
            watchers.cancel_scope.cancel()

    async def _arrive(self, requests: trio.Nursery) -> None:
        for number, after in enumerate(self.plan.arrivals(), 1):
            if after is not None:
                await trio.sleep_until(self.started + after)
            elif number % ARRIVALS_PER_CHECKPOINT == 0:
                await trio.lowlevel.checkpoint()
            self.tally.arrived += 1
            requests.start_soon(self._request, number, name=f"request {number}")

    async def _drain(self, stop: Stop, everything: trio.CancelScope) -> None:
        await stop.wait()
        self.draining = True
        self._arrivals.cancel()
        for timing in self._live:
            if timing.sent is None:
                timing.scope.cancel()
        if not await self.pool.drain(self.plan.drain_timeout):
            everything.cancel()

    async def _request(self, number: int) -> None:
        timing = Timing(trio.current_time())
        current.set(timing)
        self._live.add(timing)
        reply: chat.Reply | None = None
        error: MooredError | None = None
        ended = False
        try:
            with timing.scope:
                async with self.pool.slot() as slot:
                    timing.pool_wait = slot.waited
                    with self.tally.active_request():
                        async with self.ask(number) as reply:
                            await self._follow(reply, timing)
                ended = True
        except MooredError as exc:
            error = exc
        finally:
            self._live.discard(timing)
            cancelled = not ended and error is None
            cost = self._cost(reply)
            now = trio.current_time()
            self.tally.end(Outcome(timing, now, error, cancelled, reply, cost))

    def ask(self, number: int) -> AbstractAsyncContextManager[chat.Reply]:
        """The request of that number, from 1.

        :raises ValueError: when it is no request.
        """
        plan = self.plan
        return self._client.stream(model=plan.model, messages=plan.messages(number), **plan.fields)

    async def _follow(self, reply: chat.Reply, timing: Timing) -> None:
        async for event in reply:
            match event:
                case chat.Text() | chat.Reasoning() | chat.Refusal() | chat.ToolCallDelta():
                    if timing.first_token is None:
                        timing.first_token = trio.current_time() - timing.resent
                case chat.Restarted():
                    self.tally.restarted += 1

    def _cost(self, reply: chat.Reply | None) -> chat.Cost | None:
        # The mock server has no price unless it is given one.
        priced = self.plan.base_url is not None or self.plan.price is not None
        return reply.cost if reply is not None and priced else None
