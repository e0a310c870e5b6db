"""Sides that leave while a black hole hides it: their sockets go, and the others see no more."""

import os
from contextlib import suppress

import pytest
import trio
import trio.testing

from moored.faults.tcp import connection as connection_module
from moored.faults.tcp import proxy as proxy_module
from moored.faults.tcp.toxics import Bandwidth, HalfOpen, NeverAnswer, Timeout

BLACK_HOLES = [HalfOpen(), Bandwidth()]


def sockets():
    return len(os.listdir("/proc/self/fd"))


async def fewer_than(count):
    """Wait until there are fewer open files."""
    with trio.fail_after(2):
        while sockets() >= count:  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.005)


async def ended(proxy, limit=2):
    with trio.fail_after(limit):
        await proxy.changes.wait_until(lambda: not proxy.open_connections)


@pytest.fixture
async def holed(tcp):
    """Call it with a toxic: a connection on TCP with it in both directions."""

    async def make(toxic):
        w = await tcp()
        w.proxy.add_toxic(toxic, "upstream", name="up")
        w.proxy.add_toxic(toxic, "downstream", name="down")
        return w

    return make


@pytest.mark.parametrize("toxic", BLACK_HOLES)
async def test_a_client_that_resets_is_let_go_and_its_server_sees_nothing(holed, abort, toxic):
    w = await holed(toxic)
    await w.client.send(b"anybody?")
    await trio.sleep(0.02)
    before = sockets()
    await abort(w.client)
    await fewer_than(before - 1)  # the client's own socket, and the proxy's for it
    await w.server.silence(0.1)
    w.proxy.remove_toxic("up")
    assert await w.server.rest() == (b"anybody?", "rst")
    await ended(w.proxy)
    assert w.proxy.connections[0].outcome == "reset"


@pytest.mark.parametrize("toxic", BLACK_HOLES)
async def test_a_client_that_closes_is_let_go_after_the_grace(holed, toxic, monkeypatch):
    monkeypatch.setattr(connection_module, "HALF_CLOSED_GRACE", 0.1)
    w = await holed(toxic)
    await w.client.send(b"one")
    await trio.sleep(0.02)
    await w.client.send(b"two")
    before = sockets()
    await w.client.aclose()
    await trio.sleep(0.02)
    assert sockets() == before - 1  # It may still read.
    await fewer_than(before - 1)
    await w.server.silence(0.15)
    w.proxy.remove_toxic("up")
    assert await w.server.rest() == (b"onetwo", "fin")
    await w.server.aclose()
    await ended(w.proxy)


@pytest.mark.parametrize("toxic", BLACK_HOLES)
async def test_a_reset_behind_more_than_is_held_is_noticed(holed, abort, toxic, monkeypatch):
    w = await holed(toxic)
    with trio.move_on_after(0.2):
        await w.client.stream.send_all(bytes(64 * 1024 * 1024))
    before = sockets()
    await abort(w.client)
    await fewer_than(before - 1)
    await w.server.silence(0.05)


async def test_the_servers_end_is_hidden_from_a_client_that_stays(holed, abort):
    w = await holed(HalfOpen())
    await w.server.send(b"x")
    await trio.sleep(0.02)
    before = sockets()
    await abort(w.server)
    await fewer_than(before - 1)
    await w.client.silence(0.1)
    await abort(w.client)  # Now nobody is left.
    await ended(w.proxy)


async def test_a_server_that_leaves_ends_what_is_kept_for_it(holed, abort, monkeypatch):
    monkeypatch.setattr(connection_module, "HALF_CLOSED_GRACE", 0.05)
    for end in (abort, lambda plain: plain.aclose()):
        w = await holed(HalfOpen())
        await abort(w.client)
        await w.server.silence(0.15)
        await end(w.server)
        await ended(w.proxy)


async def test_those_kept_for_the_server_alone_are_bounded(holed, abort, dial, monkeypatch):
    monkeypatch.setattr(proxy_module, "MAX_ABANDONED", 3)
    w = await holed(HalfOpen())
    port = int(w.proxy.listen.rpartition(":")[2])
    clients = [w.client, *[await dial(port) for _ in range(9)]]
    with trio.fail_after(2):
        await w.proxy.changes.wait_until(lambda: w.proxy.open_connections == 10)
    for number, client in enumerate(clients):
        await client.send(b"%d" % number)
        await trio.sleep(0.01)
        await abort(client)
        await trio.sleep(0.01)
    with trio.fail_after(2):
        await w.proxy.changes.wait_until(lambda: w.proxy.open_connections == 3)
    assert [each.number for each in w.proxy.connections if each.ended is None] == [8, 9, 10]
    assert await w.server.rest() == (b"", "rst")


@pytest.mark.parametrize("toxic", [Timeout(), NeverAnswer(), Bandwidth()])
async def test_a_server_that_never_stops_keeps_no_client_that_has_left(
    autojump_clock, wire, toxic, nursery
):
    w = await wire(toxic)

    async def send():
        with suppress(trio.BrokenResourceError):
            while True:
                await w.server.send_all(b"tick")
                await trio.sleep(1)

    nursery.start_soon(send)
    await trio.sleep(3)
    await w.client.send_eof()
    await ended(w.proxy, limit=21)


async def test_a_client_in_memory_is_noticed_too(autojump_clock, wire):
    w = await wire(HalfOpen())
    w.proxy.add_toxic(HalfOpen(), "upstream")
    await w.client.send_all(b"anybody?")
    await w.client.aclose()
    assert await w.collect(w.server, 50) == []
    w.proxy.remove_toxic("half_open_upstream")
    assert await w.collect(w.server) == [(50, b"anybody?"), (50, b"")]
    await w.server.aclose()
    await ended(w.proxy)


async def test_one_that_reads_on_is_not_let_go(autojump_clock, wire, nursery):
    """It has ended its side, and the other one still passes."""
    w = await wire(HalfOpen(), direction="upstream")
    await w.client.send_eof()

    async def send():
        for _ in range(10):
            await trio.sleep(5)
            await w.server.send_all(b"x")

    nursery.start_soon(send)
    assert b"".join(data for _, data in await w.collect(w.client)) == b"x" * 10
