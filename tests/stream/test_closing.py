"""Our own close: in good order with a peer that lives, bounded with one that does not."""

from __future__ import annotations

import pytest
import trio
from wsproto import events as ws

import moored

from .support import (
    Lines,
    http,
    raw,
    refusing,
    rest,
    settled,
    talking,
    websocket,
)


async def hold(_peer):
    await trio.sleep_forever()


async def read_on(peer):
    """Read all, and answer nothing."""
    await peer.read_all()


def watched(codes, *messages):
    async def watch(peer):
        for message in messages:
            await peer.send_message(message)
        try:
            await rest(peer)
        finally:
            codes.append((peer.closed.code, trio.current_time()))

    return websocket(watch)


@pytest.mark.parametrize("code", [1000, 3000, 4999])
async def test_the_peer_gets_the_code(clock, network, code):
    codes = []
    network.serve(watched(codes))
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.OPEN)
        await stream.aclose(code)
        assert stream.cause == moored.ClosedByUs(code)
    await settled()
    assert codes == [(code, 0)]


@pytest.mark.parametrize("code", [0, 999, 1001, 1005, 1006, 1011, 2999, 5000, -1])
async def test_codes_that_are_not_ours_to_give_are_refused(clock, network, code):
    network.serve(talking())
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.OPEN)
        with pytest.raises(ValueError, match="code must be 1000 or from 3000 to 4999"):
            await stream.aclose(code)
        assert stream.state is moored.State.OPEN


async def test_leaving_the_block_closes_with_1000(clock, network):
    codes = []
    network.serve(watched(codes))
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.OPEN)
    await settled()
    assert codes == [(1000, 0)]


async def test_breaking_out_of_iteration_closes_too(clock, network):
    codes = []
    network.serve(watched(codes, "one", "two"))
    async with network.websocket() as stream:
        async for _ in stream:
            break
    await settled()
    assert codes == [(1000, 0)]


@pytest.mark.parametrize("peer", [hold, read_on])
@pytest.mark.parametrize("bound", [0, 2, 5])
async def test_a_peer_that_does_not_answer_holds_us_for_close_timeout(clock, network, peer, bound):
    network.serve(raw(peer))
    policy = moored.Policy(close_timeout=bound)
    async with network.websocket(policy=policy) as stream:
        await stream.wait_for(moored.State.OPEN)
        await stream.aclose()
        assert trio.current_time() == bound
    assert trio.current_time() == bound


async def test_a_peer_that_reads_nothing_holds_us_for_close_timeout_in_all(clock, network):
    """Flushing and the handshake share the bound: even the close frame cannot be written."""
    network.make_pair = trio.testing.lockstep_stream_pair
    network.serve(raw(hold))
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.OPEN)
        await stream.send("one")
        await stream.send("two")
        await stream.aclose()
    assert trio.current_time() == 5


async def test_flushing_and_shaking_hands_share_one_bound(clock, clean):
    transport = Lines()
    async with transport.open() as stream:
        line = await transport.line()

        async def slow_send(message):
            await trio.sleep(4)
            line.sent.append(message)

        async def slow_close(code):
            line.code = code
            await trio.sleep_forever()

        line.send, line.aclose = slow_send, slow_close
        await stream.send("one")
        await stream.aclose()
    assert (line.sent, line.code) == (["one"], 1000)
    assert trio.current_time() == 5


async def test_what_was_sent_arrives_before_the_close(clock, network):
    got = []

    async def note(peer):
        await peer.read_all()
        got.extend(event for _, event in peer.seen)

    network.serve(raw(note))
    async with network.websocket() as stream:
        for number in range(20):
            await stream.send(str(number))
    await settled()
    assert [event.data for event in got[:-1]] == [str(number) for number in range(20)]
    assert isinstance(got[-1], ws.CloseConnection)
    assert got[-1].code == 1000


