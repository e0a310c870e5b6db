"""Everything behind a reply: attempts, recovery between them, and what the consumer is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import attrs
import trio

from moored.errors import MooredError, StreamClosed
from moored.transports.target import call_sync_hook

from .accounting import Accounting, Bill
from .answer import Answer
from .attempt import FAREWELL_TIMEOUT, Attempt
from .budget import Budget
from .chunks import ChunkReader
from .clocks import Clocks
from .cost import Cost
from .endpoint import Endpoint
from .endpoints import Endpoints, Tried, Turn
from .errors import (
    ReplyError,
    RequestRejected,
    TotalTimeout,
)
from .events import ChatEvent, Continued, Restarted, Resumed
from .opening import Network
from .recovery import Standing, Way, way_after, why_not_by
from .replays import Replays
from .request import Request
from .responses import ResponseReader
from .settings import Settings
from .verdicts import backoff, is_rate_limit

__all__ = ["Exchange", "Resources"]


@attrs.frozen
class Resources:
    """What all replies of a client share.

    :param endpoints: whom to ask.
    :param network: where connections come from.
    :param accounting: limits, budgets, prices.
    :param pool: bounds how many replies there are at once; ``None`` for no bound.
    """

    endpoints: Endpoints
    network: Network
    accounting: Accounting
    pool: Any = None


class Exchange:
    """The tasks of one reply.

    :param requests: what is asked for: the same of several models, in order of preference.
    :param settings: how.
    :param resources: the client's.
    :param budgets: what this request may cost, beside the client's own budgets.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        settings: Settings,
        resources: Resources,
        *,
        budgets: Sequence[Budget] = (),
    ) -> None:
        self.request: Request = requests[0]
        self.settings: Settings = settings
        self.answer: Answer = Answer(price=self._cost)
        #: The failures that were recovered from, or that led to the end, oldest first.
        self.failures: list[ReplyError] = []
        self.attempts: int = 0
        self.response_headers: tuple[tuple[str, str], ...] = ()
        self.error: MooredError | None = None
        self.bill: Bill = Bill(
            resources.accounting,
            self.request,
            budgets=budgets,
            expected_output=settings.expected_output_tokens,
        )
        self._requests = requests
        self._resources = resources
        self._turn: Turn | None = None
        self._tried: list[Tried] = []
        self._announcement: Restarted | Continued | Resumed | None = None
        self._discarded: Answer | None = None
        self._events: deque[ChatEvent] = deque()
        self._consumers = trio.lowlevel.ParkingLot()
        self._room = trio.Event()
        self._over = False
        self._hung_up = trio.Event()
        self._way: Way | None = None
        self._scope = trio.CancelScope()
        self._clocks = Clocks(settings)
        self._reader: ChunkReader | ResponseReader = ChunkReader(self.answer)
        self._replays: Replays | None = None
        self._cursor: str | int | None = None

    def _cost(self) -> Cost | None:
        return self.bill.cost()

    @property
    def endpoint(self) -> Endpoint | None:
        """Who answers; ``None`` before anybody was asked."""
        return None if self._turn is None else self._turn.endpoint

    # ------------------------------------------------------------------ the consumer's side

    async def next_events(self) -> deque[ChatEvent]:
        """Wait for events; take all that are there.  None: the reply is complete.

        :raises MooredError: when it failed.
        """
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._over:
                if self.error is not None:
                    raise self.error
                return self._events
            await self._consumers.park()
        taken, self._events = self._events, deque()
        self._room.set()
        return taken

    async def emit(self, events: list[ChatEvent]) -> None:
        """Put events where the consumer takes them; wait while it is far behind."""
        if self._announcement is not None and events:  # this attempt does go on
            self._events.append(self._announcement)
            self._announcement = self._discarded = None
        self._events.extend(events)
        self._consumers.unpark_all()
        if len(self._events) < self.settings.buffered_events:
            return
        self._clocks.pause()
        while len(self._events) >= self.settings.buffered_events:
            self._room = trio.Event()
            await self._room.wait()
        self._clocks.resume()

    # ------------------------------------------------------------------ the tasks

    def start(self, nursery: trio.Nursery) -> None:
        """Start them."""
        nursery.start_soon(self._clocks.watch, name="chat clocks")
        nursery.start_soon(self._run, name="chat reply")
        if self.settings.total_timeout is not None:
            nursery.start_soon(
                self._watch_total, self.settings.total_timeout, name="chat total timeout"
            )

    async def _run(self) -> None:
        try:
            with self._scope:
                async with self._slot():
                    await self._attempts()
        except MooredError as exc:  # no room, no money, no endpoint, or a callable of the user's
            self._finish(exc)
        finally:  # where nothing was said yet, the block was left
            self._finish(StreamClosed("the reply was left before it was complete"))
            self._hung_up.set()

    async def see_off(self) -> None:
        """Where the answer is complete, let its connection end in order; not for long."""
        if self._over and self.error is None:
            with trio.move_on_after(FAREWELL_TIMEOUT):
                await self._hung_up.wait()

    def _slot(self) -> AbstractAsyncContextManager[Any]:
        pool = self._resources.pool
        return nullcontext() if pool is None else pool.slot()

    async def _watch_total(self, seconds: float) -> None:
        await trio.sleep(seconds)
        words = f"the reply was not complete within {seconds:g} s"
        complete = self._turn is not None and self.answer.proves_complete(
            self._turn.endpoint.end, self.request.choices
        )
        self._finish(None if complete else TotalTimeout(words, self.answer, seconds))
        self._scope.cancel()

    def _finish(self, error: MooredError | None) -> None:
        """Tell the consumer how it ended.  The first to say so counts."""
        if self._over:
            return
        if error is not None and self._discarded is not None and not self.answer.begun:
            self.answer = self._discarded  # nothing took its place
        if isinstance(error, ReplyError):
            error.answer = self.answer
            error.earlier = tuple(each for each in self.failures if each is not error)
        self.error = error
        self._over = True
        self._consumers.unpark_all()

    async def _attempts(self) -> None:
        way: Way | None = "again"
        error: ReplyError | None = None
        while way is not None:
            before = self._turn
            self._turn = await self._resources.endpoints.next_turn(
                self._requests,
                tried=self._tried,
                stay=before if way in ("continue", "resume") else None,
                max_wait=self.settings.max_endpoint_wait,
            )
            self.request = self._turn.request
            try:
                if error is not None:
                    assert before is not None
                    error.not_recovered = why_not_by(self._turn.endpoint, way, before.endpoint)
                    if error.not_recovered:
                        self._finish(error)
                        return
                    self._prepare(way, error)
                await self._attempt(self._turn, way)
                return
            except ReplyError as exc:
                way, error = self._way, exc
            finally:
                self._turn.abandoned()
            if way is not None:
                await self._pause(error)

    async def _pause(self, error: ReplyError) -> None:
        """Wait as long as is due before the next attempt."""
        assert self._turn is not None
        endpoints, limited = self._resources.endpoints, is_rate_limit(error)
        stays = self._way in ("continue", "resume")
        # Which of several endpoints has cooled first is not for one endpoint's answer to say.
        obeys = stays or endpoints.alone or not limited
        seconds = backoff(
            error,
            len(self.failures),
            self.settings.reconnect,
            self._resources.network.rng,
            obeys=obeys,
        )
        limits = self._resources.accounting.limits_of(self._turn.endpoint)
        if limits is not None and limited:
            asked = error.retry_after if isinstance(error, RequestRejected) else None
            # Everybody, not only this reply; but not for its own jitter.
            call_sync_hook("limits", limits.pause, seconds if asked is None else asked)
        if not stays and endpoints.has_other(self._requests, self._tried):
            return  # another endpoint has nothing to recover from
        await trio.sleep(seconds)

    async def _attempt(self, turn: Turn, way: Way) -> None:
        endpoint, prefill = turn.endpoint, self.answer.text if way == "continue" else ""
        self._tried.append((endpoint, turn.request.model))
        if way not in ("continue", "resume"):
            by_event_ids = endpoint.capabilities.resume and endpoint.api == "chat"
            self._replays = Replays() if by_event_ids else None
        if way == "resume":
            self._reader.resume()
        else:
            self._reader = self._new_reader(endpoint)
        async with self.bill.attempt(turn.request, endpoint, self.answer, resumes=way == "resume"):
            self.attempts += 1
            attempt = Attempt(
                endpoint,
                self.settings,
                self._resources.network,
                self._reader,
                choices=self.request.choices,
                clocks=self._clocks,
                observer=self,
                replays=self._replays,
            )
            try:
                await attempt.run(
                    turn.request.body(endpoint, prefill=prefill),
                    cursor=self._cursor if way == "resume" else None,
                    response_id=self.answer.id,
                )
            finally:
                if not attempt.request_sent:
                    self.bill.nothing_was_sent()

    def _new_reader(self, endpoint: Endpoint) -> ChunkReader | ResponseReader:
        kind = ResponseReader if endpoint.api == "responses" else ChunkReader
        return kind(self.answer, malformed=endpoint.malformed)

    # ------------------------------------------------------------------ what an attempt tells

    def answered(self, headers: tuple[tuple[str, str], ...]) -> None:
        """The endpoint's answer has begun."""
        self.response_headers = headers
        self._observe(headers, 200)

    def progressed(self) -> None:
        """The first content has come."""
        if self._turn is not None:
            self._turn.began()

    def ended(self, attempt: Attempt, error: ReplyError | None) -> None:
        """Decide how to go on, and tell the consumer if there is no way."""
        assert self._turn is not None
        self._cursor = self._cursor if attempt.cursor is None else attempt.cursor
        self._way = None
        if error is None:
            self._turn.succeeded()
            self.bill.was_completed()
        else:
            self.failures.append(error)
            if isinstance(error, RequestRejected):
                self._observe(error.headers, error.status)
                self.bill.was_rejected()
            self._turn.failed(error)
            self._way = self._way_after(error)
        if self._way is None:
            self._finish(error)

    def _observe(self, headers: tuple[tuple[str, str], ...], status: int) -> None:
        assert self._turn is not None
        limits = self._resources.accounting.limits_of(self._turn.endpoint)
        if limits is not None:
            now = self._resources.network.wall_clock()
            call_sync_hook("limits", limits.observe, headers, status, wall_time=now)

    # ------------------------------------------------------------------ recovery

    def _way_after(self, error: ReplyError) -> Way | None:
        """How to go on after ``error``; ``None`` where there is no way."""
        assert self._turn is not None
        return way_after(
            error,
            Standing(
                self.settings,
                self.request,
                self._turn.endpoint,
                self.answer,
                failures=len(self.failures),
                cursor=self._cursor,
                has_other=self._resources.endpoints.has_other(self._requests, self._tried),
            ),
        )

    def _prepare(self, way: Way, error: ReplyError) -> None:
        """Make room for the next attempt, and for telling the consumer once it goes on."""
        number = self.attempts + 1
        if way == "continue":
            self._announcement = Continued(number, error, len(self.answer.text))
        elif way == "resume":
            assert self._cursor is not None
            if self._replays is not None:
                self._replays.resuming()
            self._announcement = Resumed(number, error, self._cursor)
        else:
            if isinstance(self._announcement, Restarted):  # and nothing came after it
                self._announcement = attrs.evolve(self._announcement, attempt=number)
            if way == "restart":
                self._announcement = Restarted(number, error, self.answer)
                self._discarded = self.answer
            self.answer = Answer(price=self._cost)
            self._cursor = None
