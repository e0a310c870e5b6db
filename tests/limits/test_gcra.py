"""The bucket, against a model that plays the past again as it really was used."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moored.limits import Rate
from moored.limits.gcra import Bucket

NEAR = 1e-6


def test_a_full_bucket_gives_its_burst_at_once_and_then_one_at_a_time():
    bucket = Bucket(Rate(10, per=10, burst=4))
    for _ in range(4):
        assert bucket.ready_at(1) <= 100.0
        bucket.take(1, 100.0)
    assert bucket.available(100.0) == 0
    assert bucket.ready_at(1) == 101.0
    assert bucket.ready_at(3) == 103.0
    assert bucket.available(102.5) == 2.5
    assert bucket.available(1e6) == 4


def test_a_debt_is_paid_before_anything_else():
    bucket = Bucket(Rate(1, per=1, burst=5))
    bucket.take(5, 0.0)
    bucket.charge(10, 0.0)
    assert bucket.available(0.0) == -10
    assert bucket.ready_at(1) == 11.0


def test_what_was_not_used_comes_back():
    bucket = Bucket(Rate(100, per=100))
    ticket = bucket.take(60, 0.0)
    assert bucket.give_back(ticket, 20, 10.0) == 20
    assert bucket.available(10.0) == 70
    assert bucket.give_back(ticket, 20, 10.0) == 20
    assert bucket.available(10.0) == 90


def test_what_the_bucket_has_refilled_meanwhile_does_not_come_back_too():
    bucket = Bucket(Rate(100, per=100))
    ticket = bucket.take(50, 0.0)
    bucket.take(100, 60.0)  # full again, and emptied
    assert bucket.give_back(ticket, 50, 60.0) == 0
    assert bucket.available(60.0) == 0


def test_giving_back_twice_counts_what_is_left():
    """Two reservations drain together: what one gave back, the other cannot."""
    bucket = Bucket(Rate(1, per=1, burst=100))
    first, second = bucket.take(50, 0.0), bucket.take(50, 0.0)
    assert bucket.give_back(second, 50, 40.0) == 50
    assert bucket.available(40.0) == 90
    assert bucket.give_back(first, 50, 40.0) == 10
    assert bucket.available(40.0) == 100


def test_lowering_never_raises():
    bucket = Bucket(Rate(10, per=10))
    bucket.lower_to(30, 0.0)
    assert bucket.available(0.0) == 10
    bucket.lower_to(4, 0.0)
    assert bucket.available(0.0) == 4
    bucket.lower_to(-3, 0.0)
    assert bucket.available(0.0) == 0


def test_what_the_server_says_is_left_is_not_exceeded_by_giving_back():
    bucket = Bucket(Rate(1000, per=1000))
    older = bucket.take(600, 0.0)
    bucket.lower_to(10, 0.0)
    assert bucket.give_back(older, 500, 0.0) == 0
    assert bucket.available(0.0) == 10
    newer = bucket.take(10, 0.0)
    assert bucket.give_back(newer, 10, 0.0) == 10  # the server has not counted this one yet
    assert bucket.give_back(older, 500, 100.0) == 0
    assert bucket.available(100.0) == 110


def test_what_the_server_has_more_may_come_back_and_no_more():
    bucket = Bucket(Rate(1000, per=1000))
    first, second = bucket.take(300, 0.0), bucket.take(300, 0.0)
    bucket.lower_to(700, 0.0)
    assert bucket.available(0.0) == 400
    assert bucket.give_back(first, 200, 0.0) == 200
    assert bucket.give_back(second, 200, 0.0) == 100
    assert bucket.available(0.0) == 700


def test_the_memory_is_bounded():
    bucket = Bucket(Rate(1, per=1, burst=10_000))
    tickets = [bucket.take(2, float(now)) for now in range(5000)]
    assert len(bucket._lows) <= 1024
    # And where an entry was let go, less may come back, but never more.
    for ticket in reversed(tickets):
        assert 0 <= bucket.give_back(ticket, 1, 5000.0) <= 1
    assert bucket.available(5000.0) <= 10_000


# ---------------------------------------------------------------------------- properties

RATES = st.builds(
    Rate,
    st.integers(1, 1000),
    st.sampled_from([1.0, 7.0, 60.0]),
    st.integers(1, 2000),
)
STEPS = st.lists(
    st.tuples(
        st.floats(0, 20),  # time that passes
        st.floats(0, 1),  # cost, as a part of the burst
        st.floats(0, 1),  # what of it is used
        st.integers(0, 6),  # settled so many steps later
    ),
    max_size=40,
)


class Model:
    """A bucket that knows beforehand what will be used."""

    def __init__(self, rate):
        self.rate = rate
        self.level = rate.burst
        self.now = 0.0

    def at(self, now):
        grown = (now - self.now) * self.rate.amount / self.rate.per
        self.level, self.now = min(self.rate.burst, self.level + grown), now
        return self.level

    def take(self, cost, now):
        self.at(now)
        self.level -= cost


@given(RATES, STEPS)
def test_settled_it_is_as_if_only_what_was_used_had_been_taken(rate, steps):
    bucket = Bucket(rate)
    now = 0.0
    due = []
    taken = []
    for place, (passed, part, used, later) in enumerate(steps):
        now = max(now + passed, bucket.ready_at(part * rate.burst))
        for each in [each for each in due if each[0] <= place]:
            due.remove(each)
            bucket.give_back(*each[1:], now)
        ticket = bucket.take(part * rate.burst, now)
        taken.append((now, part * rate.burst * used))
        due.append((place + later, ticket, part * rate.burst * (1 - used)))
    for each in due:
        bucket.give_back(*each[1:], now)
    model = Model(rate)
    for at, cost in taken:
        model.take(cost, at)
    assert bucket.available(now) == pytest.approx(model.at(now), abs=1e-5 * rate.burst)


@given(RATES, STEPS)
def test_no_window_exceeds_the_limit_plus_the_burst(rate, steps):
    bucket = Bucket(rate)
    now = 0.0
    due = []
    used_at = []
    for place, (passed, part, used, later) in enumerate(steps):
        now += passed
        for each in [each for each in due if each[0] <= place]:
            due.remove(each)
            bucket.give_back(*each[1:], now)
        cost = part * rate.burst
        now = max(now, bucket.ready_at(cost))
        ticket = bucket.take(cost, now)
        due.append((place + later, ticket, cost * (1 - used)))
        used_at.append((now, cost * used))
    for begin in range(len(used_at)):
        total = 0.0
        for at, cost in used_at[begin:]:
            total += cost
            allowed = rate.burst + (at - used_at[begin][0]) * rate.amount / rate.per
            assert total <= allowed * (1 + 1e-9) + NEAR


@given(RATES, STEPS)
def test_a_bucket_is_never_fuller_than_its_burst_and_its_memory_rises(rate, steps):
    bucket = Bucket(rate)
    now = 0.0
    for passed, part, used, _ in steps:
        now += passed
        ticket = bucket.take(part * rate.burst, now)
        bucket.give_back(ticket, part * rate.burst * used, now)
        assert bucket.available(now) <= rate.burst
        lows = [low for _, low in bucket._lows]
        assert lows == sorted(set(lows))
        assert all(low > 0 and not math.isnan(low) for low in lows)
