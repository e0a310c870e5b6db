"""Messages a second, beside the bare libraries, in one run.

    python tests/peers/throughput.py [--messages 20000] [--size 250] [--rounds 7]

A server in a process of its own sends the same bytes to every client: WebSocket text messages, or
Server-Sent Events in HTTP chunks of 16 events.  The clients take turns in one process, and only
receive.  What is reported is the median over the rounds of each round's ratio to Moored, since the
rounds see the same machine and the absolute figures do not.

Needs ``pip install -e '.[peers]'``.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import socket
import ssl
import statistics
import struct
import threading
import time
from collections.abc import Awaitable, Callable

import httpx
import httpx_sse
import trio
import trio_websocket

import moored

EVENTS_PER_CHUNK = 16


def payload(size: int) -> str:
    """A JSON object of about ``size`` characters."""
    return json.dumps({"text": "x" * (size - 12)})


def websocket_bytes(messages: int, size: int) -> bytes:
    data = payload(size).encode()
    if len(data) < 126:
        head = bytes([0x81, len(data)])
    elif len(data) < 65536:
        head = b"\x81\x7e" + struct.pack("!H", len(data))
    else:
        head = b"\x81\x7f" + struct.pack("!Q", len(data))
    return (head + data) * messages + b"\x88\x02" + struct.pack("!H", 1000)


def sse_bytes(messages: int, size: int) -> bytes:
    event = b"data: " + payload(size).encode() + b"\n\n"
    body = b""
    for first in range(0, messages, EVENTS_PER_CHUNK):
        chunk = event * min(EVENTS_PER_CHUNK, messages - first)
        body += b"%x\r\n%s\r\n" % (len(chunk), chunk)
    end = b"data: [DONE]\n\n"
    return body + b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end)


def answer(connection: socket.socket, bodies: dict[bytes, bytes]) -> None:
    """Serve one connection: a WebSocket where the client asks for one, else SSE."""
    with connection:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        key = [
            line.split(b":", 1)[1].strip()
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key:")
        ]
        if key:
            digest = hashlib.sha1(key[0] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                + base64.b64encode(digest)
                + b"\r\n\r\n"
                + bodies[b"websocket"]
            )
        else:
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n" + bodies[b"sse"]
            )
        connection.settimeout(5)
        with contextlib.suppress(OSError):
            connection.recv(65536)  # the client's close frame, or its end of file: ours follows


def serve(port: multiprocessing.Queue[int], messages: int, size: int) -> None:
    """The server's process."""
    bodies = {
        b"websocket": websocket_bytes(messages, size),
        b"sse": sse_bytes(messages, size),
    }
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port.put(listener.getsockname()[1])
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(connection, bodies), daemon=True).start()


async def moored_websocket(port: int) -> int:
    count = 0
    async with moored.open_websocket(f"ws://127.0.0.1:{port}/") as stream:
        async for _ in stream:
            count += 1
    return count


async def bare_trio_websocket(port: int) -> int:
    count = 0
    async with trio_websocket.open_websocket_url(f"ws://127.0.0.1:{port}/") as ws:
        try:
            while True:
                await ws.get_message()
                count += 1
        except trio_websocket.ConnectionClosed:
            # It leaves its socket to the garbage collector; the next round should not pay for it.
            await trio.aclose_forcefully(ws._stream)
    return count


async def moored_sse(port: int) -> int:
    count = 0
    async with moored.open_sse(f"http://127.0.0.1:{port}/", terminator="[DONE]") as stream:
        async for _ in stream:
            count += 1
    return count


async def bare_httpx_sse(port: int) -> int:
    count = 0
    async with (
        httpx.AsyncClient(timeout=None, verify=CONTEXT) as client,
        httpx_sse.aconnect_sse(client, "GET", f"http://127.0.0.1:{port}/") as source,
    ):
        async for event in source.aiter_sse():
            if event.data == "[DONE]":
                break
            count += 1
    return count


# Made once: httpx would load the CA bundle (20 ms) for each client, and no certificate is checked.
CONTEXT = ssl.create_default_context()

Client = Callable[[int], Awaitable[int]]
PAIRS: dict[str, tuple[Client, Client]] = {
    "WebSocket: open_websocket beside trio-websocket": (moored_websocket, bare_trio_websocket),
    "SSE: open_sse beside httpx with httpx-sse": (moored_sse, bare_httpx_sse),
}


def measure(client: Client, port: int, messages: int) -> float:
    """Messages a second, of one whole connection."""
    began = time.perf_counter()
    count = trio.run(client, port)
    took = time.perf_counter() - began
    if count != messages:
        raise SystemExit(f"{client.__name__} received {count} of {messages} messages")
    return messages / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("moored", "trio", "wsproto", "trio-websocket", "httpx", "httpx-sse")
    )
    print(f"{options.messages} messages of {options.size} B, {options.rounds} rounds")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores; {versions}")
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(
        target=serve, args=(ports, options.messages, options.size), daemon=True
    )
    server.start()
    port = ports.get()
    for name, (ours, theirs) in PAIRS.items():
        measure(ours, port, options.messages)
        measure(theirs, port, options.messages)
        rounds = [
            (measure(ours, port, options.messages), measure(theirs, port, options.messages))
            for _ in range(options.rounds)
        ]
        ratio = statistics.median(a / b for a, b in rounds)
        here = statistics.median(a for a, _ in rounds)
        there = statistics.median(b for _, b in rounds)
        print(f"{name}: {ratio:.2f} times ({here:,.0f} and {there:,.0f} messages/s)")
    server.terminate()


if __name__ == "__main__":
    main()