async def test_closing_twice_is_closing_once(clock, network):
    codes = []
    network.serve(watched(codes))
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.OPEN)
        await stream.aclose(3001)
        await stream.aclose(3002)
    await settled()
    assert codes == [(3001, 0)]
    assert stream.cause == moored.ClosedByUs(3001)


async def test_closing_from_several_tasks_ends_for_all_within_the_bound_of_the_first(
    clock, network
):
    network.serve(raw(hold))
    done = []

    async def close(stream, after):
        await trio.sleep(after)
        await stream.aclose()
        done.append(trio.current_time())

    async with network.websocket() as stream, trio.open_nursery() as own:
        await stream.wait_for(moored.State.OPEN)
        for after in (0, 1, 4):
            own.start_soon(close, stream, after)
    assert done == [5, 5, 5]


async def test_a_second_close_while_flushing_does_not_extend_the_first(clock, network):
    async def unreachable(host, port):
        await trio.sleep_forever()

    network.dial = unreachable
    done = []

    async def close(stream, after):
        await trio.sleep(after)
        await stream.aclose()
        done.append(trio.current_time())

    async with network.websocket() as stream, trio.open_nursery() as own:
        await stream.send("never")
        own.start_soon(close, stream, 0)
        own.start_soon(close, stream, 4)
    assert done == [5, 5]


async def test_a_second_close_while_flushing_does_not_extend_the_handshake(clock, clean):
    transport = Lines()
    done = []

    async def close(stream, after):
        await trio.sleep(after)
        await stream.aclose()
        done.append(trio.current_time())

    async def forever(*_):
        await trio.sleep_forever()

    async with transport.open() as stream:
        line = await transport.line()
        line.send = line.aclose = forever
        await stream.send("never")
        async with trio.open_nursery() as own:
            own.start_soon(close, stream, 0)
            own.start_soon(close, stream, 4)
    assert done == [5, 5]


async def test_an_iteration_in_another_task_ends(clock, network):
    network.serve(talking("one"))
    ended = []

    async def consume(stream):
        async for _ in stream:
            pass
        ended.append(trio.current_time())

    async with network.websocket() as stream, trio.open_nursery() as own:
        own.start_soon(consume, stream)
        await trio.sleep(3)
        await stream.aclose()
    assert ended == [3]


async def test_what_was_not_consumed_is_discarded(clock, network):
    network.serve(talking("one", "two", "three"))
    async with network.websocket() as stream:
        assert await stream.receive() == "one"
        await settled()
        assert stream.stats.inbox == 2
        await stream.aclose()
        assert stream.stats.inbox == 0
        with pytest.raises(moored.StreamClosed):
            await stream.receive()


async def test_what_comes_as_we_close_is_not_delivered_either(clock, clean):
    transport = Lines()
    async with transport.open() as stream:
        line = await transport.line()
        line.deliver("late")  # taken by the reader as the next lines run
        await stream.aclose()
        with pytest.raises(moored.StreamClosed):
            await stream.receive()
        assert stream.stats.inbox == 0


async def test_a_close_while_waiting_for_room_in_the_inbox(clock, network):
    network.serve(talking(*"abcdefgh"))
    async with network.websocket(policy=moored.Policy(inbox_messages=2)) as stream:
        await trio.sleep(1)
        await stream.aclose()
    assert trio.current_time() == 1


async def test_during_a_backoff_it_is_immediate(clock, network):
    network.serve(refusing(503, "Retry-After: 60"))
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.BACKOFF)
        await trio.sleep(10)
        await stream.aclose()
        assert trio.current_time() == 10
        assert stream.state is moored.State.CLOSED


@pytest.mark.parametrize("opener", ["websocket", "sse"])
async def test_while_connecting_it_is_immediate(clock, network, opener):
    async def silent(stream):
        await trio.sleep_forever()

    network.serve(silent)
    async with getattr(network, opener)() as stream:
        await trio.sleep(2)
        assert stream.state is moored.State.CONNECTING
        await stream.aclose()
        assert trio.current_time() == 2
    assert stream.cause == moored.ClosedByUs(1000)


