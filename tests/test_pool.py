"""The pool, under a virtual clock: bounds, order, cancellation, draining."""

import contextlib

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from moored.core.priority_queue import Entry
from moored.limits import AdaptiveConcurrency, CostTooLarge, Limiter, Rate
from moored.pool import Pool, PoolClosed, PoolFull, PoolTimeout


@pytest.fixture
def clock():
    return MockClock(autojump_threshold=0)


async def hold(pool, log, name, seconds=1.0, **options):
    async with pool.slot(**options) as slot:
        log.append((name, trio.current_time()))
        await trio.sleep(seconds)
        return slot


async def start(nursery, pool, log, names, **options):
    for name in names:
        nursery.start_soon(lambda name=name: hold(pool, log, name, **options))
        await wait_all_tasks_blocked()


async def test_it_bounds_what_is_active_and_serves_the_rest_in_order(clock):
    pool = Pool(2)
    log = []
    async with trio.open_nursery() as nursery:
        await start(nursery, pool, log, range(5))
        assert (pool.statistics().active, pool.statistics().queued) == (2, 3)
    # Two slots are free at the same instant, and Trio runs those who get them in any order.
    assert sorted(log) == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]
    seen = pool.statistics()
    assert (seen.active, seen.queued, seen.granted) == (0, 0, 5)
    assert (seen.waited_count, seen.waited_total, seen.waited_longest) == (3, 4, 2)


async def test_a_full_queue_refuses_at_once(clock, nursery):
    pool = Pool(1, max_queued=1)
    log = []
    await start(nursery, pool, log, range(2))
    with pytest.raises(PoolFull, match=r"1 are active .* and 1 wait") as caught:
        await hold(pool, log, "refused", priority=9)
    assert (caught.value.max_active, caught.value.max_queued) == (1, 1)
    assert trio.current_time() == 0
    assert pool.statistics().rejected == 1
    await trio.sleep(5)
    assert log == [(0, 0), (1, 1)]
    with pytest.raises(PoolFull):
        async with Pool(1, max_queued=0) as none, none.slot(), none.slot():
            pass


async def test_priority_goes_first_and_equals_in_order(clock, nursery):
    pool = Pool(1)
    log = []
    await start(nursery, pool, log, ["first"])
    await start(nursery, pool, log, ["low 1", "low 2"])
    await start(nursery, pool, log, ["high 1", "high 2"], priority=1)
    await start(nursery, pool, log, ["lowest"], priority=-1)
    await trio.sleep(10)
    assert [name for name, _ in log] == ["first", "high 1", "high 2", "low 1", "low 2", "lowest"]


async def test_no_priority_starves_the_others(clock, nursery):
    """A step is worth 10 seconds of waiting, however many of the higher there are."""
    pool = Pool(1, aging=10)
    log = []
    await start(nursery, pool, log, ["first"])
    await start(nursery, pool, log, ["low"])
    for number in range(30):
        await start(nursery, pool, log, [number], priority=1)
        await trio.sleep(0.5)
    await trio.sleep(60)
    assert dict(log)["low"] == 21  # those of the first 10 seconds went before: 20 of a second each
    assert len(log) == 32


# ---------------------------------------------------------------------------- giving back


async def test_an_exception_gives_the_slot_back(clock):
    pool = Pool(1)
    with pytest.raises(KeyError):
        async with pool.slot():
            raise KeyError
    await hold(pool, [], "next")
    assert pool.statistics().active == 0


async def test_one_that_gives_up_leaves_the_queue(clock, nursery):
    pool = Pool(1)
    log = []
    await start(nursery, pool, log, [0])
    with trio.move_on_after(0.5):
        await hold(pool, log, "gave up")
    assert pool.statistics().queued == 0
    await start(nursery, pool, log, [1])
    await trio.sleep(5)
    assert log == [(0, 0), (1, 1)]


