"""Everything behind a reply: attempts, recovery between them, and what the consumer is told."""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias

import trio

from moored.errors import MooredError

from .answer import Answer
from .attempt import Attempt, Clocks
from .chunks import ChunkReader
from .endpoint import Endpoint
from .errors import ReplyError, StreamTruncated, TotalTimeout
from .events import ChatEvent, Continued, Restarted, Resumed
from .opening import Network
from .replays import Replays
from .request import Request
from .responses import ResponseReader
from .settings import Settings
from .verdicts import backoff, may_retry

__all__ = ["Exchange"]

Way: TypeAlias = Literal["again", "restart", "continue", "resume"]
"""How another attempt goes on: ``"again"`` where nothing had come that it could collide with."""


class Exchange:
    """The tasks of one reply.

    :param request: what is asked for.
    :param endpoint: whom.
    :param settings: how.
    :param network: where connections come from.
    """

    def __init__(
        self, request: Request, endpoint: Endpoint, settings: Settings, network: Network
    ) -> None:
        self.request = request
        self.settings = settings
        self.endpoint: Endpoint = endpoint
        self.answer: Answer = Answer()
        #: The failures that were recovered from, or that led to the end, oldest first.
        self.failures: list[ReplyError] = []
        self.attempts: int = 0
        self.response_headers: tuple[tuple[str, str], ...] = ()
        self.error: MooredError | None = None
        self._network = network
        self._events: deque[ChatEvent] = deque()
        self._consumers = trio.lowlevel.ParkingLot()
        self._room = trio.Event()
        self._over = False
        self._way: Way | None = None
        self._scope = trio.CancelScope()
        self._clocks = Clocks(settings)
        by_event_ids = endpoint.capabilities.resume and endpoint.api == "chat"
        self._replays = Replays() if by_event_ids else None
        self._reader = self._new_reader()
        self._cursor: str | int | None = None

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

    async def _emit(self, events: list[ChatEvent]) -> None:
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
                await self._attempts()
        except MooredError as exc:  # a callable of the user's raised
            self._finish(exc)
        finally:
            self._finish(None)

    async def _watch_total(self, seconds: float) -> None:
        await trio.sleep(seconds)
        words = f"the reply was not complete within {seconds:g} s"
        self._finish(TotalTimeout(words, self.answer, seconds))
        self._scope.cancel()

    def _finish(self, error: MooredError | None) -> None:
        """Tell the consumer how it ended.  The first to say so counts."""
        if self._over:
            return
        if isinstance(error, ReplyError):
            error.earlier = tuple(each for each in self.failures if each is not error)
        self.error = error
        self._over = True
        self._consumers.unpark_all()

    async def _attempts(self) -> None:
        way: Way | None = "again"
        while way is not None:
            self.attempts += 1
            try:
                await self._attempt(way)
                return
            except ReplyError as exc:
                way, error = self._way, exc
            if way is not None:
                reconnect, rng = self.settings.reconnect, self._network.rng
                await trio.sleep(backoff(error, len(self.failures), reconnect, rng))
                await self._prepare(way, error)

    def _attempt_ended(self, attempt: Attempt, error: ReplyError | None) -> None:
        """Decide how to go on, and tell the consumer if there is no way."""
        self.response_headers = attempt.response_headers or self.response_headers
        self._cursor = self._cursor if attempt.cursor is None else attempt.cursor
        self._way = None
        if error is not None:
            self.failures.append(error)
            self._way = self._way_after(error)
        if self._way is None:
            self._finish(error)

    async def _attempt(self, way: Way) -> None:
        endpoint = self.endpoint
        attempt = Attempt(
            endpoint,
            self.settings,
            self._network,
            self._reader,
            choices=self.request.choices,
            clocks=self._clocks,
            emit=self._emit,
            ended=self._attempt_ended,
            replays=self._replays,
        )
        prefill = self.answer.text if way == "continue" else ""
        await attempt.run(
            self.request.body(endpoint, prefill=prefill),
            cursor=self._cursor if way == "resume" else None,
            response_id=self.answer.id,
        )

    # ------------------------------------------------------------------ recovery

    def _way_after(self, error: ReplyError) -> Way | None:
        """How to go on after ``error``; ``None`` where there is no way."""
        attempts = self.settings.reconnect.attempts
        if not may_retry(error) or (attempts is not None and len(self.failures) >= attempts):
            return None
        if not self.answer.begun and self._cursor is None:
            broken = isinstance(error, StreamTruncated)
            return "again" if self.settings.reconnect_before_content or not broken else None
        wanted = self.settings.on_interrupt
        if wanted == "raise":
            return None
        error.not_recovered = self._why_not(wanted)
        return None if error.not_recovered else wanted

    def _why_not(self, wanted: str) -> str:
        """Why the answer cannot be recovered as wanted; ``""`` where it can."""
        capabilities, answer = self.endpoint.capabilities, self.answer
        if wanted == "continue":
            if capabilities.prefill is None or self.endpoint.api == "responses":
                return "the endpoint is not marked as capable of prefill"
            if answer.choices and not answer.choice(0).only_text:
                return "the answer has more than text"
            if answer.finish_reason is not None:
                return "the answer has its finish reason, and only its end is missing"
            if not answer.text:
                return "no text has come that could be continued"
            return self.request.why_not_continued
        if wanted == "resume":
            if not capabilities.resume:
                return "the endpoint is not marked as capable of resuming"
            if self._cursor is None:
                return "the server gave no cursor"
        return ""

    async def _prepare(self, way: Way, error: ReplyError) -> None:
        """Make room for the next attempt, and tell the consumer."""
        number = self.attempts + 1
        if way == "continue":
            await self._emit([Continued(number, error, len(self.answer.text))])
            self._reader = self._new_reader()
        elif way == "resume":
            assert self._cursor is not None
            if self._replays is not None:
                self._replays.resuming()
            await self._emit([Resumed(number, error, self._cursor)])
        else:
            discarded, self.answer = self.answer, Answer()
            self._reader = self._new_reader()
            self._cursor = None
            if self._replays is not None:
                self._replays.restarting()
            if way == "restart":
                await self._emit([Restarted(number, error, discarded)])

    def _new_reader(self) -> ChunkReader | ResponseReader:
        kind = ResponseReader if self.endpoint.api == "responses" else ChunkReader
        return kind(self.answer, malformed=self.endpoint.malformed)
