"""Sending: what waits, what goes out, what is refused, and what may have got lost."""

import contextlib

import pytest
import trio

import moored

from .support import Lines, mute, reconnect, refusing, rest, talking, websocket

QUICK = moored.Policy(reconnect=moored.Reconnect(initial=0.01))


def bounded(**settings):
    return moored.Policy(reconnect=moored.Reconnect(initial=0.01), **settings)


async def test_what_is_sent_before_the_connection_goes_out_in_order(clock, network):
    heard = []

    async def listen(peer):
        while True:
            heard.append(await peer.get_message())

    network.serve(websocket(listen))
    async with network.websocket() as stream:
        assert stream.state is moored.State.CONNECTING
        for message in ("one", b"two", "three"):
            await stream.send(message)
    assert heard == ["one", b"two", "three"]  # flushed before the close


async def test_what_is_sent_during_a_backoff_goes_out_on_the_next_connection(clock, clean):
    lines = Lines()
    async with lines.open(policy=QUICK) as stream:
        (await lines.line()).end()
        await stream.wait_for(moored.State.BACKOFF)
        await stream.send("one")
        await stream.send("two")
        assert stream.stats.outbox == 2
        second = await lines.line(2)
        assert second.sent == ["one", "two"]
        assert stream.stats.messages_sent == 2


async def stuck(lines):
    """A connection whose peer reads nothing, with one message on its way to it."""
    line = await lines.line()
    line.blocked = True
    return line


async def test_block_waits_for_room_in_the_order_of_the_senders(clock, clean, nursery):
    lines = Lines()
    async with lines.open(policy=bounded(outbox_messages=1)) as stream:
        line = await stuck(lines)
        await stream.send("in flight")
        await trio.testing.wait_all_tasks_blocked()
        await stream.send("waiting")
        done = []

        async def send(message):
            await stream.send(message)
            done.append(message)

        for message in ("a", "b", "c"):
            nursery.start_soon(send, message)
            await trio.testing.wait_all_tasks_blocked()
        assert done == []
        line.end()
        second = await lines.line(2)
        await trio.testing.wait_all_tasks_blocked()
        assert done == ["a", "b", "c"]
        assert second.sent == ["waiting", "a", "b", "c"]


async def test_raise_names_the_bound(clock, clean):
    lines = Lines(moored.ConnectFailed("tcp"))
    async with lines.open(policy=bounded(outbox_messages=2, outbox_full="raise")) as stream:
        await stream.send("one")
        await stream.send("two")
        with pytest.raises(moored.OutboxFull, match="outbox_messages=2") as caught:
            await stream.send("three")
        assert (caught.value.bound, caught.value.limit) == ("outbox_messages", 2)
        line = await lines.line()
        assert line.sent == ["one", "two"]


async def test_the_bound_in_bytes(clock, clean):
    lines = Lines(moored.ConnectFailed("tcp"))
    async with lines.open(policy=bounded(outbox_bytes=10, outbox_full="raise")) as stream:
        await stream.send("x" * 8)
        with pytest.raises(moored.OutboxFull, match="outbox_bytes=10"):
            await stream.send("xxx")
        await stream.send("xx")


@pytest.mark.parametrize("full", ["block", "raise", "drop_oldest"])
async def test_what_never_fits_is_refused_at_once(clock, clean, full):
    lines = Lines()
    async with lines.open(policy=bounded(outbox_bytes=10, outbox_full=full)) as stream:
        with pytest.raises(moored.OutboxFull, match="outbox_bytes=10"):
            await stream.send("x" * 11)


async def test_drop_oldest_keeps_the_newest_and_counts(clock, clean):
    lines = Lines(moored.ConnectFailed("tcp"))
    async with lines.open(policy=bounded(outbox_messages=2, outbox_full="drop_oldest")) as stream:
        for number in range(5):
            await stream.send(str(number))
        assert stream.stats.sends_dropped == 3
        line = await lines.line()
        assert line.sent == ["3", "4"]


async def test_at_most_once_and_what_is_uncertain_is_counted(clock, clean):
    lines = Lines()
    async with lines.open(policy=QUICK) as stream:
        line = await stuck(lines)
        await stream.send("on its way")
        await stream.send("behind it")
        await trio.testing.wait_all_tasks_blocked()
        line.end()
        second = await lines.line(2)
        assert second.sent == ["behind it"]
        assert stream.stats.sends_uncertain == 1


