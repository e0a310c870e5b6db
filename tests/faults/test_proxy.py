import gc
import os
import ssl
from contextlib import suppress

import pytest
import trio
import trustme

from moored.faults import Proxy, Refuse, ScheduleError, open_proxy

OK = "HTTP/1.1 200 OK\nContent-Length: 2"


@pytest.mark.parametrize(
    ("upstream", "scheme", "suffix"),
    [
        ("http://h.test", "http", ""),
        ("http://h.test/", "http", "/"),
        ("https://h.test/v1", "http", "/v1"),
        ("ws://h.test/feed?count=3", "ws", "/feed?count=3"),
        ("wss://h.test:8443/a/b", "ws", "/a/b"),
    ],
)
async def test_the_url_is_the_upstreams_with_the_proxy_in_its_place(upstream, scheme, suffix):
    async with open_proxy(upstream) as proxy:
        here = f"127.0.0.1:{proxy.port}{suffix}"
        assert proxy.url == f"{scheme}://{here}"
        assert proxy.http_url == f"http://{here}"
        assert proxy.ws_url == f"ws://{here}"


@pytest.mark.parametrize(
    "url", ["ftp://h.test", "h.test:80", "http://", "http://u:p@h.test/", "http://h.test:x"]
)
def test_what_is_no_url_of_a_server_is_refused_without_showing_its_credentials(url):
    with pytest.raises(ValueError) as caught:
        Proxy(url)
    assert "u:p" not in str(caught.value)


async def test_connections_are_numbered_in_the_order_of_acceptance(dial):
    # Each is refused with the status that its number is aimed at.
    schedule = [Refuse(status=400 + n, connection=n) for n in range(1, 21)]
    async with open_proxy("http://127.0.0.1:9", schedule=schedule) as proxy:
        clients = [await dial(proxy.port) for _ in range(20)]
        assert [(await c.get())[0] for c in clients] == [400 + n for n in range(1, 21)]
        assert proxy.connection_count == 20


async def test_connections_are_recorded(http_upstream, dial):
    upstream = await http_upstream(OK, b"ok")
    before = trio.current_time()
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        with trio.fail_after(2):
            await proxy.wait_until(lambda: proxy.connection_count == 1)
        (connection,) = proxy.connections
        assert (connection.number, connection.path, connection.ended) == (1, "", None)
        await client.get("/a?key=secret")
        await client.aclose()
        with trio.fail_after(2):
            await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
        (connection,) = proxy.connections
        assert before <= connection.accepted <= connection.ended <= trio.current_time()
        assert "secret" not in repr(connection)
        assert (connection.path, connection.transport) == ("/a", "http")
        assert (connection.status, connection.bytes) == (200, 2)
        assert connection.outcome == "complete"


async def test_the_schedule_can_be_replaced(http_upstream, dial):
    upstream = await http_upstream(OK, b"ok")

    async def status():
        client = await dial(proxy.port)
        return (await client.get())[0]

    async with open_proxy(upstream.url, schedule=[Refuse(times=1)]) as proxy:
        assert [await status(), await status()] == [429, 200]
        proxy.set_schedule([{"fault": "refuse", "times": 1, "status": 503, "connection": [3, 4]}])
        assert [await status(), await status()] == [503, 200]
        with pytest.raises(ScheduleError):
            proxy.set_schedule([{"fault": "nothing"}])
        assert proxy.schedule == (Refuse(times=1, status=503, connection=(3, 4)),)


async def test_a_wrong_schedule_is_told_at_once():
    with pytest.raises(ScheduleError, match="after_messages"):
        async with open_proxy("http://h.test", schedule=[{"fault": "cut", "after_messages": -1}]):
            pass  # pragma: no cover


def test_a_proxy_made_by_hand_has_no_address():
    proxy = Proxy("http://h.test")
    for name in ("port", "url", "http_url", "ws_url"):
        with pytest.raises(RuntimeError, match="does not listen"):
            getattr(proxy, name)


