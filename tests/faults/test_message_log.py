"""The log of messages, and what is told of it where they are many."""

import pytest
import trio

from moored.faults import Cut, Proxy, message_log
from moored.faults.control.message_data import MAX_RATE, TOGETHER, gathered
from moored.faults.message_log import MessageLog, PassedMessages


async def test_it_tells_what_is_new(autojump_clock):
    log = MessageLog()
    log.note(1, "to_client", 2)
    await trio.sleep(3)
    log.note(2, "to_server", 1)
    assert log.entries() == (
        PassedMessages(0, 1, "to_client", 2),
        PassedMessages(3, 2, "to_server", 1),
    )
    assert log.total == 2


async def test_it_is_bounded(monkeypatch):
    monkeypatch.setattr(message_log, "LIMIT", 3)
    log = MessageLog()
    for number in range(1, 6):
        log.note(number, "to_client", 1)
    assert log.total == 5
    assert [each.connection for each in log.entries()] == [3, 4, 5]


def test_few_are_told_one_by_one():
    passed = [PassedMessages(n / 100, 1, "to_client", 2) for n in range(100)]
    assert gathered(passed, 1.0) == (passed, False)


def test_many_are_told_together():
    ways = ("to_client", "to_server")
    passed = [
        PassedMessages(n / 1000, connection, way, 1)
        for n in range(1000)
        for connection in (1, 2)
        for way in ways
    ]
    found, together = gathered(passed, 1.0)
    assert together
    assert sum(each.messages for each in found) == len(passed) > MAX_RATE
    assert len(found) == pytest.approx(4 / TOGETHER, abs=4)
    for connection in (1, 2):
        for way in ways:
            assert sum(e.messages for e in found if e[1:3] == (connection, way)) == 1000


def test_many_at_one_moment_are_not_put_together():
    passed = [PassedMessages(1.0, 1, "to_client", 1000)]
    assert gathered(passed, 0.25) == (passed, False)


@pytest.mark.parametrize("controlled", [True, False])
async def test_a_controlled_proxy_logs_what_passes_both_ways(
    memory, nursery, autojump_clock, make_frame, controlled
):
    async def connect():
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(serve, theirs)
        return ours

    async def serve(stream):
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        await stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        await trio.sleep(1)
        await stream.send_all(make_frame(1, b"a") + make_frame(1, b"b"))
        await trio.sleep(1)
        await stream.send_all(make_frame(1, b"lost") + make_frame(1, b"too"))
        await trio.sleep_forever()

    schedule = [Cut(after_messages=3)]
    proxy = Proxy("ws://x.test", schedule=schedule, connect_upstream=connect, controlled=controlled)
    client = await memory(proxy)
    await client.upgrade()
    await client.say(1, b"hello")
    await client.rest()
    if controlled:
        assert proxy.messages == (
            PassedMessages(0, 1, "to_server", 1),
            PassedMessages(1, 1, "to_client", 2),
            PassedMessages(2, 1, "to_client", 1),
        )
    else:
        assert proxy.messages == ()
