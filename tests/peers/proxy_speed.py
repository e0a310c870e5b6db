"""What a proxy with no fault costs, beside HAProxy in TCP mode and socat, in one run.

    python tests/peers/proxy_speed.py [--megabytes 200] [--echoes 2000] [--connections 1000]
                                      [--rounds 5]

One server, in a process of its own, speaks just enough HTTP and WebSocket for all that is measured,
so that the proxy that knows them can take part.  The client is plain sockets.  In each round every
way to the server takes its turn, and what is reported is the median over the rounds of each round's
ratio to the direct way, since a round sees one and the same machine.

HAProxy and socat are Debian packages; where one is not installed, it is left out, with a word.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import importlib.metadata
import multiprocessing
import os
import platform
import resource
import selectors
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import trio

from moored.faults import open_proxy
from moored.faults.tcp import Latency, LimitData, open_tcp_proxy

KEY = base64.b64encode(bytes(16))
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
PAYLOAD = 64
FRAME = b"\x82" + bytes([0x80 | PAYLOAD]) + bytes(4) + b"x" * PAYLOAD  # masked with zeros
ECHO = b"\x82" + bytes([PAYLOAD]) + b"x" * PAYLOAD
MEGABYTE = bytes(1 << 20)


def many_files() -> None:
    """A proxy of 1,000 connections holds 2,000 sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


# ---------------------------------------------------------------------------- the server


def send_megabytes(connection: socket.socket, count: int) -> None:
    with connection, contextlib.suppress(OSError):
        connection.setblocking(True)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (count << 20)
        connection.sendall(head)
        for _ in range(count):
            connection.sendall(MEGABYTE)
        while connection.recv(65536):
            pass


def serve(pipe: Connection) -> None:
    """Answer ``GET /N`` with N megabytes, and a WebSocket with an echo of each frame."""
    many_files()
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    pipe.send(listener.getsockname()[1])
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ, b"")
    while True:
        for key, _ in waiting.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting.register(connection, selectors.EVENT_READ, b"")
                continue
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            try:
                data = connection.recv(65536)
            except OSError:
                data = b""
            if not data:
                waiting.unregister(connection)
                connection.close()
            elif key.data == "echo":
                connection.sendall(ECHO * (len(data) // len(FRAME)))
            elif b"\r\n\r\n" not in key.data + data:
                waiting.modify(connection, selectors.EVENT_READ, key.data + data)
            elif b"pgrade: " in (head := key.data + data):
                waiting.modify(connection, selectors.EVENT_READ, "echo")
                connection.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                    b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
                )
            else:
                waiting.unregister(connection)
                count = int(head.split()[1].strip(b"/"))
                threading.Thread(target=send_megabytes, args=(connection, count)).start()


# ---------------------------------------------------------------------------- the proxies


def moored_tcp(pipe: Connection, port: int, *, toxics: bool = False) -> None:
    async def main() -> None:
        async with open_tcp_proxy(f"127.0.0.1:{port}") as proxy:
            if toxics:  # two that let everything pass at once
                for direction in ("upstream", "downstream"):
                    proxy.add_toxic(Latency(), direction)
                    proxy.add_toxic(LimitData(bytes=1 << 62), direction)
            pipe.send(int(proxy.listen.rpartition(":")[2]))
            await trio.sleep_forever()

    many_files()
    trio.run(main)


def moored_tcp_toxics(pipe: Connection, port: int) -> None:
    moored_tcp(pipe, port, toxics=True)


def moored_http(pipe: Connection, port: int) -> None:
    async def main() -> None:
        async with open_proxy(f"http://127.0.0.1:{port}") as proxy:
            pipe.send(proxy.port)
            await trio.sleep_forever()

    many_files()
    trio.run(main)


OURS = {
    "moored, raw TCP": moored_tcp,
    "moored, raw TCP, two toxics": moored_tcp_toxics,
    "moored, HTTP and WebSocket": moored_http,
}


@contextlib.contextmanager
def in_process(target: object, *arguments: int) -> Iterator[int]:
    """A function in a process of its own; gives the port that it tells."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def program(command: list[str], port: int) -> Iterator[int]:
    """A program that listens on ``port``."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 5
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise SystemExit(f"{command[0]} does not listen") from None
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait()


def haproxy(program_path: str, directory: str, upstream: int) -> tuple[list[str], int]:
    port = free_port()
    config = Path(directory, "haproxy.cfg")
    config.write_text(
        f"global\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n"
        f"  timeout client 60s\n  timeout server 60s\nlisten a\n  bind 127.0.0.1:{port}\n"
        f"  server s 127.0.0.1:{upstream}\n"
    )
    return [program_path, "-f", str(config)], port


def socat(program_path: str, _directory: str, upstream: int) -> tuple[list[str], int]:
    port = free_port()
    here = f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=2048,nodelay"
    return [program_path, here, f"TCP:127.0.0.1:{upstream},nodelay"], port


OTHERS = {"haproxy": haproxy, "socat": socat}


# ---------------------------------------------------------------------------- what is measured


def throughput(port: int, megabytes: int) -> float:
    """Megabytes a second of one HTTP body."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        began = time.perf_counter()
        client.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % megabytes)
        left, buffer, head = megabytes << 20, bytearray(1 << 18), b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        left -= len(head.partition(b"\r\n\r\n")[2])
        while left > 0:
            size = client.recv_into(buffer)
            if not size:
                raise SystemExit(f"the body ended {left} bytes too early")
            left -= size
        return megabytes / (time.perf_counter() - began)


def upgraded(port: int) -> socket.socket:
    """A WebSocket."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(
        b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
    )
    head = b""
    while b"\r\n\r\n" not in head:
        if not (data := client.recv(65536)):
            raise SystemExit("the handshake failed")
        head += data
    return client


