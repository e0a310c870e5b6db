"""The same seed gives the same faults, and in memory the same trace, byte for byte."""

from contextlib import suppress

import pytest
import trio
import trio.testing

from moored.faults import Proxy, Server, schedule_to_data

SCHEDULE = [
    {"fault": "refuse", "probability": 0.3, "retry_after": 5},
    {"fault": "slow_head", "seconds": 3, "probability": 0.5},
    {"fault": "duplicate", "message": {"from": 2}, "probability": 0.4},
    {"fault": "swap", "message": 3, "probability": 0.5},
    {"fault": "spoil", "message": [4, 5], "how": "utf8", "probability": 0.5},
    {"fault": "late_pongs", "seconds": 2.5},
    {"fault": "fragment", "message": 1, "pause": 0.5, "probability": 0.5},
    {"fault": "comments_only", "after_messages": 6, "interval": 2, "probability": 0.4},
    {"fault": "close_frame", "after_seconds": 9, "code": 1012, "probability": 0.4},
    {"fault": "cut", "at": "inside_message", "message": 5, "how": "rst", "probability": 0.3},
    {"fault": "stall", "after_seconds": 7, "probability": 0.2},
    {"fault": "cut", "after_seconds": 40, "attempt": {"from": 1}},
]


def trace(make_frame, seed):
    """Everything that ten clients get, with the times, and what the proxy notes."""
    got = []

    async def read(stream, number):
        start = trio.current_time()
        try:
            while data := await stream.receive_some():
                got.append((number, trio.current_time() - start, bytes(data)))
        except trio.BrokenResourceError:
            got.append((number, trio.current_time() - start, "broken"))

    async def ping(stream):
        await trio.sleep(5.25)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(make_frame(9, b"?", mask=b"abcd"))

    async def main():
        server = Server(pace=1)

        async def connect():
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(server.serve_connection, theirs)
            return ours

        proxy = Proxy("ws://f.test", schedule=SCHEDULE, seed=seed, connect_upstream=connect)
        async with trio.open_nursery() as nursery:
            for number in range(10):
                ours, theirs = trio.testing.memory_stream_pair()
                nursery.start_soon(proxy.serve_connection, theirs)
                upgrade = (
                    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                )
                head = b"GET /feed?count=20&resume=0 HTTP/1.1\r\nHost: x\r\n"
                await ours.send_all(head + (upgrade if number % 2 else b"") + b"\r\n")
                if number % 2:
                    nursery.start_soon(ping, ours)
                await read(ours, number)
                await trio.aclose_forcefully(ours)
            nursery.cancel_scope.cancel()
        noted = [
            (each.connection, each.time, each.detail, schedule_to_data([each.fault]))
            for each in proxy.injected
        ]
        return got, noted, proxy.connections

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_gives_the_same_trace(make_frame, seed):
    first = trace(make_frame, seed)
    assert trace(make_frame, seed) == first
    assert len({data[0]["fault"] for _, _, _, data in first[1]}) >= 6


def test_another_seed_gives_another(make_frame):
    assert trace(make_frame, 1) != trace(make_frame, 2)
