"""Proxy and server over in-memory streams, under a virtual clock: hours in milliseconds."""

import json
import math

import trio

from moored.faults import Cut, Proxy, Refuse, Server, Stall
from moored.faults.endings import LINGER
from moored.faults.feed import message

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


async def test_the_same_schedule_runs_in_memory(memory, into_memory, autojump_clock):
    server = Server(pace=60)
    schedule = [
        {"fault": "refuse", "times": 1, "retry_after": 3600},
        {"fault": "cut", "after_messages": 2, "connection": 2},
        {"fault": "stall", "after_messages": 1, "connection": 3},
    ]
    proxy = Proxy("ws://feed.test", schedule=schedule, connect_upstream=into_memory(server))
    assert (await (await memory(proxy)).upgrade("/feed"))[1]["retry-after"] == "3600"

    client = await memory(proxy)
    await client.upgrade("/feed?resume=0")
    assert await client.frame() == (TEXT, message(1).encode())
    start = trio.current_time()
    client.limit = math.inf
    assert await client.frame() == (TEXT, message(2).encode())
    assert trio.current_time() - start == 60
    assert await client.rest() == (b"", "fin")

    client = await memory(proxy)
    await client.upgrade("/feed?resume=2")
    assert await client.frame() == (TEXT, message(3).encode())
    await client.silence(3600)
    await client.say(PING, b"?")
    assert await client.frame() == (PONG, b"?")
    assert [type(injected.fault) for injected in proxy.injected] == [Refuse, Cut, Stall]
    assert proxy.injected[1].time == start + 60
    assert [served.resumed_after for served in server.requests] == [0, 2]


async def test_swallowed_pings_are_never_answered(memory, into_memory, autojump_clock):
    schedule = [Stall(after_messages=0, pings="swallowed")]
    proxy = Proxy("ws://f.test", schedule=schedule, connect_upstream=into_memory(Server()))
    client = await memory(proxy)
    await client.upgrade("/feed")
    await client.say(PING, b"?")
    await client.silence(24 * 3600)


async def test_times_are_those_of_trios_clock_to_the_second(memory, into_memory, autojump_clock):
    schedule = [Stall(after_seconds=1000), Cut(after_seconds=3000)]
    proxy = Proxy("http://f.test", schedule=schedule, connect_upstream=into_memory(Server()))
    start = trio.current_time()
    client = await memory(proxy)
    client.limit = math.inf
    await client.get("/feed?follow=1&pace=400")
    await client.rest()
    assert [(i.fault.kind, i.time - start) for i in proxy.injected] == [
        ("stall", 1000),
        ("cut", 3000),
    ]
    assert proxy.connections[0].messages == 3
    await client.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert proxy.connections[0].ended == start + 3000


async def test_seconds_count_from_acceptance_also_for_a_path(memory, into_memory, autojump_clock):
    schedule = [Cut(after_seconds=1000, path="/feed")]
    proxy = Proxy("http://f.test", schedule=schedule, connect_upstream=into_memory(Server()))
    start = trio.current_time()
    client = await memory(proxy)
    client.limit = math.inf
    await trio.sleep(500)
    await client.get("/feed?follow=1&pace=400")
    await client.rest()
    assert proxy.injected[0].time - start == 1000


async def test_a_stall_waits_for_what_is_on_its_way(nursery, dial, make_frame, autojump_clock):
    # Lockstep: what is sent is on its way until the other side has read it.
    ours, theirs = trio.testing.lockstep_stream_pair()
    upstream_ours, upstream_theirs = trio.testing.memory_stream_pair()

    async def connect():
        return upstream_ours

    proxy = Proxy("ws://f.test", connect_upstream=connect)
    nursery.start_soon(proxy.serve_connection, theirs)
    upstream, client = await dial(upstream_theirs), await dial(ours)
    nursery.start_soon(upstream.accept_websocket)
    await client.upgrade()
    await upstream.send(make_frame(TEXT, bytes(1000)))
    assert await client.exactly(1) == b"\x81"
    client.buffer = b""
    await trio.testing.wait_all_tasks_blocked()
    await upstream.send(make_frame(TEXT, b"two"))
    await trio.testing.wait_all_tasks_blocked()
    assert proxy.stall() == 1
    await trio.testing.wait_all_tasks_blocked()
    assert proxy.injected == ()
    assert await client.frame() == (TEXT, b"two")
    await trio.testing.wait_all_tasks_blocked()
    assert proxy.injected_counts == {"stall": 1}
    await upstream.send(make_frame(TEXT, b"three"))
    await client.say(PING, b"?")
    assert await client.frame() == (PONG, b"?")