async def test_acknowledged_sends_again_what_was_not(clock, clean):
    lines = Lines()
    async with lines.open(
        policy=QUICK,
        acknowledged=lambda message: message.count("ack"),
        resume=lambda position: "resume",
    ) as stream:
        line = await lines.line()
        for message in ("1", "2", "3", "4"):
            await stream.send(message)
        line.deliver("ack", "news", "ack")
        assert [await stream.receive() for _ in range(3)] == ["ack", "news", "ack"]
        line.end()
        await stream.wait_for(moored.State.BACKOFF)
        await stream.send("5")
        second = await lines.line(2)
        assert second.sent == ["resume", "3", "4", "5"]
        assert stream.stats.sends_uncertain == 0
        second.deliver("ack ack ack")
        await stream.receive()
        second.end()
        third = await lines.line(3)
        assert third.sent == ["resume"]


async def test_what_is_not_acknowledged_counts_in_the_bound(clock, clean):
    lines = Lines()
    policy = bounded(outbox_messages=2, outbox_full="raise")
    async with lines.open(policy=policy, acknowledged=lambda message: 1) as stream:
        line = await lines.line()
        await stream.send("1")
        await stream.send("2")
        await trio.testing.wait_all_tasks_blocked()
        assert line.sent == ["1", "2"]
        with pytest.raises(moored.OutboxFull):
            await stream.send("3")
        line.deliver("ack")
        await stream.receive()
        await stream.send("3")


async def test_an_sse_stream_only_receives(clock, network):
    network.serve(mute)
    async with network.sse() as stream:
        with pytest.raises(moored.ReceiveOnly):
            await stream.send("hello")


@pytest.mark.parametrize("message", [None, 1, {"a": 1}, ["x"]])
async def test_a_message_of_a_wrong_type_is_refused_at_once(clock, network, message):
    network.serve(websocket(rest))
    async with network.websocket() as stream:
        with pytest.raises(TypeError, match=type(message).__name__):
            await stream.send(message)


async def test_sending_on_a_stream_that_is_over(clock, clean):
    lines = Lines()
    async with lines.open() as stream:
        (await lines.line()).end(moored.Completed())
        await stream.wait_for(moored.State.CLOSED)
        with pytest.raises(moored.StreamClosed):
            await stream.send("too late")
    with pytest.raises(moored.StreamClosed):
        await stream.send("far too late")


async def test_sending_on_a_stream_that_failed_says_why(clock, clean):
    lines = Lines(moored.HandshakeRejected(401))
    async with lines.open() as stream:
        await stream.wait_for(moored.State.CLOSED)
        with pytest.raises(moored.StreamError) as caught:
            await stream.send("x")
    assert caught.value.cause == moored.HandshakeRejected(401)


async def test_a_sender_that_waits_is_let_go_when_the_stream_ends(clock, clean, nursery):
    lines = Lines(moored.ConnectFailed("tcp"))
    async with lines.open(policy=bounded(outbox_messages=1)) as stream:
        await stream.send("one")
        ended = []

        async def send():
            with pytest.raises(moored.StreamClosed):
                await stream.send("two")
            ended.append(True)

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.001):  # closing would wait for the outbox
            await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert ended == [True]


async def test_closing_waits_for_the_outbox_no_longer_than_close_timeout(clock, network):
    network.serve(mute)
    async with network.websocket(policy=reconnect(attempts=None)) as stream:
        await stream.send("never to arrive")
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(5, abs=0.01)


async def test_closing_without_anything_to_send_is_immediate(clock, network):
    network.serve(OSError("refused"))
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.BACKOFF)
        began = trio.current_time()
    assert trio.current_time() == began


async def test_text_that_utf8_cannot_hold_is_refused_at_once(clock, network):
    network.serve(talking("one"))
    async with network.websocket() as stream:
        with pytest.raises(ValueError, match="surrogates"):
            await stream.send("\ud800")
        assert await stream.receive() == "one"


async def test_what_is_sent_is_what_it_was_at_the_call(clock, network):
    got = []

    async def take(peer):
        got.extend([await peer.get_message(), await peer.get_message()])

    network.serve(talking(then=take))
    async with network.websocket() as stream:
        data = bytearray(b"one")
        await stream.send(data)
        data[:] = b"two"
        await stream.send(memoryview(data))
        await trio.sleep(1)
    assert got == [b"one", b"two"]


@pytest.mark.parametrize("raising", [False, True])
async def test_closing_does_not_wait_for_an_attempt_that_comes_too_late(clock, network, raising):
    network.serve(refusing(503, "Retry-After: 60"))
    with contextlib.suppress(KeyError):
        async with network.websocket() as stream:
            await stream.wait_for(moored.State.BACKOFF)
            await stream.send("never")
            if raising:
                raise KeyError
    assert trio.current_time() < 0.1


async def test_closing_waits_for_an_attempt_that_comes_in_time(clock, network):
    got = []

    async def take(peer):
        got.append(await peer.get_message())

    network.serve(refusing(503, "Retry-After: 2"), talking(then=take))
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.BACKOFF)
        await stream.send("in time")
    assert got == ["in time"]
