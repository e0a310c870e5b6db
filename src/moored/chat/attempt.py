"""One attempt at an answer: from the request to the end of its stream, under all its clocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import trio

from moored.core.causes import Cause, Completed, ProtocolViolation
from moored.core.policy import OpenerDefault
from moored.core.transitions import State
from moored.errors import EndOfStream, StreamClosed, StreamError
from moored.stream.stream import Stream
from moored.stream.timer import Timer, let_readers_go_first

from .answer import Answer
from .chunks import ChunkReader
from .endpoint import Endpoint
from .errors import (
    FirstTokenTimeout,
    LivenessTimeout,
    ProgressTimeout,
    ReplyError,
    StreamTruncated,
)
from .events import ChatEvent
from .opening import Network, open_answer
from .replays import Replays
from .responses import ResponseReader
from .settings import Settings
from .verdicts import error_of

__all__ = ["Attempt", "Clocks", "Observer"]

Reader = ChunkReader | ResponseReader


class Observer(Protocol):
    """Whom an attempt tells what happens to it."""

    async def emit(self, events: list[ChatEvent]) -> None:
        """Events came.  Waits while the consumer is far behind."""
        ...

    def answered(self, headers: tuple[tuple[str, str], ...]) -> None:
        """The endpoint's answer has begun, with these headers."""
        ...

    def progressed(self) -> None:
        """The first content has come."""
        ...

    def ended(self, attempt: Attempt, error: ReplyError | None) -> None:
        """How it ended: told before the connection is closed, since a peer that answers no close
        frame must not hold up the consumer."""
        ...


