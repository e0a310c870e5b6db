"""The same seed gives the same schedule and, in memory, the same trace byte for byte.

Proxy and server draw nothing but from the seed and read no clock but Trio's.  What remains is Trio
itself, which runs the tasks that are ready in a random order, so that nobody relies on one.  Its
plugin for Hypothesis makes that order depend on a generator alone, which Hypothesis seeds.  Trio
offers nothing public for it, so the same two names are set here.
"""

import json
import random

import attrs
import pytest
import trio
import trio.testing
from trio._core import _run as scheduler

from moored.faults import (
    Cut,
    Proxy,
    Refuse,
    Server,
    Stall,
    random_schedule,
    schedule_to_data,
)

REQUEST = "GET /feed?{query} HTTP/1.1\r\nHost: feed.test\r\n{headers}\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
RESUME = b"\x81\x8d\x00\x00\x00\x00" + b'{"resume": 0}'
CLIENTS = {"sse": ("", b""), "websocket": (UPGRADE, RESUME), "impatient": ("", b"")}
ATTEMPTS = 6


@pytest.fixture
def in_order(monkeypatch):
    """Call it with a seed: Trio then orders tasks by that seed alone."""
    generator = random.Random()
    monkeypatch.setattr(scheduler, "_r", generator)
    monkeypatch.setattr(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    return generator.seed


def schedule_of(seed):
    return (
        Stall(after_seconds=0.25, connection=range(2, 9), probability=0.3, pings="swallowed"),
        Refuse(status=418, retry_after=0.5, probability=0.1),
        Cut(after_seconds=0.9, how="rst", probability=0.5),
        *random_schedule(seed, connections=3 * ATTEMPTS, cut=0.4, stall=0.1, refuse=0.2),
    )


async def trace_of(seed):
    """Three clients at once, again and again: what each got and when, and what was recorded."""
    lines = []

    def note(what, **facts):
        lines.append(json.dumps({"what": what, "time": trio.current_time(), **facts}))

    server = Server(pace=0.06)

    async with trio.open_nursery() as nursery:

        async def connect():
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(server.serve_connection, theirs)
            return ours

        proxy = Proxy(
            "http://feed.test", schedule=schedule_of(seed), seed=seed, connect_upstream=connect
        )

        async def client(name):
            for attempt in range(ATTEMPTS):
                ours, theirs = trio.testing.memory_stream_pair()
                nursery.start_soon(proxy.serve_connection, theirs)
                headers, message = CLIENTS[name]
                query = f"count={5 + attempt}"
                await ours.send_all(REQUEST.format(query=query, headers=headers).encode())
                with trio.move_on_after(0.4 if name == "impatient" else 3) as scope:
                    while data := await ours.receive_some():
                        note("received", client=name, attempt=attempt, data=data.decode("latin-1"))
                        if b" 101 " in data:
                            await ours.send_all(message)
                note("ended", client=name, attempt=attempt, waited=scope.cancelled_caught)
                await ours.aclose()

        async with trio.open_nursery() as clients:
            for name in CLIENTS:
                clients.start_soon(client, name)
        await proxy.wait_until(lambda: all(each.ended is not None for each in proxy.connections))
        nursery.cancel_scope.cancel()

    for injected in proxy.injected:
        (fault,) = schedule_to_data([injected.fault])
        note("injected", **{**attrs.asdict(injected), "fault": fault})
    for entry in (*proxy.connections, *server.requests):
        note(type(entry).__name__, **attrs.asdict(entry))
    return "\n".join(lines).encode()


def run(seed, in_order):
    in_order(seed)
    return trio.run(trace_of, seed, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_gives_the_same_schedule_and_the_same_trace(in_order, seed):
    assert schedule_to_data(schedule_of(seed)) == schedule_to_data(schedule_of(seed))
    assert run(seed, in_order) == run(seed, in_order)


def test_another_seed_gives_another(in_order):
    assert len({run(seed, in_order) for seed in range(10)}) == 10
    assert len({str(schedule_to_data(schedule_of(seed))) for seed in range(10)}) == 10


def test_the_trace_holds_faults_of_every_kind(in_order):
    """So that the tests above are about something."""
    lines = [json.loads(line) for line in run(1, in_order).splitlines()]
    injected = [line["fault"]["fault"] for line in lines if line["what"] == "injected"]
    assert set(injected) == {"cut", "stall", "refuse"}
    received = "".join(line["data"] for line in lines if line["what"] == "received")
    for mark in ("HTTP/1.1 418", "101 Switching", "id: 1", '"text":"message 3"', '{"end":true}'):
        assert mark in received
    assert lines[-1]["what"] == "ServedRequest"
    assert max(line["time"] for line in lines) > 3
