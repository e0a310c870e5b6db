"""What a consumer sees of a stream."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import trio

from moored.core.causes import Cause
from moored.core.transitions import State, Woken
from moored.errors import EndOfStream, ReceiveOnly, StreamClosed
from moored.transports.base import ResponseHeaders

from .history import Stats, Transitions
from .supervisor import Supervisor

__all__ = ["Stream"]

M = TypeVar("M")

MESSAGES_PER_CHECKPOINT = 64
"""``async for`` over messages that are there already lets other tasks run this often."""


class Stream(Generic[M]):
    """A streaming connection that is kept alive.  Made by :func:`moored.open_websocket`,
    :func:`moored.open_sse` and :func:`moored.open_stream`.

    Iterate over it for its messages.  Iteration ends when the stream is complete or was closed by
    us; otherwise it raises :class:`moored.StreamError`, after everything that was received.
    """

    def __init__(self, supervisor: Supervisor[M]) -> None:
        self._supervisor = supervisor
        self._inbox = supervisor.inbox
        self._pops = 0

    def __repr__(self) -> str:
        return f"<moored.Stream {self.state.value}>"

    @property
    def state(self) -> State:
        """The present state."""
        return self._supervisor.machine.state

    @property
    def cause(self) -> Cause | None:
        """Why the last connection or attempt ended; once CLOSED, why the stream did."""
        return self._supervisor.machine.cause

    @property
    def subprotocol(self) -> str | None:
        """What the present connection speaks, of the WebSocket subprotocols that were offered;
        ``None`` where there is no connection, or the server chose none."""
        session = self._supervisor.session
        return None if session is None else session.subprotocol

    @property
    def request_sent(self) -> bool:
        """Whether the last attempt got as far as sending its request, all of it."""
        return self._supervisor.request_sent

    @property
    def response_headers(self) -> ResponseHeaders:
        """The headers with which the server answered the last connection: pairs, names in lower
        case; empty before there was one."""
        return self._supervisor.response_headers

    @property
    def position(self) -> Any:
        """The position after the last message that you took: the last event id on SSE, the last
        cursor on a WebSocket; ``None`` or ``""`` where there is none.

        A later run of yours can go on from here.  The next attempt of this stream resumes further
        on where messages wait in the inbox.
        """
        if self._inbox or self._inbox.forgetful:
            return self._inbox.position
        return self._supervisor.intake.continuity.position

    @property
    def stats(self) -> Stats:
        """Counters, as of now."""
        return Stats(
            attempts=self._supervisor.machine.attempt,
            connections=self._supervisor.connections,
            messages_received=self._supervisor.intake.messages_received,
            duplicates_dropped=self._supervisor.intake.continuity.duplicates,
            gaps=self._supervisor.gaps,
            messages_sent=self._supervisor.outbox.sent,
            sends_uncertain=self._supervisor.outbox.uncertain,
            sends_dropped=self._supervisor.outbox.dropped,
            inbox=len(self._inbox),
            outbox=len(self._supervisor.outbox),
        )

    def __aiter__(self) -> Stream[M]:
        return self

    async def __anext__(self) -> M:
        """The next message.  A checkpoint; of messages that wait already, every 64th lets other
        tasks run, and each lets a cancellation through."""
        self._pops += 1
        if self._inbox and self._pops % MESSAGES_PER_CHECKPOINT:
            await trio.lowlevel.checkpoint_if_cancelled()  # gives no other task a turn
            return self._inbox.pop()  # type: ignore[no-any-return]
        try:
            return await self.receive()
        except (EndOfStream, StreamClosed):
            raise StopAsyncIteration from None

    async def receive(self) -> M:
        """Wait for the next message.

        What was received before the stream ended is returned before the end is raised, except after
        our own ``aclose()``.  Of several tasks that wait, each message goes to one.

        :raises EndOfStream: when the stream is complete.
        :raises StreamClosed: after ``aclose()``.
        :raises StreamError: when the stream failed; it holds every cause on the way.
        :raises HookFailed: when one of the callables passed to the opener raised.
        """
        await self._wait_for_message()
        return self._inbox.pop()  # type: ignore[no-any-return]

    async def receive_batch(self) -> list[M]:
        """Wait for the next message; return it with all others that are there.

        For consumers to whom the cost of a call for each message matters.  Raises as
        :meth:`receive`.
        """
        await self._wait_for_message()
        inbox = self._inbox
        return [inbox.pop() for _ in range(len(inbox))]

    async def _wait_for_message(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._inbox:
            if self._supervisor.outcome.finish is not None:
                error = self._supervisor.final_error()
                raise error from error.__cause__
            await self._inbox.wait_for_message()

    async def send(self, message: M) -> None:
        """Put a message in the outbox; it goes out in order, on this connection or a later one.

        At most once: a message that was being written when the connection died is not sent again,
        unless the opener was given ``acknowledged``.

        :raises ReceiveOnly: on a transport that does not send, such as SSE.
        :raises TypeError: when ``message`` is nothing that the transport sends.
        :raises ValueError: when it is text that UTF-8 cannot hold (a lone surrogate).
        :raises OutboxFull: see ``Policy.outbox_full``.
        :raises StreamClosed: after ``aclose()`` or when the stream is complete.
        :raises StreamError: when the stream failed.
        """
        if not self._supervisor.transport.sends:
            raise ReceiveOnly("this stream only receives")
        if isinstance(message, bytearray | memoryview):
            message = bytes(message)  # type: ignore[assignment]  # as it is now
        self._supervisor.transport.size_of(message)  # what cannot be sent is refused at once
        await trio.lowlevel.checkpoint()
        if self._supervisor.outcome.finish is None and await self._supervisor.outbox.put(message):
            return
        error = self._supervisor.final_error()
        if isinstance(error, EndOfStream):
            raise StreamClosed("the stream is complete")
        raise error from error.__cause__

    async def aclose(self, code: int = 1000) -> None:
        """Close: flush the outbox, shake hands on the end, stop every task.

        Takes ``Policy.close_timeout`` at most.  Messages that were not consumed are discarded.

        :param code: the WebSocket close code: 1000 or 3000 to 4999 (RFC 6455, section 7.4).
        :raises ValueError: when ``code`` is none of these.
        """
        if code != 1000 and not 3000 <= code <= 4999:
            raise ValueError(f"code must be 1000 or from 3000 to 4999, not {code!r}")
        await trio.lowlevel.checkpoint()
        await self._supervisor.aclose(code)

    def transitions(self) -> Transitions:
        """An async iterator over the changes of state: those so far (the last 64), then those to
        come.  It ends with the one into CLOSED."""
        return Transitions(self._supervisor.history)

    async def wait_for(self, *states: State) -> State:
        """Wait until the stream is in one of ``states``; return which.

        A state that is passed through, however briefly, counts.

        :raises StreamError: when the stream failed, and CLOSED is none of ``states``.
        :raises EndOfStream: when it is complete.
        :raises StreamClosed: when it was closed.
        """
        start = self._supervisor.history.count
        await trio.lowlevel.checkpoint()
        if self.state in states:
            return self.state
        if self.state is not State.CLOSED:
            async for transition in Transitions(self._supervisor.history, start):
                if transition.target in states:
                    return transition.target
        error = self._supervisor.final_error()
        raise error from error.__cause__

    def wake(self) -> None:
        """Say that the machine slept or the network changed: a peer is probed at once, a backoff
        is cut short, and its counts begin anew."""
        if self.state is not State.CLOSED:
            self._supervisor.handle(Woken())
            if self._supervisor.session is not None:
                self._supervisor.session.hasten()