async def test_cancelled_at_the_moment_of_the_grant_it_holds_nothing(clock, nursery):
    pool = Pool(1)
    scope = trio.CancelScope()
    log = []

    async def gives_up():
        with scope:
            await hold(pool, log, "cancelled")

    async with pool.slot():
        nursery.start_soon(gives_up)
        await wait_all_tasks_blocked()
    scope.cancel()  # granted already, but it has not run since
    await wait_all_tasks_blocked()
    assert pool.statistics().active == 0
    scope = trio.CancelScope()
    with trio.CancelScope() as other:
        other.cancel()
        await hold(pool, log, "cancelled before")
    assert pool.statistics().active == 0


async def test_a_timeout_is_its_own_error(clock, nursery):
    pool = Pool(1)
    await start(nursery, pool, [], [0], seconds=9)
    with pytest.raises(PoolTimeout, match=r"within 2\.5 s") as caught:
        await hold(pool, [], 1, timeout=2.5)
    assert (caught.value.timeout, trio.current_time()) == (2.5, 2.5)
    assert (pool.statistics().timed_out, pool.statistics().queued) == (1, 0)
    with trio.move_on_after(1) as scope:  # the caller's own deadline stays the caller's
        await hold(pool, [], 2, timeout=5)
    assert scope.cancelled_caught
    assert pool.statistics().timed_out == 1
    # The timeout is about the wait, not about the work.
    await trio.sleep(10)
    await hold(pool, [], 3, seconds=100, timeout=1)


@pytest.mark.parametrize("timeout", [None, 1])
async def test_many_that_give_up_together_cost_little_each(clock, monkeypatch, timeout):
    """How often two of the queue are compared: counted, since time depends on the machine."""
    compared = 0

    def less(one, other):
        nonlocal compared
        compared += 1
        return (one.rank, one.arrival) < (other.rank, other.arrival)

    monkeypatch.setattr(Entry, "__lt__", less)
    monkeypatch.setattr(Entry, "__eq__", None)  # nobody is looked for one by one
    most = 2000
    pool = Pool(1, max_queued=most)

    async def wait():
        with contextlib.suppress(PoolTimeout):
            await hold(pool, [], "late", timeout=timeout)

    async with pool.slot(), trio.open_nursery() as nursery:
        for _ in range(most):
            nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert pool.statistics().queued == most
        if timeout is None:
            nursery.cancel_scope.cancel()
    assert pool.statistics().queued == 0
    assert compared < 20 * most


async def test_a_timeout_of_0_means_at_once_or_not_at_all(clock, nursery):
    limiter = Limiter(tokens=Rate(60), concurrency=AdaptiveConcurrency(initial=2))
    pool = Pool(3, limiter=limiter)
    async with pool.slot(timeout=0, tokens=50) as slot:
        assert slot.waited == 0
        with pytest.raises(PoolTimeout, match="within 0 s"):
            await hold(pool, [], "the limiter has too little", timeout=0, tokens=20)
        async with pool.slot(timeout=0, tokens=5):
            with pytest.raises(PoolTimeout):
                await hold(pool, [], "too many at once", timeout=0, tokens=1)
        nursery.start_soon(lambda: hold(pool, [], "waits", tokens=30))
        await wait_all_tasks_blocked()
        with pytest.raises(PoolTimeout):
            await hold(pool, [], "not before the other", timeout=0, tokens=1)
        await trio.sleep(60)
    seen = pool.statistics()
    assert (trio.current_time(), seen.active, seen.timed_out) == (60, 0, 3)
    assert seen.available["tokens"] == pytest.approx(35)
    pool = Pool(1)
    async with pool.slot(timeout=0):
        with pytest.raises(PoolTimeout):
            await hold(pool, [], "no slot", timeout=0)
    assert (pool.statistics().active, pool.statistics().queued) == (0, 0)


async def test_a_slot_is_for_one_use(clock):
    slot = Pool(1).slot()
    async with slot:
        slot.settle(3)  # without a limiter
    with pytest.raises(RuntimeError, match="only once"):
        await slot.__aenter__()


# ---------------------------------------------------------------------------- the limiter


