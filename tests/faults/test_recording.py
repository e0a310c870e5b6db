"""What is recorded, and that replaying it injects the same at the same places."""

import json
import math
from contextlib import suppress

import attrs
import pytest
import trio

from moored.faults import (
    Cut,
    Proxy,
    Refuse,
    ScheduleError,
    Server,
    Stall,
    recording_of,
    schedule_from_recording,
)
from moored.faults.schedule import KINDS

SCHEDULE = [
    Refuse(times=1, path="/feed", status=503),
    Cut(after_seconds=25, probability=0.7, connection=range(1, 7)),
    Stall(after_messages=3, connection=(3, 5), pings="swallowed"),
    Cut(after_bytes=50, probability=0.5, connection=range(1, 7), how="rst"),
]


async def session(memory, into_memory, schedule, by_hand=None):
    """Eight attempts, one after the other: the proxy, and what each of them received."""
    proxy = Proxy(
        "http://feed.test", schedule=schedule, seed=4, connect_upstream=into_memory(Server(pace=10))
    )
    received = []
    for number in range(1, 9):
        client = await memory(proxy)
        client.limit = math.inf
        await client.send(b"GET /feed?count=4 HTTP/1.1\r\nHost: feed.test\r\n\r\n")
        with trio.move_on_after(100):
            if by_hand is not None and number in by_hand:
                await trio.sleep(by_hand[number])
                assert proxy.cut() == 1
            while await client._fill():
                pass
        received.append(client.buffer)
        await client.aclose()
        await proxy.wait_until(lambda: proxy.connections[-1].ended is not None)
    return proxy, received


def struck(proxy):
    return [
        (each.connection, each.fault.kind, each.messages, each.bytes) for each in proxy.injected
    ]


async def test_a_replayed_recording_injects_the_same_at_the_same_places(
    memory, into_memory, autojump_clock
):
    first, received = await session(memory, into_memory, SCHEDULE, by_hand={7: 0.5, 8: 15.0})
    kinds = [kind for _, kind, _, _ in struck(first)]
    assert set(kinds) == {"refuse", "cut", "stall"}
    recording = json.loads(json.dumps(recording_of(first), allow_nan=False))

    schedule = schedule_from_recording(recording)
    again, received_again = await session(memory, into_memory, schedule)
    assert struck(again) == struck(first)
    assert received_again == received
    # And a recording of the replay says the same.
    assert schedule_from_recording(recording_of(again)) == schedule


async def test_a_recording_says_what_when_and_where(memory, into_memory, autojump_clock):
    await trio.sleep(1000)
    proxy, _ = await session(memory, into_memory, [Cut(after_seconds=25, connection=2)])
    (injected,) = proxy.injected
    assert recording_of(proxy) == {
        "recording": 1,
        "seed": 4,
        "forgotten": 0,
        "injected": [
            {
                "fault": {"fault": "cut", "connection": 2, "after_seconds": 25},
                "connection": 2,
                "time": 55.0,
                "detail": f"after 3 messages, {injected.bytes} bytes",
                "path": "/feed",
                "messages": 3,
                "bytes": injected.bytes,
                "seconds": 25.0,
                "message": None,
            }
        ],
    }


def entry(connection, fault, *, bytes=0, seconds=0.0):
    return {"connection": connection, "bytes": bytes, "seconds": seconds, "fault": fault}


def recording(*entries):
    return {"recording": 1, "forgotten": 0, "injected": list(entries)}


@pytest.mark.parametrize(
    ("entries", "schedule"),
    [
        # As often as it struck, on the connection that it struck.
        (
            [
                entry(1, {"fault": "refuse", "times": 5, "path": "/x", "probability": 0.1}),
                entry(1, {"fault": "refuse", "times": 5, "path": "/x", "probability": 0.1}),
                entry(3, {"fault": "refuse", "times": 5, "path": "/x", "probability": 0.1}),
            ],
            [
                Refuse(connection=1, times=2, path="/x"),
                Refuse(connection=3, times=1, path="/x"),
            ],
        ),
        # What came after a time comes after as many bytes.
        (
            [entry(2, {"fault": "cut", "after_seconds": 9, "how": "rst"}, bytes=40, seconds=9.0)],
            [Cut(connection=2, times=1, after_bytes=40, how="rst")],
        ),
        # Where none had passed, after the same time.
        (
            [entry(2, {"fault": "stall", "after_seconds": 0}, seconds=1.5)],
            [Stall(connection=2, times=1, after_seconds=1.5)],
        ),
        # After a stall no bytes pass.
        (
            [
                entry(2, {"fault": "stall", "after_messages": 1}, bytes=40, seconds=1),
                entry(2, {"fault": "cut", "after_seconds": 5}, bytes=40, seconds=5),
                entry(3, {"fault": "cut", "after_seconds": 5}, bytes=40, seconds=5),
            ],
            [
                Stall(connection=2, times=1, after_messages=1),
                Cut(connection=2, times=1, after_seconds=5),
                Cut(connection=3, times=1, after_bytes=40),
            ],
        ),
    ],
)
def test_the_schedule_of_a_recording(entries, schedule):
    assert schedule_from_recording(recording(*entries)) == tuple(schedule)


