"""The machine sleeps: Trio's clock stands still, another goes on."""

import pytest
import trio
import trio.testing

import moored

from .support import Lines, refusing, talking


class Sleepless:
    """A clock that goes on while Trio's stands still."""

    def __init__(self):
        self.slept = 0.0

    def __call__(self):
        return trio.current_time() + self.slept


async def test_after_a_sleep_the_peer_is_probed_within_one_comparison(clock, clean):
    lines, sleepless = Lines(), Sleepless()
    async with lines.open() as stream, trio.open_nursery() as nursery:
        line = await lines.line()
        nursery.start_soon(lambda: moored.wake_after_suspend(stream, clock=sleepless))
        await trio.sleep(11)
        assert line.pinged == []
        sleepless.slept = 3600.0
        await stream.wait_for(moored.State.HEARTBEATING)
        assert trio.current_time() == 15
        await trio.testing.wait_all_tasks_blocked()
        assert line.pinged == [15]
        line.deliver("still there")
        await stream.receive()
        await trio.sleep(14)
        assert line.pinged == [15]  # one sleep, one probe
        nursery.cancel_scope.cancel()


async def test_after_a_sleep_a_backoff_is_cut_short(clock, network):
    network.serve(refusing(503, "Retry-After: 200"), talking("fine"))
    sleepless = Sleepless()
    async with network.websocket() as stream, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: moored.wake_after_suspend(stream, every=2, clock=sleepless))
        await stream.wait_for(moored.State.BACKOFF)
        sleepless.slept = 60.0
        assert await stream.receive() == "fine"
        assert network.times[1] == pytest.approx(2, abs=0.01)
        nursery.cancel_scope.cancel()


async def test_a_slow_step_of_the_clock_wakes_nobody(clock, clean):
    lines, sleepless = Lines(), Sleepless()
    async with lines.open() as stream, trio.open_nursery() as nursery:
        line = await lines.line()
        nursery.start_soon(lambda: moored.wake_after_suspend(stream, clock=sleepless))
        for _ in range(3):
            await trio.sleep(5.5)
            sleepless.slept += 0.9
            line.deliver("tick")
        assert line.pinged == []
        nursery.cancel_scope.cancel()


async def test_it_ends_when_every_stream_is_closed(clock, clean):
    lines = Lines()
    async with trio.open_nursery() as nursery, lines.open() as stream:
        nursery.start_soon(moored.wake_after_suspend, stream)  # with the machine's own clock
        await trio.sleep(1)
        await stream.aclose()
    assert trio.current_time() == 5


async def test_the_interval_has_to_be_above_0(clock):
    with pytest.raises(ValueError, match="every must be above 0, not 0"):
        await moored.wake_after_suspend(every=0)