async def test_an_sse_stream_hangs_up_at_once(clock, network):
    network.serve(http(hold))
    async with network.sse() as stream:
        await stream.wait_for(moored.State.OPEN)
        await stream.aclose()
    assert trio.current_time() == 0
    assert network.streams[0].closed


async def test_a_stream_that_has_failed_closes_at_once(clock, network):
    network.serve(refusing(404))
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.CLOSED)
        await stream.aclose()
        assert stream.cause.status == 404


# ------------------------------------------------------------------- ends of connections


LEFT_WITH = [
    (moored.AbnormalClosure(1006), None),
    (moored.HeartbeatLost(1.0), None),
    (moored.Stalled(1.0), None),
    (moored.PeerClosed(1012), 1000),
    (moored.ProtocolViolation("bad"), 1000),
    (moored.Completed(), 1000),
]


@pytest.mark.parametrize(("cause", "code"), LEFT_WITH, ids=lambda value: type(value).__name__)
async def test_whether_a_connection_is_left_with_a_close_frame(clock, clean, cause, code):
    transport = Lines()
    async with transport.open() as stream:
        line = await transport.line()
        line.end(cause)
        await stream.wait_for(moored.State.BACKOFF, moored.State.CLOSED)
        await settled()
        assert line.closed_at == trio.current_time()
        assert line.code == code


async def test_after_a_lost_heartbeat_there_is_no_handshake(clock, network):
    peers = []

    async def ignore(peer):
        peers.append(peer)
        await peer.read_all()

    network.serve(raw(ignore), talking("two"))
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.BACKOFF)
        await settled()
        assert trio.current_time() == 40
        assert network.streams[0].closed
        assert peers[0].kinds() == [ws.Ping]


@pytest.mark.parametrize("cause", [moored.AbnormalClosure(1006), moored.Stalled(1.0)])
async def test_a_wake_at_once_leaves_the_old_connection_in_the_same_way(clock, clean, cause):
    """A close frame with 1000 would end the session that the server keeps for resuming."""
    transport = Lines()

    async def impatient(stream):
        async for transition in stream.transitions():
            if transition.target is moored.State.BACKOFF:
                stream.wake()

    async with transport.open() as stream, trio.open_nursery() as own:
        own.start_soon(impatient, stream)
        line = await transport.line()
        line.end(cause)
        await transport.line(2)
        assert line.code is None
        assert trio.current_time() == 0
        await stream.aclose()


async def test_hanging_up_on_what_is_to_be_replaced_is_bounded(clock, clean):
    transport = Lines()

    async def forever(code):
        await trio.sleep_forever()

    async with transport.open() as stream:
        line = await transport.line()
        line.aclose = forever
        line.end(moored.PeerClosed(1012))
        await stream.wait_for(moored.State.BACKOFF)
        stream.wake()
        await transport.line(2)
        assert trio.current_time() == 1


async def test_the_next_attempt_waits_for_the_last_connections_end(clock, clean):
    transport = Lines()
    async with transport.open() as stream:
        for number in range(1, 4):
            line = await transport.line(number)
            assert all(earlier.closed_at is not None for earlier in transport.lines[:-1])
            line.end()
            await stream.wait_for(moored.State.BACKOFF)
            stream.wake()


async def test_a_drop_while_we_flush_is_survived(clock, network):
    """The flush goes on over the next connection, within the bound."""
    got = []

    async def take(peer):
        got.append(await peer.get_message())
        await rest(peer)

    network.serve(OSError("refused"), websocket(take))
    policy = moored.Policy(reconnect=moored.Reconnect(initial=1, maximum=1))
    async with network.websocket(policy=policy) as stream:
        await stream.send("precious")
    await settled()
    assert got == ["precious"]
    assert trio.current_time() <= 1
