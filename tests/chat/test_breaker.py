"""The circuit breaker: every move by hand, then any history."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from moored.chat.breaker import CircuitBreaker, CircuitState, Permit

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def begin(breaker: CircuitBreaker, now: float) -> Permit:
    permit = breaker.begin(now)
    assert permit is not None
    return permit


def fail(breaker: CircuitBreaker, now: float, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(now, begin(breaker, now))


def opened(now: float = 0.0, **options: float) -> CircuitBreaker:
    breaker = CircuitBreaker(**options)
    fail(breaker, now, breaker.failures)
    return breaker


# ---------------------------------------------------------------- closed


def test_a_new_one_is_closed_and_lets_any_number_through() -> None:
    breaker = CircuitBreaker()
    assert breaker.state(0) is CLOSED
    assert [begin(breaker, 0).probe for _ in range(100)] == [False] * 100
    assert breaker.available_at(7) == 7


def test_five_failures_in_a_row_open_it_for_thirty_seconds() -> None:
    breaker = CircuitBreaker()
    fail(breaker, 10, 4)
    assert breaker.state(10) is CLOSED
    fail(breaker, 10)
    assert breaker.state(10) is OPEN
    assert breaker.failures_in_a_row == 5
    assert breaker.available_at(10) == 40
    assert breaker.begin(39.9) is None
    assert breaker.state(39.9) is OPEN
    assert [breaker.open_for(now) for now in (10, 39, 40, 50)] == [30, 1, 0, 0]
    assert breaker.state(40) is HALF_OPEN


def test_a_success_begins_the_count_again() -> None:
    breaker = CircuitBreaker(failures=3)
    fail(breaker, 0, 2)
    breaker.succeeded(0, begin(breaker, 0))
    assert breaker.failures_in_a_row == 0
    fail(breaker, 0, 2)
    assert breaker.state(0) is CLOSED


def test_what_was_cancelled_counts_for_nothing() -> None:
    breaker = CircuitBreaker(failures=2)
    fail(breaker, 0)
    breaker.abandoned(0, begin(breaker, 0))
    assert breaker.failures_in_a_row == 1


# ---------------------------------------------------------------- half-open


def test_half_open_gives_one_probe_however_many_ask() -> None:
    breaker = opened()
    permits = [breaker.begin(30) for _ in range(100)]
    assert [permit is not None and permit.probe for permit in permits] == [True] + [False] * 99
    assert permits[1:] == [None] * 99
    assert breaker.probing
    assert breaker.available_at(1000) == math.inf


def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = opened()
    breaker.succeeded(31, begin(breaker, 30))
    assert breaker.state(31) is CLOSED
    assert breaker.failures_in_a_row == 0
    fail(breaker, 31, 4)
    assert breaker.state(31) is CLOSED


def test_failed_probes_lengthen_the_cooldown_up_to_the_maximum() -> None:
    breaker = opened()
    now, cooldowns = 0.0, []
    for _ in range(7):
        cooldowns.append(breaker.available_at(now) - now)
        now = breaker.available_at(now)
        fail(breaker, now)
    assert cooldowns == [30, 60, 120, 240, 300, 300, 300]
    assert breaker.failures_in_a_row == 12


def test_the_cooldown_counts_from_when_the_probe_failed() -> None:
    breaker = opened()
    probe = begin(breaker, 30)
    breaker.failed(45, probe)
    assert breaker.available_at(45) == 45 + 60


def test_after_it_was_closed_the_cooldown_is_the_first_again() -> None:
    breaker = opened()
    fail(breaker, 30)
    breaker.succeeded(90, begin(breaker, 90))
    fail(breaker, 100, 5)
    assert breaker.available_at(100) == 130


def test_an_abandoned_probe_gives_its_slot_back() -> None:
    breaker = opened()
    breaker.abandoned(31, begin(breaker, 30))
    assert not breaker.probing
    assert breaker.state(31) is HALF_OPEN
    assert begin(breaker, 31).probe


# ---------------------------------------------------------------- what began before


def test_what_began_before_it_opened_neither_ends_the_probe_nor_lengthens_the_cooldown() -> None:
    breaker = CircuitBreaker()
    before = [begin(breaker, 0) for _ in range(3)]
    fail(breaker, 0, 5)
    breaker.failed(1, before[0])
    assert breaker.available_at(1) == 30
    begin(breaker, 30)
    breaker.failed(31, before[1])
    breaker.succeeded(31, before[2])
    assert breaker.probing
    assert breaker.begin(31) is None


def test_what_began_before_it_opened_does_not_count_once_it_is_closed() -> None:
    """Fifty requests hang; five of them open the circuit; the others must not open it anew."""
    breaker = CircuitBreaker()
    before = [begin(breaker, 0) for _ in range(45)]
    fail(breaker, 0, 5)
    breaker.succeeded(30, begin(breaker, 30))
    for permit in before:
        breaker.failed(31, permit)
    assert breaker.state(31) is CLOSED
    assert breaker.failures_in_a_row == 0


def test_a_probe_given_back_twice_counts_once() -> None:
    breaker = opened()
    probe = begin(breaker, 30)
    breaker.abandoned(30, probe)
    other = begin(breaker, 30)
    breaker.failed(30, probe)
    assert breaker.probing
    breaker.succeeded(30, other)
    breaker.failed(30, probe)
    assert breaker.failures_in_a_row == 0


# ---------------------------------------------------------------- 429


def test_a_429_is_a_cooldown_and_not_a_failure() -> None:
    breaker = CircuitBreaker()
    fail(breaker, 0, 4)
    breaker.cool(12.5)
    assert breaker.state(0) is CLOSED
    assert breaker.failures_in_a_row == 4
    assert breaker.cooling(10) == 2.5
    assert breaker.available_at(10) == 12.5
    assert breaker.begin(12.4) is None
    assert begin(breaker, 12.5)
    assert breaker.cooling(12.5) == 0


def test_the_longer_cooldown_stays() -> None:
    breaker = CircuitBreaker()
    breaker.cool(60)
    breaker.cool(5)
    assert breaker.available_at(0) == 60


def test_a_probe_answered_429_leaves_it_half_open_and_cooling() -> None:
    breaker = opened()
    probe = begin(breaker, 30)
    breaker.abandoned(30, probe)
    breaker.cool(50)
    assert breaker.state(30) is HALF_OPEN
    assert breaker.failures_in_a_row == 5
    assert breaker.begin(49) is None
    assert begin(breaker, 50).probe


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"failures": 0}, "CircuitBreaker.failures must be at least 1, not 0"),
        ({"cooldown": 0}, "CircuitBreaker.cooldown must be more than 0, not 0"),
        ({"cooldown": math.inf}, "CircuitBreaker.cooldown must be finite, not inf"),
        ({"maximum": 10}, "CircuitBreaker.maximum must be at least cooldown, 30, not 10"),
        ({"multiplier": 0.5}, "CircuitBreaker.multiplier must be at least 1, not 0.5"),
    ],
)
def test_a_setting_out_of_bounds_is_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        CircuitBreaker(**options)
    assert str(caught.value) == words


# ---------------------------------------------------------------- any history

moments = st.floats(0.0, 50.0, allow_nan=False)


class AnyHistory(RuleBasedStateMachine):
    """Callers come and go in any order, at any time; the endpoint is dead, or comes to life."""

    permits: Bundle[Permit] = Bundle("permits")

    @initialize(failures=st.integers(1, 4), multiplier=st.sampled_from([1.0, 1.5, 2.0]))
    def start(self, failures: int, multiplier: float) -> None:
        self.breaker = CircuitBreaker(
            failures=failures, cooldown=10, maximum=35, multiplier=multiplier
        )
        self.now = 0.0
        self.probes: set[Permit] = set()  # under way
        self.cooldown = 0.0  # the last one; 0 while closed
        self.no_probe_before = -math.inf
        self.cooling_until = -math.inf
        self.openings = 0
        self.began_after: dict[Permit, int] = {}  # openings before each permit

    @rule(seconds=moments)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def the_earliest_moment_comes(self) -> None:
        at = self.breaker.available_at(self.now)
        assert at >= self.now
        if at < math.inf:
            self.now = at
            assert self.breaker.allows(self.now)

    @rule(target=permits, callers=st.integers(1, 5))
    def callers_ask(self, callers: int) -> object:
        before = self.breaker.state(self.now)
        allowed = self.breaker.allows(self.now)
        given = [p for p in (self.breaker.begin(self.now) for _ in range(callers)) if p]
        assert bool(given) == allowed
        self.began_after.update(dict.fromkeys(given, self.openings))
        if given:
            assert self.now >= self.cooling_until
            assert before is not OPEN
        if before is CLOSED:
            assert len(given) in (0, callers)
        probes = [permit for permit in given if permit.probe]
        if probes:
            # One at a time, and one for each cooldown that passed.
            assert len(given) == 1
            assert before is HALF_OPEN
            assert not self.probes
            assert self.now >= self.no_probe_before
            self.probes.update(probes)
        return multiple(*given)

    @rule(permit=consumes(permits))
    def one_fails(self, permit: Permit) -> None:
        before = self.breaker.state(self.now)
        count = self.breaker.failures_in_a_row
        end_of_cooldown = self.breaker.available_at(self.now)
        self.breaker.failed(self.now, permit)
        after = self.breaker.state(self.now)
        current = self.began_after.get(permit, self.openings) == self.openings
        assert self.breaker.failures_in_a_row == count + current
        if permit.probe:
            self.probes.remove(permit)
            assert after is OPEN
            self.opens()
        elif before is CLOSED and after is OPEN:
            self.cooldown = 0.0
            self.opens()
        elif before is not CLOSED:
            assert self.breaker.available_at(self.now) == end_of_cooldown

    def opens(self) -> None:
        """The cooldown grows, as far as it may, and no probe goes before its end."""
        self.openings += 1
        end = self.breaker.available_at(self.now)
        expected = 10.0
        if self.cooldown:
            expected = min(35.0, self.cooldown * self.breaker.multiplier)
        assert end == max(self.now + expected, self.cooling_until)
        self.cooldown = expected
        self.no_probe_before = self.now + expected

    @rule(permit=consumes(permits))
    def one_succeeds(self, permit: Permit) -> None:
        before = self.breaker.state(self.now)
        self.breaker.succeeded(self.now, permit)
        if permit.probe:
            self.probes.remove(permit)
            assert self.breaker.state(self.now) is CLOSED
            assert self.breaker.failures_in_a_row == 0
            self.cooldown = 0.0
        else:
            assert self.breaker.state(self.now) is before

    @rule(permit=consumes(permits))
    def one_is_cancelled(self, permit: Permit) -> None:
        before = self.breaker.state(self.now), self.breaker.failures_in_a_row
        self.breaker.abandoned(self.now, permit)
        self.probes.discard(permit)
        assert (self.breaker.state(self.now), self.breaker.failures_in_a_row) == before

    @rule(permit=consumes(permits), seconds=moments)
    def one_is_answered_429(self, permit: Permit, seconds: float) -> None:
        before = self.breaker.state(self.now), self.breaker.failures_in_a_row
        self.breaker.abandoned(self.now, permit)
        self.breaker.cool(self.now + seconds)
        self.probes.discard(permit)
        self.cooling_until = max(self.cooling_until, self.now + seconds)
        assert (self.breaker.state(self.now), self.breaker.failures_in_a_row) == before

    # Whole stretches at once: single steps alone seldom lead through several openings.

    @precondition(lambda self: self.breaker.allows(self.now) and not self.breaker.probing)
    @rule()
    def requests_fail_until_it_opens(self) -> None:
        while (permit := self.breaker.begin(self.now)) is not None:
            self.probes.update([permit] if permit.probe else [])
            self.one_fails(permit)

    @precondition(lambda self: self.breaker.available_at(self.now) < math.inf)
    @rule(seconds=moments)
    def the_next_request_succeeds(self, seconds: float) -> None:
        self.the_earliest_moment_comes()
        permit = begin(self.breaker, self.now)
        self.probes.update([permit] if permit.probe else [])
        self.now += seconds
        self.one_succeeds(permit)

    @precondition(lambda self: self.probes)
    @rule(callers=st.integers(1, 5), seconds=moments)
    def nobody_goes_beside_a_probe(self, callers: int, seconds: float) -> None:
        self.now += seconds
        assert [self.breaker.begin(self.now) for _ in range(callers)] == [None] * callers

    @invariant()
    def at_most_one_probe_is_under_way(self) -> None:
        assert len(self.probes) <= 1
        assert self.breaker.probing == bool(self.probes)

    @invariant()
    def its_state_fits_its_count(self) -> None:
        full = self.breaker.failures_in_a_row >= self.breaker.failures
        assert (self.breaker.state(self.now) is CLOSED) == (not full)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


class DeadEndpoint(RuleBasedStateMachine):
    """The endpoint stays dead: whatever callers do, it sees one probe for each cooldown."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = CircuitBreaker(failures=2, cooldown=10, maximum=40)
        self.now = 0.0
        fail(self.breaker, 0, 2)
        self.cooldowns = [10.0]
        self.ends_at = 10.0
        self.seen = 0
        self.probe: Permit | None = None

    @rule(seconds=moments, callers=st.integers(1, 20))
    def callers_come(self, seconds: float, callers: int) -> None:
        self.now += seconds
        given = [p for p in (self.breaker.begin(self.now) for _ in range(callers)) if p]
        expected = self.probe is None and self.now >= self.ends_at
        assert len(given) == expected
        if given:
            self.probe = given[0]
            self.seen += 1

    @precondition(lambda self: self.probe is not None)
    @rule(seconds=moments)
    def the_probe_fails(self, seconds: float) -> None:
        assert self.probe is not None
        self.now += seconds
        self.breaker.failed(self.now, self.probe)
        self.probe = None
        self.cooldowns.append(min(40.0, self.cooldowns[-1] * 2))
        self.ends_at = self.now + self.cooldowns[-1]

    @invariant()
    def one_probe_per_cooldown(self) -> None:
        assert self.seen <= len(self.cooldowns)
        assert self.seen <= 1 + self.now / 10


TestDeadEndpoint = DeadEndpoint.TestCase
TestDeadEndpoint.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
