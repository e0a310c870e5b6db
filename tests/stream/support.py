"""What these tests are made of: a network in memory, peers on it, and a scripted transport.

The peers are not ours: trio-websocket's server, and HTTP written by hand.
"""

from __future__ import annotations

import contextlib
import math
import random

import trio
import trio.testing
import trio_websocket
import wsproto
from wsproto import events as ws

import moored
from moored.transports.base import Connection, ConnectionEnded, Transport

URL = "ws://feed.test/feed"
SSE_URL = "http://feed.test/feed"


class Dialled(trio.abc.Stream):
    """The client's end of a connection: knows whether it was closed."""

    def __init__(self, inner):
        self.inner = inner
        self.closed = False

    async def send_all(self, data):
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self):
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes=None):
        return await self.inner.receive_some(max_bytes)

    async def aclose(self):
        self.closed = True
        await self.inner.aclose()


class Network:
    """Connections in memory.  Each dial gets the next handler; the last one serves all others.

    A handler is ``async def handler(stream)``, or an exception that the dial raises.
    """

    def __init__(self, nursery):
        self.nursery = nursery
        self.make_pair = trio.testing.memory_stream_pair
        self.handlers = []
        self.dialled = []
        self.streams = []

    def serve(self, *handlers):
        self.handlers = list(handlers)

    @property
    def times(self):
        return [time for time, _, _ in self.dialled]

    async def dial(self, host, port):
        await trio.lowlevel.checkpoint()
        self.dialled.append((trio.current_time(), host, port))
        handler = self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0]
        if isinstance(handler, BaseException):
            raise handler
        ours, theirs = self.make_pair()
        self.streams.append(Dialled(ours))
        self.nursery.start_soon(self._serve, handler, theirs)
        return self.streams[-1]

    async def _serve(self, handler, stream):
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await handler(stream)
        await trio.aclose_forcefully(stream)

    def websocket(self, url=URL, **options):
        options.setdefault("rng", random.Random(1))
        return moored.open_websocket(url, dial=self.dial, **options)

    def sse(self, url=SSE_URL, **options):
        options.setdefault("rng", random.Random(1))
        return moored.open_sse(url, dial=self.dial, **options)


# -------------------------------------------------------------------------------- peers


def websocket(handler):
    """A WebSocket server: ``handler(peer)`` with trio-websocket's connection.

    When it returns, the connection is cut without a close frame.
    """

    async def serve(stream):
        async with trio.open_nursery() as nursery:
            with contextlib.suppress(trio_websocket.ConnectionClosed):
                request = await trio_websocket.wrap_server_stream(nursery, stream)
                await handler(await request.accept())
            nursery.cancel_scope.cancel()

    return serve


def talking(*messages, then=None):
    """A WebSocket server that sends ``messages`` and rests, or does ``then(peer)``."""

    async def handler(peer):
        for message in messages:
            await peer.send_message(message)
        await (then(peer) if then is not None else rest(peer))

    return websocket(handler)


async def rest(peer):
    """Stay, answer pings, and answer the close."""
    while True:
        await peer.get_message()


async def cut(_peer):
    """End the connection without a word."""


def goodbye(code, reason=""):
    async def close(peer):
        await peer.aclose(code, reason)

    return close


def refusing(status, *headers, body=b"", then=None):
    """An HTTP server that answers so."""

    async def serve(stream):
        peer = HttpPeer(stream)
        await peer.request()
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
        await stream.send_all("\r\n".join([*lines, "", ""]).encode() + body)

    return serve


async def mute(_stream):
    """Accept the connection, and never read or say anything."""
    await trio.sleep_forever()


class RawPeer:
    """A WebSocket server that does nothing by itself, not even answer pings."""

    def __init__(self, stream):
        self.stream = stream
        self.protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self.seen = []

    async def accept(self):
        while not self.seen:
            await self.read()
        await self.say(ws.AcceptConnection())
        self.seen.clear()

    async def read(self):
        """Take in what comes; ``False`` at the end of file."""
        data = await self.stream.receive_some()
        self.protocol.receive_data(bytes(data))
        self.seen += [(trio.current_time(), event) for event in self.protocol.events()]
        return bool(data)

    async def read_all(self):
        while await self.read():
            pass

    async def say(self, event):
        await self.stream.send_all(self.protocol.send(event))

    def kinds(self):
        return [type(event) for _, event in self.seen]


def raw(handler):
    async def serve(stream):
        peer = RawPeer(stream)
        await peer.accept()
        await handler(peer)

    return serve


