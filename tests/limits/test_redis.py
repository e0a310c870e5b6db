"""The limiter on a real Redis: one limit for all."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import coredis
import pytest
import trio
import trio.lowlevel
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moored.limits import CostTooLarge, Rate
from moored.limits.gcra import Bucket
from moored.limits.redis import RedisLimiter
from moored.pool import Pool, PoolTimeout

from ..redis_server import on_redis

pytestmark = on_redis
ROOT = Path(__file__).parents[2]
names = (f"test-{number}" for number in itertools.count())
SLOW = Rate(100, per=1e6)  # nothing comes back while a test runs


def client_of(server):
    return coredis.Redis(port=server.port)


async def available(client, name, rates):
    """What there is by the server, asked by somebody who knows nothing yet."""
    limiter = RedisLimiter(client, name, rates)
    await limiter._call()
    return limiter.statistics().available


async def travel(client, name, seconds):
    """Let time pass for a limiter."""
    key = f"{{moored:limits:{name}}}"
    await client.hset(key, {"base": int(await client.hget(key, "base")) - seconds})


async def test_processes_share_the_limit(redis):
    async with client_of(redis) as client, client_of(redis) as other:
        name, rates = next(names), {"requests": SLOW, "tokens": SLOW}
        first, second = RedisLimiter(client, name, rates), RedisLimiter(other, name, rates)
        async with first.reserve(tokens=60) as reservation:
            assert reservation.waited < 0.5
        async with second.reserve(tokens=30):
            pass
        assert second.statistics().available == pytest.approx(
            {"requests": 98, "tokens": 10}, abs=0.1
        )
        assert (first.statistics().granted, first.calls) == (1, 1)
        with trio.move_on_after(0.1) as scope:
            async with first.reserve(tokens=20):
                pytest.fail("beyond the limit of all")
        assert scope.cancelled_caught
        assert (await available(client, name, rates))["requests"] == pytest.approx(98, abs=0.1)
        # Another name is another limiter.
        async with RedisLimiter(client, next(names), rates).reserve(tokens=100):
            pass


async def test_settle_gives_back_and_charges_for_everyone(redis):
    async with client_of(redis) as client:
        name, rates = next(names), {"tokens": SLOW}
        first, second = (RedisLimiter(client, name, rates) for _ in range(2))
        async with first.reserve(tokens=80) as reservation:
            reservation.settle(70)
            reservation.settle(tokens=20)
        async with second.reserve(tokens=75) as reservation:
            reservation.settle(105)
        assert await available(client, name, rates) == pytest.approx({"tokens": -25}, abs=0.1)


async def test_what_is_given_back_reaches_those_who_wait(redis, nursery):
    async with client_of(redis) as client:
        name, rates = next(names), {"tokens": SLOW}
        first, second = (RedisLimiter(client, name, rates) for _ in range(2))

        async def wait(limiter, granted):
            async with limiter.reserve(tokens=50) as reservation:
                granted.set()
                reservation.settle(0)

        for waiting in (first, second):  # the same process at once, another when it asks again
            granted = trio.Event()
            with trio.fail_after(5):
                async with first.reserve(tokens=60) as holding:
                    second_holding = RedisLimiter(client, name, rates).reserve(tokens=40)
                    async with second_holding:
                        second_holding.settle(0)
                        nursery.start_soon(wait, waiting, granted)
                        await trio.sleep(0.1)
                        assert not granted.is_set()
                    holding.settle(0)
                begun = trio.current_time()
                await granted.wait()
                assert trio.current_time() - begun < (0.5 if waiting is first else 1.5)


async def test_callers_of_one_process_are_served_in_order_and_only_the_first_asks(redis, nursery):
    async with client_of(redis) as client:
        limiter = RedisLimiter(client, next(names), {"tokens": Rate.per_second(50, burst=10)})
        log = []
        done = trio.Event()

        async def call(number, cost):
            async with limiter.reserve(tokens=cost):
                log.append(number)
                if len(log) == len(costs):
                    done.set()

        costs = [10, 9, 1, 8, 1, 1, 1, 1]
        for number, cost in enumerate(costs):
            nursery.start_soon(call, number, cost)
            await trio.sleep(0.001)
        assert limiter.statistics().waiting >= 6
        with trio.fail_after(10):
            await done.wait()
        assert log == list(range(len(costs)))
        assert limiter.calls <= 2 * len(costs) + 4


async def test_one_call_takes_for_several_that_wait_in_order(redis, nursery):
    async with client_of(redis) as client:
        name, rates = next(names), {"tokens": SLOW}
        limiter = RedisLimiter(client, name, rates)
        async with limiter.reserve(tokens=0):
            pass
        log = []

        async def call(number, cost):
            async with limiter.reserve(tokens=cost):
                log.append(number)

        for number, cost in enumerate([20, 20, 20, 50, 1]):
            nursery.start_soon(call, number, cost)
            await trio.lowlevel.checkpoint()
        await trio.sleep(0.05)
        assert sorted(log) == [0, 1, 2]  # up to the first that does not fit, and none behind it
        assert limiter.calls <= 4
        assert (await available(client, name, rates))["tokens"] == pytest.approx(40, abs=0.1)
        assert limiter.statistics().waiting == 2


async def test_of_a_batch_each_gives_back_its_own(redis):
    async with client_of(redis) as client:
        name, rates = next(names), {"tokens": SLOW}
        limiter = RedisLimiter(client, name, rates)

        async def call(cost, used):
            async with limiter.reserve(tokens=cost) as reservation:
                await trio.sleep(0.05)
                reservation.settle(used)

        async with trio.open_nursery() as nursery:
            for cost, used in [(1, 1), (5, 0), (60, 3), (20, 30)]:
                nursery.start_soon(call, cost, used)
        assert await available(client, name, rates) == pytest.approx({"tokens": 66}, abs=0.1)


async def test_many_that_give_up_during_a_call_leave_nothing_behind(redis):
    async with client_of(redis) as client:
        name, rates = next(names), {"tokens": SLOW}
        limiter = RedisLimiter(client, name, rates)
        for rounds in range(12):
            async with trio.open_nursery() as nursery:

                async def call(number, rounds=rounds):
                    with trio.move_on_after(0.0004 * ((number * 7 + rounds) % 8)):
                        async with limiter.reserve(tokens=30) as reservation:
                            reservation.settle(0)
                            await trio.sleep_forever()

                for number in range(10):
                    nursery.start_soon(call, number)
        assert limiter.statistics().waiting == 0
        assert await available(client, name, rates) == pytest.approx({"tokens": 100}, abs=0.1)
        fields = await client.hgetall(f"{{moored:limits:{name}}}")
        assert not [field for field in fields if field.startswith(b"waits:")]


async def test_at_once_or_not_at_all(redis):
    async with client_of(redis) as client:
        name, rates = next(names), {"tokens": SLOW}
        limiter = RedisLimiter(client, name, rates)
        pool = Pool(3, limiter=limiter)
        async with pool.slot(timeout=0, tokens=90):
            with pytest.raises(PoolTimeout):
                async with pool.slot(timeout=0, tokens=20):
                    pytest.fail("there is not enough")
        assert limiter.calls == 2
        fields = await client.hgetall(f"{{moored:limits:{name}}}")
        assert not [field for field in fields if field.startswith(b"waits:")]


async def test_what_another_gives_back_is_seen_soon(redis, nursery):
    async with client_of(redis) as client:
        name, rates = next(names), {"tokens": SLOW}
        first, second = (RedisLimiter(client, name, rates) for _ in range(2))
        async with first.reserve(tokens=100) as holding:
            waited = []

            async def wait():
                async with second.reserve(tokens=50) as reservation:
                    waited.append(reservation.waited)

            nursery.start_soon(wait)
            await trio.sleep(0.1)
            holding.settle(0)
        await trio.sleep(0.4)
        assert waited
        assert waited[0] < 0.45  # asked at 0.1 s or at 0.3 s


async def test_one_that_needs_much_is_not_starved_by_another_process(redis):
    async with client_of(redis) as client:
        name, rates = next(names), {"tokens": Rate.per_second(100, burst=20)}
        large, small = (RedisLimiter(client, name, rates) for _ in range(2))
        async with small.reserve(tokens=20):
            pass
        begun = trio.current_time()

        async def take_all():
            while True:
                async with small.reserve(tokens=1):
                    pass

        async with trio.open_nursery() as busy:
            busy.start_soon(take_all)
            await trio.sleep(0.05)
            with trio.fail_after(2):
                async with large.reserve(tokens=20):
                    assert trio.current_time() - begun < 1
            busy.cancel_scope.cancel()


# ---------------------------------------------------------------------------- cancellation


async def test_one_that_gives_up_holds_nobody_up(redis):
    async with client_of(redis) as client:
        name, rates = next(names), {"tokens": Rate.per_second(100, burst=100)}
        first, second = (RedisLimiter(client, name, rates) for _ in range(2))
        async with first.reserve(tokens=100):
            pass
        with trio.move_on_after(0.05):
            async with first.reserve(tokens=100):
                pytest.fail("not yet")
        assert [
            field for field in await client.hgetall(f"{{moored:limits:{name}}}") if b":" in field
        ]
        async with second.reserve(tokens=10) as reservation:
            assert reservation.waited < 0.4
        assert (await available(client, name, rates))["tokens"] > -1


async def test_cancelled_while_the_call_is_under_way_it_gives_back(own_redis):
    async with client_of(own_redis) as client:
        name, rates = next(names), {"tokens": SLOW}
        limiter = RedisLimiter(client, name, rates, timeout=5)
        async with limiter.reserve(tokens=10):
            pass
        own_redis.freeze()
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(0.1) as scope:
                nursery.start_soon(thaw_after, own_redis, 0.2)
                async with limiter.reserve(tokens=50):
                    pytest.fail("cancelled before it was granted")
            assert scope.cancelled_caught
        assert await available(client, name, rates) == pytest.approx({"tokens": 90}, abs=0.1)


async def thaw_after(server, seconds):
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)
        server.thaw()


async def test_to_be_cancelled_together_with_the_client_is_quick_and_quiet(redis, caplog):
    events = []

    async def call(limiter):
        async with limiter.reserve(tokens=60) as reservation:
            reservation.settle(5)
            await trio.sleep_forever()

    with trio.move_on_after(0.2) as scope:
        async with client_of(redis) as client, trio.open_nursery() as nursery:
            limiter = RedisLimiter(client, next(names), {"tokens": SLOW}, on_event=events.append)
            for _ in range(4):
                nursery.start_soon(call, limiter)
    assert scope.cancelled_caught
    assert trio.current_time() - scope.deadline < 0.8
    assert events == []
    assert "lost Redis" not in caplog.text


async def test_a_client_that_is_not_open_is_no_loss_of_redis(redis):
    limiter = RedisLimiter(client_of(redis), next(names), {"tokens": SLOW})
    with pytest.raises(RuntimeError, match="pool is not initialized"):
        async with limiter.reserve(tokens=1):
            pass
    assert not limiter.lost


# ---------------------------------------------------------------------------- pauses, headers


async def test_a_pause_holds_every_process(redis):
    async with client_of(redis) as client:
        name, rates = next(names), {"requests": Rate(1000)}
        first, second, third = (RedisLimiter(client, name, rates) for _ in range(3))
        first.pause(0.3)
        first.pause(0.1)
        await first.flush()
        for limiter in (second, first):
            begun = trio.current_time()
            async with limiter.reserve() as reservation:
                assert reservation.waited == pytest.approx(0.3, abs=0.15) or limiter is first
                # A 429 within a block: known to all when it is over.
                limiter.observe({"retry-after-ms": "200"}, 429)
            assert limiter.statistics().paused_for > 0
            async with third.reserve() as reservation:
                assert reservation.waited > 0.1
            assert trio.current_time() - begun < 2


async def test_what_remains_at_the_server_is_known_to_all(redis):
    async with client_of(redis) as client:
        name, rates = next(names), {"requests": SLOW, "tokens": SLOW}
        limiter = RedisLimiter(client, name, rates)
        limiter.observe({"x-ratelimit-remaining-tokens": "40"})
        limiter.observe({"x-ratelimit-remaining-requests": "5000"})
        await limiter.flush()
        calls = limiter.calls
        await limiter.flush()  # nothing new
        assert limiter.calls == calls
        assert await available(client, name, rates) == pytest.approx(
            {"requests": 100, "tokens": 40}, abs=0.1
        )


# ---------------------------------------------------------------------------- what is on Redis


async def test_it_is_one_key_with_a_hash_tag_that_expires(redis):
    async with client_of(redis) as client:
        await client.flushall()
        limiter = RedisLimiter(client, "expiry", {"tokens": Rate(100, per=10)})
        async with limiter.reserve(tokens=20):
            pass
        assert await client.keys() == {b"{moored:limits:expiry}"}
        assert 2000 < await client.pttl(b"{moored:limits:expiry}") <= 3001


async def test_another_limiter_of_the_same_name_leaves_the_dimensions_and_the_expiry(redis):
    """As in a deploy: the old ones limit tokens, and the new ones requests."""
    async with client_of(redis) as client:
        name = next(names)
        key = f"{{moored:limits:{name}}}"
        tokens = {"tokens": Rate(10, per=60)}
        async with RedisLimiter(client, name, tokens).reserve(tokens=10):
            pass
        assert await client.pttl(key) > 55_000
        async with RedisLimiter(client, name, {"requests": Rate(100, per=1)}).reserve():
            pass
        assert await client.pttl(key) > 55_000
        assert (await available(client, name, tokens))["tokens"] < 1


async def test_headers_are_not_undone_by_what_is_given_back(redis):
    async with client_of(redis) as client:
        name, rates = next(names), {"tokens": SLOW}
        limiter = RedisLimiter(client, name, rates)
        async with limiter.reserve(tokens=60) as reservation:
            limiter.observe({"x-ratelimit-remaining-tokens": "10"})
            await limiter.flush()
            reservation.settle(0)
        assert await available(client, name, rates) == pytest.approx({"tokens": 10}, abs=0.1)


async def test_one_settle_makes_a_debt_of_ten_bursts_at_most(redis):
    async with client_of(redis) as client:
        name, rates = next(names), {"tokens": SLOW}
        async with RedisLimiter(client, name, rates).reserve(tokens=50) as reservation:
            reservation.settle(10**12)
        assert await available(client, name, rates) == pytest.approx({"tokens": -950}, abs=0.1)


async def test_what_was_reserved_before_redis_forgot_is_not_given_back(redis):
    async with client_of(redis) as client:
        name, rates = next(names), {"tokens": SLOW}
        limiter = RedisLimiter(client, name, rates)
        async with limiter.reserve(tokens=30) as reservation:
            await client.delete([f"{{moored:limits:{name}}}"])
            async with limiter.reserve(tokens=50):
                reservation.settle(0)
        assert await available(client, name, rates) == pytest.approx({"tokens": 50}, abs=0.1)


async def test_a_clock_that_is_set_back_stands_still(redis):
    async with client_of(redis) as client:
        name, rates = next(names), {"tokens": Rate(100, per=100)}
        limiter = RedisLimiter(client, name, rates)
        async with limiter.reserve(tokens=50):
            pass
        await travel(client, name, -3600)
        assert await available(client, name, rates) == pytest.approx({"tokens": 50}, abs=0.5)
        await travel(client, name, 20)
        assert await available(client, name, rates) == pytest.approx({"tokens": 70}, abs=1)


async def test_it_survives_a_flush_of_the_scripts(redis):
    async with client_of(redis) as client:
        limiter = RedisLimiter(client, next(names), {"tokens": SLOW}, fail="closed")
        for _ in range(3):
            async with limiter.reserve(tokens=10) as reservation:
                await client.script_flush()
                reservation.settle(5)
        assert limiter.statistics().available["tokens"] == pytest.approx(85, abs=0.1)


@pytest.mark.parametrize("decode", [True, False])
async def test_the_client_may_decode_or_not_and_stays_as_it_is(redis, decode):
    client = coredis.Redis(port=redis.port, decode_responses=decode)
    policy = client.retry_policy
    async with client:
        limiter = RedisLimiter(client, next(names), {"tokens": SLOW})
        async with limiter.reserve(tokens=10) as reservation:
            reservation.settle(0)
        assert limiter.statistics().available["tokens"] == pytest.approx(100)
    assert client.retry_policy is policy


async def test_no_task_is_left_behind(redis):
    async with client_of(redis) as client:
        await client.ping()
        before = trio.lowlevel.current_statistics().tasks_living
        limiter = RedisLimiter(client, next(names), {"tokens": Rate.per_second(100, burst=5)})
        for _ in range(5):
            async with limiter.reserve(tokens=4) as reservation:
                reservation.settle(1)
        limiter.pause(1)
        assert trio.lowlevel.current_statistics().tasks_living == before


# ---------------------------------------------------------------------------- refused


async def test_settings_out_of_bounds_are_named(redis):
    client = client_of(redis)
    rates = {"tokens": Rate(10)}
    with pytest.raises(ValueError, match=r"fail must be .*, not 'shut'"):
        RedisLimiter(client, "x", rates, fail="shut")
    with pytest.raises(ValueError, match=r"name must be some text without braces, not 'a{b}'"):
        RedisLimiter(client, "a{b}", rates)
    with pytest.raises(ValueError, match=r"local must have the dimensions \['tokens'\], not \[\]"):
        RedisLimiter(client, "x", rates, local={})
    with pytest.raises(ValueError, match=r"RedisLimiter.timeout must be more than 0, not 0"):
        RedisLimiter(client, "x", rates, timeout=0)
    with pytest.raises(TypeError, match=r"on_event must be callable or None, not 5"):
        RedisLimiter(client, "x", rates, on_event=5)
    with pytest.raises(ValueError, match="a dimension cannot be named 'max_pause'"):
        RedisLimiter(client, "x", {"max_pause": Rate(5)})
    with pytest.raises(TypeError, match="tokens must be a Rate, not 10"):
        RedisLimiter(client, "x", {"tokens": 10})
    limiter = RedisLimiter(client, "x", rates, local={"tokens": Rate(5)})
    with pytest.raises(CostTooLarge):
        limiter.reserve(tokens=11)
    with pytest.raises(CostTooLarge, match=r"at once \(5\)"):
        limiter.reserve(tokens=6)
    with pytest.raises(TypeError, match="no dimension 'token'"):
        limiter.reserve(token=1)
    assert limiter.rates == rates


# ---------------------------------------------------------------------------- as in one process

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 100)),
        st.tuples(st.just("settle"), st.integers(0, 150)),
        st.tuples(st.just("lower"), st.integers(0, 100)),
        st.tuples(st.just("travel"), st.integers(0, 60)),
    ),
    max_size=25,
)


@given(STEPS)
@example([("take", 50), ("travel", 60), ("take", 100), ("settle", 0)])
@example([("take", 50), ("travel", 30), ("take", 60), ("settle", 0)])
@example([*[("take", 20), ("take", 60), ("travel", 50), ("take", 50)], *[("settle", 0)] * 2])
@settings(max_examples=60)
def test_the_script_counts_as_the_bucket_does(redis, steps):
    """Whatever happens: the two are kept in step, with time that passes by decree."""
    rate = Rate(100, per=100)
    bucket = Bucket(rate)

    async def main():
        async with client_of(redis) as client:
            limiter = RedisLimiter(client, next(names), {"tokens": rate})
            held = []
            offset = 0.0
            await limiter._call()
            begun = trio.current_time()
            for what, number in steps:
                now = trio.current_time() - begun + offset
                if what == "take" and bucket.ready_at(number) <= now - 0.5:
                    reservation = limiter.reserve(tokens=number)
                    await reservation.__aenter__()
                    held.append((reservation, number, bucket.take(number, now)))
                elif what == "settle" and held:
                    reservation, cost, ticket = held.pop(number % len(held))
                    reservation.settle(number)
                    await reservation.__aexit__(None, None, None)
                    if number > cost:
                        bucket.charge(number - cost, now)
                    else:
                        bucket.give_back(ticket, cost - number, now)
                elif what == "lower":
                    limiter.observe({"x-ratelimit-remaining-tokens": str(number)})
                    await limiter.flush()
                    bucket.lower_to(number, now)
                elif what == "travel":
                    try:
                        await travel(client, limiter._name, number)
                    except TypeError:  # the hash had expired
                        continue
                    offset += number
                await limiter._call()
                left = limiter.statistics().available["tokens"]
                assert left == pytest.approx(
                    bucket.available(trio.current_time() - begun + offset), abs=0.5
                )

    trio.run(main)


# ---------------------------------------------------------------------------- real processes


def test_four_processes_never_exceed_the_limit_and_use_it(redis):
    """In short; tests/peers/limits_redis.py has more of it.

    The burst is half a second's worth, so that a machine that is busy otherwise loses nothing of
    it.  The first process may have most of the first burst; what comes later is shared.
    """
    options = ["--rate", "100", "--burst", "50", "--seconds", "2.5", "--json"]
    result = subprocess.run(
        [sys.executable, ROOT / "tests/peers/limits_redis.py", *options],
        capture_output=True,
        text=True,
        check=True,
    )
    trial = json.loads(result.stdout)
    assert trial["excess"] <= 1e-6
    assert trial["throughput"] >= 0.95
    assert trial["calls per grant"] < 6
    assert min(trial["each process"]) > 0.5 * max(trial["each process"])
