"""The reconnect task: it owns every attempt, feeds the machine and carries out what it says."""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Any, Generic, TypeVar

import attrs
import trio

from moored.core.causes import Cause, Verdict
from moored.core.continuity import Gap
from moored.core.machine import Machine
from moored.core.policy import Heartbeat, Policy
from moored.core.transitions import (
    Action,
    CloseRequested,
    Connect,
    Connected,
    Disconnect,
    Ended,
    Finish,
    Input,
    Probe,
    RequestSent,
    ServerRetry,
    State,
    Unblocked,
    Wait,
)
from moored.errors import HookFailed, InternalError, MooredError
from moored.transports.base import (
    Attempt,
    Connection,
    ConnectionEnded,
    ResponseHeaders,
    Transport,
)
from moored.transports.target import call_sync_hook

from .buffers import Inbox, Outbox, Received
from .history import History, Transition
from .hooks import Hooks
from .intake import Intake
from .outcome import Outcome, leaves
from .session import CANCELLED_CLOSE_TIMEOUT, Session, closing
from .timer import Timer

__all__ = ["Supervisor"]

M = TypeVar("M")


class Supervisor(Generic[M]):
    """Everything behind a :class:`~moored.stream.stream.Stream`.

    :param transport: makes the connections.
    :param policy: a policy in which nothing is left to the opener.
    :param hooks: the user's callables.
    :param rng: where all randomness comes from.
    :param position: where to begin.
    """

    def __init__(
        self,
        transport: Transport[M],
        policy: Policy,
        *,
        hooks: Hooks[M],
        rng: random.Random,
        position: Any = None,
    ) -> None:
        self.transport = transport
        self.policy: Policy = attrs.evolve(policy, verdict=self._judge if policy.verdict else None)
        self._user_verdict = policy.verdict
        self._heartbeat = policy.heartbeat
        self.hooks: Hooks[M] = hooks
        self.machine: Machine = Machine(self.policy, now=trio.current_time(), rng=rng)
        self.outbox: Outbox[M] = Outbox(
            messages=policy.outbox_messages,
            size=policy.outbox_bytes,
            full=policy.outbox_full,
            size_of=transport.size_of,
            keep=hooks.acknowledged is not None,
        )
        self.history: History = History()
        received = Received(size=policy.inbox_bytes, size_of=transport.size_of)
        self.outcome: Outcome[M] = Outcome(received if transport.one_shot else None)
        self.intake: Intake[M] = Intake(
            transport,
            policy,
            hooks=hooks,
            outbox=self.outbox,
            received=self.outcome.received,
            position=position,
            on_room=self._unblock,
        )
        self.inbox: Inbox[Any] = self.intake.inbox
        self.connections: int = 0
        self.response_headers: ResponseHeaders = ()
        self.request_sent: bool = False
        self.gaps: int = 0
        self.nursery: trio.Nursery | None = None  # for what outlives a connection
        self._unreported: deque[Gap] = deque()
        # What the reconnect task does next, and how to reach it.
        self._step: Action = self.machine.start()[0]
        self.session: Session[M] | None = None
        self._scope: trio.CancelScope | None = None  # of the attempt
        self._left_with: Cause | None = None  # why the attempt ended; the machine may be further
        self._closing: trio.CancelScope | None = None  # of the last connection's end
        self._flushing: trio.CancelScope | None = None  # of the wait for the outbox
        self._backoff = Timer()
        # The end.
        self.close_deadline: float = math.inf
        self.over: trio.Event = trio.Event()  # nothing of ours runs any more
        self._record(None, None)

    @property
    def state(self) -> State:
        """The machine's state."""
        return self.machine.state

    # ------------------------------------------------------------------ the reconnect task

    async def run(self) -> None:
        """The reconnect task: it owns every attempt, and everything else runs inside of one."""
        try:
            while not isinstance(self._step, Finish):
                if isinstance(self._step, Connect):
                    await self._attempt(self._step)
                else:
                    await self._back_off()
        except BaseException as exc:
            if any(not isinstance(each, trio.Cancelled) for each in leaves(exc)):
                # Raised again where the block ends; but no consumer may take it for a good end.
                self.outcome.fail(InternalError("a task of the stream crashed"))
            raise
        finally:
            self.over.set()
            self.outbox.close()
            self.inbox.wake()
            self._close(1000)  # cancelled from outside: whoever watches the states sees the end

    async def _attempt(self, step: Connect) -> None:
        """One attempt, from dialling to hanging up."""
        attempt = Attempt(
            number=step.attempt,
            turn=step.turn,
            cursor=self.intake.continuity.position,
            request_sent=self._request_sent,
            server_retry=lambda seconds: self.handle_if_open(ServerRetry(seconds)),
        )
        self._left_with, self.request_sent = None, False
        with trio.CancelScope(deadline=self.machine.next_deadline) as self._scope:
            try:
                connection = await self.transport.connect(attempt)
                try:
                    gap = await self._resume(connection, step.attempt)
                    self._scope.deadline = math.inf
                    await self._be_open(connection, gap)
                finally:
                    self.session = None
                    self.outbox.connection_died()
                    await self._hang_up(connection)
            except ConnectionEnded as end:
                if self.state not in (State.BACKOFF, State.CLOSED):  # else: told by another task
                    self.handle(Ended(end.cause))
            except HookFailed as exc:
                self.fail(exc)
        if self.state is State.CONNECTING and step is self._step:
            self.expire()  # connect_timeout passed, and nothing else happened

    def _request_sent(self) -> None:
        self.request_sent = True
        if self.state is State.CONNECTING and self._scope is not None:
            self.handle(RequestSent())
            self._scope.deadline = self.machine.next_deadline

    async def _resume(self, connection: Connection[M], number: int) -> Gap | None:
        """Say to the server where to go on; find out whether that shows continuity."""
        if self.connections == 0:
            return None
        position, resumed = self.intake.continuity.position, connection.resumed
        if self.hooks.resume is not None and connection.sends:
            messages = await self.hooks.messages_to_resume(position)
            for message in messages:
                self._check_sendable("resume", message)
            for message in messages:
                await connection.send(message)
            resumed = position is not None and bool(messages)
        if resumed or (self.transport.one_shot and self.intake.messages_received == 0):
            return None
        known = position is not None and position != ""
        reason = "the server was not asked to resume" if known else "no position is known"
        return Gap(position if known else None, number, reason)

    async def _be_open(self, connection: Connection[M], gap: Gap | None) -> None:
        """The connection is there: run its tasks until it ends."""
        if self.state is not State.CONNECTING:
            return  # closed by us in the moment in which it came about
        self.connections += 1
        self.request_sent = True
        self.response_headers = connection.response_headers
        self.intake.continuity.next_connection()
        if self.hooks.acknowledged is not None:
            self.outbox.send_again()
        self.handle(Connected())
        if gap is not None:
            self.gaps += 1
            if self.hooks.gaps:
                self.inbox.add_note(gap, self.intake.continuity.position)
            if self.hooks.on_gap is not None:
                self._report(gap)
        self.session = Session(self, connection)
        await self.session.run()

    def _report(self, gap: Gap) -> None:
        """Tell the ``on_gap`` hook, in a task that neither holds up the connection nor ends with
        it; one gap after the other."""
        self._unreported.append(gap)
        if len(self._unreported) == 1 and self.nursery is not None:
            self.nursery.start_soon(self._report_gaps, name="on_gap")

    async def _report_gaps(self) -> None:
        try:
            while self._unreported:
                await self.hooks.report(self._unreported[0])
                self._unreported.popleft()
        except HookFailed as exc:
            self.fail(exc)

    async def _hang_up(self, connection: Connection[M]) -> None:
        """Close the connection, whatever else is going on, in bounded time."""
        code, bound = closing(self._left_with)
        left = max(0.0, self.close_deadline - trio.current_time())
        if left < bound or (self.state is State.CLOSED and left < math.inf):
            bound = left
        with trio.move_on_after(bound, shield=True) as self._closing:
            await connection.aclose(code)

    async def _back_off(self) -> None:
        while self.state is State.BACKOFF:
            await self._backoff.sleep_until(self.machine.next_deadline)
            if self.state is State.BACKOFF:
                self.expire()

    # ------------------------------------------------------------------ feeding the machine

    def expire(self) -> None:
        """Time has passed: tell the machine."""
        before = self.state
        self._carry_out(before, self.machine.expire(now=trio.current_time()))

    def handle(self, event: Input) -> None:
        """Something happened: tell the machine."""
        before = self.state
        self._carry_out(before, self.machine.handle(event, now=trio.current_time()))

    def handle_if_open(self, event: Input) -> None:
        """For what a connection says that may have been lost a moment ago."""
        if self.state in (State.OPEN, State.HEARTBEATING):
            self.handle(event)

    def _carry_out(self, before: State, actions: tuple[Action, ...]) -> None:
        delay: float | None = None
        for action in actions:
            match action:
                case Probe():
                    if self.session is not None:
                        self.session.probe()
                case Disconnect(cause=cause):
                    self.outcome.note(cause)
                    self._left_with = self._left_with or cause
                    if self._scope is not None:
                        self._scope.cancel()
                case Connect() | Wait() | Finish():
                    self._step = action
                    delay = action.delay if isinstance(action, Wait) else None
                    self._backoff.hasten(-math.inf)
                    if isinstance(action, Finish):
                        self._end(action)
                    self._flush_no_longer_than_it_can()
        if self.state is not before:
            self._record(before, delay)
            if before is State.HEARTBEATING and self.session is not None:
                self.session.hasten()  # an answered probe's deadline is not the next one's

    def _end(self, finish: Finish) -> None:
        self.outcome.finish = finish
        self.outbox.close()
        self.inbox.wake()

    def _record(self, before: State | None, delay: float | None) -> None:
        ended = self.state in (State.BACKOFF, State.CLOSED)
        self.history.add(
            Transition(
                trio.current_time(),
                before,
                self.state,
                self.machine.cause if ended else None,
                self.machine.attempt,
                delay,
            )
        )

    # ------------------------------------------------------------------ ends

    async def aclose(self, code: int, *, reconnecting: bool = True) -> None:
        """Flush, close, and wait until nothing of ours runs any more.

        :param reconnecting: whether the outbox may wait for another connection too.
        """
        try:
            if self.state is not State.CLOSED:
                bound = trio.current_time() + self.policy.close_timeout
                self.close_deadline = min(self.close_deadline, bound)  # another task may be closing
                try:
                    await self._flush(reconnecting)
                finally:
                    self._close(code)
            self.inbox.clear()
            self.inbox.wake()
            await self.over.wait()
        except trio.Cancelled:
            self.hurry()
            raise

    async def _flush(self, reconnecting: bool) -> None:
        self.inbox.clear()  # our side closes: what was not consumed is not wanted, nor in the way
        if reconnecting or self.state in (State.OPEN, State.HEARTBEATING):
            with trio.CancelScope(deadline=self.close_deadline) as self._flushing:
                self._flush_no_longer_than_it_can()
                await self.outbox.wait_flushed()

    def _flush_no_longer_than_it_can(self) -> None:
        """A closing stream does not wait for an attempt that would come too late."""
        too_late = self.state is State.BACKOFF and self.machine.next_deadline > self.close_deadline
        if self._flushing is not None and too_late:
            self._flushing.cancel()

    def hurry(self) -> None:
        """The user's own scope was cancelled: whatever is being closed has little time left."""
        hurry = trio.current_time() + CANCELLED_CLOSE_TIMEOUT
        self.close_deadline = min(self.close_deadline, hurry)
        if self._closing is not None:
            self._closing.deadline = min(self._closing.deadline, hurry)

    def fail(self, error: MooredError) -> None:
        """A callable of the user's raised: end the stream with that."""
        self.outcome.fail(error)
        self._close(1000)

    def _close(self, code: int) -> None:
        if self.state is not State.CLOSED:
            self.handle(CloseRequested(code))

    def _judge(self, cause: Cause) -> Verdict | None:
        """The user's verdict, which may raise like any callable of theirs."""
        assert self._user_verdict is not None
        try:
            decision = self._user_verdict(cause)
            if decision is not None and not isinstance(decision, Verdict):
                raise TypeError(f"a verdict is a moored.Verdict or None, not {decision!r}")
        except Exception as exc:  # noqa: BLE001 - whatever a user's callable raises
            failure = HookFailed("verdict")
            failure.__cause__ = exc
            self.outcome.fail(failure)
            return Verdict.STOP
        return decision

    def final_error(self) -> MooredError:
        """What a consumer is told once the stream is over and everything was delivered."""
        return self.outcome.error(self.intake.continuity.position)

    # ------------------------------------------------------------------ what tasks ask for

    def ping_message(self) -> M | None:
        """The application's own ping, if it has one."""
        if not isinstance(self._heartbeat, Heartbeat) or self._heartbeat.ping is None:
            return None
        message: M = call_sync_hook("heartbeat.ping", self._heartbeat.ping)
        self._check_sendable("heartbeat.ping", message)
        return message

    def _check_sendable(self, hook: str, message: M) -> None:
        """What a hook gives to be sent has to be of a type that the transport sends."""
        call_sync_hook(hook, self.transport.size_of, message)

    def _unblock(self) -> None:
        """The consumer made room."""
        self.handle_if_open(Unblocked())
        if self.session is not None:
            self.session.hasten()