async def test_it_reserves_for_every_slot_and_settles(clock, nursery):
    limiter = Limiter(requests=Rate(60), tokens=Rate(60))
    pool = Pool(2, limiter=limiter)
    async with pool.slot(tokens=60) as slot:
        nursery.start_soon(lambda: hold(pool, [], "next", tokens=30))
        await trio.sleep(5)
        assert (pool.statistics().active, pool.statistics().limited) == (2, 1)
        slot.settle(20)
        await trio.sleep(0.5)
        assert pool.statistics().limited == 0
        assert slot.waited == 0
    await trio.sleep(10)
    assert pool.statistics().available["tokens"] == pytest.approx(60 - 20 - 30 + 15.5)
    assert pool.statistics().waited_longest == 5
    with pytest.raises(CostTooLarge):
        pool.slot(tokens=61)


async def test_who_gives_up_waiting_for_the_limiter_holds_no_slot(clock):
    limiter = Limiter(tokens=Rate(60))
    pool = Pool(1, limiter=limiter)
    async with pool.slot(tokens=60):
        pass
    with pytest.raises(PoolTimeout):
        await hold(pool, [], "late", timeout=3, tokens=10)
    seen = pool.statistics()
    assert (seen.active, seen.limited, seen.available) == (0, 0, {"tokens": 3})


async def test_a_typo_is_one_also_without_a_limiter(clock):
    pool = Pool(1)
    async with pool.slot(tokens=5, output_tokens=3):
        pass
    with pytest.raises(TypeError, match="no dimension 'token'"):
        pool.slot(token=5)


# ---------------------------------------------------------------------------- draining


async def test_draining_waits_for_the_active_and_refuses_the_others(clock, nursery):
    pool = Pool(1)
    log = []
    refused = []

    async def queued():
        try:
            await hold(pool, log, "queued")
        except PoolClosed:
            refused.append(trio.current_time())

    await start(nursery, pool, log, ["active"], seconds=7)
    nursery.start_soon(queued)
    await trio.sleep(1)
    assert await pool.drain()
    assert (trio.current_time(), refused, log) == (7, [1], [("active", 0)])
    with pytest.raises(PoolClosed, match="the pool is closed"):
        await hold(pool, log, "late")
    assert await pool.drain(0)


async def test_those_who_wait_for_the_limiter_are_refused_too(clock, nursery):
    limiter = Limiter(tokens=Rate(60))
    pool = Pool(3, limiter=limiter)
    refused = []

    async def wait():
        with pytest.raises(PoolClosed):
            await hold(pool, [], "late", tokens=60)
        refused.append(trio.current_time())

    async with pool.slot(tokens=60):
        pass
    for _ in range(4):
        nursery.start_soon(wait)
    await trio.sleep(1)
    assert (pool.statistics().limited, pool.statistics().queued) == (3, 1)
    assert await pool.drain(5)
    await wait_all_tasks_blocked()
    assert refused == [1] * 4
    assert pool.statistics().limited == 0
    assert limiter.statistics().available["tokens"] == pytest.approx(1)


async def test_leaving_the_block_waits_so_long_and_no_longer(clock, nursery, caplog):
    async with Pool(2, drain_timeout=5) as pool:
        await start(nursery, pool, [], ["long", "longer"], seconds=60)
    assert trio.current_time() == 5
    assert "2 slots were still active after 5 s" in caplog.text
    assert not await pool.drain(1)
    finished = []

    async def drain():
        finished.append(await pool.drain())

    async with trio.open_nursery() as both:  # as many as like
        both.start_soon(drain)
        both.start_soon(drain)
    assert (finished, trio.current_time()) == ([True, True], 60)


async def test_an_exception_in_the_block_is_not_held_up(clock, nursery):
    with pytest.raises(KeyError):
        async with Pool(1) as pool:
            await start(nursery, pool, [], ["active"], seconds=60)
            raise KeyError
    assert trio.current_time() == 0
    with pytest.raises(PoolClosed):
        await hold(pool, [], "late")


