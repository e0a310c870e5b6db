"""HTTP through a proxy that injects nothing: what goes in comes out, as it comes."""

import pytest
import trio

from moored.faults import open_proxy
from moored.faults.duplex import HALF_CLOSED_GRACE

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_the_request_is_forwarded_with_the_upstreams_host(serve, dial):
    seen = []

    async def handler(plain):
        seen.append(await plain.until(b"\r\n\r\n"))
        await plain.send(OK)

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        await client.get(
            "/a/b?c=%20d",
            "X-Case: Kept",
            "Connection: keep-alive",
            "Keep-Alive: 5",
            "Authorization: Bearer k",
            "X-Two: 1",
            "X-Two: 2",
        )
    assert seen[0].decode() == (
        f"GET /a/b?c=%20d HTTP/1.1\r\nHost: 127.0.0.1:{upstream.port}\r\nConnection: close\r\n"
        "X-Case: Kept\r\nAuthorization: Bearer k\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n"
    )


async def test_the_answer_is_passed_with_its_headers_and_closes(serve, dial):
    async def handler(plain):
        await plain.head()
        await plain.send(
            b"HTTP/1.1 418 Odd Reason\r\nX-Case: Kept\r\nConnection: keep-alive\r\n"
            b"Set-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok"
        )

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await client.rest() == (
            b"HTTP/1.1 418 Odd Reason\r\nX-Case: Kept\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
            b"Content-Length: 2\r\nConnection: close\r\n\r\nok",
            "fin",
        )


@pytest.mark.parametrize(
    ("head", "body", "received"),
    [
        (b"Content-Length: 5", b"hello", b"hello"),
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (
            b"Transfer-Encoding: chunked\r\nTrailer: X-T",
            b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
            b"5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
        ),
        (b"X-Until: close", b"hello", b"hello"),
    ],
)
async def test_each_framing_of_a_body_is_kept(serve, dial, head, body, received):
    async def handler(plain):
        await plain.head()
        await plain.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body)

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert await client.rest() == (received, "fin")


@pytest.mark.parametrize(
    ("head", "body", "received"),
    [
        (b"Content-Length: 9", b"hello", b"hello"),
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n", b"5\r\nhello\r\n"),
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\nzz\r\n", b"5\r\nhello\r\n"),
    ],
)
async def test_a_body_without_its_end_is_passed_without_its_end(serve, dial, head, body, received):
    async def handler(plain):
        await plain.head()
        await plain.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body)

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert await client.rest() == (received, "fin")
        await client.aclose()
        with trio.fail_after(2):
            await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
        assert proxy.connections[0].outcome == "upstream left"


async def test_http_1_0_gets_no_chunks(serve, dial):
    async def handler(plain):
        await plain.head()
        await plain.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await plain.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        )

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        line, headers = await client.head()
        assert line == "HTTP/1.1 200 OK"
        assert headers == {"connection": "close"}
        assert await client.rest() == (b"ok", "fin")


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_answers_without_a_body_end_with_their_head(serve, dial, method, status):
    async def handler(plain):
        await plain.head()
        await plain.send(b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n" % status)
        await plain.rest()

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        assert (await client.get(method=method))[0] == status
        assert await client.rest() == (b"", "fin")


async def test_what_arrives_is_passed_on_at_once(serve, dial):
    proceed = trio.Event()

    async def handler(plain):
        await plain.head()
        await plain.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        await proceed.wait()
        await plain.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await plain.send(b"ff\r\nhalf a chunk")
        await plain.rest()

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        assert (await client.get())[0] == 103
        proceed.set()
        assert (await client.head())[0] == "HTTP/1.1 200 OK"
        assert await client.until(b"half a chunk") == b"c\r\nhalf a chunk"


async def test_a_body_goes_up_while_it_comes(serve, dial):
    got_half = trio.Event()

    async def handler(plain):
        await plain.head()
        assert await plain.exactly(3) == b"one"
        got_half.set()
        assert await plain.exactly(3) == b"two"
        await plain.send(OK)

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\none")
        with trio.fail_after(2):
            await got_half.wait()
        await client.send(b"two")
        assert (await client.head())[0] == "HTTP/1.1 200 OK"


async def test_a_chunked_body_goes_up_in_chunks(serve, dial):
    async def handler(plain):
        _, headers = await plain.head()
        assert headers["transfer-encoding"] == "chunked"
        assert await plain.chunks() == b"onetwo"
        await plain.send(OK)

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        await client.send(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        )
        assert (await client.head())[0] == "HTTP/1.1 200 OK"


async def test_a_client_that_waits_for_100_is_told_to_continue(serve, dial):
    async def handler(plain):
        _, headers = await plain.head()
        assert "expect" not in headers
        assert await plain.exactly(2) == b"hi"
        await plain.send(OK)

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        status, _ = await client.get("/", "Content-Length: 2", "Expect: 100-continue")
        assert status == 100
        await client.send(b"hi")
        assert (await client.head())[0] == "HTTP/1.1 200 OK"
        assert await client.rest() == (b"ok", "fin")


async def test_a_client_is_told_to_continue_once(serve, dial):
    async def handler(plain):
        await plain.head()
        assert await plain.chunks() == b"hi"
        await plain.send(OK)

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        status, _ = await client.get("/", "Transfer-Encoding: chunked", "Expect: 100-continue")
        assert status == 100
        await client.send(b"2\r")  # a piece that holds no byte of the body yet
        await client.silence()
        await client.send(b"\nhi\r\n0\r\n\r\n")
        assert (await client.head())[0] == "HTTP/1.1 200 OK"


async def test_other_protocols_are_not_switched_to(serve, dial):
    seen = []

    async def handler(plain):
        seen.append((await plain.head())[1])
        await plain.send(OK)

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        assert (await client.get("/", "Upgrade: h2c", "Connection: Upgrade"))[0] == 200
    assert "upgrade" not in seen[0]
    assert seen[0]["connection"] == "close"


async def test_an_early_answer_does_not_wait_for_the_body(serve, dial):
    async def handler(plain):
        await plain.head()
        await plain.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\nstart")
        assert (await client.head())[0] == "HTTP/1.1 413 Too Large"


async def test_a_second_request_on_the_connection_is_not_served(serve, dial):
    async def handler(plain):
        await plain.head()
        await plain.send(OK)

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        assert (await client.head())[1]["connection"] == "close"
        assert await client.rest() == (b"ok", "fin")


# Things that are wrong.


async def test_an_upstream_that_is_down_gives_502(serve, dial, unused_port):
    async with open_proxy(f"http://127.0.0.1:{unused_port}") as proxy:
        client = await dial(proxy.port)
        status, headers = await client.get("/?key=secret")
        assert (status, headers["connection"]) == (502, "close")
        data, ending = await client.rest()
        assert data.startswith(b"upstream unreachable: ")
        assert b"secret" not in data
        assert ending == "fin"
        client = await dial(proxy.port)
        assert (await client.upgrade())[0] == 502


@pytest.fixture
def unused_port():
    """A port that was free a moment ago."""
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-"])
async def test_an_upstream_that_does_not_speak_http_gives_502(serve, dial, answer):
    async def handler(plain):
        await plain.head()
        await plain.send(answer)

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        assert (await client.get())[0] == 502
        await client.rest()
        await client.aclose()
        with trio.fail_after(2):
            await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
        assert proxy.connections[0].outcome == "bad upstream"
        assert proxy.connections[0].status == 502


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000, 431),
    ],
)
async def test_a_request_that_cannot_be_served_is_told_so(dial, request_, status):
    async with open_proxy("http://127.0.0.1:9") as proxy:
        client = await dial(proxy.port)
        await client.send(request_)
        assert (await client.head())[0].startswith(f"HTTP/1.1 {status} ")
        assert (await client.rest())[1] == "fin"
        assert proxy.connections[0].outcome == "bad request"