class HttpPeer:
    """An HTTP server's side of one connection, written by hand."""

    def __init__(self, stream):
        self.stream = stream
        self.method = self.target = ""
        self.headers = {}
        self.body = b""

    async def request(self):
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = await self.stream.receive_some()
            if not chunk:
                raise trio.BrokenResourceError
            data += chunk
        head, self.body = bytes(data).split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        self.method, self.target, _ = first.split(" ")
        self.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        while len(self.body) < int(self.headers.get("content-length", 0)):
            self.body += await self.stream.receive_some()

    async def answer(self):
        await self.stream.send_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )

    async def say(self, text):
        data = text.encode()
        await self.stream.send_all(b"%x\r\n%s\r\n" % (len(data), data))

    async def event(self, data, id=None):
        await self.say(("" if id is None else f"id: {id}\n") + f"data: {data}\n\n")

    async def end(self):
        await self.stream.send_all(b"0\r\n\r\n")


def http(handler):
    """An SSE server: ``handler(peer)`` after the request was read and 200 was answered."""

    async def serve(stream):
        peer = HttpPeer(stream)
        await peer.request()
        await peer.answer()
        await handler(peer)

    return serve


# -------------------------------------------------------------------------------- transport


class Line(Connection):
    """A connection by hand."""

    sends = True
    pings = True

    def __init__(self, attempt):
        self.attempt = attempt
        self.sent = []
        self.pinged = []
        self.code = self.closed_at = None
        self.blocked = False  # send() waits for ever
        self.send_fails = None
        self.was_resumed = False
        self.may_repeat = True
        self._put, self._take = trio.open_memory_channel(math.inf)

    @property
    def resumed(self):
        return self.was_resumed

    @property
    def repeatable(self):
        return self.may_repeat

    def deliver(self, *messages):
        self._put.send_nowait(list(messages))

    def end(self, cause=None):
        self._put.send_nowait(cause or moored.AbnormalClosure(1006))

    async def receive(self):
        batch = await self._take.receive()
        if isinstance(batch, moored.Cause):
            self._put.send_nowait(batch)
            raise ConnectionEnded(batch)
        return batch

    async def send(self, message):
        await trio.lowlevel.checkpoint()
        if self.blocked:
            await trio.sleep_forever()
        if self.send_fails is not None:
            raise ConnectionEnded(self.send_fails)
        self.sent.append(message)

    async def ping(self):
        await trio.lowlevel.checkpoint()
        self.pinged.append(trio.current_time())

    async def aclose(self, code):
        self.code = code
        await trio.lowlevel.checkpoint()
        self.closed_at = trio.current_time()


class Lines(Transport):
    """A transport by hand.  ``script`` holds, for each attempt, a cause that it fails with, or
    ``async def made(line)``; after it, attempts succeed."""

    sends = True

    def __init__(self, *script, one_shot=False):
        self.script = list(script)
        self.one_shot = one_shot
        self.lines = []
        self.attempts = []
        self._changed = trio.lowlevel.ParkingLot()

    async def connect(self, attempt):
        self.attempts.append((trio.current_time(), attempt))
        self._changed.unpark_all()
        await trio.lowlevel.checkpoint()
        line = Line(attempt)
        if self.script:
            step = self.script.pop(0)
            if isinstance(step, moored.Cause):
                raise ConnectionEnded(step)
            await step(line)
        self.lines.append(line)
        self._changed.unpark_all()
        return line

    async def line(self, number=1):
        """The connection with this number, once it is there."""
        while len(self.lines) < number:
            await self._changed.park()
        await trio.testing.wait_all_tasks_blocked()
        return self.lines[number - 1]

    async def attempted(self, number):
        while len(self.attempts) < number:
            await self._changed.park()
        return self.attempts[number - 1][1]

    @property
    def times(self):
        return [time for time, _ in self.attempts]

    def open(self, **options):
        options.setdefault("rng", random.Random(1))
        return moored.open_stream(self, **options)


# -------------------------------------------------------------------------------- watching


def task_names(task=None):
    """The names of all tasks under ``task``, by default of all that there are."""
    task = task or trio.lowlevel.current_root_task()
    names = []
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            names += [child.name, *task_names(child)]
    return names


OURS = {"reconnect", "reader", "writer", "heartbeat", "idle-timeout", "ping"}
OURS |= {"chat clocks", "chat reply"}


def our_tasks():
    return sorted(name for name in task_names() if name in OURS)


async def settled():
    await trio.testing.wait_all_tasks_blocked()


def reconnect(**changes):
    return moored.Policy(reconnect=moored.Reconnect(**changes))
