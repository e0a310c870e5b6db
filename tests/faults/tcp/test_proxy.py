"""The raw proxy on real sockets: ends, resets, silence, addresses, and many connections."""

import os
import socket
from functools import partial

import pytest
import trio

from moored.faults.tcp import connection as connection_module
from moored.faults.tcp import sockets
from moored.faults.tcp.proxy import TcpProxy, open_tcp_proxy
from moored.faults.tcp.toxics import (
    HalfOpen,
    Latency,
    LimitData,
    NeverAnswer,
    ResetPeer,
    SlowClose,
    Timeout,
)

DIRECTIONS = ["upstream", "downstream"]


def ends(w, direction):
    return (w.client, w.server) if direction == "upstream" else (w.server, w.client)


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_bytes_and_an_end_pass(tcp, direction, nursery):
    w = await tcp()
    sender, receiver = ends(w, direction)
    data = os.urandom(5_000_000)

    async def send():
        await sender.send(data)
        await sender.stream.send_eof()

    nursery.start_soon(send)
    assert await receiver.rest() == (data, "fin")
    # The other direction is still open.
    await receiver.send(b"answer")
    assert await sender.exactly(6) == b"answer"


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_a_reset_arrives_as_a_reset(tcp, direction, abort):
    w = await tcp()
    sender, receiver = ends(w, direction)
    await sender.send(b"x")
    assert await receiver.exactly(1) == b"x"
    await abort(sender)
    assert await receiver.rest() == (b"", "rst")


async def test_a_reset_comes_behind_what_waits_in_a_toxic(tcp, abort):
    w = await tcp(Latency(latency=0.1))
    await w.server.send(b"x")
    await trio.sleep(0.02)
    await abort(w.server)
    assert await w.client.rest() == (b"x", "rst")


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_reset_peer_resets_both_ends(tcp, direction):
    w = await tcp(ResetPeer(timeout=0.05), direction=direction)
    sender, _ = ends(w, direction)
    await sender.send(b"lost")
    assert await w.client.rest() == (b"", "rst")
    assert await w.server.rest() == (b"", "rst")


async def test_reset_peer_resets_also_when_it_was_added_later(tcp):
    w = await tcp()
    await w.server.send(b"x")
    assert await w.client.exactly(1) == b"x"
    w.proxy.add_toxic(ResetPeer())
    await w.server.send(b"lost")
    assert await w.client.rest() == (b"", "rst")


@pytest.mark.parametrize("toxic", [Timeout(timeout=0.02), LimitData(bytes=0)])
async def test_what_a_toxic_closes_ends_in_order_on_both_sides(tcp, toxic):
    w = await tcp(toxic)
    # Bytes that nobody read do not make a reset of it.
    await w.client.send(b"x" * 100_000)
    await w.server.send(b"lost")
    assert await w.client.rest() == (b"", "fin")
    assert (await w.server.rest())[1] == "fin"


async def test_slow_close_is_an_end_that_comes_late(tcp):
    w = await tcp(SlowClose(delay=0.15))
    await w.server.send(b"x")
    await w.server.stream.send_eof()
    assert await w.client.exactly(1) == b"x"
    await w.client.silence(0.1)
    assert await w.client.rest() == (b"", "fin")


async def test_half_open_on_both_directions_is_a_peer_that_is_gone(tcp):
    w = await tcp()
    w.proxy.add_toxic(HalfOpen(), "upstream")
    w.proxy.add_toxic(HalfOpen(), "downstream")
    await w.client.send(b"anybody?")
    await w.server.send(b"yes")
    await w.server.stream.send_eof()
    await w.client.silence(0.1)  # no bytes, and no end
    await w.server.silence(0.05)
    with trio.move_on_after(0.2) as scope:  # nobody reads: in the end the kernels are full
        await w.client.stream.send_all(bytes(64 * 1024 * 1024))
    assert scope.cancelled_caught
    w.proxy.remove_toxic("half_open_downstream")
    assert await w.client.exactly(3) == b"yes"
    assert await w.client.rest() == (b"", "fin")


async def test_never_answer_reads_what_is_sent(tcp):
    w = await tcp()
    w.proxy.add_toxic(NeverAnswer(), "upstream")
    w.proxy.add_toxic(NeverAnswer(), "downstream")
    await w.client.send(bytes(16 * 1024 * 1024))
    await w.server.send(b"x")
    await w.server.stream.send_eof()
    await w.client.silence(0.1)
    await w.server.silence()


async def test_a_connection_that_is_silent_after_one_end_is_closed(tcp, monkeypatch):
    monkeypatch.setattr(connection_module, "HALF_CLOSED_GRACE", 0.1)
    w = await tcp()
    await w.client.stream.send_eof()
    assert await w.client.rest() == (b"", "fin")
    assert await w.server.rest() == (b"", "fin")


