"""A raw client and a raw server around the proxy: in memory under a virtual clock, or on TCP."""

from __future__ import annotations

import socket
import struct

import pytest
import trio
import trio.testing

from moored.faults.tcp.proxy import TcpProxy


class Wire:
    """The two ends of one connection through a proxy, and what comes with its time."""

    def __init__(self, proxy, client, server):
        self.proxy = proxy
        self.client = client
        self.server = server
        self.began = trio.current_time()

    def ends(self, direction):
        both = self.client, self.server
        return both if direction == "upstream" else both[::-1]

    async def arrivals(self, stream):
        """Each chunk and its time, the end as ``b""``."""
        while True:
            data = bytes(await stream.receive_some(1 << 20))
            yield round(trio.current_time() - self.began, 6), data
            if not data:
                return

    async def collect(self, stream, seconds=1000.0):
        """What comes within ``seconds``: chunks with their times."""
        got = []
        with trio.move_on_after(seconds):
            async for arrival in self.arrivals(stream):
                got.append(arrival)
        return got


@pytest.fixture
async def wire(nursery):
    """Call it with toxics (and a direction): a connection in memory through a proxy with them."""

    async def make(*toxics, direction="downstream", seed=0, toxicity=1.0, number=1, lockstep=False):
        ends = []
        # Those that go in lockstep hold nothing themselves, so that a sender is seen to wait.
        pair = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair

        async def connect():
            ours, theirs = pair()
            ends.append(theirs)
            return ours

        proxy = TcpProxy("p", "", nursery, seed=seed, connect_upstream=connect)
        proxy.connection_count = number - 1
        for place, toxic in enumerate(toxics):
            proxy.add_toxic(toxic, direction, name=str(place), toxicity=toxicity)
        client, inner = pair()
        nursery.start_soon(proxy.serve_connection, inner)
        await trio.testing.wait_all_tasks_blocked()
        return Wire(proxy, client, ends[0])

    return make


class TcpWire:
    """The same on TCP."""

    def __init__(self, proxy, client, server):
        self.proxy = proxy
        self.client = client
        self.server = server


@pytest.fixture
async def tcp(nursery, dial):
    """Call it with toxics: a connection on TCP, its ends plain clients."""
    accepted, servers = trio.open_memory_channel(100)

    async def keep(stream):
        await accepted.send(stream)
        await trio.sleep_forever()

    listeners = await nursery.start(trio.serve_tcp, keep, 0)
    upstream = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"

    async def make(*toxics, direction="downstream"):
        proxy = TcpProxy("p", upstream, nursery)
        await proxy.enable()
        for place, toxic in enumerate(toxics):
            proxy.add_toxic(toxic, direction, name=str(place))
        client = await dial(int(proxy.listen.rpartition(":")[2]))
        return TcpWire(proxy, client, await dial(await servers.receive()))

    return make


@pytest.fixture
def abort():
    """Call it with a plain client: its connection ends by a reset."""

    async def abort(plain):
        linger = struct.pack("ii", 1, 0)
        plain.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await plain.aclose()

    return abort
