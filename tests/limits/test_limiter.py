"""The limiter of one process, under a virtual clock: to the instant."""

import math
import random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from moored import limits
from moored.limits import CostTooLarge, Limiter, Rate


async def use(limiter, log, name, *, settle=None, **costs):
    async with limiter.reserve(**costs) as reservation:
        log.append((name, trio.current_time()))
        if settle is not None:
            reservation.settle(**settle)


async def test_it_lets_through_a_burst_and_then_the_rate(clock):
    limiter = Limiter(requests=Rate(2, per=1))
    at = []
    for _ in range(5):
        async with limiter.reserve() as reservation:
            at.append((trio.current_time(), reservation.waited))
    assert at == [(0, 0), (0, 0), (0.5, 0.5), (1, 0.5), (1.5, 0.5)]


async def test_dimensions_are_taken_all_or_nothing(clock):
    limiter = Limiter(requests=Rate(60), tokens=Rate(600))
    async with limiter.reserve(tokens=600):
        pass
    with trio.move_on_after(3):
        async with limiter.reserve(tokens=60):
            pytest.fail("the tokens are not there yet")
    assert limiter.statistics().available == {"requests": 60, "tokens": 30}
    async with limiter.reserve(tokens=60) as reservation:
        assert reservation.waited == 3
    assert limiter.statistics().available["requests"] == 59


async def test_what_is_not_asked_of_a_dimension_does_not_wait_for_it(clock):
    limiter = Limiter(requests=Rate(60), tokens=Rate(60))
    async with limiter.reserve(tokens=60) as reservation:
        reservation.settle(600)
    async with limiter.reserve() as reservation:
        assert reservation.waited == 0


async def test_settle_gives_back_to_those_who_wait(clock, nursery):
    limiter = Limiter(tokens=Rate(60, per=60))
    log = []
    async with limiter.reserve(tokens=60) as reservation:
        nursery.start_soon(lambda: use(limiter, log, "next", tokens=30))
        await trio.sleep(5)
        reservation.settle(25)
        await trio.sleep(1)
    assert log == [("next", 5)]
    assert limiter.statistics().available == {"tokens": 60 - 25 - 30 + 6}


async def test_what_was_used_beyond_the_reservation_is_charged(clock):
    limiter = Limiter(requests=Rate(1000), tokens=Rate(60))
    async with limiter.reserve(tokens=10) as reservation:
        reservation.settle(tokens=100)
    assert limiter.statistics().available["tokens"] == -40
    async with limiter.reserve(tokens=1) as reservation:
        assert reservation.waited == 41


async def test_settle_may_be_called_again_with_better_figures(clock):
    limiter = Limiter(tokens=Rate(100), input_tokens=Rate(100))
    async with limiter.reserve(tokens=50, input_tokens=20) as reservation:
        reservation.settle(80, input_tokens=10)
        reservation.settle(30)
        assert limiter.statistics().available == pytest.approx({"tokens": 70, "input_tokens": 90})
    with pytest.raises(RuntimeError, match="inside of its block"):
        reservation.settle(10)


async def test_settled_up_and_down_again_the_last_figure_counts(clock):
    limiter = Limiter(tokens=Rate(100))
    async with limiter.reserve(tokens=50) as reservation:
        for used in (10, 60, 20, 70, 0, 5, 80, *range(30, 60), *range(60, 20, -1)):
            reservation.settle(used)
            assert limiter.statistics().available["tokens"] == pytest.approx(100 - used)


async def test_one_settle_makes_a_debt_of_ten_bursts_at_most(clock):
    limiter = Limiter(tokens=Rate(100, per=100))
    async with limiter.reserve(tokens=50) as reservation:
        for _ in range(2):
            reservation.settle(10**12)
            assert limiter.statistics().available["tokens"] == pytest.approx(50 - 1000)
        reservation.settle(20)
        assert limiter.statistics().available["tokens"] == pytest.approx(80)
        for wrong in (math.nan, math.inf, -1, 10**400):
            with pytest.raises(ValueError, match="tokens must be finite and at least 0, not "):
                reservation.settle(wrong)


