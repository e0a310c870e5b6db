"""The adaptive limit on what is under way."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from moored.limits import AdaptiveConcurrency


async def succeed(concurrency, times):
    """Whole rounds of successes, with the limit in use."""
    for _ in range(times):
        slots = [await concurrency.acquire() for _ in range(concurrency.limit)]
        for slot in slots:
            concurrency.release(slot, succeeded=True)


async def test_successes_raise_it_by_one_a_round_up_to_the_maximum(clock):
    concurrency = AdaptiveConcurrency(initial=4, maximum=6)
    assert concurrency.limit == 4
    await succeed(concurrency, 2)
    assert concurrency.limit == 5
    await succeed(concurrency, 20)
    assert concurrency.limit == 6


async def test_an_unused_limit_is_not_raised(clock):
    concurrency = AdaptiveConcurrency(initial=10)
    for _ in range(100):
        async with concurrency.slot():
            pass
    assert concurrency.limit == 10


async def test_an_overload_halves_it_once_for_all_that_were_refused_together(clock):
    concurrency = AdaptiveConcurrency(initial=20, minimum=3)
    for _ in range(5):
        concurrency.overloaded()
    assert concurrency.limit == 10
    for expected in (5, 3, 3):
        await trio.sleep(1)
        concurrency.overloaded()
        assert concurrency.limit == expected


async def test_successes_that_began_before_an_overload_do_not_count(clock):
    concurrency = AdaptiveConcurrency(initial=4)
    slots = [await concurrency.acquire() for _ in range(4)]
    concurrency.overloaded()
    for slot in slots:
        concurrency.release(slot, succeeded=True)
    assert concurrency._limit == 2
    assert concurrency.active == 0


async def test_an_exception_is_no_success_and_gives_the_slot_back(clock):
    concurrency = AdaptiveConcurrency(initial=1)
    for _ in range(5):
        with pytest.raises(KeyError):
            async with concurrency.slot():
                raise KeyError
    assert (concurrency.active, concurrency._limit) == (0, 1)


async def test_callers_wait_in_order_and_one_that_gives_up_leaves_no_hole(clock, nursery):
    concurrency = AdaptiveConcurrency(initial=1, increase=0)
    log = []

    async def call(name, patience):
        with trio.move_on_after(patience):
            async with concurrency.slot() as slot:
                log.append((name, slot.waited))
                await trio.sleep(2)

    for name, patience in enumerate([9, 1, 9, 1, 9]):
        nursery.start_soon(call, name, patience)
        await wait_all_tasks_blocked()
    assert concurrency.waiting == 4
    await trio.sleep(10)
    assert log == [(0, 0), (2, 2), (4, 4)]
    assert (concurrency.active, concurrency.waiting) == (0, 0)


async def test_a_lowered_limit_holds_while_more_are_under_way(clock):
    concurrency = AdaptiveConcurrency(initial=4)
    slots = [await concurrency.acquire() for _ in range(4)]
    concurrency.overloaded()
    for slot in slots[:2]:
        concurrency.release(slot, succeeded=False)
        with trio.move_on_after(1):
            if concurrency.active == 2:
                break
            await concurrency.acquire()
            pytest.fail("more than the limit of 2")
    with trio.move_on_after(1) as scope:
        await concurrency.acquire()
    assert scope.cancelled_caught


def test_settings_out_of_bounds_are_named():
    with pytest.raises(ValueError, match=r"initial must be from 1 to 4 .*, not 8"):
        AdaptiveConcurrency(maximum=4)
    with pytest.raises(ValueError, match=r"decrease must be at most 1, not 2"):
        AdaptiveConcurrency(decrease=2)