async def test_a_feed_that_is_told_to_wait_does_so_for_ever(dial, into_memory, autojump_clock):
    client = await dial(await into_memory(Server())())
    await client.upgrade("/feed?wait=1")
    await client.silence(3600)


async def test_a_client_that_ignores_the_end_is_not_waited_for_for_ever(
    memory, into_memory, autojump_clock
):
    proxy = Proxy(
        "http://f.test",
        schedule=[Cut(after_messages=1)],
        connect_upstream=into_memory(Server()),
    )
    client = await memory(proxy)
    await client.get("/feed")
    start = trio.current_time()
    await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
    assert trio.current_time() - start == LINGER


async def test_a_stream_of_ones_own_can_be_reset(into_memory, autojump_clock):
    class Stream(trio.abc.Stream):
        def __init__(self, inner):
            self.inner, self.was_reset = inner, False

        def reset(self):
            self.was_reset = True

        async def send_all(self, data):
            await self.inner.send_all(data)

        async def wait_send_all_might_not_block(self):
            await self.inner.wait_send_all_might_not_block()

        async def receive_some(self, max_bytes=None):
            return await self.inner.receive_some(max_bytes)

        async def aclose(self):
            await self.inner.aclose()

    ours, theirs = trio.testing.memory_stream_pair()
    proxy = Proxy(
        "http://f.test",
        schedule=[Cut(after_messages=1, how="rst")],
        connect_upstream=into_memory(Server()),
    )
    await ours.send_all(b"GET /feed HTTP/1.1\r\nHost: x\r\n\r\n")
    stream = Stream(theirs)
    await proxy.serve_connection(stream)
    assert stream.was_reset


async def test_a_connection_may_have_its_own_upstream(dial, nursery, into_memory, autojump_clock):
    ours, theirs = trio.testing.memory_stream_pair()
    proxy = Proxy("http://never.test")
    nursery.start_soon(
        lambda: proxy.serve_connection(theirs, connect_upstream=into_memory(Server()))
    )
    client = await dial(ours)
    assert (await client.get("/feed?count=1"))[0] == 200


async def test_the_feed_says_that_it_is_alive_when_it_is_quiet(
    nursery, dial, into_memory, autojump_clock
):
    client = await dial(await into_memory(Server(pace=40, keepalive=15))())
    client.limit = math.inf
    await client.get("/feed?count=2")
    start = trio.current_time()
    body = (await client.chunks()).decode()
    assert body.count(": keep-alive\n\n") == 2
    assert body.index("id: 1") < body.index(": keep-alive") < body.index("id: 2")
    assert trio.current_time() - start == 40


async def test_a_chat_keeps_its_pace(dial, into_memory, autojump_clock):
    client = await dial(await into_memory(Server(pace=2))())
    client.limit = math.inf
    messages = [{"role": "user", "content": "x"}]
    request = {"model": "m", "messages": messages, "max_tokens": 5, "stream": True}
    body = json.dumps(request).encode()
    await client.send(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )
    await client.head()
    start = trio.current_time()
    await client.chunks()
    assert trio.current_time() - start == 2 * 6  # between role, five tokens and the finish


async def test_a_websocket_client_without_pongs_gets_the_feed_too(
    dial, into_memory, autojump_clock
):
    client = await dial(await into_memory(Server())())
    client.limit = math.inf
    await client.upgrade("/feed")
    assert await client.frame() == (PING, b"")
    start = trio.current_time()
    assert await client.frame() == (TEXT, message(1).encode())
    assert trio.current_time() - start == 5


async def test_a_websocket_client_that_never_closes_is_let_go(dial, into_memory, autojump_clock):
    client = await dial(await into_memory(Server())())
    client.limit = math.inf
    await client.upgrade("/feed?count=0&resume=0")
    assert await client.frame() == (TEXT, b'{"end":true}')
    assert await client.frame() == (CLOSE, b"\x03\xe8")
    start = trio.current_time()
    await client.silence(4.9)
    assert await client.rest() == (b"", "fin")
    assert trio.current_time() - start == 5
