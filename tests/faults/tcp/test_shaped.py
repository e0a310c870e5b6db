"""A stream with toxics under it: what its user sees, and what the raw peer sees."""

import pytest
import trio
import trio.testing

from moored.faults.endings import LINGER, finish, reset
from moored.faults.tcp.shaped import ShapedStream
from moored.faults.tcp.toxics import (
    Bandwidth,
    Corrupt,
    HalfOpen,
    Latency,
    LimitData,
    Noop,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)


@pytest.fixture
async def memory_pair(nursery):
    """A shaped stream in memory, and its peer."""
    ours, theirs = trio.testing.memory_stream_pair()
    return ShapedStream(ours, nursery), theirs


@pytest.fixture
async def tcp_pair(nursery, dial):
    """A shaped stream on TCP, and its peer as a plain client."""
    send, receive = trio.open_memory_channel(1)

    async def keep(stream):
        await send.send(stream)
        await trio.sleep_forever()

    listeners = await nursery.start(trio.serve_tcp, keep, 0)
    client = await dial(listeners[0].socket.getsockname()[1])
    stream = ShapedStream(await receive.receive(), nursery)
    yield stream, client
    await trio.aclose_forcefully(stream)


async def arrivals(stream, seconds=1000.0):
    got = []
    with trio.move_on_after(seconds):
        while True:
            data = bytes(await stream.receive_some(65536))
            got.append((round(trio.current_time(), 6), data))
            if not data:
                break
    return got


async def test_it_is_a_stream_without_toxics(nursery):
    async def make():
        ours, theirs = trio.testing.lockstep_stream_pair()
        return ShapedStream(ours, nursery), ShapedStream(theirs, nursery)

    await trio.testing.check_half_closeable_stream(make, None)


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
async def test_it_is_a_stream_with_a_toxic_that_does_nothing(nursery, direction):
    async def make():
        ours, theirs = trio.testing.memory_stream_pair()
        left, right = ShapedStream(ours, nursery), ShapedStream(theirs, nursery)
        left.add(Noop(), direction)
        right.add(Noop(), direction)
        return left, right

    await trio.testing.check_half_closeable_stream(make, None)


async def test_what_is_sent_goes_downstream(autojump_clock, memory_pair):
    stream, peer = memory_pair
    handle = stream.add(Latency(latency=1.0))
    await stream.send_all(b"late")
    assert trio.current_time() == 0  # sending does not wait
    assert await arrivals(peer, 5) == [(1, b"late")]
    stream.update(handle, Latency(latency=2.0))
    await stream.send_all(b"later")
    assert await arrivals(peer, 5) == [(7, b"later")]
    stream.remove(handle)
    await stream.send_all(b"now")
    assert await arrivals(peer, 1) == [(10, b"now")]
    with pytest.raises(KeyError):
        stream.remove(handle)


async def test_what_is_received_comes_upstream(autojump_clock, memory_pair):
    stream, peer = memory_pair
    await peer.send_all(b"before")
    assert await arrivals(stream, 1) == [(0, b"before")]
    handle = stream.add(Latency(latency=1.0), "upstream")
    await peer.send_all(b"late")
    assert await arrivals(stream, 5) == [(2, b"late")]
    stream.remove(handle)
    await peer.send_all(b"again")
    await peer.send_eof()
    assert await arrivals(stream, 5) == [(6, b"again"), (6, b"")]


async def test_a_toxic_takes_hold_of_a_receive_that_waits(autojump_clock, memory_pair, nursery):
    stream, peer = memory_pair

    async def later():
        await trio.sleep(1)
        stream.add(Latency(latency=1.0), "upstream")
        await trio.sleep(1)
        await peer.send_all(b"x")
        await trio.sleep(5)
        stream.add(Timeout(timeout=3.0), "upstream")

    nursery.start_soon(later)
    assert await arrivals(stream) == [(3, b"x"), (10, b"")]
    assert await arrivals(peer) == [(10, b"")]
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")


