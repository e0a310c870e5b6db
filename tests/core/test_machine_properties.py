"""The machine under arbitrary policies, inputs and times: what must hold after every step.

The rules below are a correct driver (they give an input only where it can happen) that has no luck
at all: anything may end for any cause at any time, and the clock is read early and late.  Beside
the machine runs a small model of what a reader of the documentation would expect.
"""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moored.core import causes
from moored.core.backoff import RetryBudget
from moored.core.causes import Cause, HandshakeRejected, ProtocolViolation, Verdict
from moored.core.machine import Machine
from moored.core.policy import Heartbeat, Policy, Reconnect
from moored.core.transitions import (
    TRANSITIONS,
    Action,
    Blocked,
    CloseRequested,
    Connect,
    Connected,
    Disconnect,
    Ended,
    Finish,
    Heard,
    Input,
    InvalidTransition,
    Progressed,
    RequestSent,
    ServerRetry,
    State,
    Unblocked,
    Wait,
    Woken,
)

CONNECTING, OPEN, HEARTBEATING = State.CONNECTING, State.OPEN, State.HEARTBEATING
BACKOFF, CLOSED = State.BACKOFF, State.CLOSED
UNDER_WAY = (CONNECTING, OPEN, HEARTBEATING)
CONNECTED = (OPEN, HEARTBEATING)

seconds = st.sampled_from([0.001, 0.1, 1.0, 5.0, 30.0]) | st.floats(0.001, 1000)
maybe_seconds = st.none() | seconds
steps = st.sampled_from([0.0, 1e-6, 1.0, 5.0, 60.0, 86400.0]) | st.floats(0, 100)

any_cause: st.SearchStrategy[Cause] = st.one_of(
    st.builds(causes.ConnectFailed, st.sampled_from(["dns", "tcp", "tls", "handshake"])),
    st.builds(
        causes.HandshakeRejected, st.sampled_from([403, 500, 503]), retry_after=maybe_seconds
    ),
    st.builds(causes.RateLimited, retry_after=maybe_seconds | st.just(math.inf)),
    st.builds(causes.PeerClosed, st.sampled_from([None, 1000, 1001, 1005, 1011, 1012, 4000])),
    st.just(causes.AbnormalClosure(1006)),
    st.just(causes.AbnormalClosure()),
    st.builds(causes.HeartbeatLost, seconds),
    st.builds(causes.Stalled, seconds),
    st.builds(causes.Incomplete, st.just("[DONE]")),
    st.builds(causes.ProtocolViolation, st.just("garbage")),
    st.builds(causes.Completed),
)

any_sign_of_life = st.one_of(
    st.builds(Progressed, st.booleans(), st.sampled_from([True, True, True, False])),
    st.just(Heard()),
    st.builds(ServerRetry, seconds | st.just(0.0)),
)

any_budget = st.builds(
    RetryBudget,
    capacity=st.sampled_from([1.0, 3.0]),
    refill_per_second=st.sampled_from([0.0, 0.1, 7.0]),
    refund=st.sampled_from([0.0, 0.2]),
)


@st.composite
def any_reconnect(draw: st.DrawFn) -> Reconnect:
    initial = draw(seconds)
    return Reconnect(
        initial=initial,
        maximum=initial * draw(st.sampled_from([1, 2, 30])),
        multiplier=draw(st.sampled_from([1, 1.5, 2, 10])),
        attempts=draw(st.sampled_from([None, None, None, 5, 3, 2, 1, 0])),
        max_elapsed=draw(st.sampled_from([None, None, None, 1000.0, 30.0])),
        reset_after=draw(st.just(0.0) | seconds),
        immediate_first=draw(st.booleans()),
        retry_after_maximum=draw(st.just(0.0) | seconds),
        sse_retry_maximum=draw(st.just(0.0) | seconds),
        budget=draw(st.none() | any_budget),
    )


any_policy = st.builds(
    Policy,
    connect_timeout=seconds,
    heartbeat=st.none() | st.builds(Heartbeat, interval=seconds, timeout=seconds),
    idle_timeout=maybe_seconds,
    first_message_timeout=maybe_seconds,
    reconnect=any_reconnect(),
    verdict=st.sampled_from(
        [
            None,
            None,
            None,
            lambda cause: None,
            lambda cause: Verdict.RETRY,
            lambda cause: Verdict.STOP,
        ]
    ),
)


