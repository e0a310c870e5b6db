"""The limiter when Redis goes away, hangs, and comes back."""

import subprocess
import sys

import coredis
import pytest
import trio

from moored.errors import HookFailed
from moored.limits import LimiterUnavailable, Rate, RedisLost, RedisRecovered
from moored.limits.redis import RedisLimiter

from ..redis_server import on_redis

pytestmark = on_redis
SLOW = Rate(100, per=1e6)


async def use(limiter, **costs):
    async with limiter.reserve(**costs) as reservation:
        return reservation.waited


async def until_back(limiter):
    with trio.fail_after(10):
        while limiter.lost:
            await use(limiter)
            await trio.sleep(0.02)


async def test_without_it_the_process_limits_itself_and_a_restart_is_noticed(own_redis, caplog):
    async with coredis.Redis(port=own_redis.port) as client:
        events = []
        rates = {"requests": SLOW, "tokens": SLOW}
        limiter = RedisLimiter(client, "x", rates, on_event=events.append)
        await use(limiter, tokens=30)
        own_redis.stop()
        for _ in range(3):
            await use(limiter, tokens=20)
        (lost,) = events
        assert isinstance(lost, RedisLost)
        assert (lost.limiter, lost.fail) == ("x", "local")
        assert "onnect" in lost.reason
        with trio.move_on_after(0.1) as scope:  # 30 + 60 are gone
            await use(limiter, tokens=20)
        assert scope.cancelled_caught
        own_redis.start()
        await until_back(limiter)
        assert [type(event) for event in events] == [RedisLost, RedisRecovered]
        assert 0 < events[1].lost_for < 10
        await use(limiter, tokens=30)  # the new server knows what was granted without it
        assert limiter.statistics().available["tokens"] == pytest.approx(10, abs=1)
        assert "limiter 'x' has lost Redis (local)" in caplog.text
        assert "limiter 'x' has Redis again" in caplog.text


async def test_it_begins_with_what_redis_last_said(own_redis):
    """And not with a full burst, which others have used."""
    async with coredis.Redis(port=own_redis.port) as client:
        rates = {"tokens": SLOW}
        limiter, other = (RedisLimiter(client, "x", rates) for _ in range(2))
        await use(other, tokens=70)
        await use(limiter, tokens=10)
        own_redis.stop()
        with trio.move_on_after(0.2) as scope:
            await use(limiter, tokens=25)  # of the 20 that are left
        assert scope.cancelled_caught
        assert await use(limiter, tokens=15) < 0.2


async def test_what_was_granted_meanwhile_is_charged_once_to_redis(own_redis):
    async with coredis.Redis(port=own_redis.port) as client:
        rates = {"tokens": SLOW}
        limiter, other = (RedisLimiter(client, "x", rates, timeout=0.2) for _ in range(2))
        await use(limiter, tokens=10)
        own_redis.freeze()
        async with limiter.reserve(tokens=50) as reservation:  # Redis will have granted it too
            reservation.settle(30)
        await use(limiter, tokens=20)
        await trio.sleep(0.3)
        await use(limiter, tokens=0)  # tries, in vain
        own_redis.thaw()
        await until_back(limiter)
        await use(other, tokens=0)
        left = other.statistics().available["tokens"]
        # 10, 30 and 20 were used, and 50 at most were granted without our knowing.
        assert 100 - 60 - 50 - 1 <= left <= 100 - 60 + 1


async def test_around_an_outage_no_more_is_granted_than_the_burst_and_what_came(own_redis):
    async with coredis.Redis(port=own_redis.port) as client:
        limiter = RedisLimiter(client, "x", {"requests": Rate(20, per=10)}, timeout=0.2)
        await use(limiter)
        granted = 1
        begun = trio.current_time()
        own_redis.freeze()
        for stopped in (True, False):
            with trio.move_on_after(1):
                while True:
                    await use(limiter)
                    granted += 1
            if stopped:
                own_redis.thaw()
        assert granted <= 20 + 2 * (trio.current_time() - begun) + 1


