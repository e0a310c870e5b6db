"""WebSockets through a proxy that injects nothing: the very same bytes, both ways."""

import random

import pytest
import trio

from moored.faults import CloseFrame, Cut, Stall, open_proxy

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


async def test_the_handshake_passes_with_its_headers(serve, dial):
    seen = []

    async def handler(plain):
        seen.append(await plain.accept_websocket())
        await plain.rest()

    upstream = await serve(handler)
    # Also while a fault waits for a message: compression is not a matter of these headers here.
    schedule = [Cut(after_messages=9)]
    async with open_proxy(upstream.ws_url + "/chat", schedule=schedule) as proxy:
        client = await dial(proxy.port)
        status, headers = await client.upgrade(
            "/chat?a=b", "Sec-WebSocket-Protocol: p", "Accept-Encoding: gzip", "Authorization: k"
        )
    assert status == 101
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert headers["connection"] == "Upgrade"
    line, fields = seen[0]
    assert line == "GET /chat?a=b HTTP/1.1"
    assert fields["host"] == f"127.0.0.1:{upstream.port}"
    assert fields["connection"] == "Upgrade"
    assert fields["upgrade"] == "websocket"
    assert fields["sec-websocket-protocol"] == "p"
    assert fields["authorization"] == "k"
    assert fields["accept-encoding"] == "gzip"


async def test_bytes_pass_unchanged_both_ways_in_any_cut(serve, dial, make_frame):
    rng = random.Random(5)
    masks = [None, b"\x11\x22\x33\x44"]
    frames = [
        make_frame(
            rng.choice([0, 1, 2, 9, 10]),
            rng.randbytes(rng.choice([0, 1, 125])),
            fin=rng.random() < 0.5,
            mask=rng.choice(masks),
        )
        for _ in range(200)
    ]
    # Also what no frame should be: reserved bits, an unknown opcode.
    data = b"".join(frames) + b"\xf3\x01?" + make_frame(2, rng.randbytes(300_000))
    pieces = []
    at = 0
    while at < len(data):
        size = rng.choice([1, 2, 3, 7, 1000, 50_000])
        pieces.append(data[at : at + size])
        at += size

    async def echo(plain):
        await plain.accept_websocket()
        while got := await plain.stream.receive_some(65536):
            await plain.send(bytes(got))
        await plain.stream.send_eof()

    upstream = await serve(echo)
    async with open_proxy(upstream.ws_url) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()

        async def send():
            for piece in pieces:
                await client.send(piece)
            await client.stream.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await client.rest() == (data, "fin")