async def test_what_headers_said_is_not_undone_by_settle(clock):
    limiter = Limiter(tokens=Rate(1000))
    async with limiter.reserve(tokens=1000) as reservation:
        limiter.observe({"x-ratelimit-remaining-tokens": "10"})
        assert limiter.statistics().available["tokens"] == 0
        reservation.settle(100)
        assert limiter.statistics().available["tokens"] == pytest.approx(10)
        async with limiter.reserve(tokens=10) as later:
            later.settle(0)
            assert limiter.statistics().available["tokens"] == pytest.approx(10)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((5e-324,), r"Rate\.amount must be at least 1e-09, not 5e-324"),
        ((1e-300, 1e300), r"Rate\.amount must be at least 1e-09"),
        ((1e308, 1e-308), r"Rate\.amount must be at most 1e\+15"),
        ((1, 1e308), r"Rate\.per must be at most 1e\+09"),
        ((10**400,), r"Rate\.amount must be finite, not an integer of 1329 bits"),
        ((1e-9, 60, 1), r"Rate\.burst must fill within 1e\+09 s, and 1 at 1e-09 per 60 s does not"),
    ],
)
def test_absurd_rates_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        Rate(*arguments)


async def test_a_rate_of_less_than_one_lets_a_single_request_through(clock):
    limiter = Limiter(requests=Rate.per_second(0.5))
    for waited in (0, 2, 2):
        async with limiter.reserve() as reservation:
            assert reservation.waited == waited
    assert Rate(0.5, burst=0.7).burst == 0.7


def test_a_dimension_cannot_have_a_parameters_name():
    for name in ("self", "priority", "timeout"):
        with pytest.raises(ValueError, match=f"a dimension cannot be named '{name}'"):
            Limiter(**{name: Rate(5)})


async def test_without_settle_the_reservation_counts_as_used_also_after_an_error(clock):
    limiter = Limiter(tokens=Rate(100))
    with pytest.raises(KeyError):
        async with limiter.reserve(tokens=40):
            raise KeyError
    assert limiter.statistics().available == {"tokens": 60}


async def test_a_reservation_is_for_one_use(clock):
    limiter = Limiter(requests=Rate(10))
    reservation = limiter.reserve()
    with pytest.raises(RuntimeError, match="inside of its block"):
        reservation.settle(1)
    async with reservation:
        pass
    with pytest.raises(RuntimeError, match="only once"):
        await reservation.__aenter__()


async def test_a_large_cost_is_not_overtaken(clock, nursery):
    limiter = Limiter(tokens=Rate(10, per=10))
    log = []
    for place, cost in enumerate([10, 8, 1, 1]):
        nursery.start_soon(lambda p=place, c=cost: use(limiter, log, p, tokens=c))
        await wait_all_tasks_blocked()
    await trio.sleep(60)
    assert log == [(0, 0), (1, 8), (2, 9), (3, 10)]


async def test_the_next_in_line_moves_up_when_the_first_gives_up(clock, nursery):
    limiter = Limiter(tokens=Rate(10, per=10))
    log = []
    await use(limiter, log, "first", tokens=10)
    scope = trio.CancelScope()

    async def gives_up():
        with scope:
            await use(limiter, log, "large", tokens=10)

    nursery.start_soon(gives_up)
    await wait_all_tasks_blocked()
    nursery.start_soon(lambda: use(limiter, log, "small", tokens=2))
    await trio.sleep(3)
    scope.cancel()
    await wait_all_tasks_blocked()
    assert log == [("first", 0), ("small", 3)]
    assert limiter.statistics().waiting == 0


# ---------------------------------------------------------------------------- pauses


async def test_a_pause_holds_everyone_also_those_who_wait_already(clock, nursery):
    limiter = Limiter(requests=Rate(1, per=1))
    log = []
    await use(limiter, log, 0)
    nursery.start_soon(lambda: use(limiter, log, 1))
    nursery.start_soon(lambda: use(limiter, log, 2))
    await trio.sleep(0.5)
    limiter.pause(10)
    limiter.pause(3)  # the longest counts
    assert limiter.statistics().paused_for == 10
    await trio.sleep(20)
    assert [at for _, at in log] == [0, 10.5, 11.5]
    assert limiter.statistics().paused_for == 0


