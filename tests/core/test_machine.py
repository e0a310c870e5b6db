"""What the machine does with time and with counts: clocks, failures, delays, bounds."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest

from moored.core.backoff import RetryBudget
from moored.core.causes import (
    AbnormalClosure,
    Cause,
    Completed,
    ConnectFailed,
    HandshakeRejected,
    HeartbeatLost,
    PeerClosed,
    ProtocolViolation,
    RateLimited,
    Stalled,
    Verdict,
)
from moored.core.machine import Machine
from moored.core.policy import SSE_GET, SSE_POST, WEBSOCKET, Heartbeat, Policy, Reconnect
from moored.core.transitions import (
    Action,
    Blocked,
    CloseRequested,
    Connect,
    Connected,
    Disconnect,
    Ended,
    Finish,
    Heard,
    Probe,
    Progressed,
    RequestSent,
    ServerRetry,
    State,
    Unblocked,
    Wait,
    Woken,
)

REFUSED = ConnectFailed("tcp")
CUT = AbnormalClosure(1006)
FORBIDDEN = HandshakeRejected(403)


class MostJitter(random.Random):
    """Jitter that always comes out at its upper bound: delays are then known."""

    def uniform(self, a: float, b: float) -> float:
        return b


class NoJitter(random.Random):
    """Jitter that always comes out at its lower bound: floors are then seen."""

    def uniform(self, a: float, b: float) -> float:
        return a


def new(
    *,
    connect: float = 10.0,
    heartbeat: Heartbeat | None = None,
    idle: float | None = None,
    first: float | None = None,
    verdict: Any = None,
    rng: random.Random | None = None,
    now: float = 0.0,
    **reconnect: Any,
) -> Machine:
    """A machine in CONNECTING with no clock but the connect timeout, and all jitter at its most."""
    settings = Policy(
        connect_timeout=connect,
        heartbeat=heartbeat,
        idle_timeout=idle,
        first_message_timeout=first,
        verdict=verdict,
        reconnect=Reconnect(**reconnect),
    )
    return Machine(settings, now=now, rng=rng or MostJitter())


def opened(*, at: float = 0.0, **settings: Any) -> Machine:
    """The same machine, connected at ``at``."""
    machine = new(now=at, **settings)
    machine.handle(Connected(), now=at)
    return machine


def only_wait(actions: tuple[Action, ...]) -> float:
    """The delay of the one Wait among ``actions``."""
    [wait] = [action for action in actions if isinstance(action, Wait)]
    return wait.delay


def lose(machine: Machine, *, at: float, cause: Cause = REFUSED) -> float:
    """End the attempt at ``at`` for a cause that is retried; return the delay."""
    return only_wait(machine.handle(Ended(cause), now=at))


def retry(machine: Machine) -> float:
    """Let the delay pass and begin the next attempt; return the time at which it began."""
    assert machine.state is State.BACKOFF
    due = machine.next_deadline
    assert [type(action) for action in machine.expire(now=due)] == [Connect]
    return due


def live(machine: Machine, *, at: float, seconds: float, message: Progressed | None) -> float:
    """Connect at ``at``, receive ``message``, stay up for ``seconds``; return when that is over."""
    machine.handle(Connected(), now=at)
    if message is not None:
        machine.handle(message, now=at)
    return at + seconds


# ---------------------------------------------------------------- the beginning


def test_a_machine_begins_by_connecting() -> None:
    machine = new()
    assert machine.state is State.CONNECTING
    assert machine.start() == (Connect(attempt=1, turn=0),)
    assert (machine.attempt, machine.failures, machine.cause) == (1, 0, None)


@pytest.mark.parametrize("left", ["heartbeat", "idle_timeout", "first_message_timeout"])
def test_a_policy_that_leaves_something_to_the_opener_is_refused(left: str) -> None:
    rest = {"heartbeat", "idle_timeout", "first_message_timeout"} - {left}
    with pytest.raises(ValueError, match="opener's defaults"):
        Machine(Policy(**dict.fromkeys(rest)), now=0, rng=random.Random(0))


@pytest.mark.parametrize("defaults", [WEBSOCKET, SSE_GET, SSE_POST])
def test_the_policy_of_every_opener_is_accepted(defaults: Any) -> None:
    Machine(Policy().resolved(defaults), now=0, rng=random.Random(0))


# ---------------------------------------------------------------- the connect timeout


def test_connecting_is_bounded_from_its_beginning() -> None:
    machine = new(connect=10, now=100)
    assert machine.next_deadline == 110
    assert machine.expire(now=109.999) == ()
    cause = ConnectFailed("timeout", detail="nothing within 10 s")
    assert machine.expire(now=110) == (Disconnect(cause), Wait(1.0))


def test_every_attempt_has_the_whole_connect_timeout() -> None:
    machine = new(connect=10)
    lose(machine, at=9)
    assert retry(machine) == 10
    assert machine.next_deadline == 20
    cause = ConnectFailed("timeout", detail="nothing within 10 s")
    assert machine.expire(now=20) == (Disconnect(cause), Wait(2.0))


def test_a_sent_request_may_take_as_long_to_answer_as_a_first_message() -> None:
    machine = new(connect=10, first=600)
    machine.handle(RequestSent(), now=3)
    assert machine.next_deadline == 603
    [disconnect, _] = machine.expire(now=603)
    assert disconnect == Disconnect(ConnectFailed("timeout", detail="nothing within 603 s"))


def test_a_sent_request_moves_nothing_where_there_is_no_bound_for_a_first_message() -> None:
    machine = new(connect=10, first=None)
    machine.handle(RequestSent(), now=3)
    assert machine.next_deadline == 10


def test_a_sent_request_never_shortens_the_connect_timeout() -> None:
    machine = new(connect=10, first=2)
    machine.handle(RequestSent(), now=3)
    assert machine.next_deadline == 10


def test_the_extension_holds_for_one_attempt_only() -> None:
    machine = new(connect=10, first=600)
    machine.handle(RequestSent(), now=3)
    lose(machine, at=500)
    retry(machine)
    assert machine.next_deadline == 501 + 10


# ---------------------------------------------------------------- alive

BEAT = Heartbeat(interval=20, timeout=5)


def test_quiet_is_probed_after_the_interval() -> None:
    machine = opened(at=100, heartbeat=BEAT)
    assert machine.next_deadline == machine.alive_deadline == 120
    assert machine.expire(now=119.999) == ()
    assert machine.expire(now=120) == (Probe(),)
    assert machine.state is State.HEARTBEATING


@pytest.mark.parametrize("sign", [Heard(), Progressed(), ServerRetry(1.0)])
def test_any_sign_of_life_moves_the_interval(sign: Any) -> None:
    machine = opened(heartbeat=BEAT)
    machine.handle(sign, now=15)
    assert machine.next_deadline == 35


@pytest.mark.parametrize("sign", [Heard(), Progressed(), ServerRetry(1.0)])
def test_any_sign_of_life_answers_a_probe(sign: Any) -> None:
    machine = opened(heartbeat=BEAT)
    machine.expire(now=20)
    assert machine.handle(sign, now=24) == ()
    assert machine.state is State.OPEN
    assert machine.next_deadline == 44


def test_an_unanswered_probe_is_a_lost_heartbeat() -> None:
    machine = opened(heartbeat=BEAT)
    machine.handle(Heard(), now=10)
    machine.expire(now=30)
    assert machine.next_deadline == 35
    assert machine.expire(now=34.999) == ()
    assert machine.expire(now=35) == (Disconnect(HeartbeatLost(silent_for=25)), Wait(1.0))


def test_the_time_for_an_answer_begins_with_the_probe_even_if_that_is_late() -> None:
    machine = opened(heartbeat=BEAT)
    assert machine.expire(now=1000) == (Probe(),)
    assert machine.next_deadline == 1005


def test_without_a_heartbeat_silence_is_nothing() -> None:
    machine = opened(heartbeat=None)
    assert machine.next_deadline == machine.alive_deadline == math.inf
    assert machine.expire(now=1e9) == ()
    assert machine.state is State.OPEN


def test_liveness_does_not_outlive_its_connection() -> None:
    machine = opened(heartbeat=BEAT)
    machine.expire(now=20)
    machine.expire(now=25)
    at = retry(machine)
    machine.handle(Connected(), now=at + 1)
    assert machine.state is State.OPEN
    assert machine.next_deadline == at + 1 + 20


# ---------------------------------------------------------------- progressing


def test_without_a_first_message_the_stream_is_stalled() -> None:
    machine = opened(at=100, first=600, idle=60)
    assert machine.next_deadline == machine.progress_deadline == 700
    cause = Stalled(silent_for=600, before_first=True)
    assert machine.expire(now=700) == (Disconnect(cause), Wait(1.0))


def test_the_wait_for_a_first_message_began_when_it_was_asked_for() -> None:
    machine = new(connect=10, first=600)
    machine.handle(RequestSent(), now=2)
    machine.handle(Connected(), now=9)
    assert machine.next_deadline == 602


def test_when_it_was_asked_for_does_not_outlive_its_attempt() -> None:
    machine = new(connect=10, first=600)
    machine.handle(RequestSent(), now=2)
    lose(machine, at=3)
    at = retry(machine)
    machine.handle(Connected(), now=at + 5)
    assert machine.next_deadline == at + 5 + 600


def test_after_the_first_message_the_idle_timeout_holds() -> None:
    machine = opened(first=600, idle=60)
    machine.handle(Progressed(), now=100)
    assert machine.next_deadline == 160
    machine.handle(Progressed(), now=150)
    assert machine.next_deadline == 210
    assert machine.expire(now=209.999) == ()
    cause = Stalled(silent_for=60, before_first=False)
    assert machine.expire(now=210) == (Disconnect(cause), Wait(1.0))


def test_a_peer_that_is_alive_and_says_nothing_is_stalled() -> None:
    machine = opened(heartbeat=BEAT, idle=50, first=50)
    for now in range(0, 50, 10):
        machine.handle(Heard(), now=now)
    [disconnect, _] = machine.expire(now=50)
    assert disconnect == Disconnect(Stalled(silent_for=50, before_first=True))


def test_answered_probes_are_no_progress() -> None:
    machine = opened(heartbeat=BEAT, idle=50, first=50)
    machine.handle(Progressed(), now=0)
    machine.expire(now=20)
    machine.handle(Heard(), now=22)
    machine.expire(now=42)
    assert machine.next_deadline == 47  # of the heartbeat
    machine.handle(Heard(), now=44)
    assert machine.next_deadline == 50  # of the progress
    [disconnect, _] = machine.expire(now=50)
    assert disconnect == Disconnect(Stalled(silent_for=50))


def test_a_stall_while_probing_is_a_stall() -> None:
    machine = opened(heartbeat=BEAT, idle=22, first=22)
    machine.expire(now=20)
    assert machine.next_deadline == 22
    [disconnect, _] = machine.expire(now=22)
    assert disconnect == Disconnect(Stalled(silent_for=22, before_first=True))


def test_progress_does_not_outlive_its_connection() -> None:
    machine = opened(first=600, idle=60)
    machine.handle(Progressed(), now=1)
    lose(machine, at=2, cause=CUT)
    at = retry(machine)
    machine.handle(Connected(), now=at)
    assert machine.next_deadline == at + 600


def test_without_bounds_on_progress_there_is_none() -> None:
    machine = opened(first=None, idle=None)
    assert machine.progress_deadline == math.inf
    machine.handle(Progressed(), now=1)
    assert machine.progress_deadline == math.inf


# ---------------------------------------------------------------- held up by our own consumer


@pytest.mark.parametrize("probing", [False, True])
def test_while_blocked_neither_clock_runs(probing: bool) -> None:
    machine = opened(heartbeat=BEAT, idle=60, first=60)
    if probing:
        machine.expire(now=20)
    state = machine.state
    machine.handle(Blocked(), now=21)
    assert machine.next_deadline == machine.alive_deadline == machine.progress_deadline == math.inf
    assert machine.expire(now=1e9) == ()
    assert machine.state is state


def test_unblocked_both_clocks_start_again() -> None:
    machine = opened(heartbeat=BEAT, idle=60, first=60)
    machine.handle(Progressed(), now=1)
    machine.handle(Blocked(), now=2)
    machine.handle(Unblocked(), now=1000)
    assert (machine.alive_deadline, machine.progress_deadline) == (1020, 1060)


def test_unblocked_while_probing_the_time_for_an_answer_starts_again() -> None:
    machine = opened(heartbeat=BEAT, idle=60, first=60)
    machine.expire(now=20)
    machine.handle(Blocked(), now=21)
    machine.handle(Unblocked(), now=1000)
    assert machine.state is State.HEARTBEATING
    assert (machine.alive_deadline, machine.progress_deadline) == (1005, 1060)


def test_unblocked_works_without_a_heartbeat() -> None:
    machine = opened(heartbeat=None, idle=60, first=60)
    machine.handle(Blocked(), now=2)
    machine.handle(Unblocked(), now=1000)
    assert machine.next_deadline == 1060


def test_a_connection_can_end_while_blocked() -> None:
    machine = opened(heartbeat=BEAT)
    machine.handle(Blocked(), now=1)
    assert lose(machine, at=5, cause=CUT) == 1.0
    assert machine.next_deadline == 6


def test_a_new_connection_is_not_blocked() -> None:
    machine = opened(heartbeat=BEAT)
    machine.handle(Blocked(), now=1)
    lose(machine, at=5, cause=CUT)
    at = retry(machine)
    machine.handle(Connected(), now=at)
    assert machine.next_deadline == at + 20


# ---------------------------------------------------------------- what counts as a failure


def test_failures_in_a_row_are_counted() -> None:
    machine = new()
    at = 0.0
    for failures in (1, 2, 3, 4):
        lose(machine, at=at)
        assert machine.failures == failures
        at = retry(machine)


def test_an_attempt_knows_its_number_and_the_failures_before_it() -> None:
    machine = new()
    lose(machine, at=0)
    assert machine.expire(now=machine.next_deadline) == (Connect(attempt=2, turn=1),)
    at = live(machine, at=10, seconds=60, message=Progressed())
    lose(machine, at=at, cause=CUT)
    assert machine.expire(now=machine.next_deadline) == (Connect(attempt=3, turn=0),)


def after_two_failures(**settings: Any) -> tuple[Machine, float]:
    machine = new(reset_after=5, **settings)
    lose(machine, at=0)
    lose(machine, at=retry(machine))
    assert machine.failures == 2
    return machine, retry(machine)


def test_a_message_and_reset_after_make_a_success() -> None:
    machine, at = after_two_failures()
    delay = lose(machine, at=live(machine, at=at, seconds=5, message=Progressed()), cause=CUT)
    assert (machine.failures, delay) == (0, 1.0)


def test_merely_connecting_is_no_success_however_long_it_lasted() -> None:
    machine, at = after_two_failures()
    delay = lose(machine, at=live(machine, at=at, seconds=1e6, message=None), cause=CUT)
    assert (machine.failures, delay) == (3, 4.0)


@pytest.mark.parametrize(
    ("alive_for", "cause", "expected"),
    [
        (4.9, CUT, (4.0, 3)),
        (5, CUT, (4.0, 0)),  # no reason to give up, still one to slow down
        (29.9, CUT, (4.0, 0)),
        (30, CUT, (1.0, 0)),  # as long as the longest delay: none is needed
        (3600, HeartbeatLost(40), (1.0, 0)),  # it was alive until then
        (3600, Stalled(60), (4.0, 3)),  # alive, and of no use
    ],
)
def test_a_quiet_connection_counts_by_how_long_the_peer_was_alive(alive_for, cause, expected):
    machine, at = after_two_failures()
    end = live(machine, at=at, seconds=alive_for, message=None)
    machine.handle(Heard(), now=end)
    assert (lose(machine, at=end + 40, cause=cause), machine.failures) == expected


def test_with_reset_after_0_any_sign_of_life_will_do() -> None:
    machine = new(reset_after=0, attempts=2)
    for at in range(0, 50, 10):
        machine.handle(Connected(), now=at)
        machine.handle(Heard(), now=at + 1)
        machine.handle(Ended(CUT), now=at + 2)
        assert machine.failures == 0
        machine.handle(Woken(), now=at + 3)


def test_being_connected_without_a_sign_of_life_is_no_success() -> None:
    machine, at = after_two_failures()
    end = live(machine, at=at, seconds=3600, message=None)
    assert (lose(machine, at=end, cause=CUT), machine.failures) == (4.0, 3)


@pytest.mark.parametrize(
    ("message", "cause", "failures"),
    [
        (Progressed(), PeerClosed(), 0),  # SSE by polling: some events, and a good end
        (Progressed(), PeerClosed(1001), 3),  # a WebSocket has codes to say what it means
        (None, PeerClosed(), 3),
    ],
)
def test_an_orderly_end_after_events_is_no_failure(message, cause, failures):
    machine, at = after_two_failures()
    end = live(machine, at=at, seconds=0.1, message=message)
    assert (lose(machine, at=end, cause=cause), machine.failures) == (4.0, failures)


def test_a_message_just_short_of_reset_after_is_no_success() -> None:
    machine, at = after_two_failures()
    delay = lose(machine, at=live(machine, at=at, seconds=4.999, message=Progressed()), cause=CUT)
    assert (machine.failures, delay) == (3, 4.0)


def test_new_ground_forgives_the_failures_but_the_delay_goes_on_growing() -> None:
    machine, at = after_two_failures()
    end = live(machine, at=at, seconds=0, message=Progressed(advanced=True))
    assert (lose(machine, at=end, cause=CUT), machine.failures) == (4.0, 0)
    end = live(machine, at=retry(machine), seconds=0, message=Progressed(advanced=True))
    assert (lose(machine, at=end, cause=CUT), machine.failures) == (8.0, 0)


def test_new_ground_is_not_lost_by_a_repeated_message() -> None:
    machine, at = after_two_failures()
    live(machine, at=at, seconds=0, message=Progressed(advanced=True))
    machine.handle(Progressed(advanced=False), now=at)
    lose(machine, at=at, cause=CUT)
    assert machine.failures == 0


def test_success_is_judged_for_each_attempt_by_itself() -> None:
    machine, at = after_two_failures()
    lose(machine, at=live(machine, at=at, seconds=60, message=Progressed()), cause=CUT)
    assert machine.failures == 0
    delays = [lose(machine, at=retry(machine)) for _ in range(3)]
    assert (delays, machine.failures) == ([2.0, 4.0, 8.0], 3)


# ---------------------------------------------------------------- how many attempts


def attempts_made(machine: Machine, *, at_most: int = 100) -> tuple[int, Finish | None]:
    """Let every attempt fail; return how many there were and how it ended."""
    now = 0.0
    for made in range(1, at_most + 1):
        actions = machine.handle(Ended(REFUSED), now=now)
        if machine.state is State.CLOSED:
            disconnect, finish = actions
            assert disconnect == Disconnect(REFUSED)
            assert isinstance(finish, Finish)
            return made, finish
        now = retry(machine)
    return at_most, None


@pytest.mark.parametrize(
    ("attempts", "made", "gave_up"),
    [
        (0, 1, "reconnecting is off"),
        (1, 1, "1 attempt failed"),
        (2, 2, "2 attempts in a row failed"),
        (5, 5, "5 attempts in a row failed"),
    ],
)
def test_after_so_many_attempts_in_a_row_it_gives_up(
    attempts: int, made: int, gave_up: str
) -> None:
    outcome = attempts_made(new(attempts=attempts))
    assert outcome == (made, Finish(REFUSED, failed=True, gave_up=gave_up))


def test_with_attempts_none_it_never_gives_up() -> None:
    assert attempts_made(new(attempts=None), at_most=1500) == (1500, None)


def test_with_attempts_0_not_even_a_sound_connection_is_followed_by_another() -> None:
    machine = new(attempts=0)
    end = live(machine, at=0, seconds=3600, message=Progressed(advanced=True))
    gave_up = "reconnecting is off"
    assert machine.handle(Ended(CUT), now=end)[1] == Finish(CUT, failed=True, gave_up=gave_up)


def test_with_attempts_1_a_sound_connection_is_followed_by_one_attempt() -> None:
    machine = new(attempts=1)
    lose(machine, at=live(machine, at=0, seconds=60, message=Progressed()), cause=CUT)
    at = retry(machine)
    assert machine.handle(Ended(REFUSED), now=at)[1] == Finish(
        REFUSED, failed=True, gave_up="1 attempt failed"
    )


def test_a_flapping_server_is_given_up_on() -> None:
    machine = new(attempts=5)
    at = 0.0
    for _ in range(4):
        lose(machine, at=live(machine, at=at, seconds=0.1, message=Progressed()), cause=CUT)
        at = retry(machine)
    end = live(machine, at=at, seconds=0.1, message=Progressed())
    assert machine.handle(Ended(CUT), now=end)[1] == Finish(
        CUT, failed=True, gave_up="5 attempts in a row failed"
    )


# ---------------------------------------------------------------- for how long


def test_it_gives_up_when_the_next_attempt_would_begin_too_late() -> None:
    machine = new(attempts=None, max_elapsed=10)
    delays = [lose(machine, at=0)]
    delays += [lose(machine, at=retry(machine)) for _ in range(2)]
    assert delays == [1, 2, 4]  # the next, of 8 s, would begin at 15 s
    gave_up = "10 s without a sound connection"
    assert machine.handle(Ended(REFUSED), now=retry(machine)) == (
        Disconnect(REFUSED),
        Finish(REFUSED, failed=True, gave_up=gave_up),
    )


def test_an_attempt_that_begins_just_in_time_is_made() -> None:
    machine = new(max_elapsed=10)
    assert lose(machine, at=9) == 1.0


@pytest.mark.parametrize(
    ("message", "seconds"), [(Progressed(), 5), (Progressed(advanced=True), 0)]
)
def test_max_elapsed_counts_from_the_last_sound_moment(message: Progressed, seconds: float) -> None:
    machine = new(attempts=None, max_elapsed=10)
    lose(machine, at=0)
    retry(machine)
    end = live(machine, at=1000, seconds=seconds, message=message)
    lose(machine, at=end, cause=CUT)
    retry(machine)
    assert lose(machine, at=end + 5) <= 4
    retry(machine)
    actions = machine.handle(Ended(REFUSED), now=end + 9.5)
    assert actions[1] == Finish(REFUSED, failed=True, gave_up="10 s without a sound connection")


def test_an_unsound_connection_does_not_move_max_elapsed() -> None:
    machine = new(attempts=None, max_elapsed=10)
    end = live(machine, at=0, seconds=100, message=None)
    assert machine.handle(Ended(CUT), now=end)[1] == Finish(
        CUT, failed=True, gave_up="10 s without a sound connection"
    )


# ---------------------------------------------------------------- how long to wait


def test_delays_grow_to_the_maximum_and_stay_there() -> None:
    machine = new(attempts=None, initial=1, maximum=30, multiplier=2)
    delays = [lose(machine, at=0)] + [lose(machine, at=retry(machine)) for _ in range(7)]
    assert delays == [1, 2, 4, 8, 16, 30, 30, 30]


def test_the_multiplier_is_the_growth() -> None:
    machine = new(attempts=None, initial=0.5, maximum=100, multiplier=3)
    delays = [lose(machine, at=0)] + [lose(machine, at=retry(machine)) for _ in range(3)]
    assert delays == [0.5, 1.5, 4.5, 13.5]


def test_delays_are_drawn_from_the_generator_given() -> None:
    def delays(seed: int) -> list[float]:
        machine = new(attempts=None, rng=random.Random(seed))
        return [lose(machine, at=0)] + [lose(machine, at=retry(machine)) for _ in range(9)]

    assert delays(1) == delays(1)
    assert delays(1) != delays(2)
    assert all(0 <= d <= top for d, top in zip(delays(1), [1, 2, 4, 8, 16] + 5 * [30], strict=True))


def test_the_first_retry_can_go_at_once() -> None:
    machine = new(immediate_first=True)
    delays = [lose(machine, at=0)] + [lose(machine, at=retry(machine)) for _ in range(2)]
    assert delays == [0, 2, 4]


def test_the_first_retry_after_each_sound_connection_can_go_at_once() -> None:
    machine = new(immediate_first=True)
    lose(machine, at=0)
    lose(machine, at=retry(machine))
    end = live(machine, at=retry(machine), seconds=60, message=Progressed())
    assert lose(machine, at=end, cause=CUT) == 0
    assert lose(machine, at=retry(machine)) == 2


def test_an_immediate_retry_still_waits_for_what_the_server_asked() -> None:
    machine = new(immediate_first=True)
    assert lose(machine, at=0, cause=RateLimited(retry_after=7)) == 7


def test_a_flapping_server_gets_no_immediate_retries() -> None:
    machine = new(immediate_first=True, attempts=None)
    delays = [lose(machine, at=live(machine, at=0, seconds=0, message=Progressed()), cause=CUT)]
    for _ in range(3):
        end = live(machine, at=retry(machine), seconds=0, message=Progressed(advanced=True))
        delays.append(lose(machine, at=end, cause=CUT))
    assert delays == [0, 2, 4, 8]


# ---------------------------------------------------------------- floors that servers set


@pytest.mark.parametrize("rejected", [RateLimited, lambda **k: HandshakeRejected(503, **k)])
def test_retry_after_is_a_floor_and_the_jitter_comes_on_top(rejected: Any) -> None:
    assert lose(new(rng=NoJitter()), at=0, cause=rejected(retry_after=7)) == 7
    assert lose(new(rng=MostJitter()), at=0, cause=rejected(retry_after=7)) == 7 + 1


@pytest.mark.parametrize("asked", [301.0, 86400.0, math.inf])
def test_retry_after_is_capped(asked: float) -> None:
    machine = new(rng=NoJitter(), retry_after_maximum=300)
    assert lose(machine, at=0, cause=RateLimited(retry_after=asked)) == 300


def test_retry_after_holds_for_one_delay() -> None:
    machine = new()
    assert lose(machine, at=0, cause=RateLimited(retry_after=7)) == 8
    assert lose(machine, at=retry(machine)) == 2


def test_retry_after_is_as_good_as_none_where_it_is_none() -> None:
    assert lose(new(rng=NoJitter()), at=0, cause=RateLimited()) == 0


def test_sse_retry_is_a_floor_under_every_later_delay() -> None:
    machine = opened()
    machine.handle(ServerRetry(3.0), now=1)
    delays = [lose(machine, at=2, cause=CUT)] + [lose(machine, at=retry(machine)) for _ in range(2)]
    assert delays == [3 + 1, 3 + 2, 3 + 4]


def test_sse_retry_is_capped() -> None:
    machine = opened(rng=NoJitter(), sse_retry_maximum=60)
    machine.handle(ServerRetry(1e9), now=1)
    assert lose(machine, at=2, cause=CUT) == 60


def test_the_last_sse_retry_counts() -> None:
    machine = opened(rng=NoJitter())
    machine.handle(ServerRetry(9.0), now=1)
    machine.handle(ServerRetry(2.0), now=1)
    assert lose(machine, at=2, cause=CUT) == 2


def test_an_sse_retry_of_0_does_not_freeze_the_backoff() -> None:
    machine = opened()
    machine.handle(ServerRetry(0.0), now=1)
    delays = [lose(machine, at=2, cause=CUT)] + [lose(machine, at=retry(machine)) for _ in range(2)]
    assert delays == [1, 2, 4]


@pytest.mark.parametrize(("sse_retry", "retry_after", "floor"), [(3, 7, 7), (7, 3, 7)])
def test_of_two_floors_the_higher_holds(sse_retry: int, retry_after: int, floor: int) -> None:
    machine = opened(rng=NoJitter())
    machine.handle(ServerRetry(sse_retry), now=1)
    lose(machine, at=2, cause=CUT)
    retry(machine)
    assert lose(machine, at=20, cause=RateLimited(retry_after=retry_after)) == floor


def test_no_delay_is_longer_than_the_policy_says() -> None:
    settings = Reconnect(maximum=30, retry_after_maximum=300, sse_retry_maximum=60)
    assert settings.delay_maximum == 330
    machine = new(attempts=None)
    for _ in range(8):
        lose(machine, at=0)
        retry(machine)
    assert lose(machine, at=0, cause=RateLimited(retry_after=1e9)) == 330


# ---------------------------------------------------------------- a budget shared by streams


def test_without_a_token_the_retry_waits_for_one() -> None:
    budget = RetryBudget(capacity=1, refill_per_second=0.5)
    machine = new(budget=budget, rng=NoJitter())
    lose(machine, at=0, cause=RateLimited(retry_after=1))
    assert budget.withdraw(1.0)
    assert machine.expire(now=1.0) == (Wait(2.0),)
    assert machine.state is State.BACKOFF
    assert machine.next_deadline == 3.0
    assert machine.expire(now=2.999) == ()
    assert machine.expire(now=3.0) == (Connect(attempt=2, turn=1),)


def test_throttling_is_no_failure_and_no_retry() -> None:
    budget = RetryBudget(capacity=1, refill_per_second=0.5)
    machine = new(budget=budget)
    lose(machine, at=0)
    budget.withdraw(1.0)
    assert only_wait(machine.expire(now=1.0)) == 2.0 + 1.0
    assert (machine.failures, machine.attempt) == (1, 1)
    assert lose(machine, at=retry(machine)) == 2.0


def test_jitter_comes_on_top_of_the_wait_for_a_token() -> None:
    budget = RetryBudget(capacity=1, refill_per_second=0.5)
    most, least = new(budget=budget), new(budget=budget, rng=NoJitter())
    for machine in (most, least):
        lose(machine, at=0)
    budget.withdraw(1.0)
    assert only_wait(least.expire(now=1.0)) == 2.0
    assert only_wait(most.expire(now=1.0)) == 3.0


def test_a_budget_that_never_refills_is_asked_again_at_the_maximum() -> None:
    budget = RetryBudget(capacity=1, refill_per_second=0)
    machine = new(budget=budget, rng=NoJitter(), maximum=30)
    lose(machine, at=0)
    budget.withdraw(0.0)
    assert machine.expire(now=0.0) == (Wait(30.0),)


def test_throttled_beyond_max_elapsed_it_gives_up() -> None:
    budget = RetryBudget(capacity=1, refill_per_second=0)
    machine = new(budget=budget, rng=NoJitter(), maximum=30, max_elapsed=40)
    lose(machine, at=0)
    budget.withdraw(0.0)
    assert machine.expire(now=0.0) == (Wait(30.0),)
    gave_up = "40 s without a sound connection"
    assert machine.expire(now=30.0) == (Finish(REFUSED, failed=True, gave_up=gave_up),)
    assert machine.cause == REFUSED


def test_streams_that_share_a_budget_together_keep_to_it() -> None:
    budget = RetryBudget(capacity=2, refill_per_second=1)
    streams = [new(budget=budget, rng=NoJitter()) for _ in range(5)]
    for machine in streams:
        lose(machine, at=0)
        machine.expire(now=0.0)
    assert [machine.state for machine in streams] == 2 * [State.CONNECTING] + 3 * [State.BACKOFF]
    for machine in streams[2:]:
        machine.expire(now=1.0)
    assert [m.state for m in streams[2:]] == [State.CONNECTING, State.BACKOFF, State.BACKOFF]


def test_the_first_message_of_a_connection_gives_the_refund_once() -> None:
    budget = RetryBudget(capacity=10, refill_per_second=0, refund=0.5)
    for _ in range(5):
        budget.withdraw(0.0)
    machine = opened(budget=budget)
    machine.handle(Heard(), now=0)
    assert budget.available(0.0) == 5
    machine.handle(Progressed(), now=0)
    machine.handle(Progressed(), now=0)
    assert budget.available(0.0) == 5.5


def test_every_connection_gives_its_own_refund() -> None:
    budget = RetryBudget(capacity=10, refill_per_second=0, refund=0.5)
    machine = opened(budget=budget)
    machine.handle(Progressed(), now=0)
    lose(machine, at=0, cause=CUT)
    live(machine, at=retry(machine), seconds=0, message=Progressed())
    assert budget.available(0.0) == 10 - 1 + 0.5


@pytest.mark.parametrize("start", [0.0, 0.1, 1234.5678, 987654.321])
def test_a_throttled_stream_never_spins_at_one_instant(start: float) -> None:
    # A token may be short by less than the clock can tell; immediate_first adds no jitter to it.
    budget = RetryBudget(capacity=1, refill_per_second=7)
    machine = new(budget=budget, immediate_first=True, now=start)
    lose(machine, at=start)
    budget.withdraw(start)
    looks = [start]
    while machine.state is State.BACKOFF and len(looks) < 10:
        machine.expire(now=looks[-1])
        looks.append(machine.next_deadline)
    assert machine.state is State.CONNECTING
    assert all(earlier < later for earlier, later in itertools.pairwise(looks))


# ---------------------------------------------------------------- woken


def test_woken_in_backoff_an_attempt_begins_at_once() -> None:
    machine = new()
    lose(machine, at=0)
    assert machine.handle(Woken(), now=0.5) == (Connect(attempt=2, turn=0),)
    assert machine.next_deadline == 10.5


def test_woken_in_backoff_all_counts_begin_anew() -> None:
    machine = new(attempts=3, max_elapsed=10)
    lose(machine, at=0)
    lose(machine, at=retry(machine))
    machine.handle(Woken(), now=1000)
    assert machine.failures == 0
    assert lose(machine, at=1000) == 1.0
    assert lose(machine, at=retry(machine)) == 2.0


def test_woken_takes_a_token_as_any_retry_does() -> None:
    """One event of the network wakes every stream at once."""
    budget = RetryBudget(capacity=1, refill_per_second=0)
    machine, other = new(budget=budget), new(budget=budget)
    lose(machine, at=0)
    lose(other, at=0)
    assert machine.handle(Woken(), now=0.5) == (Connect(attempt=2, turn=0),)
    (wait,) = other.handle(Woken(), now=0.5)
    assert isinstance(wait, Wait)
    assert other.state is State.BACKOFF
    assert other.next_deadline == 0.5 + wait.delay


def test_woken_in_open_the_peer_is_probed_at_once() -> None:
    machine = opened(heartbeat=BEAT)
    assert machine.handle(Woken(), now=3) == (Probe(),)
    assert machine.state is State.HEARTBEATING
    assert machine.next_deadline == 8


def test_woken_while_probing_the_peer_is_probed_again() -> None:
    machine = opened(heartbeat=BEAT)
    machine.expire(now=20)
    assert machine.handle(Woken(), now=23) == (Probe(),)
    assert machine.next_deadline == 28


def test_woken_without_a_heartbeat_there_is_nothing_to_do() -> None:
    machine = opened(heartbeat=None, idle=60, first=60)
    assert machine.handle(Woken(), now=3) == ()
    assert (machine.state, machine.next_deadline) == (State.OPEN, 60)


def test_woken_while_connecting_changes_nothing() -> None:
    machine = new()
    assert machine.handle(Woken(), now=3) == ()
    assert machine.next_deadline == 10


# ---------------------------------------------------------------- the same fault again and again

TOO_LARGE = ProtocolViolation("an event is longer than the limit")


def test_the_same_violation_twice_is_given_up_on() -> None:
    machine = opened(attempts=None)
    lose(machine, at=0, cause=TOO_LARGE)
    end = live(machine, at=retry(machine), seconds=0, message=None)
    assert machine.handle(Ended(TOO_LARGE), now=end) == (
        Disconnect(TOO_LARGE),
        Finish(TOO_LARGE, failed=True, gave_up="the same violation twice at one position"),
    )


def test_a_violation_after_messages_is_not_the_same_one() -> None:
    machine = opened(attempts=None)
    for _ in range(5):
        machine.handle(Progressed(advanced=True), now=0)
        lose(machine, at=0, cause=TOO_LARGE)
        live(machine, at=retry(machine), seconds=0, message=None)


def test_messages_and_then_the_same_violation_at_once_is_given_up_on() -> None:
    machine = opened(attempts=None)
    machine.handle(Progressed(advanced=True), now=0)
    lose(machine, at=0, cause=TOO_LARGE)
    end = live(machine, at=retry(machine), seconds=0, message=None)
    assert isinstance(machine.handle(Ended(TOO_LARGE), now=end)[1], Finish)


def test_another_fault_in_between_forgives_a_violation() -> None:
    machine = opened(attempts=None)
    for cause in (TOO_LARGE, CUT, TOO_LARGE, CUT, TOO_LARGE):
        lose(machine, at=0, cause=cause)
        live(machine, at=retry(machine), seconds=0, message=None)


# ---------------------------------------------------------------- what must not be repeated

NOT_AGAIN = "what has begun to answer is not asked again"


@pytest.mark.parametrize("cause", [CUT, Stalled(60), PeerClosed(None), HeartbeatLost(40)], ids=str)
def test_an_answer_that_has_begun_is_not_asked_for_again(cause: Cause) -> None:
    machine = opened(attempts=None)
    machine.handle(Progressed(repeatable=False), now=1)
    actions = machine.handle(Ended(cause), now=2)
    assert actions == (Disconnect(cause), Finish(cause, failed=True, gave_up=NOT_AGAIN))


def test_before_its_first_message_a_request_is_repeated() -> None:
    machine = opened()
    machine.handle(Heard(), now=1)
    assert lose(machine, at=2, cause=CUT) == 1.0


def test_a_stall_in_an_answer_that_has_begun_is_not_asked_again_either() -> None:
    machine = opened(idle=60)
    machine.handle(Progressed(repeatable=False), now=1)
    [_, finish] = machine.expire(now=61)
    assert finish == Finish(Stalled(60), failed=True, gave_up=NOT_AGAIN)


def test_an_answer_that_must_not_be_repeated_can_still_finish_or_be_closed() -> None:
    finished, closed = opened(), opened()
    for machine in (finished, closed):
        machine.handle(Progressed(repeatable=False), now=1)
    assert finished.handle(Ended(Completed()), now=2)[1] == Finish(Completed(), failed=False)
    [_, finish] = closed.handle(CloseRequested(), now=2)
    assert isinstance(finish, Finish)
    assert not finish.failed


def test_with_ids_from_the_server_it_may_be_repeated_after_all() -> None:
    machine = opened()
    machine.handle(Progressed(repeatable=False), now=1)
    machine.handle(Progressed(repeatable=True), now=1)
    assert lose(machine, at=2, cause=CUT) == 1.0


# ---------------------------------------------------------------- the user's own verdict


def test_the_users_verdict_stops_what_would_be_retried() -> None:
    machine = new(verdict=lambda cause: Verdict.STOP)
    assert machine.handle(Ended(REFUSED), now=0)[1] == Finish(REFUSED, failed=True)


def test_the_users_verdict_retries_what_would_be_stopped() -> None:
    machine = new(verdict=lambda cause: Verdict.RETRY)
    assert lose(machine, at=0, cause=FORBIDDEN) == 1.0


def test_the_users_verdict_finishes_what_would_be_retried() -> None:
    machine = new(verdict=lambda cause: Verdict.FINISH)
    assert machine.handle(Ended(CUT), now=0)[1] == Finish(CUT, failed=False)


def test_where_the_users_verdict_is_none_the_default_holds() -> None:
    machine = new(verdict=lambda cause: None)
    assert lose(machine, at=0) == 1.0
    assert machine.state is State.BACKOFF
    retry(machine)
    machine.handle(Ended(FORBIDDEN), now=5)
    assert machine.state is State.CLOSED


def test_the_users_verdict_sees_the_cause_itself() -> None:
    seen: list[Cause] = []
    machine = opened(heartbeat=BEAT, verdict=seen.append)
    machine.expire(now=20)
    machine.expire(now=25)
    assert seen == [HeartbeatLost(25)]


def test_the_users_retry_is_still_bounded_by_attempts() -> None:
    machine = new(attempts=1, verdict=lambda cause: Verdict.RETRY)
    assert machine.handle(Ended(FORBIDDEN), now=0)[1] == Finish(
        FORBIDDEN, failed=True, gave_up="1 attempt failed"
    )


@pytest.mark.parametrize("wrong", ["stop", False, True, 0])
def test_a_users_verdict_that_is_none_of_the_three_is_an_error(wrong: Any) -> None:
    machine = new(verdict=lambda cause: wrong)
    with pytest.raises(TypeError) as raised:
        machine.handle(Ended(REFUSED), now=0)
    assert str(raised.value) == f"Policy.verdict must return a Verdict or None, not {wrong!r}"
    assert machine.state is State.CONNECTING