async def test_a_receiver_that_does_not_read_is_not_silence(tcp, monkeypatch, nursery):
    monkeypatch.setattr(connection_module, "HALF_CLOSED_GRACE", 0.05)
    w = await tcp()
    await w.client.stream.send_eof()
    size = 16 * 1024 * 1024  # more than the kernels hold
    nursery.start_soon(w.server.send, bytes(size))
    await trio.sleep(0.3)
    while size:
        size -= len(await w.client.stream.receive_some(1 << 20))


@pytest.mark.parametrize("upstream", ["127.0.0.1:1", "nonsense", "no.such.host.invalid:80", ":1"])
async def test_an_upstream_that_cannot_be_reached_closes_the_client(dial, upstream):
    async with open_tcp_proxy(upstream) as proxy:
        client = await dial(int(proxy.listen.rpartition(":")[2]))
        await client.send(b"x")
        assert await client.rest() == (b"", "fin")
        await client.aclose()
        with trio.fail_after(2):
            await proxy.changes.wait_until(lambda: not proxy.open_connections)
        assert [each.outcome for each in proxy.connections] == ["upstream unreachable"]


async def test_disabled_it_closes_in_order_and_refuses(tcp, dial):
    w = await tcp()
    await w.client.send(b"unread" * 10_000)
    await trio.sleep(0.02)
    await w.proxy.disable()
    assert not w.proxy.enabled
    assert await w.client.rest() == (b"", "fin")
    assert (await w.server.rest())[1] == "fin"
    port = int(w.proxy.listen.rpartition(":")[2])
    with pytest.raises(OSError):
        await dial(port)
    await w.proxy.enable()
    assert w.proxy.listen == f"127.0.0.1:{port}"
    await dial(port)


async def test_close_connections_by_a_reset(tcp):
    w = await tcp()
    await w.client.send(b"x")
    assert await w.server.exactly(1) == b"x"
    await w.proxy.close_connections(reset=True)
    assert await w.client.rest() == (b"", "rst")
    assert await w.server.rest() == (b"", "rst")
    with trio.fail_after(2):
        await w.proxy.changes.wait_until(lambda: not w.proxy.open_connections)
    assert [each.outcome for each in w.proxy.connections] == ["reset"]


async def test_moving_cuts_connections_and_keeps_toxics(tcp):
    w = await tcp(Latency())
    before = w.proxy.listen
    await w.proxy.move(listen=before.replace("127.0.0.1", "localhost"), upstream=w.proxy.upstream)
    assert w.proxy.open_connections == 1  # the same place by another name
    await w.proxy.move(listen="127.0.0.1:0", upstream=w.proxy.upstream)
    assert w.proxy.listen != before
    assert await w.client.rest() == (b"", "fin")
    assert list(w.proxy.toxics) == ["0"]
    with pytest.raises(ValueError, match="missing port"):
        await w.proxy.move(listen="nowhere", upstream="x:1")
    assert w.proxy.enabled
    assert w.proxy.upstream != "x:1"


async def test_moving_to_an_address_in_use_leaves_it_disabled_there(tcp):
    w = await tcp()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OSError, match="in use"):
            await w.proxy.move(listen=taken, upstream=w.proxy.upstream)
    assert (w.proxy.enabled, w.proxy.listen) == (False, taken)


@pytest.mark.parametrize("listen", [":0", "0.0.0.0:0", "[::]:0"])
async def test_without_a_host_it_listens_everywhere(listen, dial):
    async with open_tcp_proxy("127.0.0.1:1", listen=listen) as proxy:
        host, _, port = proxy.listen.rpartition(":")
        assert host in ("[::]", "0.0.0.0")
        await dial(int(port))


async def test_what_has_passed_is_counted(tcp):
    w = await tcp(LimitData(bytes=10))
    await w.client.send(b"12345")
    assert await w.server.exactly(5) == b"12345"
    (connection,) = w.proxy.connections
    assert (connection.number, connection.bytes_up, connection.bytes_down) == (1, 5, 0)
    assert (connection.ended, connection.outcome) == (None, "")
    await w.server.send(bytes(15))
    assert len((await w.client.rest())[0]) == 10
    await w.client.aclose()
    await w.server.aclose()
    with trio.fail_after(2):
        await w.proxy.changes.wait_until(lambda: not w.proxy.open_connections)
    assert w.proxy.received == {"upstream": 5, "downstream": 15}
    assert w.proxy.sent == {"upstream": 5, "downstream": 10}
    (connection,) = w.proxy.connections
    assert (connection.number, connection.bytes_up, connection.bytes_down) == (1, 5, 10)
    assert connection.accepted <= connection.ended <= trio.current_time()
    assert connection.outcome == "complete"