async def test_a_server_that_hangs_holds_up_one_call_and_not_all(own_redis):
    async with coredis.Redis(port=own_redis.port) as client:
        events = []
        limiter = RedisLimiter(
            client, "x", {"requests": Rate(1000)}, on_event=events.append, timeout=0.3
        )
        await use(limiter)
        own_redis.freeze()
        begun = trio.current_time()
        for _ in range(50):
            await use(limiter)
        assert 0.3 <= trio.current_time() - begun < 0.9
        assert events == [RedisLost("x", "no answer within 0.3 s", "local")]
        own_redis.thaw()
        await until_back(limiter)


async def test_those_who_wait_already_are_taken_over(own_redis, nursery):
    """Also the local limiter waits; it tries Redis again between, and the order holds."""
    async with coredis.Redis(port=own_redis.port) as client:
        limiter = RedisLimiter(client, "x", {"tokens": Rate.per_second(10, burst=4)})
        log = []
        done = trio.Event()

        async def call(number):
            await use(limiter, tokens=4)
            log.append(number)
            if len(log) == 5:
                done.set()

        for number in range(5):
            nursery.start_soon(call, number)
            await trio.sleep(0.01)
        own_redis.stop()
        await trio.sleep(0.9)
        own_redis.start()
        with trio.fail_after(10):
            await done.wait()
        assert log == [0, 1, 2, 3, 4]
        await until_back(limiter)


async def test_fail_open_lets_everyone_through_but_not_a_pause(own_redis):
    async with coredis.Redis(port=own_redis.port) as client:
        limiter = RedisLimiter(client, "x", {"requests": SLOW, "tokens": SLOW}, fail="open")
        await use(limiter, tokens=100)
        own_redis.stop()
        for _ in range(20):
            assert await use(limiter, tokens=100) < 0.5
        limiter.pause(0.2)
        assert await use(limiter) == pytest.approx(0.2, abs=0.1)


async def test_fail_closed_refuses_until_it_is_back(own_redis):
    async with coredis.Redis(port=own_redis.port) as client:
        limiter = RedisLimiter(client, "x", {"requests": SLOW}, fail="closed")
        await use(limiter)
        own_redis.stop()
        with pytest.raises(LimiterUnavailable, match=r"'x' has lost Redis: .*onnect") as caught:
            await use(limiter)
        assert caught.value.name == "x"
        calls = limiter.calls
        with pytest.raises(LimiterUnavailable):
            await use(limiter)
        assert limiter.calls == calls  # at once, without trying
        own_redis.start()
        with trio.fail_after(10):
            while True:
                try:
                    await use(limiter)
                except LimiterUnavailable:
                    await trio.sleep(0.02)
                else:
                    break
        assert not limiter.lost


async def test_a_pause_outlives_the_loss(own_redis):
    async with coredis.Redis(port=own_redis.port) as client:
        rates = {"requests": Rate(1000)}
        first, second = (RedisLimiter(client, "x", rates) for _ in range(2))
        await use(first)
        own_redis.stop()
        with trio.move_on_after(0.1):
            first.pause(2)
            await first.flush()
            await use(first)
        own_redis.start()
        with trio.fail_after(10):
            while first.lost:
                await trio.sleep(0.05)
                await first.flush()
        assert first.statistics().paused_for > 0.5
        with trio.move_on_after(0.1) as scope:
            await use(second)
        assert scope.cancelled_caught


async def test_a_callable_that_raises_is_named(own_redis):
    def raises(event):
        raise KeyError

    async with coredis.Redis(port=own_redis.port) as client:
        limiter = RedisLimiter(client, "x", {"requests": SLOW}, on_event=raises)
        own_redis.stop()
        with pytest.raises(HookFailed, match="on_event"):
            await use(limiter)


async def test_what_waits_at_a_block_that_ends_without_redis_is_let_go(own_redis):
    async with coredis.Redis(port=own_redis.port) as client:
        limiter = RedisLimiter(client, "x", {"tokens": SLOW}, timeout=0.2)
        async with limiter.reserve(tokens=50) as reservation:
            reservation.settle(10)
            own_redis.freeze()
        assert limiter.lost
        own_redis.thaw()
        await until_back(limiter)
        assert not limiter._unsent


def test_the_rest_needs_no_coredis():
    code = "import sys; sys.modules['coredis'] = None; from moored import limits, pool"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_coredis_it_names_the_extra():
    code = "import sys; sys.modules['coredis'] = None; import moored.limits.redis"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "moored.limits.redis needs coredis: pip install 'moored[redis]'" in result.stderr
