"""Several processes on one limiter on Redis: is the limit kept, and is it used?

    python tests/peers/limits_redis.py

Starts a ``redis-server`` of its own, and four processes in each of which several tasks reserve,
"work" and settle as fast as they are let.  Each process notes when each grant was asked for and
when it came.  The limit is kept if no stretch of time has more in it than the burst plus the rate;
since all that is known of a grant is that Redis gave it between the two moments, a grant counts in
a stretch that contains both.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import coredis
import trio

from moored.limits import Rate
from moored.limits.redis import RedisLimiter

USED = 0.75  # of what is reserved


@contextlib.contextmanager
def redis_server(port: int, directory: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server without persistence, ready to be used."""
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory]
    server = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(16) == b"+PONG\r\n":
                        break
            except OSError:
                pass
            if time.monotonic() > deadline or server.poll() is not None:
                raise RuntimeError("redis-server does not start")
            time.sleep(0.02)
        yield server
    finally:
        server.kill()
        server.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# ---------------------------------------------------------------------------- one process


async def work(options: argparse.Namespace) -> None:
    rates = {"requests": Rate.per_second(10 * options.rate), "tokens": rate_of(options)}
    client = coredis.Redis(port=options.port)
    async with client:
        limiter = RedisLimiter(client, "trial", rates)
        grants = note_grants(limiter)
        await limiter._calls.call(
            {"rates": [], "process": "", "longest": 1, "pause": 0, "lower": [], "settle": []}
            | {"take": [], "leave": False}
        )  # connected, and with the script loaded
        print("ready", flush=True)
        sys.stdin.readline()
        limiter._calls.count = 0
        begun = time.process_time()
        with trio.move_on_after(options.seconds):
            async with trio.open_nursery() as nursery:
                for number in range(options.tasks):
                    nursery.start_soon(use, limiter, 1 + number % 3)
        spent = time.process_time() - begun
    print(json.dumps({"grants": grants, "calls": limiter.calls, "cpu": spent}))


def rate_of(options: argparse.Namespace) -> Rate:
    return Rate.per_second(options.rate, burst=options.burst)


async def use(limiter: RedisLimiter, tokens: int) -> None:
    while True:
        async with limiter.reserve(tokens=tokens) as reservation:
            await trio.sleep(0.02)
            reservation.settle(USED * tokens)


def note_grants(limiter: RedisLimiter) -> list[tuple[float, float, float]]:
    grants = []
    call = limiter._calls.call

    async def noting(request):
        asked = time.time()
        answer = await call(request)
        if answer is not None:
            ended = time.time()
            for costs in request["take"][: answer.granted]:
                grants.append((asked, ended, USED * dict(costs)["tokens"]))
        return answer

    limiter._calls.call = noting
    return grants


# ---------------------------------------------------------------------------- all together


def trial(options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory, redis_server(options.port, directory):
        command = [sys.executable, __file__, "--worker"]
        for name in ("port", "rate", "burst", "seconds", "tasks"):
            command += [f"--{name}", str(getattr(options, name))]
        workers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(options.processes)
        ]
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        results = [json.loads(worker.communicate()[0]) for worker in workers]
    grants = sorted(tuple(grant) for result in results for grant in result["grants"])
    rate = rate_of(options)
    span = max(ended for _, ended, _ in grants) - grants[0][0]
    used = sum(tokens for _, _, tokens in grants)
    return {
        "grants": len(grants),
        "each process": [len(result["grants"]) for result in results],
        "throughput": used / (rate.burst + rate.amount * span),
        "excess": excess(grants, rate),
        "calls per grant": sum(result["calls"] for result in results) / len(grants),
        "cpu per grant, ms": 1000 * sum(result["cpu"] for result in results) / len(grants),
    }


def excess(grants: list[tuple[float, float, float]], rate: Rate) -> float:
    """By how much the fullest stretch of time exceeds the limit; less than 0 where none does."""
    by_end = sorted(grants, key=lambda grant: grant[1])
    worst = float("-inf")
    for begin, _, _ in grants:
        total = 0.0
        for asked, ended, tokens in by_end:
            if asked >= begin:
                total += tokens
                worst = max(worst, total - rate.burst - rate.amount * (ended - begin))
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--tasks", type=int, default=20, help="in each process")
    parser.add_argument("--rate", type=float, default=200.0, help="tokens per second")
    parser.add_argument("--burst", type=float, default=20.0, help="tokens at once")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.worker:
        trio.run(work, options)
        return 0
    if shutil.which("redis-server") is None:
        print("no redis-server here", file=sys.stderr)
        return 2
    options.port = free_port()
    result = trial(options)
    kept = result["excess"] <= 1e-6
    if options.json:
        print(json.dumps(result))
    else:
        version = subprocess.run(
            ["redis-server", "--version"], capture_output=True, text=True, check=True
        ).stdout.split()[2]
        print(
            f"Redis {version}, coredis {importlib.metadata.version('coredis')}, trio "
            f"{trio.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores\n"
            f"{options.processes} processes of {options.tasks} tasks, {options.seconds:g} s, "
            f"{options.rate:g} tokens/s, burst {options.burst:g}"
        )
        for name, value in result.items():
            print(f"  {name:20} {value if isinstance(value, list) else round(value, 3)}")
        print("the limit was kept" if kept else "THE LIMIT WAS EXCEEDED")
    return 0 if kept else 1


if __name__ == "__main__":
    assert Path(__file__).exists()
    sys.exit(main())
