"""Delays, ``Retry-After`` and the shared budget."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moored.core.backoff import RetryBudget, ceiling, delay, parse_retry_after, retry_after_of

deterministic = settings(derandomize=True, deadline=None)

# ---------------------------------------------------------------- the ceiling


def ceilings(**bounds: float) -> list[float]:
    return [ceiling(retries, **bounds) for retries in range(8)]


def test_the_ceiling_doubles_from_initial_to_maximum() -> None:
    assert ceilings(initial=1, maximum=30, multiplier=2) == [1, 2, 4, 8, 16, 30, 30, 30]


def test_the_ceiling_may_grow_by_a_fraction() -> None:
    assert ceilings(initial=8, maximum=50, multiplier=1.5) == [8, 12, 18, 27, 40.5, 50, 50, 50]


def test_the_ceiling_may_stay_where_it_is() -> None:
    assert ceilings(initial=2, maximum=30, multiplier=1) == [2] * 8


@pytest.mark.parametrize("multiplier", [2, 2.0, 1.0001, 1e300])
def test_the_ceiling_stays_at_the_maximum_after_any_number_of_retries(multiplier: float) -> None:
    assert ceiling(10_000_000, initial=1.0, maximum=30.0, multiplier=multiplier) == 30.0


# ---------------------------------------------------------------- the delay


def test_the_delay_is_anything_from_0_to_the_ceiling() -> None:
    rng = random.Random(7)
    delays = [delay(10.0, rng) for _ in range(1000)]
    assert 0 <= min(delays) < 0.1
    assert 9.9 < max(delays) <= 10
    assert 4.5 < sum(delays) / len(delays) < 5.5


def test_the_delay_comes_from_the_generator_given() -> None:
    assert delay(10.0, random.Random(7)) == random.Random(7).uniform(0, 10)


def test_the_jitter_comes_on_top_of_the_floor() -> None:
    rng = random.Random(7)
    delays = [delay(2.0, rng, floor=5.0) for _ in range(1000)]
    assert 5 <= min(delays) < 5.1
    assert 6.9 < max(delays) <= 7


def test_without_a_ceiling_the_delay_is_the_floor() -> None:
    assert delay(0.0, random.Random(7), floor=5.0) == 5.0


# ---------------------------------------------------------------- Retry-After

# The moment of RFC 9110's own example, in seconds since the epoch.
SUN_06_NOV_1994 = 784111777.0


def after(value: str, *, wall_time: float = SUN_06_NOV_1994) -> float | None:
    return parse_retry_after(value, wall_time=wall_time)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("5", 5),
        ("120", 120),
        ("007", 7),
        ("  5\t", 5),
        ("1.5", 1.5),
        ("0.001", 0.001),
        ("86400", 86400),
    ],
)
def test_retry_after_in_seconds(value: str, expected: float) -> None:
    assert after(value) == expected


@pytest.mark.parametrize(
    "form",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",  # IMF-fixdate
        "Sunday, 06-Nov-94 08:49:37 GMT",  # RFC 850
        "Sun Nov  6 08:49:37 1994",  # asctime
    ],
)
def test_retry_after_as_a_date_in_all_three_forms(form: str) -> None:
    # RFC 9110, section 5.6.7.
    assert after(form, wall_time=SUN_06_NOV_1994) == 0
    assert after(form, wall_time=SUN_06_NOV_1994 - 90.5) == 90.5
    assert after(f" {form} ", wall_time=SUN_06_NOV_1994 - 1) == 1


def test_a_date_in_the_past_is_no_delay() -> None:
    assert after("Sun, 06 Nov 1994 08:49:37 GMT", wall_time=SUN_06_NOV_1994 + 1e9) == 0


def test_a_date_with_a_zone_is_in_that_zone() -> None:
    assert after("Sun, 06 Nov 1994 09:49:47 +0100") == 10


def test_a_date_with_the_unknown_zone_is_in_utc() -> None:
    assert after("Sun, 06 Nov 1994 08:49:47 -0000") == 10


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "soon",
        "-5",
        "+5",
        "5s",
        "5 seconds",
        "1e3",
        "0x10",
        ".5",
        "5.",
        "1,5",
        "1_000",
        "\u0665",  # a digit, but not an ASCII one
        "\uff15",
        "inf",
        "nan",
        "5\n6",
        "5, 10",
        "Sun, 99 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 99999 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 +9999",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Nov",
        "\0",
    ],
)
def test_a_retry_after_that_makes_no_sense_is_none(value: str) -> None:
    assert after(value) is None


def test_an_absurd_retry_after_is_a_number_that_a_cap_can_be_put_on() -> None:
    for value in ("9" * 30, "9" * 1000, "Fri, 31 Dec 9999 23:59:59 GMT"):
        seconds = after(value)
        assert seconds is not None
        assert min(seconds, 300.0) == 300.0


@deterministic
@given(st.text(alphabet="0123456789:-+,. GMTSunNovJ/\0\u0665") | st.text())
def test_no_value_of_retry_after_raises(value: str) -> None:
    seconds = parse_retry_after(value, wall_time=0.0)
    assert seconds is None or seconds >= 0


def test_retry_after_ms_wins() -> None:
    for headers in (
        [("retry-after", "5"), ("retry-after-ms", "250")],
        [("retry-after-ms", "250"), ("retry-after", "5")],
    ):
        assert retry_after_of(headers, wall_time=0) == 0.25


@pytest.mark.parametrize("milliseconds", ["", "soon", "-1", "1e3", "inf"])
def test_a_retry_after_ms_that_makes_no_sense_gives_way(milliseconds: str) -> None:
    headers = [("retry-after-ms", milliseconds), ("retry-after", "5")]
    assert retry_after_of(headers, wall_time=0) == 5
    assert retry_after_of(headers[:1], wall_time=0) is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([("content-type", "text/html"), ("x-retry-after", "9")], None),
        ([("retry-after", "soon")], None),
        ([("retry-after", "7")], 7),
        ([("retry-after-ms", "0")], 0),
        ([("retry-after-ms", " 1500.5 ")], 1.5005),
        ([("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")], 10),
    ],
)
def test_the_delay_that_headers_ask_for(
    headers: list[tuple[str, str]], expected: float | None
) -> None:
    assert retry_after_of(headers, wall_time=SUN_06_NOV_1994) == expected


# ---------------------------------------------------------------- the budget


def test_the_defaults_are_those_of_finagle() -> None:
    # Finagle's RetryBudget: 10 retries a second whatever happens, 20% on top of what succeeds.
    budget = RetryBudget()
    assert (budget.capacity, budget.refill_per_second, budget.refund) == (100, 10, 0.2)


def test_a_new_budget_is_full() -> None:
    assert RetryBudget(capacity=3).available(1000.0) == 3


def test_every_retry_takes_a_token_until_there_is_none() -> None:
    budget = RetryBudget(capacity=3, refill_per_second=0)
    assert [budget.withdraw(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert budget.available(0.0) == 0


def test_a_part_of_a_token_is_not_enough_and_is_not_taken() -> None:
    budget = RetryBudget(capacity=1.5, refill_per_second=0)
    assert budget.withdraw(0.0)
    assert not budget.withdraw(0.0)
    assert budget.available(0.0) == 0.5


def test_time_gives_tokens_back() -> None:
    budget = RetryBudget(capacity=4, refill_per_second=0.5)
    for _ in range(4):
        budget.withdraw(100.0)
    assert [budget.available(now) for now in (100.0, 101.0, 102.0, 106.0)] == [0, 0.5, 1, 3]


def test_the_bucket_never_holds_more_than_its_capacity() -> None:
    budget = RetryBudget(capacity=4, refill_per_second=0.5, refund=3)
    budget.withdraw(0.0)
    assert budget.available(1e9) == 4
    budget.withdraw(1e9)
    budget.deposit(1e9)
    assert budget.available(1e9) == 4


def test_a_deposit_gives_the_refund() -> None:
    budget = RetryBudget(capacity=4, refill_per_second=0, refund=0.2)
    budget.withdraw(0.0)
    budget.withdraw(0.0)
    budget.deposit(0.0)
    assert budget.available(0.0) == 2.2


def test_a_deposit_counts_the_time_before_it() -> None:
    budget = RetryBudget(capacity=4, refill_per_second=1, refund=0.25)
    for _ in range(4):
        budget.withdraw(0.0)
    budget.deposit(2.0)
    assert budget.available(2.0) == 2.25


def test_the_wait_is_the_time_that_a_token_needs() -> None:
    budget = RetryBudget(capacity=1, refill_per_second=0.5)
    assert budget.wait(0.0) == 0
    budget.withdraw(0.0)
    assert [budget.wait(now) for now in (0.0, 0.5, 1.5, 2.0, 9.0)] == [2, 1.5, 0.5, 0, 0]


def test_where_nothing_refills_the_wait_is_infinite() -> None:
    budget = RetryBudget(capacity=1, refill_per_second=0)
    budget.withdraw(0.0)
    assert budget.wait(0.0) == math.inf
    assert budget.wait(1e9) == math.inf


def test_asking_takes_nothing() -> None:
    budget = RetryBudget(capacity=1, refill_per_second=1)
    for _ in range(5):
        assert (budget.wait(0.0), budget.available(0.0)) == (0, 1)


@deterministic
@given(start=st.floats(0, 1e9), rate=st.sampled_from([0.1, 0.3, 3.0, 7.0, 1e3, 1e9]))
def test_whoever_waits_as_told_gets_a_token_soon(start: float, rate: float) -> None:
    # Rounding may leave a token short by less than the clock can tell: time must still move on.
    budget = RetryBudget(capacity=1, refill_per_second=rate)
    assert budget.withdraw(start)
    now = start
    for _ in range(3):
        wait = budget.wait(now)
        assert now + wait > now or wait == 0
        now += wait
        if budget.withdraw(now):
            return
    raise AssertionError("waited three times, and no token")


def test_a_clock_that_stands_still_gives_nothing_back() -> None:
    budget = RetryBudget(capacity=1, refill_per_second=1)
    budget.withdraw(5.0)
    assert [budget.withdraw(5.0) for _ in range(10)] == [False] * 10


def test_a_clock_that_starts_again_takes_nothing_and_goes_on_from_there() -> None:
    # Each trio.run has a clock of its own, and a budget may live longer than one run.
    budget = RetryBudget(capacity=4, refill_per_second=1)
    budget.withdraw(1000.0)
    budget.withdraw(1000.0)
    assert budget.available(10.0) == 2
    assert budget.available(11.0) == 3


def test_budgets_are_shared_by_being_the_same_object() -> None:
    one, other = RetryBudget(capacity=1), RetryBudget(capacity=1)
    assert one != other
    one.withdraw(0.0)
    assert other.available(0.0) == 1


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("capacity", 0.5, "RetryBudget.capacity must be at least 1, not 0.5"),
        ("capacity", math.inf, "RetryBudget.capacity must be finite, not inf"),
        ("refill_per_second", -1, "RetryBudget.refill_per_second must be at least 0, not -1"),
        ("refund", -0.1, "RetryBudget.refund must be at least 0, not -0.1"),
        ("refund", math.nan, "RetryBudget.refund must be finite, not nan"),
    ],
)
def test_a_budget_out_of_bounds_is_refused(setting: str, value: float, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        RetryBudget(**{setting: value})
    assert str(raised.value) == message