async def test_a_thousand_connections_are_held(nursery, dial):
    async def echo(stream):
        while data := await stream.receive_some():
            await stream.send_all(data)

    listeners = await nursery.start(partial(trio.serve_tcp, echo, 0, backlog=2000))
    port = listeners[0].socket.getsockname()[1]
    async with open_tcp_proxy(f"127.0.0.1:{port}") as proxy:
        here = int(proxy.listen.rpartition(":")[2])
        clients = [await dial(here) for _ in range(1000)]
        for number, client in enumerate(clients):
            await client.send(b"%04d" % number)
        for number, client in enumerate(clients):
            assert await client.exactly(4) == b"%04d" % number
        assert proxy.open_connections == 1000
        nursery.cancel_scope.cancel()


async def test_nothing_is_left_when_the_block_is_left(tcp, abort):
    w = await tcp(Latency(latency=100.0), HalfOpen(), Timeout())
    await w.server.send(b"x")
    await w.client.send(b"x")
    before = len(os.listdir("/proc/self/fd"))
    await w.proxy.disable()
    await w.client.rest()
    await w.server.rest()
    await w.client.aclose()
    await w.server.aclose()
    with trio.fail_after(3):
        await w.proxy.changes.wait_until(lambda: not w.proxy.open_connections)
    # The listener, and both sides of the connection on both ends.
    assert len(os.listdir("/proc/self/fd")) <= before - 4


@pytest.mark.parametrize("toxics", [(), (Timeout(),), (Latency(),)])
async def test_a_sender_that_never_stops_leaves_time_for_others(tcp, toxics, monkeypatch, nursery):
    w = await tcp(*toxics)
    # From here on every socket always has bytes, and takes all that is sent.
    monkeypatch.setattr(sockets.os, "readv", lambda fd, buffers: len(buffers[0]))
    monkeypatch.setattr(sockets.os, "write", lambda fd, data: len(data))
    await w.server.send(b"x")
    turns = 0
    with trio.move_on_after(0.1):
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1
    monkeypatch.undo()
    assert turns > 10


async def test_an_exception_of_the_block_comes_out_as_itself():
    with pytest.raises(ZeroDivisionError):
        async with open_tcp_proxy("127.0.0.1:1"):
            raise ZeroDivisionError


async def test_an_address_that_is_none_is_told(nursery):
    proxy = TcpProxy("p", "127.0.0.1:1", nursery, listen="nonsense")
    with pytest.raises(ValueError, match="address nonsense: missing port in address"):
        await proxy.enable()
    assert not proxy.enabled


async def test_adding_does_not_wait_for_a_receiver_that_does_not_read(tcp):
    w = await tcp()
    with trio.move_on_after(0.05):
        await w.server.stream.send_all(bytes(64 * 1024 * 1024))
    # The real server would hang here, and so would every call after this one.
    w.proxy.add_toxic(Timeout(timeout=0.05))
    w.client.limit = 3
    assert (await w.client.rest())[1] == "fin"


async def test_a_toxic_may_come_while_a_connection_closes(tcp):
    """It was ended by another, and its client has not closed its side yet."""
    w = await tcp(LimitData(bytes=1))
    await w.server.send(b"xy")
    assert await w.client.rest() == (b"x", "fin")
    w.proxy.add_toxic(Timeout(), "upstream")
    assert "timeout_upstream" in w.proxy.toxics
    w.proxy.remove_toxic("timeout_upstream")
    assert "timeout_upstream" not in w.proxy.toxics


async def test_one_connection_is_cut_or_stalled(tcp, dial):
    w = await tcp()
    port = int(w.proxy.listen.rpartition(":")[2])
    clients = [w.client, await dial(port), await dial(port)]
    with trio.fail_after(2):
        await w.proxy.changes.wait_until(lambda: w.proxy.open_connections == 3)
    await trio.sleep(0.02)  # until their upstreams are there
    assert w.proxy.stall(connection=[2, 7]) == 1
    assert w.proxy.stall(connection=2) == 0
    assert [each.stalled for each in w.proxy.connections] == [False, True, False]
    await clients[1].send(b"anybody?")
    await clients[1].silence()
    assert w.proxy.cut(connection=1) == 1
    assert await clients[0].rest() == (b"", "rst")
    assert w.proxy.cut("fin", connection=range(2, 4)) == 2
    for client in clients[1:]:
        assert await client.rest() == (b"", "fin")
    assert w.proxy.cut() == 0
    assert w.proxy.connection(1).outcome == "reset"
    assert w.proxy.connection(4) is None


async def test_refusing_leaves_open_connections(tcp, dial):
    w = await tcp()
    port = int(w.proxy.listen.rpartition(":")[2])
    w.proxy.refuse()
    assert not w.proxy.enabled
    with pytest.raises(OSError, match=r"refused|failed"):
        await dial(port)
    await w.client.send(b"x")
    assert await w.server.exactly(1) == b"x"
    await w.proxy.enable()
    await dial(port)
