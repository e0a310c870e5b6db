"""What a consumer is told: everything that came, in order, then the truth about the end."""

from __future__ import annotations

import ssl

import pytest
import trio

import moored
from moored.stream.stream import MESSAGES_PER_CHECKPOINT

from .support import (
    Lines,
    cut,
    goodbye,
    http,
    reconnect,
    refusing,
    settled,
    talking,
)

NUMBERS = [str(n) for n in range(1000)]


async def all_of(stream):
    return [message async for message in stream]


# ---------------------------------------------------------------------------- ends


async def test_iteration_ends_when_the_peer_says_goodbye(clock, network):
    network.serve(talking("one", "two", then=goodbye(1000, "done")))
    async with network.websocket() as stream:
        assert await all_of(stream) == ["one", "two"]
        assert await all_of(stream) == []
        with pytest.raises(moored.EndOfStream, match="closed by the peer with code 1000"):
            await stream.receive()
    assert stream.cause == moored.PeerClosed(1000, "done")


async def test_iteration_ends_with_the_terminator(clock, network):
    async def chat(peer):
        for text in ("one", "two", "[DONE]", "never"):
            await peer.event(text)
        await trio.sleep_forever()

    network.serve(http(chat))
    async with network.sse(terminator="[DONE]") as stream:
        assert [event.data for event in await all_of(stream)] == ["one", "two"]
        with pytest.raises(moored.EndOfStream):
            await stream.receive()


async def test_iteration_ends_with_204(clock, network):
    network.serve(refusing(204))
    async with network.sse() as stream:
        assert await all_of(stream) == []
    assert isinstance(stream.cause, moored.Completed)


async def test_iteration_ends_when_we_close(clock, network):
    network.serve(talking("one"))
    async with network.websocket() as stream:
        assert await stream.receive() == "one"
        await stream.aclose()
        assert await all_of(stream) == []
        with pytest.raises(moored.StreamClosed):
            await stream.receive()


async def test_a_failure_has_every_cause_on_the_way_in_order(clock, network):
    refused = OSError("refused")
    network.serve(
        refused,
        talking("one", then=goodbye(1012)),
        refusing(503),
        refusing(429, "Retry-After: 7"),
        talking(then=cut),
        refusing(401, body=b"who are you?"),
    )
    async with network.websocket(policy=reconnect(attempts=9)) as stream:
        assert await stream.receive() == "one"
        with pytest.raises(moored.StreamError) as caught:
            await stream.receive()
    error = caught.value
    assert type(error) is moored.StreamError
    assert [type(cause) for cause in error.causes] == [
        moored.ConnectFailed,
        moored.PeerClosed,
        moored.HandshakeRejected,
        moored.RateLimited,
        moored.AbnormalClosure,
        moored.HandshakeRejected,
    ]
    assert error.causes[0].exception is refused
    assert error.causes[3].retry_after == 7
    assert error.cause is error.causes[-1]
    assert (error.cause.status, error.cause.body) == (401, b"who are you?")
    assert error.gave_up == ""
    assert error.cause is stream.cause


async def test_of_many_causes_the_last_32_are_kept(clock, network):
    network.serve(*[OSError(number) for number in range(40)])
    async with network.websocket(policy=reconnect(attempts=40)) as stream:
        with pytest.raises(moored.StreamError) as caught:
            await stream.receive()
    assert [cause.exception.args for cause in caught.value.causes] == [
        (number,) for number in range(8, 40)
    ]


@pytest.mark.parametrize(
    "exception", [ConnectionRefusedError("no"), ssl.SSLCertVerificationError("bad")]
)
async def test_what_the_cause_knows_is_the_errors_cause(clock, network, exception):
    network.serve(exception)
    async with network.websocket(policy=reconnect(attempts=1)) as stream:
        with pytest.raises(moored.StreamError) as caught:
            await stream.receive()
        assert caught.value.__cause__ is exception
        with pytest.raises(moored.StreamError) as sent:
            await stream.send("late")
        assert sent.value.__cause__ is exception
        with pytest.raises(moored.StreamError) as waited:
            await stream.wait_for(moored.State.OPEN)
        assert waited.value.__cause__ is exception
    assert caught.value.gave_up == "1 attempt failed"
    assert str(caught.value).startswith("1 attempt failed: connect failed: no TCP connection")


async def test_whoever_asks_again_is_told_again(clock, network):
    network.serve(refusing(403))
    async with network.websocket() as stream:
        for _ in range(3):
            with pytest.raises(moored.StreamError) as caught:
                await all_of(stream)
            assert caught.value.cause.status == 403


async def test_a_failure_outlives_our_own_close(clock, network):
    network.serve(refusing(403))
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.CLOSED)
        await stream.aclose()
        with pytest.raises(moored.StreamError):
            await stream.receive()


# ---------------------------------------------------------------------------- nothing lost


@pytest.mark.parametrize("last", [cut, goodbye(1008)])
async def test_messages_before_a_drop_come_before_its_error(clock, network, last):
    network.serve(talking("one", "two", "three", then=last))
    async with network.websocket(policy=reconnect(attempts=0)) as stream:
        await stream.wait_for(moored.State.CLOSED)
        got = []
        with pytest.raises(moored.StreamError):
            async for message in stream:
                got.append(message)
    assert got == ["one", "two", "three"]


