"""Providers by script: what an endpoint does, played over SSE and over WebSocket in memory."""

from __future__ import annotations

import contextlib
import json
import random

import attrs
import trio
from wsproto import events as ws
from wsproto.utilities import LocalProtocolError

from moored import chat

from ..stream.support import HttpPeer, Network, RawPeer

BASE_URL = "http://ai.test/v1"
ASK = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}

# ---------------------------------------------------------------------------- what is sent


def chunk(delta=None, finish=None, *, choice=0, **fields):
    """A chat completion chunk with one choice."""
    body = {"index": choice, "delta": delta or {}, "finish_reason": finish}
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
    return json.dumps({**head, "choices": [body], **fields})


def say(text, **options):
    return chunk({"content": text}, **options)


ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk(finish="stop")
USAGE = json.dumps(
    {"id": "c-1", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
)
DONE = "[DONE]"


@attrs.frozen
class Wait:
    """Nothing at all for so many seconds."""

    seconds: float


@attrs.frozen
class Comments:
    """An SSE comment, or a WebSocket ping, every ``every`` seconds, for ``seconds``."""

    seconds: float
    every: float = 10.0


@attrs.frozen
class Event:
    """An SSE event with fields of its own."""

    data: str
    event: str = ""
    id: str = ""


@attrs.frozen
class Status:
    """No stream: an HTTP answer."""

    status: int
    headers: tuple[str, ...] = ()
    body: bytes = b"{}"


@attrs.frozen
class Headers:
    """First in a script: more headers of the answer.  Over SSE."""

    lines: tuple[str, ...]


class End:
    """The body ends in good order; a WebSocket closes with 1000."""


class Cut:
    """TCP ends."""


class Hang:
    """Nothing more, ever."""


END, CUT, HANG = End(), Cut(), Hang()

# ---------------------------------------------------------------------------- how it is sent


class Provider:
    """Plays a script on each connection; the last one serves all others.

    :ivar requests: the bodies of the requests, in order; ``headers`` and ``targets`` likewise.
    :ivar left: when the client hung up, for each connection on which the script waited for it.
    """

    def __init__(self, network: Network, transport: str) -> None:
        self.network = network
        self.transport = transport
        self.requests = []
        self.headers = []
        self.targets = []
        self.left = []

    def plays(self, *scripts):
        self.network.serve(*(self._player(script) for script in scripts))

    @property
    def times(self):
        return self.network.times

    def client(self, **options):
        options.setdefault("rng", random.Random(1))
        options.setdefault("transport", self.transport)
        return chat.Client(BASE_URL, "sk-secret", dial=self.network.dial, **options)

    def _player(self, script):
        async def serve(stream):
            script_ = script if isinstance(script, list | tuple) else [script]
            if script_ and isinstance(script_[0], Status):
                await self._refuse(stream, script_[0])
            elif self.transport == "sse":
                await self._over_sse(stream, script_)
            else:
                await self._over_websocket(stream, script_)

        return serve

    async def _refuse(self, stream, status):
        peer = HttpPeer(stream)
        await peer.request()
        self._note(peer)
        lines = [f"HTTP/1.1 {status.status} Whatever", f"Content-Length: {len(status.body)}"]
        await stream.send_all("\r\n".join([*lines, *status.headers, "", ""]).encode() + status.body)

    def _note(self, peer):
        self.targets.append(f"{peer.method} {peer.target}")
        self.headers.append(peer.headers)
        if peer.body:
            self.requests.append(json.loads(peer.body))

    async def _over_sse(self, stream, script):
        peer = HttpPeer(stream)
        await peer.request()
        self._note(peer)
        if script and script[0] is HANG:
            return await self._until_left(stream)
        if script and isinstance(script[0], Headers):
            more, script = script[0].lines, script[1:]
            await stream.send_all("\r\n".join(["HTTP/1.1 200 OK", *more, ""]).encode())
            await stream.send_all(
                b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
        else:
            await peer.answer()
        for step in script:
            match step:
                case str():
                    await peer.say(f"data: {step}\n\n")
                case Event(data, event, id):
                    lines = [f"event: {event}"] * bool(event) + [f"id: {id}"] * bool(id)
                    await peer.say("\n".join([*lines, f"data: {data}", "", ""]))
                case bytes():
                    await peer.say(step.decode())
                case Wait(seconds):
                    await trio.sleep(seconds)
                case Comments(seconds, every):
                    end = trio.current_time() + seconds
                    while trio.current_time() < end:
                        await trio.sleep(every)
                        await peer.say(": keep-alive\n\n")
                case End():
                    await peer.end()
                    return await self._until_left(stream)
                case Cut():
                    return None
                case Hang():
                    return await self._until_left(stream)
        return await self._until_left(stream)

    async def _over_websocket(self, stream, script):
        peer = RawPeer(stream)
        await peer.accept()
        while not any(isinstance(event, ws.TextMessage) for _, event in peer.seen):
            await peer.read()
        [request] = [event.data for _, event in peer.seen if isinstance(event, ws.TextMessage)]
        self.requests.append(json.loads(request))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._answer_pings, peer)
            with contextlib.suppress(LocalProtocolError):  # the client has begun to close
                await self._play_websocket(peer, script)
            nursery.cancel_scope.cancel()

    async def _answer_pings(self, peer):
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while await peer.read():
                for _, event in peer.seen:
                    if isinstance(event, ws.Ping):
                        await peer.say(event.response())
                peer.seen.clear()
            self.left.append(trio.current_time())

    async def _play_websocket(self, peer, script):
        for step in script:
            match step:
                case str():
                    await peer.say(ws.TextMessage(data=step))
                case Event(data):
                    await peer.say(ws.TextMessage(data=data))
                case Wait(seconds):
                    await trio.sleep(seconds)
                case Comments(seconds, every):
                    end = trio.current_time() + seconds
                    while trio.current_time() < end:
                        await trio.sleep(every)
                        await peer.say(ws.Ping(b"alive"))
                case End():
                    await peer.say(ws.CloseConnection(1000))
                    return
                case Cut():
                    return
                case Hang():
                    break
        await trio.sleep_forever()

    async def _until_left(self, stream):
        with contextlib.suppress(trio.BrokenResourceError):
            while await stream.receive_some():
                pass
        self.left.append(trio.current_time())
