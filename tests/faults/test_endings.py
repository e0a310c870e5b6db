import sys

import pytest
import trio

from moored.faults import endings
from moored.faults.endings import LINGER, finish, half_close, reset


@pytest.fixture
async def pair(nursery, dial):
    """Both ends of a TCP connection: ours, and a plain client."""
    send, receive = trio.open_memory_channel(1)
    listeners = await nursery.start(trio.serve_tcp, keep(send), 0)
    sock = trio.socket.socket()
    # A small window, so that what the client has not read piles up on our side.
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
    await sock.connect(listeners[0].socket.getsockname())
    client = await dial(trio.SocketStream(sock))
    stream = await receive.receive()
    yield stream, client
    await trio.aclose_forcefully(stream)


def keep(channel):
    async def handler(stream):
        await channel.send(stream)
        await trio.sleep_forever()

    return handler


async def fill(stream):
    """Send until the kernels take no more; returns how much they took."""
    sent = 0
    with trio.move_on_after(0.02):
        while True:
            sent += await stream.socket.send(bytes(65536))
    return sent


async def test_what_was_sent_arrives_before_an_end_in_order(pair, nursery):
    stream, client = pair
    sent = await fill(stream)
    nursery.start_soon(finish, stream)
    data, ending = await client.rest()
    assert (len(data), ending) == (sent, "fin")


async def test_unread_bytes_do_not_make_an_end_a_reset(pair, nursery):
    stream, client = pair
    await client.send(b"x" * 100_000)
    await stream.send_all(b"last")
    nursery.start_soon(finish, stream)
    assert await client.rest() == (b"last", "fin")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
async def test_what_was_sent_arrives_before_a_reset_if_it_is_read(pair, nursery):
    stream, client = pair
    sent = await fill(stream)
    nursery.start_soon(reset, stream)
    data, ending = await client.rest()
    assert (len(data), ending) == (sent, "rst")


async def test_a_reset_does_not_wait_for_ever_for_a_client_that_does_not_read(pair, monkeypatch):
    monkeypatch.setattr(endings, "_FLUSH", 0.1)
    stream, _ = pair
    await fill(stream)
    with trio.fail_after(1):
        await reset(stream)


async def test_an_end_does_not_wait_for_ever_either(autojump_clock):
    ours, _theirs = trio.testing.memory_stream_pair()
    start = trio.current_time()
    await finish(ours)
    assert trio.current_time() - start == LINGER


@pytest.mark.parametrize("end", [finish, reset])
async def test_what_is_broken_already_is_just_closed(pair, end):
    stream, client = pair
    client.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await client.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    await end(stream)
    assert stream.socket.fileno() == -1


@pytest.mark.parametrize("end", [finish, reset])
async def test_cancellation_still_closes(pair, end):
    stream, _ = pair
    with trio.CancelScope() as scope:
        scope.cancel()
        await end(stream)
    assert stream.socket.fileno() == -1


async def test_a_stream_that_another_task_has_closed_may_be_reset(pair):
    stream, client = pair
    await stream.aclose()
    await reset(stream)
    assert (await client.rest())[1] == "fin"


async def test_an_end_that_another_task_is_sending_is_left_to_it(pair):
    ours, _ = pair
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as senders:
            senders.start_soon(ours.send_all, bytes(50_000_000))
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert not await half_close(ours)
            scope.cancel()