async def test_messages_of_all_connections_come_in_order(clock, network):
    network.serve(
        talking(*NUMBERS[:300], then=cut),
        talking(*NUMBERS[300:301], then=goodbye(1012)),
        talking(*NUMBERS[301:700], then=cut),
        talking(*NUMBERS[700:], then=goodbye(1000)),
    )
    async with network.websocket() as stream:
        assert await all_of(stream) == NUMBERS


async def test_a_slow_consumer_gets_them_all_too(clock, network):
    network.serve(talking(*NUMBERS[:30], then=cut), talking(*NUMBERS[30:60], then=goodbye(1000)))
    got = []
    async with network.websocket(policy=moored.Policy(inbox_messages=4)) as stream:
        async for message in stream:
            await trio.sleep(11)
            got.append(message)
    assert got == NUMBERS[:60]


async def test_each_message_goes_to_one_of_several_consumers(clock, network):
    network.serve(talking(*NUMBERS[:100], then=goodbye(1000)))
    got = []

    async def consume(stream):
        async for message in stream:
            got.append(message)
            await trio.lowlevel.checkpoint()

    async with network.websocket() as stream, trio.open_nursery() as own:
        for _ in range(5):
            own.start_soon(consume, stream)
    assert sorted(got, key=int) == NUMBERS[:100]


async def test_every_waiting_consumer_is_told_of_the_end(clock, network):
    network.serve(talking(then=cut))
    told = []

    async def consume(stream):
        with pytest.raises(moored.StreamError):
            await stream.receive()
        told.append(trio.current_time())

    policy = reconnect(attempts=0)
    async with network.websocket(policy=policy) as stream, trio.open_nursery() as own:
        for _ in range(5):
            own.start_soon(consume, stream)
    assert told == [0] * 5


async def test_a_consumer_that_never_waits_lets_other_tasks_run(clock, clean):
    transport = Lines()
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with transport.open() as stream, trio.open_nursery() as own:
        line = await transport.line()
        line.deliver(*NUMBERS)
        await settled()
        own.start_soon(count)
        for _ in NUMBERS:
            await anext(stream)
        own.cancel_scope.cancel()
    least = len(NUMBERS) // MESSAGES_PER_CHECKPOINT
    assert least - 2 <= turns <= 2 * least


async def test_iterating_over_messages_that_wait_can_be_cancelled(clock, clean):
    transport = Lines()
    async with transport.open() as stream:
        line = await transport.line()
        line.deliver(*NUMBERS[:10])
        await settled()
        with trio.CancelScope() as scope:
            async for message in stream:
                if message == "3":
                    scope.cancel()
        assert await anext(stream) == "4"


# ---------------------------------------------------------------------------- backpressure


@pytest.mark.parametrize(
    ("bounds", "held"),
    [({"inbox_messages": 7}, 7), ({"inbox_bytes": 50}, 5), ({"inbox_bytes": 1}, 1)],
)
async def test_the_inbox_is_bounded_in_messages_and_in_bytes(clock, clean, bounds, held):
    transport = Lines()
    async with transport.open(policy=moored.Policy(**bounds)) as stream:
        line = await transport.line()
        for number in range(100):
            line.deliver(f"{number:010}")
        await trio.sleep(10)
        assert stream.stats.inbox == held + 1  # one read more, to see that the peer lives
        for number in range(100):  # whatever is taken is replaced, and no more
            assert await stream.receive() == f"{number:010}"
            await settled()
            assert held - 1 <= stream.stats.inbox <= held + 1 or number >= 99 - held


async def test_a_slow_consumer_stops_the_reading_of_the_socket(clock, network):
    """Every send below waits until its bytes have been read."""
    network.make_pair = trio.testing.lockstep_stream_pair
    sent = []

    async def pour(peer):
        for number in NUMBERS:
            await peer.send_message(number)
            sent.append(number)

    network.serve(talking(then=pour))
    async with network.websocket(policy=moored.Policy(inbox_messages=10)) as stream:
        await trio.sleep(1000)
        assert len(sent) == 11
        assert stream.state is moored.State.OPEN
        for number in NUMBERS[:5]:
            assert await stream.receive() == number
        await settled()
        assert len(sent) == 16


async def test_a_death_behind_a_full_inbox_is_seen_as_it_drains(clock, network):
    network.serve(talking(*NUMBERS[:8], then=cut))
    policy = moored.Policy(inbox_messages=4, reconnect=moored.Reconnect(attempts=0))
    async with network.websocket(policy=policy) as stream:
        await trio.sleep(300)  # longer than every clock
        assert stream.state is moored.State.OPEN
        got = []
        with pytest.raises(moored.StreamError) as caught:
            async for message in stream:
                got.append(message)
    assert got == NUMBERS[:8]
    assert caught.value.cause == moored.AbnormalClosure(1006)


async def test_a_full_inbox_does_not_keep_us_from_sending(clock, network):
    got = []

    async def pour(peer):
        for number in NUMBERS[:20]:
            await peer.send_message(number)
        got.append(await peer.get_message())

    network.serve(talking(then=pour))
    async with network.websocket(policy=moored.Policy(inbox_messages=1)) as stream:
        await stream.wait_for(moored.State.OPEN)
        await trio.sleep(1)
        await stream.send("hello")
        await trio.sleep(1)
    assert got == ["hello"]