async def test_what_the_block_raises_comes_out_as_itself():
    with pytest.raises(ZeroDivisionError):
        async with open_proxy("http://h.test"):
            raise ZeroDivisionError


async def test_it_listens_where_it_is_told_and_no_longer_than_its_block():
    async with open_proxy("http://h.test", host="127.0.0.1") as proxy:
        port = proxy.port
        with pytest.raises(OSError):
            async with open_proxy("http://h.test", port=port):
                pass  # pragma: no cover
    with pytest.raises(OSError):
        await trio.open_tcp_stream("127.0.0.1", port)
    async with open_proxy("http://h.test", port=port) as proxy:
        assert proxy.port == port


async def test_nothing_is_left_when_the_block_is_left(websocket_upstream, dial, make_frame):
    upstream = await websocket_upstream(make_frame(1, b"x"))
    tasks = trio.lowlevel.current_statistics().tasks_living
    files = len(os.listdir("/proc/self/fd"))
    async with open_proxy(upstream.ws_url) as proxy:
        clients = [await dial(proxy.port) for _ in range(8)]
        for client in clients[:6]:
            await client.upgrade()
            await client.frame()
        proxy.stall(connection=1)
        proxy.cut("fin", connection=2)
        proxy.cut("rst", connection=3)
        await clients[3].aclose()
        clients[4].stream.socket.shutdown(trio.socket.SHUT_WR)
        with trio.fail_after(2):
            await proxy.wait_until(lambda: proxy.injected_counts.get("cut") == 2)
    for client in clients:
        await client.aclose()
    with trio.fail_after(2):
        while (  # noqa: ASYNC110 - the upstream's tasks and files end with their connections
            trio.lowlevel.current_statistics().tasks_living > tasks
            or len(os.listdir("/proc/self/fd")) > files
        ):
            await trio.sleep(0.005)
    gc.collect()
    assert proxy._links == {}
    assert {connection.outcome for connection in proxy.connections} >= {"proxy closed", "cut"}
    assert all(connection.ended is not None for connection in proxy.connections)


# TLS


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
async def tls_upstream(nursery, authority):
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_context)

    async def handle(stream):
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        path = data.split()[1]
        if path == b"/quiet":
            while await stream.receive_some():
                pass
        elif path == b"/ragged":
            # The end of TCP without TLS's own end, as many servers do it.
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nok")
            await stream.transport_stream.aclose()
        else:
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def tolerant(stream):
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                await handle(stream)

    async def serve(task_status):
        await trio.serve_ssl_over_tcp(
            tolerant, 0, server_context, host="127.0.0.1", task_status=task_status
        )

    listeners = await nursery.start(serve)
    return listeners[0].transport_listener.socket.getsockname()[1]


@pytest.fixture
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("path", ["/", "/ragged"])
async def test_the_upstream_may_be_encrypted(tls_upstream, dial, trusting, path):
    async with open_proxy(f"https://localhost:{tls_upstream}", ssl_context=trusting) as proxy:
        client = await dial(proxy.port)
        assert (await client.get(path))[0] == 200
        assert await client.rest() == (b"ok", "fin")


async def test_the_upstreams_certificate_is_verified(tls_upstream, dial):
    async with open_proxy(f"https://localhost:{tls_upstream}") as proxy:
        client = await dial(proxy.port)
        assert (await client.get())[0] == 502
        assert b"certificate" in (await client.rest())[0].lower()


async def test_a_client_that_leaves_closes_an_encrypted_upstream(tls_upstream, dial, trusting):
    # TLS has no half-closing.
    async with open_proxy(f"https://localhost:{tls_upstream}", ssl_context=trusting) as proxy:
        client = await dial(proxy.port)
        await client.send(b"GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.stream.send_eof()
        assert await client.rest() == (b"", "fin")
        assert proxy.connections[0].outcome == "client left"