# ---------------------------------------------------------------------------- what is refused


async def test_a_cost_larger_than_the_bucket_is_refused_at_once(clock):
    limiter = Limiter(requests=Rate(10), tokens=Rate(100, burst=50))
    with pytest.raises(CostTooLarge, match=r"tokens=51 is more than .* at once \(50\)") as caught:
        limiter.reserve(tokens=51)
    error = caught.value
    assert (error.dimension, error.cost, error.burst) == ("tokens", 51, 50)
    assert limiter.statistics().available == {"requests": 10, "tokens": 50}


async def test_the_usual_names_are_always_known_and_others_are_typos(clock):
    limiter = Limiter(requests=Rate(10), images=Rate(5))
    async with limiter.reserve(1, tokens=9, input_tokens=5, output_tokens=4, images=2) as one:
        one.settle(7, output_tokens=2, images=1)
    assert limiter.statistics().available == {"requests": 9, "images": 4}
    with pytest.raises(TypeError, match="no dimension 'token'; it knows requests, images, tokens"):
        limiter.reserve(token=5)
    with pytest.raises(TypeError, match="no dimension 'image'"):
        async with limiter.reserve() as reservation:
            reservation.settle(image=5)
    with pytest.raises(TypeError, match="the tokens twice"):
        async with limiter.reserve() as reservation:
            reservation.settle(1, tokens=1)


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf")])
async def test_amounts_out_of_bounds_are_named(clock, bad):
    limiter = Limiter(tokens=Rate(10))
    with pytest.raises(ValueError, match="tokens must be finite and at least 0"):
        limiter.reserve(tokens=bad)
    with pytest.raises(ValueError, match="seconds must be finite and at least 0"):
        limiter.pause(bad)
    with pytest.raises(ValueError, match="requests must be finite"):
        limiter.reserve(bad)


def test_settings_out_of_bounds_are_named():
    with pytest.raises(ValueError, match=r"Rate.amount must be at least 1e-09, not 0"):
        Rate(0)
    with pytest.raises(ValueError, match=r"Rate.burst must be at least 1e-09, not -1"):
        Rate(5, burst=-1)
    with pytest.raises(TypeError, match="Limiter: requests must be a Rate, not 500"):
        Limiter(requests=500)
    with pytest.raises(TypeError, match="must be an AdaptiveConcurrency or None, not 3"):
        Limiter(concurrency=3)
    with pytest.raises(TypeError, match="tokens must be a number, not True"):
        Limiter(tokens=Rate(1)).reserve(tokens=True)


def test_rates():
    assert Rate(5) == Rate(amount=5, per=60, burst=5) == Rate.per_minute(5)
    assert Rate.per_second(5, burst=1) == Rate(5, 1, 1)
    assert Limiter(tokens=Rate(5)).rates == {"tokens": Rate(5)}


# ---------------------------------------------------------------------------- statistics


async def test_statistics(clock, nursery):
    limiter = Limiter(requests=Rate(1, per=2))
    log = []
    for place in range(4):
        nursery.start_soon(lambda p=place: use(limiter, log, p))
    await trio.sleep(3)
    seen = limiter.statistics()
    assert (seen.waiting, seen.granted) == (2, 2)
    assert (seen.waited_total, seen.waited_longest) == (2, 2)
    assert seen.available == {"requests": 0.5}
    await trio.sleep(10)
    seen = limiter.statistics()
    assert (seen.waiting, seen.granted, seen.waited_total, seen.waited_longest) == (0, 4, 12, 6)


# ---------------------------------------------------------------------------- concurrency


async def test_it_bounds_what_is_under_way(clock, nursery):
    concurrency = limits.AdaptiveConcurrency(initial=2, increase=0)
    limiter = Limiter(requests=Rate(1000), concurrency=concurrency)
    log = []

    async def work(name):
        async with limiter.reserve():
            log.append((name, trio.current_time()))
            await trio.sleep(1)

    for name in range(5):
        nursery.start_soon(work, name)
        await wait_all_tasks_blocked()
    await trio.sleep(5)
    assert log == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]
    assert concurrency.active == 0


