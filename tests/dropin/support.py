"""A network in memory under httpx and httpx2, and a server that does what a script says."""

from __future__ import annotations

import gzip
import json
import random
from contextlib import suppress
from types import ModuleType
from typing import Any, NamedTuple

import attrs
import httpcore
import httpcore2
import httpx
import httpx2
import trio
import trio.testing

import moored.dropin
import moored.dropin.httpx2


class Library(NamedTuple):
    """httpx or httpx2, with the transport for it."""

    module: ModuleType
    core: ModuleType
    transport: type


LIBRARIES = {
    "httpx": Library(httpx, httpcore, moored.dropin.ResilientTransport),
    "httpx2": Library(httpx2, httpcore2, moored.dropin.httpx2.ResilientTransport),
}


class NoJitter(random.Random):
    """Every delay is as long as it can be."""

    def uniform(self, a, b):
        return b


def memory_transport(library: Library, serve_connection, nursery):
    """The library's own transport, its connections led in memory to ``serve_connection``."""

    class Stream(library.core.AsyncNetworkStream):
        def __init__(self, stream):
            self.stream = stream

        async def read(self, max_bytes, timeout=None):
            try:
                with trio.fail_after(timeout or float("inf")):
                    return bytes(await self.stream.receive_some(max_bytes))
            except trio.TooSlowError as exc:
                raise library.core.ReadTimeout from exc
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                raise library.core.ReadError from exc

        async def write(self, buffer, timeout=None):
            try:
                if buffer:
                    await self.stream.send_all(buffer)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                raise library.core.WriteError from exc

        async def aclose(self):
            await trio.aclose_forcefully(self.stream)

        def get_extra_info(self, info):
            return False if info == "is_readable" else None

    class Network(library.core.AsyncNetworkBackend):
        async def connect_tcp(self, host, port, timeout=None, local_address=None, **options):
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(serve_connection, theirs)
            return Stream(ours)

    transport = library.module.AsyncHTTPTransport(verify=False)  # no CA bundle to load
    # The one way to give a network of our own to the transport that users have.
    transport._pool = library.core.AsyncConnectionPool(network_backend=Network())
    return transport


# ---------------------------------------------------------------------------- what is said

DONE = "data: [DONE]\n\n"
COMMENT = ": keep-alive\n\n"


def event(value: object, name: str = "") -> str:
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(value)}\n\n"


def chunk(content=None, *, finish=None, index=0, usage=None, **delta) -> str:
    """A chunk of a chat completion; without a choice where only usage is given."""
    if content is not None:
        delta["content"] = content
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    only_usage = usage is not None and not delta and finish is None
    value = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [] if only_usage else [choice],
    }
    return event(value if usage is None else {**value, "usage": usage})


ROLE = chunk("", role="assistant")
STOP = chunk(finish="stop")
USAGE = chunk(usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})
ANSWER = (ROLE, chunk("Hel"), chunk("lo"), STOP, USAGE, DONE)


# ---------------------------------------------------------------------------- the server

CUT, HANG = "CUT", "HANG"


@attrs.frozen
class Answer:
    """One answer: pieces of the body, and between them numbers of seconds.

    It ends in good order, but for ``CUT`` (the connection ends there) and ``HANG`` (nothing more
    comes) as its last step; ``head=False`` with either: there is not even a head.
    """

    steps: tuple[Any, ...] = ()
    status: int = 200
    headers: dict[str, str] = attrs.field(factory=dict)
    content_type: str = "text/event-stream"
    head: bool = True


def says(*steps, **options) -> Answer:
    return Answer(steps, **options)


def refuses(status, **headers) -> Answer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(('{"error":{"message":"no"}}',), status, names, "application/json")


def zipped(text: str) -> bytes:
    return gzip.compress(text.encode())


class Script:
    """A server that gives its answers in turn, and then the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = answers
        #: The heads and bodies of the requests, and when they came.
        self.requests: list[tuple[str, bytes]] = []
        self.times: list[float] = []
        #: How many connections the client has left, or ended in good order.
        self.left = 0
        self.open = 0

    async def serve_connection(self, stream) -> None:
        self.open += 1
        try:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while await self._serve_one(stream):
                    pass
        finally:
            self.open -= 1
            await trio.aclose_forcefully(stream)

    async def _serve_one(self, stream) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            more = await stream.receive_some()
            if not more:
                self.left += 1
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        fields = dict(
            line.lower().split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:]
        )
        while len(body) < int(fields.get("content-length", 0)):
            body += await stream.receive_some()
        while fields.get("transfer-encoding") == "chunked" and b"0\r\n\r\n" not in body:
            body += await stream.receive_some()
        answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
        self.requests.append((head.decode("latin-1"), body))
        self.times.append(trio.current_time())
        return await self._answer(answer, stream)

    async def _answer(self, answer: Answer, stream) -> bool:
        async with trio.open_nursery() as nursery:

            async def notice() -> None:
                """A client that leaves an answer is noticed at once."""
                if not await stream.receive_some():
                    self.left += 1
                    outer.cancel()

            outer = nursery.cancel_scope
            nursery.start_soon(notice)
            if answer.head:
                lines = [
                    f"HTTP/1.1 {answer.status} X",
                    *([f"Content-Type: {answer.content_type}"] if answer.content_type else []),
                    "Transfer-Encoding: chunked",
                    *(f"{name}: {value}" for name, value in answer.headers.items()),
                ]
                await stream.send_all("\r\n".join([*lines, "", ""]).encode())
            for step in answer.steps:
                if step is CUT:
                    outer.cancel()
                    return False
                if step is HANG:
                    await trio.sleep_forever()
                if isinstance(step, int | float):
                    await trio.sleep(step)
                    continue
                piece = step.encode() if isinstance(step, str) else step
                await stream.send_all(b"%x\r\n%b\r\n" % (len(piece), piece))
            await stream.send_all(b"0\r\n\r\n")
            outer.cancel()
            return True
        return False