@pytest.mark.parametrize("cut", [1, 5])
async def test_what_is_sent_right_behind_the_handshake_is_not_lost(serve, dial, make_frame, cut):
    eager = make_frame(TEXT, b"eager", mask=b"abcd")

    async def handler(plain):
        await plain.head()
        await plain.send(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            + make_frame(TEXT, b"first")
        )
        assert await plain.frame() == (TEXT, b"eager")
        await plain.send(make_frame(TEXT, b"got it"))

    upstream = await serve(handler)
    async with open_proxy(upstream.ws_url) as proxy:
        client = await dial(proxy.port)
        request = (
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await client.send(request + eager[:cut])
        await client.send(eager[cut:])
        assert (await client.head())[0] == "HTTP/1.1 101 X"
        assert await client.frame() == (TEXT, b"first")
        assert await client.frame() == (TEXT, b"got it")


async def test_a_refused_handshake_passes_with_its_body(serve, dial):
    async def handler(plain):
        await plain.head()
        await plain.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

    upstream = await serve(handler)
    async with open_proxy(upstream.ws_url) as proxy:
        client = await dial(proxy.port)
        assert (await client.upgrade())[0] == 403
        assert await client.rest() == (b"no", "fin")


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_one_close_frame_makes_a_connection_complete(serve, dial, make_frame, who):
    async def handler(plain):
        await plain.accept_websocket()
        if who == "client":
            await plain.frame()
        else:
            await plain.send(make_frame(CLOSE, b"\x03\xe8"))

    upstream = await serve(handler)
    async with open_proxy(upstream.ws_url) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        if who == "client":
            await client.say(CLOSE, b"\x03\xe8")
        assert (await client.rest())[1] == "fin"
        await client.aclose()
        with trio.fail_after(2):
            await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
        assert proxy.connections[0].outcome == "complete"


async def test_a_close_handshake_passes_and_the_connection_is_complete(serve, dial, make_frame):
    async def handler(plain):
        await plain.accept_websocket()
        assert await plain.frame() == (CLOSE, b"\x03\xe8")
        await plain.send(make_frame(CLOSE, b"\x03\xe8"))

    upstream = await serve(handler)
    async with open_proxy(upstream.ws_url) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await client.say(CLOSE, b"\x03\xe8")
        assert await client.rest() == (make_frame(CLOSE, b"\x03\xe8"), "fin")
        await client.aclose()
        with trio.fail_after(2):
            await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
        assert proxy.connections[0].outcome == "complete"


@pytest.mark.parametrize("reset", [False, True])
async def test_an_upstream_that_drops_the_connection_drops_the_clients(
    serve, dial, make_frame, reset
):
    async def handler(plain):
        await plain.accept_websocket()
        await plain.send(make_frame(TEXT, b"last"))
        await plain.frame()
        if reset:
            linger = b"\x01\0\0\0\0\0\0\0"
            plain.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)

    upstream = await serve(handler)
    async with open_proxy(upstream.ws_url) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        assert await client.frame() == (TEXT, b"last")
        await client.say(TEXT, b"go")
        assert await client.rest() == (b"", "rst" if reset else "fin")
        await client.aclose()
        with trio.fail_after(2):
            await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
        assert proxy.connections[0].outcome == "upstream left"


async def test_a_client_that_drops_the_connection_drops_the_upstreams(serve, dial):
    ended = trio.Event()

    async def handler(plain):
        await plain.accept_websocket()
        assert await plain.rest() == (b"", "fin")
        ended.set()

    upstream = await serve(handler)
    async with open_proxy(upstream.ws_url) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await client.aclose()
        with trio.fail_after(2):
            await ended.wait()
            await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
        assert proxy.connections[0].outcome == "client left"


async def test_a_client_that_leaves_during_the_handshake_drops_the_upstreams(serve, dial):
    came, ended = trio.Event(), trio.Event()

    async def handler(plain):
        await plain.head()
        came.set()
        await plain.rest()
        ended.set()

    upstream = await serve(handler)
    async with open_proxy(upstream.ws_url) as proxy:
        client = await dial(proxy.port)
        await client.send(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        with trio.fail_after(2):
            await came.wait()
            await client.aclose()
            await ended.wait()


async def test_early_bytes_of_a_client_that_ends_its_side_reach_the_upstream(serve, dial):
    """And the proxy goes on, whatever its clients do."""
    got = []
    answer = trio.Event()

    async def handler(plain):
        await answer.wait()
        await plain.accept_websocket()
        got.append(await plain.rest())

    upstream = await serve(handler)
    async with open_proxy(upstream.ws_url) as proxy:
        client = await dial(proxy.port)
        early = b"\x81\x82abcd\x09\x0b"
        await client.send(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            + early
        )
        await client.stream.send_eof()
        await trio.sleep(0.05)  # until the proxy has read it, which nothing tells
        answer.set()
        with trio.fail_after(5):
            await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
    assert got == [(early, "fin")]


@pytest.mark.parametrize("fault", [CloseFrame(after_seconds=0.1), Stall(after_seconds=0.1)])
async def test_a_fault_behind_the_upstreams_end_ends_no_proxy(serve, dial, fault):
    async def handler(plain):
        await plain.accept_websocket()
        await plain.stream.send_eof()
        await plain.rest()

    upstream = await serve(handler)
    async with open_proxy(upstream.ws_url, schedule=[fault]) as proxy:
        client = await dial(proxy.port)
        assert (await client.upgrade())[0] == 101
        assert await client.rest() == (b"", "fin")
        with trio.fail_after(5):
            await proxy.wait_until(lambda: bool(proxy.injected))
        await client.say(PING, b"x")
        other = await dial(proxy.port)
        assert (await other.upgrade())[0] == 101
