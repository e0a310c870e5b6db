"""A plain client and a plain server: sockets, and bytes written by hand.

They share no code with what is tested, so that they see what any client in any language sees.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio
import trio.testing

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # for that key: RFC 6455, section 1.3
LIMIT = 5.0  # seconds: far more than any of these needs

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


def frame(opcode, payload=b"", *, fin=True, mask=None):
    """One frame, as RFC 6455 section 5.2 draws it."""
    first = (0x80 if fin else 0) | opcode
    bit = 0x80 if mask else 0
    size = len(payload)
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65536:
        head = bytes([first, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
    if mask:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        head += mask
    return head + payload


class Plain:
    """One side of a connection, which reads exactly what it asks for."""

    def __init__(self, stream):
        self.stream = stream
        self.buffer = b""
        self.limit = LIMIT

    async def send(self, data):
        with trio.fail_after(self.limit):
            await self.stream.send_all(data)

    async def _fill(self):
        with trio.fail_after(self.limit):
            data = await self.stream.receive_some(65536)
        self.buffer += data
        return bool(data)

    async def exactly(self, size):
        while len(self.buffer) < size:
            assert await self._fill(), f"the end of file came after {self.buffer!r}"
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    async def until(self, mark):
        while mark not in self.buffer:
            assert await self._fill(), f"the end of file came after {self.buffer!r}"
        at = self.buffer.index(mark) + len(mark)
        data, self.buffer = self.buffer[:at], self.buffer[at:]
        return data

    async def rest(self):
        """All that still comes, and how it ended: ``"fin"`` or ``"rst"``."""
        try:
            while await self._fill():
                pass
        except trio.BrokenResourceError as exc:
            ending = errno.errorcode[exc.__cause__.errno]
        else:
            ending = "fin"
        data, self.buffer = self.buffer, b""
        return data, "rst" if ending == "ECONNRESET" else ending

    async def silence(self, seconds=0.05):
        """Assert that nothing comes for so long, not even an end."""
        assert self.buffer == b""
        with trio.move_on_after(seconds) as scope:
            data = await self.stream.receive_some(65536)
        assert scope.cancelled_caught, f"not silent: {data!r}"

    async def head(self):
        """The start line, and the headers by lower-case name."""
        lines = (await self.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        fields = [line.split(": ", 1) for line in lines[1:]]
        return lines[0], {name.lower(): value for name, value in fields}

    async def get(self, path="/", *headers, method="GET"):
        """Ask, and return the answer's status and headers."""
        lines = [f"{method} {path} HTTP/1.1", "Host: proxy.test", *headers]
        await self.send("\r\n".join([*lines, "", ""]).encode())
        line, fields = await self.head()
        return int(line.split()[1]), fields

    async def upgrade(self, path="/", *headers):
        """Ask for a WebSocket, and return the answer's status and headers."""
        return await self.get(
            path,
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {KEY}",
            "Sec-WebSocket-Version: 13",
            *headers,
        )

    async def chunks(self):
        """A chunked body to its end."""
        body = b""
        while size := int(await self.until(b"\r\n"), 16):
            body += (await self.exactly(size + 2))[:-2]
        assert await self.until(b"\r\n") == b"\r\n"
        return body

    async def frame(self):
        """The next frame, unmasked: opcode and payload."""
        first, second = await self.exactly(2)
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await self.exactly(2 if size == 126 else 8), "big")
        mask = await self.exactly(4) if second & 0x80 else bytes(4)
        payload = await self.exactly(size)
        return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))

    async def say(self, opcode, payload=b"", **options):
        """Send a masked frame, as a client does."""
        await self.send(frame(opcode, payload, mask=b"\1\2\3\4", **options))

    async def accept_websocket(self):
        """Be the server of a handshake."""
        line, fields = await self.head()
        await self.send(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n".encode()
        )
        return line, fields

    async def aclose(self):
        await trio.aclose_forcefully(self.stream)


@pytest.fixture
async def dial():
    """Call it with a port (or a stream): a plain client."""
    clients = []

    async def dial(target):
        stream = target if isinstance(target, trio.abc.Stream) else None
        stream = stream or await trio.open_tcp_stream("127.0.0.1", target)
        clients.append(Plain(stream))
        return clients[-1]

    yield dial
    for client in clients:
        await client.aclose()


Handler = Callable[[Plain], Awaitable[None]]


class Upstream:
    """A plain server on TCP.  What its handler raises fails the test."""

    def __init__(self, port):
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.ws_url = f"ws://127.0.0.1:{port}"


@pytest.fixture
async def serve(nursery):
    """Call it with ``async def handler(plain)``: a plain server."""

    async def serve(handler: Handler):
        async def handle(stream):
            async with stream:
                # That the proxy ends a connection while we send is what many of these tests do.
                with suppress(trio.BrokenResourceError):
                    await handler(Plain(stream))

        listeners = await nursery.start(trio.serve_tcp, handle, 0)
        return Upstream(listeners[0].socket.getsockname()[1])

    return serve


@pytest.fixture
async def websocket_upstream(serve):
    """Call it with the bytes to send behind the handshake: a server that sends them, and waits."""

    async def make(data, then: Handler | None = None):
        async def handler(plain):
            await plain.accept_websocket()
            await plain.send(data)
            await (then or Plain.rest)(plain)

        return await serve(handler)

    return make


@pytest.fixture
async def http_upstream(serve):
    """Call it with a head and a body: a server that answers so, and ends the connection."""

    async def make(head, body=b"", then: Handler | None = None):
        async def handler(plain):
            await plain.head()
            await plain.send(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
            if then is not None:
                await then(plain)

        return await serve(handler)

    return make


@pytest.fixture(scope="session")
def make_frame():
    """The function that makes one frame by hand."""
    return frame


@pytest.fixture
async def memory(nursery):
    """Call it with a proxy: a plain client in memory, connected through it."""
    clients = []

    async def connect(proxy):
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(proxy.serve_connection, theirs)
        clients.append(Plain(ours))
        return clients[-1]

    yield connect
    for client in clients:
        await client.aclose()


@pytest.fixture
async def into_memory(nursery):
    """Call it with a server: what a proxy calls to connect to it in memory."""

    def make(server):
        async def connect():
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(server.serve_connection, theirs)
            return ours

        return connect

    return make
