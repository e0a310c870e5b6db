"""Microseconds of CPU for each chunk of an answer, beside openai-python and bare httpx plus json.

    python tests/peers/chat_speed.py [--chunks 5000] [--rounds 7]

A server in a process of its own streams the same OpenAI-shaped chunks to every client.  The
clients take turns in one process, on Trio.  What is counted is the difference in CPU time between
an answer of many chunks and one of few, so that connecting and setting up cost nothing.  Once the
server sends 16 chunks in one write, and once each in a write of its own, with a pause: then every
chunk costs a wake-up of the loop too.

Needs ``pip install -e '.[peers]'``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import socket
import statistics
import threading
import time
from collections.abc import Awaitable, Callable

import httpx
import openai
import trio

from moored import chat

PAUSE = 0.0005
"""Seconds between two chunks that are written one by one."""

CHUNKS_PER_WRITE = 16

HEAD = {
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    "object": "chat.completion.chunk",
    "created": 1741569952,
    "model": "gpt-5-mini",
    "service_tier": "default",
    "system_fingerprint": None,
}


def event(choices: list[object], usage: object = None) -> bytes:
    return b"data: " + json.dumps({**HEAD, "choices": choices, "usage": usage}).encode() + b"\n\n"


def delta(content: dict[str, str], reason: str | None = None) -> bytes:
    return event([{"index": 0, "delta": content, "logprobs": None, "finish_reason": reason}])


def framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def writes(chunks: int, together: int) -> list[bytes]:
    """The body of an answer, in the pieces in which it is written."""
    token = delta({"content": " token"})
    pieces = [framed(delta({"role": "assistant", "content": ""}))]
    pieces += [
        framed(token * min(together, chunks - first)) for first in range(0, chunks, together)
    ]
    usage = {"prompt_tokens": 9, "completion_tokens": chunks, "total_tokens": chunks + 9}
    end = delta({}, "stop") + event([], usage) + b"data: [DONE]\n\n"
    return [*pieces, framed(end) + b"0\r\n\r\n"]


def answer(connection: socket.socket) -> None:
    """Serve one connection; what to send is in the model's name: ``chunks-together``."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, contextlib.suppress(OSError):
        request = b""
        while b"}" not in request.partition(b"\r\n\r\n")[2]:
            request += connection.recv(65536)
        model = json.loads(request.partition(b"\r\n\r\n")[2])["model"]
        chunks, together = map(int, model.split("-"))
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for piece in writes(chunks, together):
            connection.sendall(piece)
            if together == 1:
                time.sleep(PAUSE)
        connection.settimeout(5)
        connection.recv(65536)


def serve(port: multiprocessing.Queue[int]) -> None:
    """The server's process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port.put(listener.getsockname()[1])
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


MESSAGES = [{"role": "user", "content": "hello"}]


async def moored_chat(url: str, model: str) -> int:
    count = 0
    async with (
        chat.Client(url, "key") as client,
        client.stream(model=model, messages=MESSAGES) as reply,
    ):
        async for piece in reply.text():
            count += len(piece)
    return count


async def openai_python(url: str, model: str) -> int:
    count = 0
    async with openai.AsyncOpenAI(base_url=url, api_key="key", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=model,
            messages=MESSAGES,  # type: ignore[arg-type]
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            for choice in chunk.choices:
                count += len(choice.delta.content or "")
    return count


async def bare_httpx(url: str, model: str) -> int:
    """As little as one can do: no clock, no end, no error."""
    count = 0
    body = {"model": model, "messages": MESSAGES, "stream": True}
    async with (
        httpx.AsyncClient(timeout=None) as client,
        client.stream("POST", f"{url}/chat/completions", json=body) as response,
    ):
        async for line in response.aiter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                for choice in json.loads(line[6:])["choices"]:
                    count += len(choice["delta"].get("content") or "")
    return count


CLIENTS: dict[str, Callable[[str, str], Awaitable[int]]] = {
    "moored.chat": moored_chat,
    "openai-python": openai_python,
    "bare httpx and json": bare_httpx,
}


def cpu_seconds(
    client: Callable[[str, str], Awaitable[int]], url: str, chunks: int, together: int
) -> float:
    model = f"{chunks}-{together}"
    before = time.process_time()
    received = trio.run(client, url, model)
    spent = time.process_time() - before
    assert received == chunks * len(" token"), received
    return spent


def measure(url: str, chunks: int, together: int, rounds: int) -> dict[str, list[float]]:
    """Microseconds for each chunk, by client, a figure for each round."""
    few = max(1, chunks // 20)
    found: dict[str, list[float]] = {name: [] for name in CLIENTS}
    for _ in range(rounds):
        for name, client in CLIENTS.items():
            small = cpu_seconds(client, url, few, together)
            large = cpu_seconds(client, url, chunks, together)
            found[name].append((large - small) / (chunks - few) * 1e6)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    port: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(port,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{port.get()}/v1"
    names = ("moored", "openai", "httpx", "trio")
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in names), end=", ")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {options.rounds} rounds")
    for together, words in ((CHUNKS_PER_WRITE, "16 chunks in a write"), (1, "one by one")):
        chunks = options.chunks if together > 1 else options.chunks // 5
        found = measure(url, chunks, together, options.rounds)
        ours = found["moored.chat"]
        print(f"\n{words}: median us of CPU for each chunk, and of the ratio to moored.chat")
        for name, values in found.items():
            ratio = statistics.median(v / o for v, o in zip(values, ours, strict=True))
            print(f"  {name:22} {statistics.median(values):7.1f} {ratio:7.2f}")
    server.terminate()


if __name__ == "__main__":
    main()