class Clocks:
    """The clocks of an attempt that ask for content.  One task watches them for all attempts of a
    reply; to move a deadline away costs nothing.

    :param settings: the bounds.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._timer = Timer()
        self._scope: trio.CancelScope | None = None  # of the attempt under way
        self._since = 0.0  # when content last came, or the attempt began
        self._connecting: Callable[[], bool] = lambda: False
        self._answer = Answer()
        self._begun = False
        self._draining = False
        self._paused = False
        #: What ran out, if anything did.
        self.expired: ReplyError | None = None

    def start(self, scope: trio.CancelScope, answer: Answer) -> None:
        """An attempt begins.

        :param scope: what to cancel when a clock runs out.
        """
        self.expired = None
        self._scope, self._answer = scope, answer
        self._since = trio.current_time()
        self._begun = self._draining = self._paused = False
        self._timer.hasten(self._deadline())

    def connecting(self, is_connecting: Callable[[], bool]) -> None:
        """How to know whether the server has not answered at all yet."""
        self._connecting = is_connecting
        self._timer.hasten(self._deadline())

    def stop(self) -> None:
        """The attempt is over."""
        self._scope = None
        self._connecting = lambda: False

    def progressed(self) -> None:
        """Content came."""
        self._since = trio.current_time()
        if not self._begun:
            self._begun = True  # the first bound is often the longer one
            self._timer.hasten(self._deadline())

    def drain(self) -> None:
        """The answer is complete; only the rest is waited for."""
        self._draining = True
        self._since = trio.current_time()
        self._timer.hasten(self._deadline())

    def pause(self) -> None:
        """The consumer holds things up: nothing that the peer can be blamed for."""
        self._paused = True

    def resume(self) -> None:
        """The consumer goes on."""
        self._paused = False
        self._since = trio.current_time()
        self._timer.hasten(self._deadline())

    async def watch(self) -> None:
        """The task."""
        while True:
            await self._timer.sleep_until(self._deadline())
            if trio.current_time() < self._deadline():
                continue
            await let_readers_go_first()
            if trio.current_time() >= self._deadline() and self._scope is not None:
                self.expired = self._error()
                self._scope.cancel()
                self._scope = None

    def _deadline(self) -> float:
        if self._scope is None or self._paused:
            return math.inf
        return min(self._since + self._bound(), self._liveness_deadline())

    def _bound(self) -> float:
        settings = self._settings
        if self._draining:
            return settings.drain_timeout
        bound = settings.progress_timeout if self._begun else settings.first_token_timeout
        return math.inf if bound is None else bound

    def _liveness_deadline(self) -> float:
        """Before the server's answer begins there is no connection whose heartbeat could be lost,
        and no byte has come either."""
        liveness = self._settings.liveness_timeout
        if self._begun or liveness is None or isinstance(liveness, OpenerDefault):
            return math.inf
        if not self._connecting():
            return math.inf
        return self._since + self._settings.connect_timeout + liveness

    def _error(self) -> ReplyError:
        settings, answer = self._settings, self._answer
        if trio.current_time() >= self._liveness_deadline():
            assert isinstance(settings.liveness_timeout, int | float)
            words = f"not a single byte for {settings.liveness_timeout:g} s"
            return LivenessTimeout(words, answer, settings.liveness_timeout)
        if self._draining:  # not seen by anybody: the answer is complete
            return ProgressTimeout("nothing more came", answer, settings.drain_timeout)
        bound = self._bound()
        if self._begun:
            return ProgressTimeout(f"no further content for {bound:g} s", answer, bound)
        return FirstTokenTimeout(f"no content within {bound:g} s", answer, bound)


class Attempt:
    """One attempt.

    :param endpoint: whom to ask.
    :param settings: the bounds.
    :param network: where connections come from.
    :param reader: reads what comes, into its answer.
    :param choices: how many answers are asked for.
    :param clocks: the reply's.
    :param observer: is told what happens.
    :param replays: what came before, where the answer may be resumed by event ids.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        network: Network,
        reader: Reader,
        *,
        choices: int,
        clocks: Clocks,
        observer: Observer,
        replays: Replays | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._network = network
        self._reader = reader
        self._choices = choices
        self._clocks = clocks
        self._observer = observer
        self._replays = replays
        self._stream: Stream[Any] | None = None

    @property
    def cursor(self) -> str | int | None:
        """Where the server could go on: the last event id or sequence number."""
        if self._reader.cursor is not None:
            return self._reader.cursor
        position = None if self._stream is None else self._stream.position
        return position if isinstance(position, str) and position else None

    async def run(
        self,
        body: dict[str, Any],
        *,
        cursor: str | int | None = None,
        response_id: str = "",
    ) -> None:
        """Ask, and read until the answer is complete.

        :raises ReplyError: when it is not.
        """
        error: ReplyError | None = None
        with trio.CancelScope() as scope:
            self._clocks.start(scope, self._reader.answer)
            try:
                opened = open_answer(
                    self._endpoint,
                    body,
                    self._settings,
                    self._network,
                    cursor=cursor,
                    response_id=response_id,
                )
                async with opened as self._stream:
                    stream = self._stream
                    self._clocks.connecting(lambda: stream.state is State.CONNECTING)
                    error = await self._outcome(stream)
                    self._observer.ended(self, error)
            finally:
                self._clocks.stop()
        if scope.cancelled_caught:
            error = self._expiry()
        if error is not None:
            raise error

    async def _outcome(self, stream: Stream[Any]) -> ReplyError | None:
        """Read to the end; say how it was."""
        answer = self._reader.answer
        try:
            cause = await self._read(stream)
        except ReplyError as exc:
            return exc
        except trio.Cancelled:
            if self._clocks.expired is not None:
                self._observer.ended(self, self._expiry())
            raise
        if answer.proves_complete(self._endpoint.end, self._choices):
            return None  # whatever the transport did after that
        if answer.done:
            words = "[DONE] came, and no finish reason before it"
            return StreamTruncated(words, answer, cause)
        return error_of(cause, answer, self._settings)

    def _expiry(self) -> ReplyError | None:
        """What it means that a clock ran out."""
        complete = self._reader.answer.proves_complete(self._endpoint.end, self._choices)
        return None if complete else self._clocks.expired

    async def _read(self, stream: Stream[Any]) -> Cause:
        """Read until there is nothing more to read; return why."""
        reader, answer, end = self._reader, self._reader.answer, self._endpoint.end
        over_websocket = self._endpoint.transport == "websocket"
        draining = answered = progressed = False
        while True:
            try:
                batch = await stream.receive_batch()
            except (EndOfStream, StreamClosed):
                return stream.cause or Completed("the answer ended")
            except StreamError as exc:
                return exc.cause
            if not answered:
                answered = True
                self._observer.answered(stream.response_headers)
            before = reader.progress
            events: list[ChatEvent] = []
            try:
                if over_websocket:
                    for message in batch:
                        events += reader.feed("message", _as_text(message))
                        if answer.done:
                            break
                else:
                    if self._replays is not None:
                        batch = self._replays.without(batch, answer)
                    for event in batch:
                        events += reader.feed(event.event, event.data)
                        if answer.done:
                            break
            except ReplyError:
                await self._observer.emit(events)
                if answer.proves_complete(end, self._choices):
                    return ProtocolViolation("an error after the end of the answer")
                raise
            if events:
                if reader.progress != before:
                    self._clocks.progressed()
                    if not progressed:
                        progressed = True
                        self._observer.progressed()
                await self._observer.emit(events)
            if answer.done:
                return Completed("the answer's own end came")
            if not draining and answer.proves_complete(end, self._choices):
                draining = True
                self._clocks.drain()


def _as_text(message: str | bytes) -> str:
    return message if isinstance(message, str) else message.decode("utf-8", "replace")