GOOD = entry(1, {"fault": "refuse"})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "recording must be 1, the form that is known, not []"),
        ({"recording": 2, "injected": []}, "recording must be 1, the form that is known, not 2"),
        ({**recording(), "forgotten": 3}, "forgotten must be 0: its beginning is missing, not 3"),
        ({"recording": 1}, "injected must be a list, not None"),
        (recording(GOOD, 7), "injected[1] must be an object, not 7"),
        (recording({**GOOD, "x": 1}), "injected[0].field must be one of fault, connection, "),
        (recording({**GOOD, "bytes": -1}), "injected[0].bytes must be a number of at least 0"),
        (recording({**GOOD, "bytes": True}), "injected[0].bytes must be a number"),
        (recording({**GOOD, "connection": 0}), "injected[0].connection must be a number of at lea"),
        (recording({**GOOD, "seconds": math.nan}), "injected[0].seconds must be a number"),
        (recording(entry(1, {"fault": "x"})), "injected[0].fault.fault must be one of"),
        (
            recording(entry(1, 7)),
            "injected[0].fault.fault must be a fault, or an object with its fields",
        ),
        (recording({**GOOD, "message": 0}), "injected[0].message must be a number of at least 1"),
        (recording({"connection": 1}), "injected[0].bytes must be a number of at least 0"),
    ],
)
def test_what_is_no_recording_is_told(data, words):
    with pytest.raises(ScheduleError) as caught:
        schedule_from_recording(data)
    assert str(caught.value).startswith(words)


SETTINGS = {
    "latency": {"latency": 1.0, "jitter": 0.5},
    "bandwidth": {"rate": 50.0},
    "slicer": {"average_size": 20, "delay": 0.5},
    "limit_data": {"bytes": 30},
    "corrupt": {"share": 0.1},
    "oversized": {"size": 1000},
}
"""For kinds that do nothing by default, or too much."""


def timed(kind):
    """A fault of the kind, on some connections, after a time if it can wait for one."""
    fields = attrs.fields_dict(KINDS[kind])
    late = {"after_seconds": 15.0} if "after_seconds" in fields else {}
    return KINDS[kind](**late, **SETTINGS.get(kind, {}), connection=(1, 3, 4), probability=0.7)


async def attempt(client, *, websocket):
    """Ask for four messages; ping, and then close before the last; until it ends, or for long."""
    await client.send(request(websocket=websocket))
    with trio.move_on_after(100):
        while await client._fill():
            if websocket and client.buffer.endswith((b'message 2"}', b'message 3"}')):
                await client.say(0x9, b"?")
            if websocket and client.buffer.endswith(b'message 3"}'):
                await client.say(0x8, b"\x03\xe8")


def request(*, websocket):
    if not websocket:
        return b"GET /feed?count=4 HTTP/1.1\r\nHost: feed.test\r\n\r\n"
    return (
        b"GET /feed?count=4 HTTP/1.1\r\nHost: feed.test\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x8d\0\0\0\0" + b'{"resume": 0}'
    )


@pytest.mark.parametrize("kind", list(KINDS))
async def test_every_kind_of_fault_is_repeated(kind, memory, into_memory, autojump_clock):
    async def attempts(schedule):
        proxy = Proxy(
            "http://feed.test",
            schedule=schedule,
            seed=4,
            connect_upstream=into_memory(Server(pace=10)),
        )
        received = []
        for _ in range(4):
            client = await memory(proxy)
            client.limit = math.inf
            websocket = "websocket" in KINDS[kind].payloads
            with suppress(trio.BrokenResourceError):
                await attempt(client, websocket=websocket)
            received.append(client.buffer)
            await client.aclose()
            with trio.move_on_after(100):  # A half-open connection does not see the end.
                await proxy.wait_until(lambda: proxy.connections[-1].ended is not None)
        return proxy, received

    first, received = await attempts([timed(kind)])
    assert {each.connection for each in first.injected} == {1, 3}
    assert {each.fault.kind for each in first.injected} == {kind}
    again, received_again = await attempts(schedule_from_recording(recording_of(first)))
    assert struck(again) == struck(first)
    if kind == "comments_only":
        # It begins at the same byte, which is sooner than at the time that it waited for at first.
        received = [data.partition(b": comment")[0] for data in received]
        received_again = [data.partition(b": comment")[0] for data in received_again]
    assert received_again == received
