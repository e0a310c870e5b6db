"""A client with a pool: how many replies there are at once."""

from __future__ import annotations

import pytest
import trio

from moored import chat
from moored.limits import Limiter, Rate
from moored.pool import Pool, PoolClosed, PoolFull

from .support import ASK, DONE, END, HANG, STOP, Status, Wait, say

SLOW = [say("Hello"), Wait(10), STOP, DONE, END]


async def test_no_more_at_once_than_the_pool_has_slots(clock, provider):
    provider.plays(SLOW)
    pool = Pool(3)
    async with provider.client(pool=pool) as client, trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(lambda: client.complete(**ASK))
        await trio.sleep(5)
        assert (pool.statistics().active, pool.statistics().queued) == (3, 6)
    assert provider.times == pytest.approx([0, 0, 0, 10, 10, 10, 20, 20, 20], abs=0.1)
    assert pool.statistics().active == 0


@pytest.mark.parametrize("leave", ["break", "cancel"])
async def test_leaving_a_reply_gives_its_slot_back(clock, provider, leave):
    provider.plays([say("Hello"), HANG])
    pool = Pool(1)
    async with provider.client(pool=pool) as client:
        for _ in range(3):
            with trio.CancelScope() as scope:
                async with client.stream(**ASK) as reply:
                    await reply.__anext__()
                    if leave == "cancel":
                        scope.cancel()
                        await trio.sleep_forever()
    assert pool.statistics().active == 0
    assert len(provider.times) == 3


async def test_a_slot_is_kept_from_one_attempt_to_the_next(clock, provider):
    provider.plays(Status(503), SLOW)
    pool = Pool(1)
    async with provider.client(pool=pool) as client, client.stream(**ASK) as reply:
        await reply.__anext__()
        assert pool.statistics().active == 1
        assert reply.attempts == 2


def test_a_pool_with_a_limiter_is_refused():
    pool = Pool(1, limiter=Limiter(requests=Rate.per_minute(5)))
    with pytest.raises(ValueError, match="give it to the client as limits"):
        chat.Client("http://ai.test/v1", pool=pool)


async def test_a_full_pool_and_a_closed_one_say_so(clock, provider):
    provider.plays(SLOW)
    pool = Pool(1, max_queued=0)
    async with provider.client(pool=pool) as client, client.stream(**ASK) as reply:
        await reply.__anext__()
        with pytest.raises(PoolFull):
            await client.complete(**ASK)
        await reply.complete()
        await pool.drain()
        with pytest.raises(PoolClosed):
            await client.complete(**ASK)
