"""The whole client with its real policy times, in virtual time: minutes in milliseconds."""

import itertools
import json
import random

import pytest
import trio

import moored
from moored.core.causes import HeartbeatLost, RateLimited, Stalled

from .support import (
    Lines,
    cut,
    http,
    mute,
    raw,
    reconnect,
    refusing,
    rest,
    talking,
    websocket,
)

ONCE = moored.Reconnect(attempts=0)


async def failure(stream):
    """The one cause that a stream with reconnecting off ends with, and when."""
    with pytest.raises(moored.StreamError) as caught:
        async for _ in stream:
            pass
    return caught.value.cause, trio.current_time()


# -------------------------------------------------------------------------------- heartbeat


async def test_websocket_pings_after_20_s_and_waits_20_s(clock, network):
    pings = []

    async def swallow(peer):
        await peer.read_all()
        pings.extend(time for time, event in peer.seen if type(event).__name__ == "Ping")

    network.serve(raw(swallow))
    async with network.websocket(policy=moored.Policy(reconnect=ONCE)) as stream:
        cause, when = await failure(stream)

    assert cause == HeartbeatLost(silent_for=pytest.approx(40, abs=0.01))
    assert when == pytest.approx(40, abs=0.01)
    assert pings == [pytest.approx(20, abs=0.01)]


async def test_a_peer_that_answers_pings_is_left_alone_for_a_day(clock, network):
    network.serve(websocket(rest))
    async with network.websocket() as stream:
        await trio.sleep(86_400)
        assert stream.state in (moored.State.OPEN, moored.State.HEARTBEATING)
        assert stream.stats.connections == 1


async def test_sse_waits_60_s_for_any_byte(clock, network):
    async def silent(peer):
        await peer.say("data: 1\n\n")
        await trio.sleep_forever()

    network.serve(http(silent))
    async with network.sse(policy=moored.Policy(reconnect=ONCE)) as stream:
        cause, when = await failure(stream)

    assert cause == HeartbeatLost(silent_for=pytest.approx(60, abs=0.01))
    assert when == pytest.approx(60, abs=0.01)


async def test_comments_every_15_s_keep_sse_alive(clock, network):
    async def keep_alive(peer):
        while True:
            await peer.say(": still here\n\n")
            await trio.sleep(15)

    network.serve(http(keep_alive))
    async with network.sse() as stream:
        with trio.move_on_after(3600):
            await stream.receive()
        assert stream.state is moored.State.OPEN
        assert stream.stats.connections == 1


async def test_the_interval_runs_from_the_answer_and_not_from_its_deadline(clock, clean):
    lines = Lines()
    policy = moored.Policy(heartbeat=moored.Heartbeat(interval=5, timeout=20))
    async with lines.open(policy=policy) as stream:
        line = await lines.line()
        for _ in range(4):
            await stream.wait_for(moored.State.HEARTBEATING)
            await trio.sleep(0.5)
            line.deliver()  # a sign of life, no message
            await stream.wait_for(moored.State.OPEN)
    assert line.pinged == [5, 10.5, 16, 21.5]


async def test_an_application_level_ping(clock, network):
    """Its answers are signs of life: not delivered, and no progress."""

    async def answer(peer):
        for number in itertools.count():
            assert json.loads(await peer.get_message()) == {"type": "ping"}
            await peer.send_message(json.dumps({"type": "pong"}))
            if number == 2:
                await peer.send_message("news")

    network.serve(websocket(answer))
    heartbeat = moored.Heartbeat(
        ping=lambda: json.dumps({"type": "ping"}),
        is_pong=lambda message: message == '{"type": "pong"}',
    )
    policy = moored.Policy(heartbeat=heartbeat, idle_timeout=100, reconnect=ONCE)
    async with network.websocket(policy=policy) as stream:
        assert await stream.receive() == "news"
        assert trio.current_time() == pytest.approx(60, abs=0.1)
        cause, when = await failure(stream)

    assert isinstance(cause, Stalled)
    assert when == pytest.approx(160, abs=0.1)