class Driven(RuleBasedStateMachine):
    """A driver that makes no mistake, and a model of what it should see."""

    @initialize(policy=any_policy, seed=st.integers(0, 10), start=st.floats(0, 1e6))
    def begin(self, policy: Policy, seed: int, start: float) -> None:
        self.policy = policy
        self.now = start
        self.machine = Machine(policy, now=start, rng=random.Random(seed))
        self.requested = self.blocked = False
        self.connects = 1
        self.finish: Finish | None = None
        # The model of failures and floors.
        self.failures = 0
        self.server_retry = 0.0
        self.opened_at: float | None = None
        self.alive_at = start
        self.progressed = self.advanced = False
        assert self.machine.start() == (Connect(1, 0),)

    # ------------------------------------------------------------ what the driver does

    def in_state(self, *states: State) -> bool:
        return self.machine.state in states

    def give(self, event: Input) -> None:
        before = self.machine.state
        self.check(before, event, self.machine.handle(event, now=self.now))

    def check(self, before: State, event: Input | None, actions: tuple[Action, ...]) -> None:
        assert self.finish is None, "something happened after the end"
        for action in actions:
            match action:
                case Connect(attempt=attempt, turn=turn):
                    self.connects += 1
                    if isinstance(event, Woken):
                        self.failures = 0
                    assert (attempt, turn) == (self.connects, self.failures)
                    self.requested = self.blocked = False
                    self.opened_at = None
                    self.progressed = self.advanced = False
                case Disconnect(cause=cause):
                    assert before in UNDER_WAY
                    self.count(cause)
                case Wait(delay=delay):
                    self.check_delay(before, delay)
                case Finish():
                    self.finish = action
        if self.machine.state is not before:  # nothing leaves CLOSED, nothing moves unseen
            assert before is not CLOSED
        assert (self.finish is not None) == (self.machine.state is CLOSED)

    def count(self, cause: Cause) -> None:
        """Count the attempt that just ended, where it is one that may be retried."""
        verdict = self.policy.verdict and self.policy.verdict(cause)
        if (verdict or causes.verdict(cause)) is not Verdict.RETRY:
            return
        bound, opened_at = self.policy.reconnect.reset_after, self.opened_at
        up_for = alive_for = -1.0
        if opened_at is not None:
            up_for, alive_for = self.now - opened_at, self.alive_at - opened_at
        fine = (
            self.advanced
            or (self.progressed and up_for >= bound)
            or (self.progressed and cause == causes.PeerClosed(None, getattr(cause, "reason", "")))
            or (not isinstance(cause, causes.Stalled) and 0 < alive_for >= bound)
            or (
                not isinstance(cause, causes.Stalled) and self.policy.reconnect.maximum <= alive_for
            )
        )
        self.failures = 0 if fine else self.failures + 1

    def check_delay(self, before: State, delay: float) -> None:
        reconnect, cause = self.policy.reconnect, self.machine.cause
        floor = 0.0
        if before is BACKOFF:  # throttled: the floor is the wait for a token
            assert reconnect.budget is not None
            floor = min(reconnect.budget.wait(self.now), reconnect.maximum)
            assert floor > 0
        else:
            floor = min(self.server_retry, reconnect.sse_retry_maximum)
            if isinstance(cause, HandshakeRejected) and cause.retry_after is not None:
                floor = max(floor, min(cause.retry_after, reconnect.retry_after_maximum))
        assert floor <= delay <= floor + reconnect.maximum
        assert delay <= reconnect.delay_maximum
        assert self.machine.next_deadline == self.now + delay

    # ------------------------------------------------------------ what may happen

    @precondition(lambda self: self.in_state(CONNECTING) and not self.requested)
    @rule()
    def request_sent(self) -> None:
        self.requested = True
        self.give(RequestSent())

    @precondition(lambda self: self.in_state(CONNECTING))
    @rule()
    def connected(self) -> None:
        self.opened_at = self.alive_at = self.now
        self.give(Connected())

    @precondition(lambda self: self.in_state(*CONNECTED))
    @rule(sign=any_sign_of_life)
    def received(self, sign: Heard | Progressed | ServerRetry) -> None:
        self.alive_at = self.now
        match sign:
            case Progressed(advanced=advanced):
                self.progressed = True
                self.advanced |= advanced
            case ServerRetry(seconds=time):
                self.server_retry = time
            case _:
                pass
        self.give(sign)
        assert self.machine.state is OPEN

    @precondition(lambda self: self.in_state(CONNECTING))
    @rule(advanced=st.booleans(), step=steps)
    def connected_received_and_up_for_a_while(self, advanced: bool, step: float) -> None:
        self.connected()
        self.received(sign=Progressed(advanced))
        self.now += step

    @precondition(lambda self: self.in_state(*CONNECTED))
    @rule()
    def blocked_or_unblocked(self) -> None:
        self.blocked = not self.blocked
        self.give(Blocked() if self.blocked else Unblocked())

    # The next two rarely, or no run would get anywhere.
    @precondition(lambda self: not self.in_state(CLOSED) and self.connects % 2 == 0)
    @rule()
    def woken(self) -> None:
        self.give(Woken())

    @precondition(lambda self: self.in_state(*UNDER_WAY))
    @rule(cause=any_cause)
    def ended(self, cause: Cause) -> None:
        verdict = (self.policy.verdict and self.policy.verdict(cause)) or causes.verdict(cause)
        self.give(Ended(cause))
        assert self.machine.cause == cause
        match verdict:
            case Verdict.FINISH:
                assert self.finish == Finish(cause, failed=False)
            case Verdict.STOP:
                assert self.finish == Finish(cause, failed=True)
            case _ if self.finish is not None:
                assert self.finish.failed
                assert self.finish.gave_up
            case _:
                assert self.machine.state is BACKOFF

    @precondition(lambda self: not self.in_state(CLOSED) and self.connects % 4 == 0)
    @rule(code=st.sampled_from([1000, 1001]))
    def close_requested(self, code: int) -> None:
        self.give(CloseRequested(code))
        assert self.machine.cause == causes.ClosedByUs(code)

    @rule(step=steps, look=st.booleans())
    def time_passes(self, step: float, look: bool) -> None:
        self.now += step
        if look:  # early or late, as it comes
            self.expire()

    @precondition(lambda self: self.machine.next_deadline < math.inf)
    @rule()
    def expire_on_time(self) -> None:
        self.now = max(self.now, self.machine.next_deadline)
        self.expire()

    def expire(self) -> None:
        early = self.now < self.machine.next_deadline
        for _ in range(4):  # HEARTBEATING, BACKOFF with no delay, CONNECTING: no longer than that
            before = self.machine.state
            actions = self.machine.expire(now=self.now)
            assert not (early and actions)
            if actions:
                self.check(before, None, actions)
            if self.now < self.machine.next_deadline:
                return
        raise AssertionError("the machine spins: a deadline does not move on")

    # ------------------------------------------------------------ what always holds

    @invariant()
    def whoever_waits_has_a_deadline(self) -> None:
        machine, policy = self.machine, self.policy
        match machine.state:
            case State.CONNECTING | State.BACKOFF:
                bounded = True
            case State.HEARTBEATING:
                assert policy.heartbeat is not None
                bounded = not self.blocked
            case State.OPEN:
                idle = policy.idle_timeout if self.progressed else policy.first_message_timeout
                bounded = not self.blocked and (policy.heartbeat is not None or idle is not None)
            case _:
                bounded = False
        assert (machine.next_deadline < math.inf) == bounded

    @invariant()
    def failures_keep_to_the_bound(self) -> None:
        attempts = self.policy.reconnect.attempts
        if not self.in_state(CLOSED):
            assert self.machine.failures == self.failures
            assert attempts is None or self.failures < max(attempts, 1)
        assert self.machine.attempt == self.connects

    @invariant()
    def closed_is_final_and_has_one_cause(self) -> None:
        if self.finish is not None:
            assert self.machine.state is CLOSED
            assert self.machine.cause == self.finish.cause
            assert self.finish.cause is not None

    @invariant()
    def what_has_no_row_raises_and_changes_nothing(self) -> None:
        state, deadline = self.machine.state, self.machine.next_deadline
        for event in (Connected(), Heard(), Blocked(), CloseRequested()):
            if (state, type(event)) not in TRANSITIONS:
                with pytest.raises(InvalidTransition):
                    self.machine.handle(event, now=self.now)
        if state in (BACKOFF, CLOSED):
            with pytest.raises(InvalidTransition):
                self.machine.handle(Ended(ProtocolViolation("late")), now=self.now)
        assert (self.machine.state, self.machine.next_deadline) == (state, deadline)


Driven.TestCase.settings = settings(
    derandomize=True, deadline=None, max_examples=250, stateful_step_count=40
)
TestDriven = Driven.TestCase
