"""Peers that are written by hand: bytes in memory or on a socket, and what came from the client."""

from __future__ import annotations

import base64
import gc
import hashlib
import os
import socket
import struct
from contextlib import suppress

import pytest
import trio
import trio.testing

from moored.stream.arguments import request_body
from moored.transports.base import Attempt, ConnectionEnded
from moored.transports.sse import SseRequest, SseTransport
from moored.transports.target import Target
from moored.transports.websocket import WebSocketTransport


@pytest.fixture(scope="session", autouse=True)
def _quick_collections():
    """What was there before the first test is not searched again for each."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_left_open(_quick_collections):
    """Every test: no descriptor stays open.  (Warnings of collected generators are errors.)"""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


class Tracked(trio.abc.Stream):
    """The client's end of a byte stream: knows whether it was closed."""

    def __init__(self, stream):
        self.stream = stream
        self.closed = False

    async def send_all(self, data):
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self):
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes=None):
        return await self.stream.receive_some(max_bytes)

    async def aclose(self):
        self.closed = True
        await self.stream.aclose()


class Peer:
    """The server's end of one connection."""

    def __init__(self, stream):
        self.stream = stream
        self.buffer = b""

    async def send(self, data):
        await self.stream.send_all(data)

    async def _fill(self):
        with trio.fail_after(5):
            data = await self.stream.receive_some(65536)
        self.buffer += data
        return bool(data)

    async def exactly(self, size):
        while len(self.buffer) < size:
            assert await self._fill(), f"the end of file came after {self.buffer!r}"
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    async def head(self):
        """The request's line, and its header fields by lower-case name: lists of bytes."""
        while b"\r\n\r\n" not in self.buffer:
            assert await self._fill(), f"the end of file came after {self.buffer!r}"
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        line, *rest = head.split(b"\r\n")
        fields = {}
        for each in rest:
            name, _, value = each.partition(b":")
            fields.setdefault(name.decode().lower(), []).append(value.strip())
        return line.decode(), fields

    async def request(self):
        """The request's line, its header fields, and its body."""
        line, fields = await self.head()
        size = int(fields.get("content-length", [b"0"])[0])
        return line, fields, await self.exactly(size)

    async def accept(self, extra=b"", headers=b""):
        """Be the server of a WebSocket handshake; ``extra`` comes in the same packet."""
        line, fields = await self.head()
        key = fields["sec-websocket-key"][0]
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        await self.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: "
            + base64.b64encode(digest)
            + b"\r\n"
            + headers
            + b"\r\n"
            + extra
        )
        return line, fields

    async def frame(self):
        """The client's next frame: opcode and payload.  It must be masked."""
        first, second = await self.exactly(2)
        assert second & 0x80, "a client masks (RFC 6455, section 5.1)"
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await self.exactly(2 if size == 126 else 8), "big")
        mask = await self.exactly(4)
        payload = await self.exactly(size)
        # As one integer: quick also for large ones.
        pattern = (mask * (size // 4 + 1))[:size]
        unmasked = int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")
        return first & 0x0F, unmasked.to_bytes(size, "big")

    async def rest(self):
        """Everything that still comes, to the end of file, however long it takes."""
        with suppress(trio.BrokenResourceError):
            while data := await self.stream.receive_some(65536):
                self.buffer += data
        data, self.buffer = self.buffer, b""
        return data

    async def fin(self):
        """End our direction, or the connection where it has only one end."""
        await self.stream.send_eof()

    def rst(self):
        """Reset a TCP connection."""
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()


class Dialled:
    """Opens streams in memory, and runs a script at the other end of each."""

    def __init__(self, nursery):
        self._nursery = nursery
        self.script = None
        self.pair = trio.testing.memory_stream_pair
        self.where = []
        self.streams = []
        self.peers = []

    async def __call__(self, host, port):
        ours, theirs = self.pair()
        peer, stream = Peer(theirs), Tracked(ours)
        self.where.append((host, port))
        self.streams.append(stream)
        self.peers.append(peer)
        if self.script is not None:
            self._nursery.start_soon(self._run, self.script, peer)
        await trio.lowlevel.checkpoint()
        return stream

    async def _run(self, script, peer):
        with suppress(trio.BrokenResourceError):  # that the client hangs up is often the test
            await script(peer)


@pytest.fixture
async def dialled(nursery):
    """A ``dial=``: streams in memory, with ``script`` at the other end.  All must be closed."""
    dialled = Dialled(nursery)
    yield dialled
    assert all(stream.closed for stream in dialled.streams), "a stream was left open"


@pytest.fixture
async def tcp(nursery):
    """Call it with ``async def script(peer)``: a server on TCP; returns its port."""

    async def serve(script, **options):
        async def handle(stream):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                async with stream:
                    await script(Peer(stream))

        listeners = await nursery.start(trio.serve_tcp, handle, 0)
        return listeners[0].socket.getsockname()[1]

    return serve


@pytest.fixture
async def websocket(dialled):
    """Call it: a WebSocket connection to ``dialled``'s peers, or to a URL on TCP."""
    connections = []

    async def connect(
        url="ws://peer.test/", *, headers=None, max_message_bytes=1000, memory=True, **options
    ):
        if memory:
            options["open_stream"] = dialled
            dialled.script = dialled.script or Peer.accept
        transport = WebSocketTransport(
            Target(url, ("ws", "wss"), headers), max_message_bytes=max_message_bytes, **options
        )
        with trio.fail_after(20):
            connection = await transport.connect(Attempt())
        connections.append(connection)
        return connection

    yield connect
    for connection in connections:
        with trio.fail_after(5):
            await connection.aclose(None)


@pytest.fixture
async def sse(dialled):
    """Call it: an SSE connection to ``dialled``'s peers, or to a URL on TCP."""
    connections = []

    async def connect(
        url="http://peer.test/",
        *,
        headers=None,
        attempt=None,
        max_event_bytes=1000,
        memory=True,
        transport=None,
        **options,
    ):
        if memory:
            transport = {"open_stream": dialled, **(transport or {})}
        target = Target(url, ("http", "https"), headers)
        request = SseRequest(target, **json_body(options))
        sse = SseTransport(request, max_event_bytes=max_event_bytes, **(transport or {}))
        with trio.fail_after(20):
            connection = await sse.connect(attempt or Attempt())
        connections.append(connection)
        return connection

    yield connect
    for connection in connections:
        with trio.fail_after(5):
            await connection.aclose(None)


def json_body(options):
    """``json=`` as the opener makes it into a body."""
    if "json" in options:
        content = request_body(options.pop("json"), None)
        options |= {"content": content, "content_type": "application/json"}
    return options


async def everything(connection):
    """The messages that came, and the cause that ended the connection.  Owed replies are sent."""
    messages = []
    with trio.fail_after(20):
        while True:
            try:
                messages += await connection.receive()
                if connection.reply_due:
                    await connection.reply()
            except ConnectionEnded as end:
                return messages, end.cause


@pytest.fixture
def drain():
    """The function that reads a connection to its end: its messages and its cause."""
    return everything


@pytest.fixture
def refused():
    """Call it with what connects: the cause that it raises instead."""

    async def refused(connecting):
        with pytest.raises(ConnectionEnded) as caught:
            await connecting
        return caught.value.cause

    return refused