# -------------------------------------------------------------------------------- progress


async def test_alive_is_not_progressing(clock, network):
    """Pings are answered all the while; the stream hangs all the same."""
    network.serve(talking("one"))
    policy = moored.Policy(idle_timeout=90, reconnect=ONCE)
    async with network.websocket(policy=policy) as stream:
        cause, when = await failure(stream)

    assert cause == Stalled(silent_for=pytest.approx(90, abs=0.01))
    assert when == pytest.approx(90, abs=0.01)


async def test_a_model_may_think_for_ten_minutes_with_comments(clock, network):
    async def think(peer):
        for _ in range(39):
            await trio.sleep(15)
            await peer.say(": thinking\n\n")
        await peer.event("at last")
        await peer.event("[DONE]")

    network.serve(http(think))
    async with network.sse(json={"stream": True}, terminator="[DONE]") as stream:
        assert [event.data async for event in stream] == ["at last"]
    assert trio.current_time() == pytest.approx(585, abs=0.1)
    assert len(network.dialled) == 1


async def test_a_model_may_think_without_a_header(clock, network):
    """Some servers send nothing at all before the first token: no connect timeout for them."""

    async def think(stream):
        await trio.sleep(300)
        await http(lambda peer: peer.event("[DONE]"))(stream)

    network.serve(think)
    async with network.sse(json={}, terminator="[DONE]") as stream:
        assert [event async for event in stream] == []
    assert len(network.dialled) == 1


@pytest.mark.parametrize(("events", "after"), [([], 600), (["token"], 60)])
async def test_a_post_stalls_after_600_s_and_then_after_60_s(clock, network, events, after):
    async def stall(peer):
        for event in events:
            await peer.event(event)
        while True:  # comments are signs of life, not progress
            await peer.say(":\n\n")
            await trio.sleep(10)

    network.serve(http(stall))
    policy = moored.Policy(reconnect=ONCE)
    async with network.sse(json={}, policy=policy) as stream:
        cause, when = await failure(stream)

    assert cause == Stalled(pytest.approx(after, abs=0.01), before_first=not events)
    assert when == pytest.approx(after, abs=0.01)


# -------------------------------------------------------------------------------- backpressure


async def test_a_slow_consumer_is_no_stall(clock, network):
    """The consumer holds things up for an hour; neither clock runs against the peer."""
    messages = [str(number) for number in range(400)]
    network.serve(talking(*messages))
    policy = moored.Policy(idle_timeout=30, inbox_messages=4)
    async with network.websocket(policy=policy) as stream:
        assert await stream.receive() == "0"
        await trio.sleep(3600)
        assert stream.state is moored.State.OPEN
        assert [await stream.receive() for _ in messages[1:]] == messages[1:]
        assert stream.stats.connections == 1


async def test_after_a_pause_of_ours_both_clocks_start_again(clock, clean):
    lines = Lines()
    policy = moored.Policy(idle_timeout=30, inbox_messages=1, reconnect=ONCE)
    async with lines.open(policy=policy) as stream:
        line = await lines.line()
        line.deliver("one")
        await trio.sleep(1000)
        assert await stream.receive() == "one"
        cause, when = await failure(stream)

    assert cause == Stalled(silent_for=30)
    assert when == 1030


# -------------------------------------------------------------------------------- connecting


async def test_an_attempt_takes_10_s_at_most(clock, network):
    network.serve(mute)
    async with network.websocket(policy=moored.Policy(reconnect=ONCE)) as stream:
        cause, when = await failure(stream)

    assert cause.stage == "timeout"
    assert when == pytest.approx(10, abs=0.01)


async def test_delays_grow_with_full_jitter_to_30_s(clock, network):
    network.serve(OSError("refused"))
    async with network.websocket(policy=reconnect(attempts=12), rng=random.Random(7)) as stream:
        await failure(stream)

    delays = [later - earlier for earlier, later in itertools.pairwise(network.times)]
    expected = random.Random(7)
    ceilings = [min(30, 2**retry) for retry in range(11)]
    assert delays == pytest.approx([expected.uniform(0, upper) for upper in ceilings])


