"""What a consumer is told: everything that came, in order, then the truth about the end."""

from __future__ import annotations

import contextlib
import ssl

import pytest
import trio
from wsproto.events import AcceptConnection

import moored
from moored.stream.stream import MESSAGES_PER_CHECKPOINT

from .support import (
    HttpPeer,
    Lines,
    RawPeer,
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


# ---------------------------------------------------------------------------- what a stranger found


@pytest.mark.parametrize(("code", "error"), [(1000, None), (1008, moored.PeerClosed)])
async def test_a_close_behind_a_full_inbox_is_not_hidden_by_a_send(clock, network, code, error):
    async def close(peer):
        await peer.aclose(code)

    network.serve(talking(*NUMBERS[:6], then=close))
    async with network.websocket(policy=moored.Policy(inbox_messages=4)) as stream:
        await trio.sleep(1)
        with contextlib.suppress(moored.StreamClosed, moored.StreamError):
            await stream.send("hello?")
        await trio.sleep(5)
        got = []
        with pytest.raises(moored.StreamError) if error else contextlib.nullcontext() as caught:
            async for message in stream:
                got.append(message)
    assert got == NUMBERS[:6]
    if caught is not None:
        assert [type(cause) for cause in caught.value.causes] == [error]
    assert len(network.dialled) == 1


async def test_a_send_that_fails_takes_nothing_unread_along(clock, clean):
    """However slowly the consumer makes room for it."""
    transport = Lines()
    policy = moored.Policy(inbox_messages=2, reconnect=moored.Reconnect(attempts=0))
    async with transport.open(policy=policy) as stream:
        line = await transport.line()
        for number in NUMBERS[:8]:
            line.deliver(number)
        line.end(moored.PeerClosed(1008))
        line.send_fails = moored.AbnormalClosure(1006)
        await stream.send("lost")
        got = []
        with pytest.raises(moored.StreamError) as caught:
            while True:
                await trio.sleep(3)
                got.append(await stream.receive())
        assert got == NUMBERS[:8]
        assert caught.value.causes == (moored.PeerClosed(1008),)


async def test_a_death_behind_a_full_inbox_is_seen_at_once(clock, network):
    network.serve(talking(*NUMBERS[:4], then=cut), talking("again"))
    policy = moored.Policy(inbox_messages=4)
    async with network.websocket(policy=policy) as stream:
        await stream.wait_for(moored.State.BACKOFF)
        await stream.wait_for(moored.State.OPEN)
        assert [await stream.receive() for _ in range(5)] == [*NUMBERS[:4], "again"]


async def test_the_position_is_the_consumers(clock, network):
    network.serve(talking(*NUMBERS[:5]))
    async with network.websocket(cursor=int) as stream:
        assert stream.position is None
        for number in NUMBERS[:5]:
            assert await stream.receive() == number
            assert stream.position == int(number)


def saying(body):
    async def say(peer):
        await peer.say(body.decode())
        await trio.sleep_forever()

    return say


async def test_the_position_of_sse_is_the_consumers_too(clock, network):
    body = b"id: 1\ndata: a\n\ndata: b\n\nid: 2\ndata: c\n\nid: 3\n\n"
    network.serve(http(saying(body)))
    async with network.sse(last_event_id="0") as stream:
        await trio.sleep(0.1)
        assert stream.position == "0"
        positions = []
        for _ in range(3):
            await stream.receive()
            positions.append(stream.position)
        assert positions == ["1", "1", "3"]  # nothing waits: the id without data counts


async def test_equal_events_of_one_connection_are_all_delivered(clock, network):
    words = ["ha", "ha", " ", "ha"]
    body = "".join(f"id: chatcmpl-1\ndata: {word}\n\n" for word in [*words, "[DONE]"])
    network.serve(http(saying(body.encode())))
    async with network.sse(json={}, terminator="[DONE]") as stream:
        assert [event.data async for event in stream] == words


async def test_with_an_identity_repetitions_are_dropped_on_one_connection_too(clock, network):
    body = b"id: 1\ndata: a\n\nid: 1\ndata: a\n\nid: 2\ndata: b\n\nevent: end\ndata: z\n\n"
    network.serve(http(saying(body)))
    options = {"identity": lambda event: event.id if event.has_id else None}
    async with network.sse(terminator=lambda event: event.event == "end", **options) as stream:
        assert [event.data async for event in stream] == ["a", "b", "z"]
        assert stream.stats.duplicates_dropped == 1


@pytest.mark.parametrize(
    "options",
    [
        {"cursor": int},
        {"acknowledged": lambda message: int(message) * 0},
        {
            "policy": moored.Policy(
                heartbeat=moored.Heartbeat(ping=lambda: "?", is_pong=lambda m: int(m) < 0)
            )
        },
    ],
)
async def test_what_came_before_a_hooks_failure_is_delivered(clock, clean, options):
    transport = Lines()
    async with transport.open(**options) as stream:
        (await transport.line()).deliver("1", "2", "no number", "3")
        assert [await stream.receive(), await stream.receive()] == ["1", "2"]
        with pytest.raises(moored.HookFailed):
            await stream.receive()


async def test_after_a_crash_iteration_does_not_end_as_if_all_were_well(clock, network):
    network.serve(ZeroDivisionError())
    ended_well = False
    with pytest.raises(moored.HookFailed) as caught:
        async with network.websocket() as stream:
            async for _ in stream:
                pass
            ended_well = True
    assert caught.value.hook == "dial"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert not ended_well


async def crash(line):
    raise ZeroDivisionError


async def test_after_a_crash_of_a_transport_neither(clock, clean):
    ended_well = False
    with pytest.raises(moored.InternalError):
        async with Lines(crash).open() as stream:
            async for _ in stream:
                pass
            ended_well = True
    assert not ended_well


async def test_a_failed_write_ends_a_connection_that_goes_on_talking(clock, clean):
    """Nobody takes a message, and the peer can be heard, but not be reached any more."""
    transport = Lines()
    async with transport.open(policy=moored.Policy(inbox_messages=2)) as stream:
        line = await transport.line()
        line.send_fails = moored.AbnormalClosure(1006)
        for number in NUMBERS[:20]:
            line.deliver(number)
        await stream.send("lost")
        await trio.sleep(0.5)
        for number in NUMBERS[20:30]:
            line.deliver(number)
        await stream.wait_for(moored.State.BACKOFF)
        assert trio.current_time() < 1.1
        assert [await stream.receive() for _ in range(30)] == NUMBERS[:30]


async def test_a_consumer_that_answers_each_message_survives_a_dead_connection(clock, clean):
    """Its sends fill the outbox; then it does not receive either."""
    transport = Lines()
    policy = moored.Policy(inbox_messages=4, outbox_messages=4)
    async with transport.open(policy=policy) as stream:
        line = await transport.line()
        line.deliver(*NUMBERS[:8])
        line.deliver(*NUMBERS[8:16])
        line.send_fails = moored.AbnormalClosure(1006)
        got = []
        with trio.fail_after(60):
            async for message in stream:
                await stream.send("ack")
                got.append(message)
                if len(got) == 16:
                    break
    assert got == NUMBERS[:16]


async def test_what_a_dead_connection_leaves_is_bounded(clock, clean):
    transport = Lines()
    policy = moored.Policy(inbox_messages=2, inbox_bytes=1000)
    async with transport.open(policy=policy) as stream:
        line = await transport.line()
        line.send_fails = moored.AbnormalClosure(1006)
        for number in NUMBERS:
            line.deliver(number)
        await stream.send("lost")
        await stream.wait_for(moored.State.BACKOFF)
        assert stream.stats.inbox < 40  # 2,000 bytes, at 64 and a few each


async def test_reconnecting_does_not_fill_an_inbox_that_is_full(clock, clean):
    transport = Lines()
    policy = moored.Policy(
        inbox_messages=2, reconnect=moored.Reconnect(attempts=None, initial=0.1, maximum=0.1)
    )
    async with transport.open(policy=policy) as stream:
        for number in range(1, 6):
            if number > 2:
                break
            line = await transport.line(number)
            line.deliver("a", "b", "c")
            line.end()
        await trio.sleep(10)
        assert stream.stats.inbox == 3
        assert stream.stats.connections == 2


@pytest.mark.parametrize("leave", ["break", "aclose", "raise"])
async def test_the_position_stays_the_consumers_when_the_stream_is_closed(clock, network, leave):
    body = "".join(f"id: {n}\ndata: m{n}\n\n" for n in range(1, 11)).encode()
    network.serve(http(saying(body)))
    with contextlib.suppress(KeyError):
        async with network.sse() as stream:
            await trio.sleep(0.1)
            await stream.receive()
            await stream.receive()
            if leave == "aclose":
                await stream.aclose()
            elif leave == "raise":
                raise KeyError
    assert stream.position == "2"


async def test_an_id_taken_back_in_the_same_read_hides_no_position(clock, network):
    body = b"id: 1\ndata: a\n\nid: 2\ndata: b\n\nid:\ndata: c\n\n"
    network.serve(http(saying(body)))
    async with network.sse() as stream:
        positions = []
        for _ in range(3):
            await stream.receive()
            positions.append(stream.position)
    assert positions == ["1", "2", ""]


async def test_a_batch_is_what_is_there(clock, network):
    network.serve(http(saying(b"data: a\n\ndata: b\n\ndata: c\n\n")))
    async with network.sse() as stream:
        assert (await stream.receive()).data == "a"
        assert [event.data for event in await stream.receive_batch()] == ["b", "c"]


async def test_a_batch_waits_and_raises_as_receive_does(clock, network):
    network.serve(talking("one", then=goodbye(1008)))
    async with network.websocket() as stream:
        assert await stream.receive_batch() == ["one"]
        with pytest.raises(moored.StreamError):
            await stream.receive_batch()


async def test_taking_a_batch_makes_room_in_a_full_inbox(clock, network):
    network.serve(talking(*map(str, range(20)), then=goodbye(1000)))
    policy = moored.Policy(inbox_messages=3)
    got = []
    async with network.websocket(policy=policy) as stream:
        with pytest.raises(moored.EndOfStream):
            while True:
                got += await stream.receive_batch()
    assert got == [str(number) for number in range(20)]


async def test_the_answers_headers_are_there(clock, network):
    async def limited(stream):
        await HttpPeer(stream).request()
        await stream.send_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"X-RateLimit-Remaining: 7\r\n\r\ndata: a\n\n"
        )
        await trio.sleep_forever()

    network.serve(limited)
    async with network.sse() as stream:
        assert stream.response_headers == ()
        await stream.receive()
        assert ("x-ratelimit-remaining", "7") in stream.response_headers


async def test_a_websockets_answers_headers_are_there_too(clock, network):
    async def limited(stream):
        peer = RawPeer(stream)
        await peer.read()
        await peer.say(AcceptConnection(extra_headers=[(b"X-Limit", b"7")]))
        await peer.read_all()

    network.serve(limited)
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.OPEN)
        assert ("x-limit", "7") in stream.response_headers
