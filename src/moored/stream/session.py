"""The tasks of one connection: reader, writer, heartbeat and idle-timeout.

They end together with it: the reconnect task waits for all of them before the next attempt, so
nothing that they know can be taken for the next connection's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from moored.core.causes import (
    Cause,
    ClosedByUs,
    Completed,
    PeerClosed,
    ProtocolViolation,
)
from moored.core.transitions import Blocked, Ended, Progressed
from moored.errors import HookFailed
from moored.transports.base import Connection, ConnectionEnded

from .timer import Timer, let_readers_go_first

if TYPE_CHECKING:
    from .supervisor import Supervisor

__all__ = ["Session", "closing"]

M = TypeVar("M")

WRITE_FAILURE_GRACE = 1.0
"""Seconds for the reader to find out why writing failed, and to take in what came before."""

HANG_UP_TIMEOUT = 1.0
"""Seconds for the end of a connection that is to be replaced."""

CANCELLED_CLOSE_TIMEOUT = 0.5
"""Seconds for the close handshake when the user's own scope was cancelled: who cancels wants to be
gone, but the peer should still see a close frame and not a 1006."""


def closing(cause: Cause | None) -> tuple[int | None, float]:
    """The close code to give after ``cause``, or ``None`` to hang up at once; and for how long.

    A connection that is to be replaced is left without a close frame: 1000 and 1001 would end the
    session that a server keeps for resuming.
    """
    match cause:
        case None:
            return 1000, CANCELLED_CLOSE_TIMEOUT
        case ClosedByUs(code=code):
            return code, HANG_UP_TIMEOUT
        case Completed() | PeerClosed() | ProtocolViolation():
            return 1000, HANG_UP_TIMEOUT
        case _:
            return None, HANG_UP_TIMEOUT


class Session(Generic[M]):
    """One connection's tasks.

    :param supervisor: whom to tell what happens.
    :param connection: what to read from and write to.
    """

    def __init__(self, supervisor: Supervisor[M], connection: Connection[M]) -> None:
        self._supervisor = supervisor
        self._machine = supervisor.machine
        self._connection = connection
        self.subprotocol: str | None = connection.subprotocol
        self._nursery: trio.Nursery | None = None
        self._alive = Timer()
        self._progress = Timer()
        self._probing = False
        self._replying = False
        self._draining = False  # of what was received before writing failed

    async def run(self) -> None:
        """Run the tasks until the attempt is cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._read, name="reader")
            if self._connection.sends:
                nursery.start_soon(self._write, name="writer")
            nursery.start_soon(
                self._watch, self._alive, lambda: self._machine.alive_deadline, name="heartbeat"
            )
            nursery.start_soon(
                self._watch,
                self._progress,
                lambda: self._machine.progress_deadline,
                name="idle-timeout",
            )

    def hasten(self) -> None:
        """Deadlines may have come nearer."""
        self._alive.hasten(self._machine.alive_deadline)
        self._progress.hasten(self._machine.progress_deadline)

    async def _watch(self, timer: Timer, deadline: Callable[[], float]) -> None:
        """One of the two clocks.  It wakes at the deadline as it was, and looks whether it still
        is: nothing has to be moved for each message."""
        while True:
            await timer.sleep_until(deadline())
            if trio.current_time() < deadline():
                continue
            await let_readers_go_first()
            if trio.current_time() >= deadline():
                self._supervisor.expire()
                self.hasten()

    # ------------------------------------------------------------------ reading

    async def _read(self) -> None:
        supervisor, connection, inbox = self._supervisor, self._connection, self._supervisor.inbox
        first = True
        try:
            if inbox.full:  # of what earlier connections brought
                self._block()
                await inbox.wait_for_room()
            while True:
                batch = await connection.receive()
                if connection.reply_due:
                    self._reply_soon()
                happened = supervisor.intake.take_in(connection, batch)
                supervisor.handle_if_open(happened)
                if first and isinstance(happened, Progressed):
                    first = False
                    self.hasten()  # the bound on the first message is often the longer one
                if connection.end_cause is not None:
                    raise ConnectionEnded(connection.end_cause)
                if self._draining:
                    if not inbox.has_space_left:
                        return  # the writer tells the end
                elif inbox.blocked:  # and this was one read more, to see that the peer lives
                    await inbox.wait_for_room()
                elif inbox.full:
                    self._block()
        except ConnectionEnded as end:
            supervisor.intake.keep_position(connection)
            supervisor.handle_if_open(Ended(end.cause))
        except HookFailed as exc:
            supervisor.fail(exc)

    def _block(self) -> None:
        """Reading is about to stop.  TCP tells the peer, and its silence says nothing meanwhile."""
        self._supervisor.inbox.blocked = True
        self._supervisor.handle_if_open(Blocked())

    # ------------------------------------------------------------------ writing

    async def _write(self) -> None:
        outbox = self._supervisor.outbox
        try:
            while True:
                message = await outbox.next()
                await self._connection.send(message)
                outbox.landed()
        except ConnectionEnded as end:
            # The connection is dead.  What the peer said before it hung up is in our own kernel, to
            # be delivered, and its close code says more than a broken pipe: let the reader find
            # them, past the bounds of the inbox, in bounded time.
            self._draining = True
            self._supervisor.inbox.release()
            await trio.sleep(WRITE_FAILURE_GRACE)
            self._supervisor.handle_if_open(Ended(end.cause))

    def _reply_soon(self) -> None:
        """Answer the peer in a task of its own: reading must not wait until it reads."""
        if self._nursery is not None and not self._replying:
            self._replying = True
            self._nursery.start_soon(self._reply, name="reply")

    async def _reply(self) -> None:
        try:
            await self._connection.reply()
        except ConnectionEnded:
            pass  # the reader finds out why
        finally:
            self._replying = False

    def probe(self) -> None:
        """Send a ping, in a task of its own: it may block on a peer that reads nothing."""
        if self._nursery is not None and not self._probing:
            self._probing = True
            self._nursery.start_soon(self._ping, name="ping")

    async def _ping(self) -> None:
        try:
            message = self._supervisor.ping_message() if self._connection.sends else None
            if message is not None:
                await self._connection.send(message)
            elif self._connection.pings:
                await self._connection.ping()
        except ConnectionEnded:
            pass  # the reader finds out why
        except HookFailed as exc:
            self._supervisor.fail(exc)
        finally:
            self._probing = False