async def test_the_same_seed_gives_the_same_run(clock, network):
    network.serve(OSError("refused"))
    runs = []
    for _ in range(2):
        began = trio.current_time()
        async with network.websocket(rng=random.Random(3)) as stream:
            await failure(stream)
            runs.append([t.time - began async for t in stream.transitions()])
    assert runs[0] == pytest.approx(runs[1])


async def test_retry_after_is_waited_for_at_least(clock, network):
    network.serve(refusing(429, "Retry-After: 120"), talking("fine"))
    async with network.websocket() as stream:
        assert await stream.receive() == "fine"
        transitions = [t async for t in _until_open(stream)]

    assert 120 <= network.times[1] <= 121
    assert isinstance(transitions[1].cause, RateLimited)
    assert transitions[1].delay == pytest.approx(network.times[1], abs=0.01)


async def _until_open(stream):
    async for transition in stream.transitions():
        yield transition
        if transition.target is moored.State.OPEN:
            return


async def test_a_server_that_only_accepts_is_not_taken_for_a_sound_one(clock, network):
    """Connecting proves nothing: the delays go on growing, and attempts run out."""
    network.serve(websocket(cut))
    async with network.websocket(policy=reconnect(attempts=4)) as stream:
        with pytest.raises(moored.StreamError, match="4 attempts in a row failed"):
            await stream.receive()
    assert len(network.dialled) == 4


async def test_a_sound_connection_starts_the_count_again(clock, network):
    """One message and five seconds up: a drop every ten seconds goes on for ever."""

    async def drop_after_10_s(peer):
        await trio.sleep(10)

    network.serve(talking("hello", then=drop_after_10_s))
    async with network.websocket(policy=reconnect(attempts=1)) as stream:
        assert [await stream.receive() for _ in range(20)] == ["hello"] * 20
    waits = [later - earlier for earlier, later in itertools.pairwise(network.times)]
    assert all(10 <= wait <= 11.01 for wait in waits)  # at most `initial` on top


async def test_wake_cuts_a_backoff_short(clock, network):
    network.serve(refusing(503, "Retry-After: 200"), talking("fine"))
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.BACKOFF)
        await trio.sleep(1)
        stream.wake()
        assert await stream.receive() == "fine"
    assert network.times[1] == pytest.approx(1, abs=0.01)


async def test_wake_probes_an_open_stream_at_once(clock, clean):
    lines = Lines()
    async with lines.open(policy=moored.Policy(reconnect=ONCE)) as stream:
        line = await lines.line()
        await trio.sleep(3)
        stream.wake()
        cause, when = await failure(stream)
    assert line.pinged == [3]
    assert isinstance(cause, HeartbeatLost)
    assert when == 23


async def test_our_own_lateness_is_not_the_peers_silence(clock, clean):
    """The loop was held up beyond the deadline, with an answer waiting: the reader goes first."""
    lines = Lines()
    async with lines.open() as stream:
        line = await lines.line()
        await stream.wait_for(moored.State.HEARTBEATING)
        clock.jump(25)  # as if our own code had not let the loop run
        line.deliver("late, but there")
        assert await stream.receive() == "late, but there"
        assert stream.state is moored.State.OPEN
        assert stream.stats.attempts == 1


async def test_an_application_ping_is_left_out_where_nothing_can_be_sent(clock, network):
    policy = moored.Policy(heartbeat=moored.Heartbeat(interval=2, timeout=5, ping=lambda: "ping"))

    async def server(stream):
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await trio.sleep(4)
        await stream.send_all(b"data: late\n\n")
        await trio.sleep_forever()

    network.serve(server)
    async with network.sse(policy=policy) as stream:
        assert (await stream.receive()).data == "late"
