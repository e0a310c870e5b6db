"""Faults by hand: on open connections, and on those to come; and open connections as they are."""

import pytest
import trio

from moored.faults import Cut, HalfOpen, Latency, LimitData, Proxy, Refuse, Stall, open_proxy

HEAD = "HTTP/1.1 200 OK\nContent-Type: text/event-stream"


@pytest.fixture
async def feed(http_upstream):
    """A server that sends two events and waits."""
    return await http_upstream(HEAD, b"data: 1\n\ndata: 2\n\n", lambda plain: plain.rest())


async def test_what_is_armed_comes_first_and_so_often(feed, dial):
    schedule = [Refuse(status=418, connection=[4, 5])]
    async with open_proxy(feed.url, schedule=schedule) as proxy:
        proxy.arm(Refuse(status=503, times=2, path="/a"))
        proxy.arm(Refuse(status=500, times=1))
        assert proxy.armed == (Refuse(status=503, times=2, path="/a"), Refuse(status=500, times=1))
        statuses = []
        for path in ("/a", "/b", "/b", "/a", "/a"):
            client = await dial(proxy.port)
            statuses.append((await client.get(path))[0])
        assert statuses == [503, 500, 200, 503, 418]
        assert proxy.armed == ()
        assert proxy.schedule == tuple(schedule)


async def test_what_was_armed_can_be_forgotten(feed, dial):
    async with open_proxy(feed.url) as proxy:
        for forget in (proxy.disarm, lambda: proxy.set_schedule([])):
            proxy.arm(Refuse())
            assert len(proxy.armed) == 1
            forget()
            assert proxy.armed == ()
            assert (await (await dial(proxy.port)).get())[0] == 200


async def test_attempts_count_for_what_is_armed(feed, dial):
    async with open_proxy(feed.url) as proxy:
        proxy.arm(Refuse(attempt=2))
        assert [(await (await dial(proxy.port)).get())[0] for _ in range(3)] == [200, 429, 200]


async def test_tcp_faults_strike_open_connections(http_upstream, dial):
    proceed = trio.Event()

    async def more(plain):
        await proceed.wait()
        await plain.send(b"data: 3\n\n")
        await plain.rest()

    feed = await http_upstream(HEAD, b"data: 1\n\ndata: 2\n\n", more)
    async with open_proxy(feed.url, controlled=True) as proxy:
        first, second = await dial(proxy.port), await dial(proxy.port)
        for client in (first, second):
            await client.get()
            await client.until(b"data: 2\n\n")
        assert proxy.strike(LimitData(connection=1)) == 1
        assert proxy.strike(HalfOpen(connection=3)) == 0
        assert proxy.strike(HalfOpen(path="/elsewhere")) == 0
        proceed.set()
        assert await first.rest() == (b"", "fin")
        await first.aclose()
        assert await second.until(b"data: 3\n\n")
        assert [each.fault.kind for each in proxy.injected] == ["limit_data"]
        await proxy.wait_until(lambda: proxy.connection(1).ended is not None)
        assert proxy.strike(HalfOpen(connection=1)) == 0  # It has ended.


async def test_tcp_faults_by_hand_end_after_their_time(serve, dial):
    async def echo(plain):
        await plain.accept_websocket()
        for _ in range(3):
            _, payload = await plain.frame()
            await plain.send(bytes([0x82, len(payload)]) + payload)
        await plain.rest()

    async with open_proxy((await serve(echo)).ws_url, controlled=True) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await client.say(0x2, b"a")
        assert (await client.frame())[1] == b"a"
        assert proxy.strike(Latency(latency=0.1, for_seconds=0.15)) == 1
        began = trio.current_time()
        await client.say(0x2, b"b")
        assert (await client.frame())[1] == b"b"
        assert trio.current_time() - began >= 0.1
        await trio.sleep(0.1)
        began = trio.current_time()
        await client.say(0x2, b"c")
        assert (await client.frame())[1] == b"c"
        assert trio.current_time() - began < 0.1


async def test_tcp_faults_need_a_controlled_proxy(feed, dial):
    async with open_proxy(feed.url) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert proxy.strike(Latency(latency=1)) == 0
        assert proxy.injected == ()


async def test_open_connections_are_told_as_they_are(serve, dial, make_frame):
    async def handler(plain):
        await plain.accept_websocket()
        await plain.send(make_frame(0x1, b"one") + make_frame(0x1, b"two"))
        await plain.rest()

    async with open_proxy((await serve(handler)).ws_url, controlled=True) as proxy:
        client = await dial(proxy.port)
        await client.upgrade("/x")
        assert [(await client.frame())[1] for _ in range(2)] == [b"one", b"two"]
        await client.say(0x1, b"hello")
        with trio.fail_after(5):
            while not proxy.connection(1).bytes_to_server:  # noqa: ASYNC110 - is not told
                await trio.sleep(0.001)
        [now] = proxy.open_connections
        assert now == proxy.connections[0] == proxy.connection(1)
        assert (now.path, now.messages, now.bytes) == ("/x", 2, 10)
        assert (now.messages_to_server, now.bytes_to_server) == (1, 11)
        assert (now.stalled, now.ended) == (False, None)
        before = proxy.change_count
        assert proxy.stall() == 1
        await proxy.wait_until(lambda: proxy.change_count > before)
        assert proxy.connection(1).stalled
        await client.aclose()
        await proxy.wait_until(lambda: proxy.open_connections == ())
        assert proxy.connection(1).stalled
        assert proxy.connection(1).messages_to_server == 1
        assert proxy.connection(2) is None


async def test_a_proxy_without_connections():
    proxy = Proxy("http://127.0.0.1:1")
    assert proxy.strike(Cut(after_seconds=0)) == proxy.strike(Stall(after_seconds=0)) == 0
    assert proxy.strike(Latency()) == 0
    assert proxy.open_connections == proxy.connections == proxy.armed == ()
