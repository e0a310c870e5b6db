"""Cut and stall at the places that have a name, as a plain client sees them."""

import pytest
import trio

from moored.faults import Cut, Fragment, ScheduleError, Stall, open_proxy
from moored.faults.message_formats import MAX_HELD_BYTES

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
EVENTS = [b"id: %d\ndata: message %d\n\n" % (n, n) for n in range(1, 5)]  # 23 bytes each
CHUNKED = "HTTP/1.1 200 OK\nContent-Type: text/event-stream\nTransfer-Encoding: chunked"
UNTIL_CLOSE = "HTTP/1.1 200 OK\nContent-Type: text/event-stream"


def chunked(*pieces):
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


HEAD = CHUNKED.replace("\n", "\r\n").encode() + b"\r\nConnection: close\r\n\r\n"

PLACES = [
    ({"at": "after_request"}, b""),
    ({"at": "before_head"}, b""),
    ({"at": "inside_head"}, HEAD[: len(HEAD) // 2]),
    ({"at": "after_head"}, HEAD),
    ({"at": "inside_chunk"}, HEAD + b"17\r\n" + EVENTS[0][:11]),
    ({"at": "inside_chunk", "message": 2}, HEAD + chunked(EVENTS[0]) + b"17\r\n" + EVENTS[1][:11]),
    ({"at": "inside_message", "message": 2}, HEAD + chunked(EVENTS[0], EVENTS[1][:11])),
    ({"at": "inside_message"}, HEAD + chunked(EVENTS[0][:11])),
]


@pytest.mark.parametrize(("place", "seen"), PLACES, ids=[str(place) for place, _ in PLACES])
@pytest.mark.parametrize("how", ["fin", "rst", "stall"])
async def test_a_connection_ends_at_a_place(http_upstream, dial, place, seen, how):
    upstream = await http_upstream(CHUNKED, chunked(*EVENTS), lambda plain: plain.rest())
    fault = Stall(**place) if how == "stall" else Cut(**place, how=how)
    async with open_proxy(upstream.url, schedule=[fault]) as proxy:
        client = await dial(proxy.port)
        await client.send(b"GET /feed HTTP/1.1\r\nHost: x\r\n\r\n")
        if how == "stall":
            assert await client.exactly(len(seen)) == seen
            with trio.fail_after(2):
                await proxy.wait_until(lambda: proxy.injected != ())
            await client.silence()
        else:
            assert await client.rest() == (seen, how)
        (injected,) = proxy.injected
        assert injected.fault == fault
        assert injected.path == "/feed"
        assert injected.detail.startswith(place["at"].replace("_", " "))


@pytest.mark.parametrize(
    ("at", "reached"), [("after_request", False), ("before_head", True), ("inside_head", True)]
)
async def test_only_after_the_request_the_server_never_sees_it(serve, dial, at, reached):
    seen = []

    async def handler(plain):
        seen.append(await plain.head())
        await plain.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream = await serve(handler)
    async with open_proxy(upstream.url, schedule=[Cut(at=at)]) as proxy:
        client = await dial(proxy.port)
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.rest()
    assert bool(seen) is reached


async def test_a_handshake_is_never_answered(websocket_upstream, dial):
    upstream = await websocket_upstream(b"")
    for at in ("after_request", "before_head"):
        async with open_proxy(upstream.ws_url, schedule=[Stall(at=at)]) as proxy:
            client = await dial(proxy.port)
            await client.send(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            with trio.fail_after(2):
                await proxy.wait_until(lambda proxy=proxy: proxy.injected != ())
            await client.silence()


async def test_a_place_in_a_chunk_is_only_where_there_are_chunks(http_upstream, dial):
    upstream = await http_upstream(UNTIL_CLOSE, b"".join(EVENTS))
    async with open_proxy(upstream.url, schedule=[Cut(at="inside_chunk")]) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert await client.rest() == (b"".join(EVENTS), "fin")
        assert proxy.injected == ()


async def test_a_chunk_of_another_body_is_cut_too(http_upstream, dial):
    head = "HTTP/1.1 200 OK\nContent-Type: application/json\nTransfer-Encoding: chunked"
    upstream = await http_upstream(head, b'9\r\n{"a": 42}\r\n0\r\n\r\n')
    async with open_proxy(upstream.url, schedule=[Cut(at="inside_chunk")]) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert await client.rest() == (b'9\r\n{"a"', "fin")


CHARACTERS = [b"data: plain\n\n", "data: naïve €\n\n".encode(), "data: €\n\n".encode()]


@pytest.mark.parametrize(
    ("message", "seen"),
    [
        (None, CHARACTERS[0] + b"data: na\xc3"),
        (2, CHARACTERS[0] + b"data: na\xc3"),
        (3, CHARACTERS[0] + CHARACTERS[1] + b"data: \xe2"),
    ],
)
async def test_a_cut_inside_a_character(http_upstream, dial, message, seen):
    upstream = await http_upstream(UNTIL_CLOSE, b"".join(CHARACTERS))
    schedule = [Cut(at="inside_character", message=message)]
    async with open_proxy(upstream.url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert await client.rest() == (seen, "fin")


async def test_a_cut_inside_a_character_of_a_websocket_message(
    websocket_upstream, dial, make_frame
):
    frames = [make_frame(TEXT, b"plain"), make_frame(TEXT, "a€".encode())]
    upstream = await websocket_upstream(b"".join(frames))
    async with open_proxy(upstream.ws_url, schedule=[Cut(at="inside_character")]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        assert await client.rest() == (frames[0] + b"\x81\x04a\xe2", "fin")


@pytest.mark.parametrize("payload", [b"", b"x", b"hello", bytes(70_000)])
async def test_a_cut_inside_a_websocket_message(websocket_upstream, dial, make_frame, payload):
    frames = [make_frame(BINARY, b"first"), make_frame(BINARY, payload)]
    upstream = await websocket_upstream(b"".join(frames))
    schedule = [Cut(at="inside_message", message=2)]
    async with open_proxy(upstream.ws_url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        data, ending = await client.rest()
        rest = data.removeprefix(frames[0])
        assert 0 < len(rest) < len(frames[1])
        assert frames[1].startswith(rest)
        assert ending == "fin"


@pytest.mark.parametrize("pings", ["answered", "swallowed"])
async def test_no_ping_is_answered_inside_a_frame(websocket_upstream, dial, make_frame, pings):
    upstream = await websocket_upstream(make_frame(TEXT, b"hello"))
    schedule = [Stall(at="inside_message", pings=pings)]
    async with open_proxy(upstream.ws_url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        assert await client.exactly(4) == b"\x81\x05he"
        await client.say(PING, b"?")
        await client.silence()


DONE = [b"data: {}\n\n", b"data: [DONE]\n\n"]


@pytest.mark.parametrize(
    ("at", "seen"), [("before_done", chunked(DONE[0])), ("after_done", chunked(*DONE))]
)
@pytest.mark.parametrize("how", ["fin", "stall"])
async def test_done_may_be_missing_or_come_without_the_end_of_the_body(
    http_upstream, dial, at, seen, how
):
    upstream = await http_upstream(CHUNKED, chunked(*DONE) + b"0\r\n\r\n")
    fault = Stall(at=at) if how == "stall" else Cut(at=at)
    async with open_proxy(upstream.url, schedule=[fault]) as proxy:
        client = await dial(proxy.port)
        await client.get()
        if how == "stall":
            assert await client.exactly(len(seen)) == seen
            await client.silence()
        else:
            assert await client.rest() == (seen, "fin")


async def test_done_on_a_websocket(websocket_upstream, dial, make_frame):
    frames = [make_frame(TEXT, b"{}"), make_frame(TEXT, b"[DONE]"), make_frame(CLOSE, b"\3\xe8")]
    upstream = await websocket_upstream(b"".join(frames))
    for at, count in (("before_done", 1), ("after_done", 2)):
        async with open_proxy(upstream.ws_url, schedule=[Cut(at=at)]) as proxy:
            client = await dial(proxy.port)
            await client.upgrade()
            assert await client.rest() == (b"".join(frames[:count]), "fin")


@pytest.mark.parametrize("whole", [True, False])
async def test_between_fragments(websocket_upstream, dial, make_frame, whole):
    one = make_frame(TEXT, b"one")
    fragments = [make_frame(TEXT, b"ab", fin=False), make_frame(0, b"cd")]
    sent = make_frame(TEXT, b"abcd") if whole else b"".join(fragments)
    upstream = await websocket_upstream(one + sent)
    for fault in (
        Cut(at="between_fragments", message=2, how="rst"),
        Stall(at="between_fragments", message=2),
    ):
        async with open_proxy(upstream.ws_url, schedule=[fault]) as proxy:
            client = await dial(proxy.port)
            await client.upgrade()
            if isinstance(fault, Cut):
                assert await client.rest() == (one + fragments[0], "rst")
                continue
            assert await client.exactly(len(one + fragments[0])) == one + fragments[0]
            await client.say(PING, b"?")
            assert await client.frame() == (PONG, b"?")
            await client.silence()


async def test_between_the_fragments_that_another_fault_makes(websocket_upstream, dial, make_frame):
    upstream = await websocket_upstream(make_frame(TEXT, b"abc"))
    schedule = [Fragment(parts=3), Cut(at="between_fragments")]
    async with open_proxy(upstream.ws_url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        assert await client.rest() == (make_frame(TEXT, b"a", fin=False), "fin")


async def test_a_place_in_what_the_client_sends(serve, dial, make_frame):
    got = []

    async def handler(plain):
        await plain.accept_websocket()
        got.append(await plain.rest())

    first = make_frame(TEXT, b"one", mask=b"abcd")
    second = make_frame(TEXT, b"second", mask=b"abcd")
    upstream = await serve(handler)
    schedule = [Cut(at="inside_message", message=2, direction="to_server")]
    async with open_proxy(upstream.ws_url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await client.send(first + second)
        assert await client.rest() == (b"", "fin")
        assert proxy.injected[0].detail.endswith("to the server")
    assert got == [(first + second[:9], "fin")]


async def test_what_the_client_sends_is_counted(serve, dial, make_frame):
    got = []

    async def handler(plain):
        await plain.accept_websocket()
        got.append(await plain.rest())

    one = make_frame(TEXT, b"one", mask=b"abcd")
    upstream = await serve(handler)
    schedule = [
        Cut(after_messages=2, direction="to_server", connection=1),
        Cut(after_bytes=3, direction="to_server", connection=2),
    ]
    async with open_proxy(upstream.ws_url, schedule=schedule) as proxy:
        for _ in range(2):
            client = await dial(proxy.port)
            await client.upgrade()
            await client.send(one + one + one)
            assert (await client.rest())[0] == b""
    assert got == [(one + one, "fin"), (one[:3], "fin")]


@pytest.mark.parametrize("head", ["Content-Length: 9", "Transfer-Encoding: chunked"])
async def test_the_body_of_a_request_is_cut(serve, dial, head):
    got = []

    async def handler(plain):
        await plain.head()
        got.append((await plain.rest())[0])

    upstream = await serve(handler)
    schedule = [Cut(after_bytes=4, direction="to_server")]
    async with open_proxy(upstream.url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        body = chunked(b"some body") if "chunked" in head else b"some body"
        await client.send(f"POST / HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode() + body)
        assert await client.rest() == (b"", "fin")
    assert got == [chunked(b"some") if "chunked" in head else b"some"]


async def test_a_message_that_is_too_large_to_be_held_passes(websocket_upstream, dial, make_frame):
    large = make_frame(BINARY, bytes(MAX_HELD_BYTES + 200_000))
    small = make_frame(TEXT, b"small")
    upstream = await websocket_upstream(large + small)
    async with open_proxy(
        upstream.ws_url, schedule=[Cut(at="inside_message", connection=1), Cut(at="before_done")]
    ) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        assert (await client.exactly(len(large)) == large) is True  # no diff of megabytes
        assert await client.exactly(len(small)) == small
        await client.aclose()
        with trio.fail_after(2):
            await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
        assert proxy.injected == ()
        assert proxy.connections[0].unedited == 1
        assert proxy.connections[0].messages == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"at": "somewhere"}, "at must be 'after_request' or "),
        ({"at": ["x"]}, "at must be"),
        ({"at": "inside_message", "after_bytes": 3}, "one of the four exactly"),
        ({"at": "inside_message", "message": 0}, "message must be an integer of at least 1, not 0"),
        ({"at": "before_head", "message": 1}, "message must be left out with at='before_head'"),
        ({"after_messages": 3, "message": 1}, "message must be left out with at=None"),
        ({"after_bytes": 3, "direction": "up"}, "direction must be 'to_client' or 'to_server'"),
        ({"after_seconds": 3, "direction": "to_server"}, "direction must be 'to_client' for"),
        ({"at": "before_head", "direction": "to_server"}, "direction must be 'to_client' for"),
    ],
)
def test_what_makes_no_sense_is_told(fields, words):
    with pytest.raises(ScheduleError) as caught:
        Cut(**fields)
    assert words in str(caught.value)