async def test_one_that_was_granted_before_the_drain_keeps_its_slot(clock, nursery):
    pool = Pool(1)
    log = []
    async with pool.slot():
        await start(nursery, pool, log, ["granted"])
    assert await pool.drain()  # it has its slot, but has not run since
    assert log == [("granted", 0)]
    assert trio.current_time() == 1


def test_settings_out_of_bounds_are_named():
    with pytest.raises(ValueError, match=r"Pool.max_active must be at least 1, not 0"):
        Pool(0)
    with pytest.raises(ValueError, match=r"Pool.max_queued must be at least 0, not -1"):
        Pool(1, max_queued=-1)
    with pytest.raises(ValueError, match="priority must be finite"):
        Pool(1).slot(priority=float("nan"))
    with pytest.raises(ValueError, match="timeout must be at least 0 or None, not -1"):
        Pool(1).slot(timeout=-1)
    with pytest.raises(TypeError, match=r"Pool.limiter must be a limiter or None, not 5"):
        Pool(1, limiter=5)
    with pytest.raises(TypeError, match="priority must be a number, not 'high'"):
        Pool(1).slot(priority="high")


# ---------------------------------------------------------------------------- properties

CALLERS = st.lists(
    st.fixed_dictionaries(
        {
            "arrives": st.integers(0, 20),
            "priority": st.integers(-1, 2),
            "holds": st.integers(0, 5),
            "patience": st.one_of(st.none(), st.integers(0, 6)),
            "timeout": st.one_of(st.none(), st.integers(0, 6)),
            "tokens": st.integers(0, 20),
        }
    ),
    max_size=20,
)


@given(CALLERS, st.integers(1, 3), st.integers(0, 5), st.booleans())
def test_whatever_happens_the_bounds_hold_and_nothing_leaks(callers, most, queued, limited):
    limiter = Limiter(tokens=Rate(20, per=10)) if limited else None
    pool = Pool(most, max_queued=queued, limiter=limiter)
    ended = []
    active = 0

    async def call(caller):
        nonlocal active
        await trio.sleep(caller["arrives"])
        options = {key: caller[key] for key in ("priority", "timeout", "tokens")}
        scope = trio.CancelScope()
        if caller["patience"] is not None:
            scope.deadline = trio.current_time() + caller["patience"]
        try:
            with scope:
                async with pool.slot(**options):
                    active += 1
                    try:
                        seen = pool.statistics()
                        assert active <= seen.active <= most
                        assert seen.queued <= queued
                        await trio.sleep(caller["holds"])
                    finally:
                        active -= 1
        except (PoolFull, PoolTimeout) as error:
            ended.append(type(error))
        else:
            ended.append(None)

    async def main():
        async with trio.open_nursery() as nursery:
            for caller in callers:
                nursery.start_soon(call, caller)
        seen = pool.statistics()
        assert (seen.active, seen.queued, seen.limited) == (0, 0, 0)
        assert len(ended) == len(callers)
        assert seen.rejected == ended.count(PoolFull)
        assert seen.timed_out == ended.count(PoolTimeout)
        with trio.fail_after(100):  # all slots are there again
            async with trio.open_nursery() as nursery:
                for _ in range(most):
                    nursery.start_soon(hold, pool, [], "after")
        assert await pool.drain(0)

    trio.run(main, clock=MockClock(autojump_threshold=0))


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=15), st.data())
def test_the_order_holds_when_some_give_up(priorities, data):
    names = list(range(len(priorities)))
    give_up = data.draw(st.sets(st.sampled_from(names)))
    pool = Pool(1, aging=1000)
    log = []

    async def main():
        scopes = [trio.CancelScope() for _ in names]

        async def call(name):
            with scopes[name]:
                await hold(pool, log, name, priority=priorities[name])

        async with trio.open_nursery() as nursery, pool.slot():
            for name in names:
                nursery.start_soon(call, name)
                await wait_all_tasks_blocked()
            for name in give_up:
                scopes[name].cancel()
            await wait_all_tasks_blocked()
            assert pool.statistics().queued == len(names) - len(give_up)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    patient = [name for name in names if name not in give_up]
    assert [name for name, _ in log] == sorted(patient, key=lambda name: -priorities[name])
