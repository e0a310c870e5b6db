"""The stream as a state machine: what happened in, what to do out.

Theory of operation.  The machine holds a :class:`State` and a few times and counts.  Whoever drives
it tells it what happened (:meth:`Machine.handle`) and what time it is (:meth:`Machine.expire`, due
at :attr:`Machine.next_deadline`), and carries out the actions that it returns.  It never sleeps,
never reads a clock and never touches a socket.

Which moves are legal is data: :data:`~moored.core.transitions.TRANSITIONS`, one row for each pair
of state and input.  There is no ``if`` in the table, because a condition becomes another input
before the table is asked: a connection that :class:`~moored.core.transitions.Ended` is judged, and
becomes ``Lost`` (there will be another attempt), ``Failed`` (there will not) or ``Finished`` (there
need not); a deadline that passes becomes ``Quiet``, ``RetryDue``, ``Throttled``, or an end of its
own.

Two clocks run while connected.  *Alive*: any byte moves it (``heartbeat``).  *Progressing*: only an
application message moves it (``idle_timeout``).  Neither runs while our own consumer holds things
up, between ``Blocked`` and ``Unblocked``.
"""

from __future__ import annotations

import enum
import math
import random

from . import backoff
from .backoff import RetryBudget
from .causes import (
    Cause,
    ClosedByUs,
    ConnectFailed,
    HandshakeRejected,
    HeartbeatLost,
    PeerClosed,
    ProtocolViolation,
    Stalled,
    Verdict,
    verdict,
)
from .policy import Heartbeat, Policy
from .transitions import (
    TRANSITIONS,
    Action,
    Blocked,
    CloseRequested,
    Connect,
    Connected,
    Disconnect,
    Ended,
    Failed,
    Finish,
    Finished,
    Heard,
    Input,
    InvalidTransition,
    Lost,
    Probe,
    Progressed,
    Quiet,
    RequestSent,
    RetryDue,
    ServerRetry,
    State,
    Throttled,
    Unblocked,
    Wait,
    Woken,
)

__all__ = ["TRANSITIONS", "InvalidTransition", "Machine", "State"]