async def test_a_timeout_ends_a_send_that_waits(autojump_clock, nursery):
    ours, theirs = trio.testing.lockstep_stream_pair()
    stream = ShapedStream(ours, nursery)

    async def later():
        await trio.sleep(1)
        stream.add(Timeout(timeout=1.0))

    nursery.start_soon(later)
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"nobody reads")
    assert trio.current_time() == 2
    assert await stream.receive_some() == b""
    await stream.aclose()
    assert (await arrivals(theirs))[-1] == (2, b"")


async def test_an_end_reaches_a_receive_that_was_waiting_before(autojump_clock, nursery):
    ours, theirs = trio.testing.memory_stream_pair()
    stream = ShapedStream(ours, nursery)

    async def later():
        await trio.sleep(1)
        stream.add(LimitData(bytes=2))
        await stream.send_all(b"abc")

    nursery.start_soon(later)
    # The client does not close its side, and yet it does not wait for ever.
    assert await arrivals(stream) == [(1 + LINGER, b"")]
    assert [data for _, data in await arrivals(theirs)] == [b"ab", b""]


async def test_a_receive_that_is_cancelled_leaves_the_bytes_to_the_chain(
    autojump_clock, memory_pair, nursery
):
    stream, peer = memory_pair

    async def later():
        await trio.sleep(1)
        stream.add(Latency(latency=1.0), "upstream")

    nursery.start_soon(later)
    assert await arrivals(stream, 2) == []
    await peer.send_all(b"x")
    assert await arrivals(stream, 5) == [(3, b"x")]


@pytest.mark.parametrize("toxic", [Timeout(timeout=0.05), LimitData(bytes=1)])
async def test_a_toxic_ends_both_directions_on_tcp(tcp_pair, toxic, nursery):
    stream, client = tcp_pair
    with trio.move_on_after(0.05):
        while True:
            await stream.send_all(bytes(1 << 20))  # until it would wait
    broken = trio.Event()

    async def send():
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(bytes(1 << 20))
        broken.set()

    nursery.start_soon(send)
    await trio.testing.wait_all_tasks_blocked()
    stream.add(toxic, "upstream")
    await client.send(b"xyz")
    with trio.fail_after(2):
        await broken.wait()
        while data := await stream.receive_some():
            assert data == b"x"
        assert (await client.rest())[1] == "fin"


async def test_a_receive_takes_no_more_than_it_asks_for(memory_pair):
    stream, peer = memory_pair
    stream.add(Noop(), "upstream")
    stream.add(Corrupt(offsets=[1]), "upstream")
    await peer.send_all(b"\0\0\0\0")
    assert await stream.receive_some(1) == b"\0"
    assert (await stream.receive_some(1))[0].bit_count() == 1
    assert await stream.receive_some(10) == b"\0\0"


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
async def test_memory_is_bounded(autojump_clock, nursery, direction):
    ours, theirs = trio.testing.lockstep_stream_pair()
    stream = ShapedStream(ours, nursery)
    stream.add(Bandwidth(), direction)
    sender = stream if direction == "downstream" else theirs
    sent = 0

    async def send():
        nonlocal sent
        while True:
            await sender.send_all(bytes(512 * 1024))
            sent += 1

    nursery.start_soon(send)
    await arrivals(theirs if sender is stream else stream, 100)
    assert sent <= 4


async def test_received_and_not_taken_is_bounded_too(autojump_clock, nursery):
    ours, theirs = trio.testing.lockstep_stream_pair()
    stream = ShapedStream(ours, nursery)
    stream.add(Noop(), "upstream")
    with trio.move_on_after(1) as scope:
        while True:
            await theirs.send_all(bytes(512 * 1024))
    assert scope.cancelled_caught


async def test_an_end_comes_behind_what_was_sent(autojump_clock, memory_pair):
    stream, peer = memory_pair
    stream.add(Latency(latency=5.0))
    stream.add(SlowClose(delay=10.0))
    await stream.send_all(b"x")
    await stream.send_eof()
    assert trio.current_time() == 15
    assert [data for _, data in await arrivals(peer)] == [b"x", b""]