async def test_a_cancelled_wait_for_the_rate_gives_its_slot_back(clock):
    concurrency = limits.AdaptiveConcurrency(initial=2)
    limiter = Limiter(requests=Rate(1), concurrency=concurrency)
    async with limiter.reserve():
        with trio.move_on_after(1):
            async with limiter.reserve():
                pytest.fail("granted beyond the rate")
        assert concurrency.active == 1
    assert concurrency.active == 0


# ---------------------------------------------------------------------------- properties

CALLERS = st.lists(
    st.fixed_dictionaries(
        {
            "arrives": st.floats(0, 30),
            "tokens": st.integers(0, 50),
            "used": st.one_of(st.none(), st.floats(0, 1)),
            "patience": st.one_of(st.none(), st.floats(0, 20)),
            "takes": st.floats(0, 10),
        }
    ),
    min_size=1,
    max_size=25,
)


def simulate(callers, seed):
    """Run all of them, and return the arrivals, the grants and the limiter at the end."""
    limiter = Limiter(requests=Rate(5, per=5), tokens=Rate(100, per=20, burst=50))
    arrived, granted = [], []
    rng = random.Random(seed)

    async def call(name, caller):
        await trio.sleep_until(caller["arrives"])
        arrived.append(name)
        with trio.CancelScope() as patience:
            if caller["patience"] is not None:
                patience.deadline = trio.current_time() + caller["patience"]
            async with limiter.reserve(tokens=caller["tokens"]) as reservation:
                patience.deadline = float("inf")
                at = trio.current_time()
                granted.append((name, at, caller["tokens"] * (caller["used"] or 1)))
                await trio.sleep(caller["takes"])
                if caller["used"]:
                    reservation.settle(caller["tokens"] * caller["used"])

    async def main():
        async with trio.open_nursery() as nursery:
            order = list(enumerate(callers))
            rng.shuffle(order)
            for each in order:
                nursery.start_soon(call, *each)
        assert limiter.statistics().waiting == 0
        await trio.sleep(1000)
        return limiter.statistics()

    return arrived, granted, trio.run(main, clock=MockClock(autojump_threshold=0))


@given(CALLERS, st.integers(0, 100))
def test_order_is_fifo_and_no_window_exceeds_its_limits(callers, seed):
    arrived, granted, after = simulate(callers, seed)
    names = [name for name, _, _ in granted]
    assert names == [name for name in arrived if name in names]
    assert {name for name in arrived if callers[name]["patience"] is None} <= set(names)
    for begin in range(len(granted)):
        requests = tokens = 0
        for _, at, used in granted[begin:]:
            requests, tokens = requests + 1, tokens + used
            span = at - granted[begin][1]
            assert requests <= 5 + span * 1 + 1e-6
            assert tokens <= 50 + span * 5 + 1e-6
    assert after.granted == len(granted)
    assert after.available == {"requests": 5, "tokens": 50}


@given(CALLERS, st.integers(0, 100))
def test_cancellation_leaks_nothing(callers, seed):
    """Whoever gave up leaves the others as if they had not used anything."""
    limiter = Limiter(requests=Rate(5, per=5), tokens=Rate(100, per=20, burst=50))

    async def call(caller):
        await trio.sleep_until(caller["arrives"])
        with trio.move_on_after(caller["patience"] or 0):
            async with limiter.reserve(tokens=max(1, caller["tokens"])):
                pytest.fail("granted during the pause")

    async def main():
        limiter.pause(1000)
        async with trio.open_nursery() as nursery:
            for each in callers:
                nursery.start_soon(call, each)
        seen = limiter.statistics()
        assert (seen.waiting, seen.granted) == (0, 0)
        assert seen.available == {"requests": 5, "tokens": 50}

    trio.run(main, clock=MockClock(autojump_threshold=0))