class Machine:
    """One stream's state.  It begins in CONNECTING: carry out :meth:`start` first.

    :param policy: a policy in which nothing is left to the opener
        (:meth:`moored.core.policy.Policy.resolved`).
    :param now: the present, in seconds on a monotonic clock.
    :param rng: where the jitter comes from.
    """

    def __init__(self, policy: Policy, *, now: float, rng: random.Random) -> None:
        heartbeat = policy.heartbeat
        idle, first = policy.idle_timeout, policy.first_message_timeout
        if (
            isinstance(heartbeat, enum.Enum)
            or isinstance(idle, enum.Enum)
            or isinstance(first, enum.Enum)
        ):
            raise ValueError("Machine needs a policy with the opener's defaults put in")
        self._policy = policy
        self._heartbeat: Heartbeat | None = heartbeat
        self._idle_timeout = math.inf if idle is None else idle
        self._first_timeout = math.inf if first is None else first
        self._rng = rng
        self._state = State.CONNECTING
        self._cause: Cause | None = None
        # Counts.
        self._attempt = 1
        self._failures = 0  # attempts in a row that failed: bounded by `attempts`
        self._retries = 0  # retries in a row since the stream was sound: sets the delay
        self._sound_at = now  # when the stream last was sound: bounds `max_elapsed`
        self._server_retry = 0.0
        self._violated = False  # the last attempt broke the protocol before it got anywhere
        # Times of the present attempt.
        self._since = now  # of CONNECTING: its beginning
        self._deadline = now + policy.connect_timeout  # of CONNECTING, HEARTBEATING and BACKOFF
        self._requested_at: float | None = None
        self._opened_at: float | None = None
        self._heard_at = now
        self._proved_at = now  # the last sign of life; `heard_at` begins anew after a pause of ours
        self._progress_at = now
        self._progressed = False
        self._advanced = False
        self._repeatable = True
        self._blocked = False

    # ------------------------------------------------------------------ what it is

    @property
    def state(self) -> State:
        """The present state."""
        return self._state

    @property
    def cause(self) -> Cause | None:
        """Why the last connection or attempt ended; in CLOSED, why the stream did."""
        return self._cause

    @property
    def attempt(self) -> int:
        """The number of the present or last attempt, from 1."""
        return self._attempt

    @property
    def failures(self) -> int:
        """Attempts in a row that have failed."""
        return self._failures

    @property
    def alive_deadline(self) -> float:
        """When silence will count: as :class:`Quiet` in OPEN, as lost in HEARTBEATING."""
        if self._heartbeat is None or self._blocked:
            return math.inf
        if self._state is State.OPEN:
            return self._heard_at + self._heartbeat.interval
        return self._deadline if self._state is State.HEARTBEATING else math.inf

    @property
    def progress_deadline(self) -> float:
        """When the lack of messages will count as a stall."""
        if self._blocked or self._state not in (State.OPEN, State.HEARTBEATING):
            return math.inf
        return self._progress_at + (self._idle_timeout if self._progressed else self._first_timeout)

    @property
    def next_deadline(self) -> float:
        """When :meth:`expire` is due.

        Infinite in CLOSED, while blocked, and where the policy sets no clock for the state.
        """
        if self._state in (State.CONNECTING, State.BACKOFF):
            return self._deadline
        return min(self.alive_deadline, self.progress_deadline)

    # ------------------------------------------------------------------ what happens

    def start(self) -> tuple[Action, ...]:
        """The first action of all."""
        return (Connect(self._attempt, 0),)

    def handle(self, event: Input, *, now: float) -> tuple[Action, ...]:
        """Take in what happened and return what to do, in order.

        :raises InvalidTransition: when the state has no row for it.
        """
        if isinstance(event, Ended):
            if (self._state, Lost) not in TRANSITIONS:  # nothing is under way that could end
                raise InvalidTransition(self._state, event)
            event = self._judged(event, now)
        elif isinstance(event, Woken):
            if self._heartbeat is None and self._state is State.OPEN:
                return ()  # there is no probe to send
            if self._state is State.BACKOFF:
                event = self._woken_or_not(now)
        try:
            state, kinds = TRANSITIONS[self._state, type(event)]
        except KeyError:
            raise InvalidTransition(self._state, event) from None
        self._take_note(event, now)
        self._state = state
        return tuple(self._action(kind, event) for kind in kinds)

    def expire(self, *, now: float) -> tuple[Action, ...]:
        """Take in that time has passed.  Nothing happens before :attr:`next_deadline`."""
        if now < self.next_deadline:
            return ()
        return self.handle(self._expired(now), now=now)

    def _expired(self, now: float) -> Input:
        """The input that stands for the deadline that has passed."""
        if self._state is State.BACKOFF:
            return self._retry_or_not(now)
        if self._state is State.CONNECTING:
            bound = self._deadline - self._since
            return Ended(ConnectFailed("timeout", detail=f"nothing within {bound:g} s"))
        if now >= self.progress_deadline:
            return Ended(Stalled(now - self._progress_at, before_first=not self._progressed))
        if self._state is State.OPEN:
            return Quiet()
        return Ended(HeartbeatLost(now - self._heard_at))

    def _woken_or_not(self, now: float) -> Woken | Throttled:
        """Woken, unless the shared budget says otherwise: one event wakes many streams."""
        budget = self._policy.reconnect.budget
        if budget is None or budget.withdraw(now):
            return Woken()
        return Throttled(self._throttled_delay(budget, now))

    def _throttled_delay(self, budget: RetryBudget, now: float) -> float:
        return self._delay(floor=min(budget.wait(now), self._policy.reconnect.maximum))

    def _retry_or_not(self, now: float) -> RetryDue | Throttled | Failed:
        """The delay is over: is there a token in the shared budget, and time left?"""
        budget = self._policy.reconnect.budget
        if budget is None or budget.withdraw(now):
            return RetryDue()
        delay = self._throttled_delay(budget, now)
        if self._too_late(now + delay):
            assert self._cause is not None
            return Failed(self._cause, self._elapsed_words())
        return Throttled(delay)

    # ------------------------------------------------------------------ judging an end

    def _judged(self, event: Ended, now: float) -> Lost | Failed | Finished:
        cause, settings = event.cause, self._policy.reconnect
        decision = self._policy.verdict(cause) if self._policy.verdict is not None else None
        if decision is None:
            decision = verdict(cause)
        elif not isinstance(decision, Verdict):  # or "stop" would be retried without a word
            raise TypeError(f"Policy.verdict must return a Verdict or None, not {decision!r}")
        if decision is Verdict.FINISH:
            return Finished(cause)
        if decision is Verdict.STOP:
            return Failed(cause)
        if not self._repeatable:
            return Failed(cause, "what has begun to answer is not asked again")
        self._count(cause, now)
        if isinstance(cause, ProtocolViolation) and self._violated:
            # The same bytes would come again: an event over the limit, or no WebSocket at all.
            return Failed(cause, "the same violation twice at one position")
        if settings.attempts is not None and self._failures >= settings.attempts:
            return Failed(cause, _attempts_reached(settings.attempts))
        delay = self._delay(floor=self._floor(cause))
        if self._too_late(now + delay):
            return Failed(cause, self._elapsed_words())
        return Lost(cause, delay)

    def _too_late(self, then: float) -> bool:
        bound = self._policy.reconnect.max_elapsed
        return bound is not None and then - self._sound_at > bound

    def _elapsed_words(self) -> str:
        return f"{self._policy.reconnect.max_elapsed:g} s without a sound connection"

    def _count(self, cause: Cause, now: float) -> None:
        """Did the attempt that just ended succeed?  Decided once for each attempt, here."""
        settings = self._policy.reconnect
        up_for = alive_for = 0.0
        if self._opened_at is not None:
            up_for = now - self._opened_at
            if not isinstance(cause, Stalled):  # alive, and of no use
                alive_for = self._proved_at - self._opened_at
        if (self._progressed and up_for >= settings.reset_after) or alive_for >= settings.maximum:
            # Up for as long as the longest delay, it needs no delay to slow it down.
            self._retries = self._failures = 0
            self._sound_at = now
        elif (
            self._advanced
            or (self._progressed and isinstance(cause, PeerClosed) and cause.code is None)
            or 0 < alive_for >= settings.reset_after
        ):
            # New ground was covered, or a quiet peer was there for a while, or an SSE answer had
            # something to say and ended in good order.  That is no reason to give up; there still
            # is one to slow down, so the delay goes on growing.
            self._failures = 0
            self._sound_at = now
        else:
            self._failures += 1
        if self._progressed or not isinstance(cause, ProtocolViolation):
            self._violated = False

    def _floor(self, cause: Cause) -> float:
        """The least delay that the server asked for, capped."""
        settings = self._policy.reconnect
        floor = min(self._server_retry, settings.sse_retry_maximum)
        if isinstance(cause, HandshakeRejected) and cause.retry_after is not None:
            floor = max(floor, min(cause.retry_after, settings.retry_after_maximum))
        return floor

    def _delay(self, *, floor: float) -> float:
        settings = self._policy.reconnect
        if settings.immediate_first and self._retries == 0:
            return floor
        upper = backoff.ceiling(
            self._retries,
            initial=settings.initial,
            maximum=settings.maximum,
            multiplier=settings.multiplier,
        )
        return backoff.delay(upper, self._rng, floor=floor)

    # ------------------------------------------------------------------ keeping the times

    def _take_note(self, event: Input, now: float) -> None:
        """Move the times and counts that ``event`` moves.  The state is still the old one."""
        match event:
            case Progressed(advanced=advanced, repeatable=repeatable):
                if not self._progressed and self._policy.reconnect.budget is not None:
                    self._policy.reconnect.budget.deposit(now)
                self._heard_at = self._proved_at = self._progress_at = now
                self._progressed = True
                self._advanced = self._advanced or advanced
                self._repeatable = repeatable
            case Heard():
                self._heard_at = self._proved_at = now
            case ServerRetry(seconds=seconds):
                self._heard_at = self._proved_at = now
                self._server_retry = seconds
            case Blocked():
                self._blocked = True
            case Unblocked():
                # What we did not read may have been there all along: both clocks start again.
                self._blocked = False
                self._heard_at = self._progress_at = now
                if self._heartbeat is not None:
                    self._deadline = now + self._heartbeat.timeout
            case RequestSent():
                self._requested_at = now
                if self._first_timeout < math.inf:
                    self._deadline = max(self._deadline, now + self._first_timeout)
            case Connected():
                self._opened_at = self._heard_at = self._proved_at = now
                # The wait for a first message began when it was asked for.
                self._progress_at = now if self._requested_at is None else self._requested_at
            case Quiet() | Woken() if self._state in (State.OPEN, State.HEARTBEATING):
                assert self._heartbeat is not None  # or no deadline would have passed
                self._deadline = now + self._heartbeat.timeout
            case Lost(cause=cause, delay=delay):
                self._cause = cause
                self._violated = isinstance(cause, ProtocolViolation)
                self._deadline = now + delay
            case Throttled(delay=delay):
                self._deadline = now + delay
            case RetryDue() | Woken() if self._state is State.BACKOFF:
                self._begin_attempt(now, fresh=isinstance(event, Woken))
            case Failed(cause=cause) | Finished(cause=cause):
                self._cause = cause
            case CloseRequested(code=code):
                self._cause = ClosedByUs(code)
            case _:
                pass

    def _begin_attempt(self, now: float, *, fresh: bool) -> None:
        self._attempt += 1
        self._retries = 0 if fresh else self._retries + 1
        if fresh:  # what was counted belongs to the network as it was
            self._failures = 0
            self._sound_at = now
        self._since = now
        self._deadline = now + self._policy.connect_timeout
        self._requested_at = self._opened_at = None
        self._heard_at = self._progress_at = now
        self._progressed = self._advanced = self._blocked = False
        self._repeatable = True

    def _action(self, kind: type[Action], event: Input) -> Action:
        """Make one action of the row, with its facts."""
        if kind is Connect:
            return Connect(self._attempt, self._failures)
        if kind is Wait:
            assert isinstance(event, Lost | Throttled)
            return Wait(event.delay)
        if kind is Probe:
            return Probe()
        cause = self._cause
        assert cause is not None
        if kind is Disconnect:
            return Disconnect(cause)
        gave_up = event.gave_up if isinstance(event, Failed) else ""
        return Finish(cause, failed=isinstance(event, Failed), gave_up=gave_up)


def _attempts_reached(attempts: int) -> str:
    if attempts == 0:
        return "reconnecting is off"
    return "1 attempt failed" if attempts == 1 else f"{attempts} attempts in a row failed"
