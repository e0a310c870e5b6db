"""One attempt at an answer: from the request to the end of its stream, under all its clocks."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Protocol

import trio

from moored.core.causes import Cause, Completed, ProtocolViolation
from moored.core.transitions import State
from moored.errors import EndOfStream, MooredError, StreamClosed, StreamError
from moored.stream.stream import Stream

from .chunks import ChunkReader
from .clocks import Clocks
from .endpoint import Endpoint
from .errors import (
    ReplyError,
    StreamTruncated,
)
from .events import ChatEvent
from .opening import Network, open_answer
from .replays import Replays
from .responses import ResponseReader
from .settings import Settings
from .verdicts import error_of

__all__ = ["FAREWELL_TIMEOUT", "Attempt", "Observer"]

FAREWELL_TIMEOUT = 0.2
"""Seconds for the end of the body after the answer's own end; the consumer has the answer."""

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

    @property
    def request_sent(self) -> bool:
        """Whether the endpoint can know what it is asked for."""
        if self._stream is None:
            return False
        if self._endpoint.transport == "websocket":
            return self._stream.stats.messages_sent > 0
        return self._stream.request_sent

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
                    if error is None:
                        await self._see_off(stream)
            finally:
                self._clocks.stop()
        if scope.cancelled_caught:
            error = self._expiry()
        if error is not None:
            raise error

    async def _see_off(self, stream: Stream[Any]) -> None:
        """Let the server end its body, which it is about to: to hang up a moment before that looks
        to it like a client that left."""
        if self._endpoint.transport == "sse" and self._reader.answer.done:
            with trio.move_on_after(FAREWELL_TIMEOUT), suppress(MooredError):
                while True:
                    await stream.receive_batch()

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
        if self._complete:
            return None  # whatever the transport did after that
        if answer.done:
            words = "[DONE] came, and no finish reason before it"
            return StreamTruncated(words, answer, cause)
        return error_of(cause, answer, self._settings)

    def _expiry(self) -> ReplyError | None:
        """What it means that a clock ran out."""
        return None if self._complete else self._clocks.expired

    @property
    def _complete(self) -> bool:
        """Whether what has come proves that the answer is whole."""
        return self._reader.answer.proves_complete(self._endpoint.end, self._choices)

    async def _read(self, stream: Stream[Any]) -> Cause:
        """Read until there is nothing more to read; return why."""
        reader, answer = self._reader, self._reader.answer
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
                        reader.feed("message", _as_text(message), events)
                        if answer.done:
                            break
                else:
                    if self._replays is not None:
                        batch = self._replays.without(batch, answer)
                    for event in batch:
                        reader.feed(event.event, event.data, events)
                        if answer.done:
                            break
            except ReplyError:
                if reader.progress != before and not progressed:
                    self._observer.progressed()
                await self._observer.emit(events)
                if self._complete:
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
            if not draining and self._complete:
                draining = True
                self._clocks.drain()


def _as_text(message: str | bytes) -> str:
    return message if isinstance(message, str) else message.decode("utf-8", "replace")