async def test_a_reset_upstream_is_a_reset_for_the_client(serve, dial):
    async def handler(plain):
        await plain.head()
        await plain.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
        await plain.exactly(1)
        linger = b"\x01\0\0\0\0\0\0\0"
        plain.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        # Two bytes of a longer body: the second comes when the first part has passed.
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        await client.head()
        assert await client.exactly(2) == b"ok"
        await client.send(b"!")
        assert await client.rest() == (b"", "rst")


@pytest.mark.parametrize("abort", [False, True])
async def test_a_client_that_leaves_closes_the_upstream(serve, dial, abort):
    ending = []

    async def handler(plain):
        await plain.head()
        await plain.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        ending.append(await plain.rest())

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        await client.get()
        if abort:
            linger = b"\x01\0\0\0\0\0\0\0"
            client.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
        await client.aclose()
        with trio.fail_after(2):
            await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
        assert proxy.connections[0].outcome == "client left"
        assert ending == [(b"", "fin")]


async def test_a_client_that_leaves_before_the_answer_closes_the_upstream(serve, dial):
    came, ended = trio.Event(), trio.Event()

    async def handler(plain):
        await plain.head()
        came.set()
        await plain.rest()
        ended.set()

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        for start in (
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n",
        ):
            client = await dial(proxy.port)
            await client.send(start.encode())
            with trio.fail_after(2):
                await came.wait()
                await client.aclose()
                await ended.wait()
            came, ended = trio.Event(), trio.Event()


async def test_a_client_that_half_closes_still_gets_its_answer(serve, dial):
    async def handler(plain):
        await plain.head()
        assert await plain.rest() == (b"", "fin")  # The upstream sees what the client did.
        await plain.send(OK)

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.stream.send_eof()
        data, ending = await client.rest()
        assert data.endswith(b"\r\n\r\nok")
        assert ending == "fin"
        with trio.fail_after(2):
            await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
        assert proxy.connections[0].outcome == "complete"


async def test_a_half_closed_connection_that_falls_silent_is_given_up(
    serve, nursery, autojump_clock
):
    import trio.testing

    from moored.faults import Proxy

    ours, theirs = trio.testing.memory_stream_pair()
    upstream_ours, upstream_theirs = trio.testing.memory_stream_pair()

    async def connect():
        return upstream_ours

    proxy = Proxy("http://h.test", connect_upstream=connect)
    nursery.start_soon(proxy.serve_connection, theirs)
    await ours.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await ours.send_eof()
    for n in range(3):
        await trio.sleep(HALF_CLOSED_GRACE - 1)
        await upstream_theirs.send_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" if n == 0 else b"x"
        )
    start = trio.current_time()
    await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
    assert trio.current_time() - start >= HALF_CLOSED_GRACE - 0.1
    assert proxy.connections[0].outcome == "client left"


async def test_memory_is_bounded_when_the_client_does_not_read(serve, dial):
    sent = 0

    async def handler(plain):
        nonlocal sent
        await plain.head()
        await plain.send(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
        while True:
            await plain.stream.send_all(bytes(100_000))
            sent += 100_000

    upstream = await serve(handler)
    async with open_proxy(upstream.url) as proxy:
        client = await dial(proxy.port)
        await client.get()
        previous = -1
        while sent != previous:
            previous = sent
            await trio.sleep(0.05)
        passed = proxy._links[1].aim.bytes
        assert sent < 40_000_000  # what kernels buffer
        assert sent - passed < 10_000_000