def receive_echo(client: socket.socket) -> None:
    left = len(ECHO)
    while left:
        data = client.recv(left)
        if not data:
            raise SystemExit("an echo did not come")
        left -= len(data)


def echo(port: int, echoes: int) -> float:
    """The median time of one small echo, in microseconds."""
    times = []
    with upgraded(port) as client:
        for _ in range(echoes):
            began = time.perf_counter()
            client.sendall(FRAME)
            receive_echo(client)
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def held(port: int, connections: int) -> float:
    """Echoes a second with ``connections`` held, all of them active."""
    rounds = 3
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(upgraded(port)) for _ in range(connections)]
        began = time.perf_counter()
        for _ in range(rounds):
            for client in clients:
                client.sendall(FRAME)
            for client in clients:
                receive_echo(client)
        return rounds * connections / (time.perf_counter() - began)


def report(measured: dict[str, dict[str, list[float]]], ways: dict[str, int], base: str) -> None:
    """A line for each way: the ratio to ``base``, and the figure."""
    print(f"{f'ratio to {base} (figure)':32}" + "".join(f"{column:>28}" for column in measured))
    for name in ways:
        cells = []
        for figures in measured.values():
            rounds = zip(figures[name], figures[base], strict=True)
            ratio = statistics.median(here / there for here, there in rounds)
            cells.append(f"{ratio:.2f} ({statistics.median(figures[name]):,.0f})")
        print(f"{name:32}" + "".join(f"{cell:>28}" for cell in cells))


def version(program_path: str) -> str:
    option = "-V" if "socat" in program_path else "-v"
    told = subprocess.run([program_path, option], capture_output=True, text=True, check=False)
    lines = [line for line in told.stdout.splitlines() if "version" in line]
    return " ".join(lines[0].split()[:3]) if lines else program_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--echoes", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    many_files()
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("moored", "trio")]
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        upstream = stack.enter_context(in_process(serve))
        ways = {"direct": upstream}
        for name, target in OURS.items():
            ways[name] = stack.enter_context(in_process(target, upstream))
        for name, configure in OTHERS.items():
            path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
            if path is None:
                print(f"{name} is left out: it is not installed")
                continue
            ways[name] = stack.enter_context(program(*configure(path, directory, upstream)))
            versions.append(version(path))
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores; {', '.join(versions)}")
        print(f"{options.rounds} rounds: medians of the ratios of each, and of the figures")
        tests = {
            "throughput (MiB/s)": lambda port: throughput(port, options.megabytes),
            f"echo of {PAYLOAD} B, p50 (us)": lambda port: echo(port, options.echoes),
            f"{options.connections} held (echoes/s)": lambda port: held(port, options.connections),
        }
        measured: dict[str, dict[str, list[float]]] = {
            column: {name: [] for name in ways} for column in tests
        }
        for _ in range(options.rounds):
            for column, test in tests.items():
                for name, port in ways.items():
                    measured[column][name].append(test(port))
        for base in ("direct", "haproxy"):
            if base in ways:
                report(measured, ways, base)


if __name__ == "__main__":
    main()