async def test_closing_lets_what_was_sent_arrive(autojump_clock, memory_pair):
    stream, peer = memory_pair
    stream.add(Latency(latency=5.0))
    await stream.send_all(b"x")
    await stream.aclose()
    assert await arrivals(peer) == [(5, b"x"), (5, b"")]
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"y")
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()


async def test_closing_by_force_does_not(autojump_clock, memory_pair):
    stream, peer = memory_pair
    stream.add(HalfOpen())
    with trio.move_on_after(1) as scope:
        await stream.send_all(b"x")
    assert scope.cancelled_caught
    await trio.aclose_forcefully(stream)
    assert await arrivals(peer) == [(1, b"")]
    stream.add(Noop())  # nothing to do any more
    assert trio.lowlevel.current_statistics().tasks_living < 30


async def test_a_limit_ends_the_connection(autojump_clock, memory_pair):
    stream, peer = memory_pair
    stream.add(LimitData(bytes=3))
    await stream.send_all(b"abcdef")
    assert [data for _, data in await arrivals(peer)] == [b"abc", b""]
    assert await stream.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")


async def test_the_peers_reset_arrives_through_the_chain(tcp_pair):
    stream, client = tcp_pair
    stream.add(Latency(latency=0.05), "upstream")
    await client.send(b"x")
    await trio.sleep(0.01)
    client.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await client.aclose()
    with trio.fail_after(2):
        assert await stream.receive_some() == b"x"
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_reset_peer_resets(tcp_pair):
    stream, client = tcp_pair
    stream.add(ResetPeer())
    await stream.send_all(b"lost")
    assert await client.rest() == (b"", "rst")
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")


@pytest.mark.parametrize("toxics", [(), (Latency(latency=0.05), Slicer(average_size=1))])
@pytest.mark.parametrize(("end", "seen"), [(finish, "fin"), (reset, "rst")])
async def test_the_endings_wait_for_what_was_sent(tcp_pair, toxics, end, seen, nursery):
    stream, client = tcp_pair
    for toxic in toxics:
        stream.add(toxic)
    await stream.send_all(b"last words")
    nursery.start_soon(end, stream)
    assert await client.rest() == (b"last words", seen)


async def test_the_same_seed_gives_the_same(autojump_clock, nursery):
    async def trace(seed):
        ours, theirs = trio.testing.memory_stream_pair()
        stream = ShapedStream(ours, nursery, seed=seed)
        began = trio.current_time()
        stream.add(Latency(latency=1.0, jitter=1.0))
        stream.add(Slicer(average_size=10, size_variation=5, delay=0.1))
        stream.add(Corrupt(share=0.1))
        for _ in range(10):
            await stream.send_all(bytes(100))
        return [(round(time - began, 6), data) for time, data in await arrivals(theirs, 100)]

    first = await trace(1)
    assert await trace(1) == first
    assert await trace(2) != first
    assert len(first) > 50


async def test_sending_may_not_block_when_there_is_room(autojump_clock, memory_pair):
    stream, _ = memory_pair
    await stream.wait_send_all_might_not_block()
    handle = stream.add(Bandwidth())
    await stream.wait_send_all_might_not_block()
    with trio.move_on_after(1):
        await stream.send_all(bytes(2 * 1024 * 1024))
    with trio.move_on_after(1) as scope:
        await stream.wait_send_all_might_not_block()
    assert scope.cancelled_caught
    stream.remove(handle)
    await stream.wait_send_all_might_not_block()


async def test_closing_while_more_than_is_taken_waits_to_be_read_ends_nothing_else(nursery):
    """The task that delivers is awake already, so the cancellation comes too late for it."""
    ours, theirs = trio.testing.memory_stream_pair()
    stream = ShapedStream(ours, nursery)
    stream.add(Corrupt(share=0.0001), "upstream")
    nursery.start_soon(theirs.send_all, bytes(400_000))
    await stream.receive_some(10)
    await trio.testing.wait_all_tasks_blocked()
    await stream.receive_some(10)
    await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
