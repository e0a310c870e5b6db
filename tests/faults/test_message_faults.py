"""Faults that edit messages, as a plain client sees them: events and WebSocket messages alike."""

import json

import pytest
import trio

from moored.core.sse import EventDecoder
from moored.faults import (
    Cut,
    Drop,
    Duplicate,
    ErrorEvent,
    Insert,
    Oversized,
    Proxy,
    RetryField,
    ScheduleError,
    Server,
    Spoil,
    Swap,
    open_proxy,
)

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
TEXTS = [b'{"n":1}', b'{"n":2}', b'{"n":3}', b'{"n":4}']
SSE = "HTTP/1.1 200 OK\nContent-Type: text/event-stream"


def event(text, n=None):
    return (b"id: %d\n" % n if n else b"") + b"data: %b\n\n" % text


EVENTS = [event(text, n) for n, text in enumerate(TEXTS, 1)]
M1, M2, M3, M4 = range(4)

# What comes of four messages: numbers stand for those that the server sent, text for others.
EDITS = [
    (Duplicate(message=2), [M1, M2, M2, M3, M4]),
    (Duplicate(message=1, copies=2), [M1, M1, M1, M2, M3, M4]),
    (Duplicate(message=range(3, 9)), [M1, M2, M3, M3, M4, M4]),
    (Drop(message=(1, 3)), [M2, M4]),
    (Drop(), []),
    (Drop(message=5), [M1, M2, M3, M4]),
    (Swap(message=2), [M1, M3, M2, M4]),
    (Swap(), [M2, M1, M4, M3]),
    (Swap(message=4), [M1, M2, M3, M4]),
    (Drop(times=1), [M2, M3, M4]),
    (Insert(message=1, data="new"), [b"new", M1, M2, M3, M4]),
]


async def over_sse(http_upstream, dial, schedule, body=None, head=SSE):
    """The body that a client gets, and what was injected."""
    upstream = await http_upstream(head, b"".join(EVENTS) if body is None else body)
    async with open_proxy(upstream.url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.get()
        body, ending = await client.rest()
        assert ending == "fin"
        return body, proxy.injected


async def over_websocket(websocket_upstream, dial, schedule, data, then=None):
    """The bytes that a client gets, and what was injected."""
    closing = b"\x88\x02\x03\xe8"
    upstream = await websocket_upstream(data + closing, then)
    async with open_proxy(upstream.ws_url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        return (await client.until(closing)).removesuffix(closing), proxy.injected


@pytest.mark.parametrize(("fault", "comes"), EDITS, ids=[repr(fault) for fault, _ in EDITS])
async def test_events_are_edited(http_upstream, dial, fault, comes):
    body, injected = await over_sse(http_upstream, dial, [fault])
    made = [event(item) if isinstance(item, bytes) else EVENTS[item] for item in comes]
    assert body == b"".join(made)
    assert bool(injected) is (comes != [M1, M2, M3, M4])
    assert {each.fault for each in injected} <= {fault}


@pytest.mark.parametrize(("fault", "comes"), EDITS, ids=[repr(fault) for fault, _ in EDITS])
async def test_websocket_messages_are_edited(websocket_upstream, dial, make_frame, fault, comes):
    frames = [
        make_frame(TEXT, TEXTS[0][:3], fin=False) + make_frame(0, TEXTS[0][3:]),
        *(make_frame(TEXT, text) for text in TEXTS[1:]),
    ]
    data, injected = await over_websocket(websocket_upstream, dial, [fault], b"".join(frames))
    made = [make_frame(TEXT, item) if isinstance(item, bytes) else frames[item] for item in comes]
    assert data == b"".join(made)
    assert bool(injected) is (comes != [M1, M2, M3, M4])


async def test_each_effect_is_recorded_with_its_message(http_upstream, dial):
    _, injected = await over_sse(http_upstream, dial, [Swap(message=1), Duplicate(message=(2, 4))])
    assert [(each.fault.kind, each.detail) for each in injected] == [
        ("duplicate", "message 2"),
        ("swap", "messages 1 and 2"),
        ("duplicate", "message 4"),
    ]


@pytest.mark.parametrize(
    ("how", "text"), [("cut", b'{"n'), ("garbled", b'{"n":2}}'), ("utf8", b'{"n":2}\xff')]
)
async def test_the_text_of_a_message_is_spoilt(
    http_upstream, websocket_upstream, dial, make_frame, how, text
):
    fault = Spoil(message=2, how=how)
    body, _ = await over_sse(http_upstream, dial, [fault])
    assert body == EVENTS[0] + event(text, 2) + EVENTS[2] + EVENTS[3]
    frames = [make_frame(TEXT, one) for one in TEXTS]
    data, _ = await over_websocket(websocket_upstream, dial, [fault], b"".join(frames))
    assert data == frames[0] + make_frame(TEXT, text) + frames[2] + frames[3]
    if how != "utf8":
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)


async def test_what_else_is_in_a_spoilt_event_stays(http_upstream, dial):
    body = b"event: e\r\ndata: ab\r\n: c\r\nid: 7\r\ndata:cd\r\nretry: 3\r\n\r\n"
    got, _ = await over_sse(http_upstream, dial, [Spoil()], body)
    assert got == b"event: e\r\ndata: ab\r\n: c\r\nid: 7\r\nretry: 3\r\n\r\n"


async def test_half_of_the_text_is_half_of_its_characters(http_upstream, dial):
    got, _ = await over_sse(http_upstream, dial, [Spoil()], "data: €uro\n\n".encode())
    assert got == "data: €u\n\n".encode()


async def test_a_spoilt_message_of_fragments_is_one_frame(websocket_upstream, dial, make_frame):
    sent = (
        make_frame(BINARY, b"ab", fin=False) + make_frame(PING, b"?") + make_frame(0, b"\xfe\xff")
    )
    data, _ = await over_websocket(websocket_upstream, dial, [Spoil()], sent)
    assert data == make_frame(PING, b"?") + make_frame(BINARY, b"ab")


async def test_an_event_with_all_its_fields_is_inserted(http_upstream, dial):
    fault = Insert(message=2, data="a\nb", event="e", id="9")
    body, _ = await over_sse(http_upstream, dial, [fault])
    assert body == EVENTS[0] + b"event: e\nid: 9\ndata: a\ndata: b\n\n" + b"".join(EVENTS[1:])


@pytest.mark.parametrize("shape", ["named", "unnamed"])
async def test_an_error_comes_in_band(http_upstream, websocket_upstream, dial, make_frame, shape):
    fault = ErrorEvent(message=2, shape=shape, type="overloaded_error", text="Overloaded")
    body, _ = await over_sse(http_upstream, dial, [fault, Cut(after_messages=2)])
    data = (
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
        if shape == "named"
        else b'{"error":{"message":"Overloaded","type":"overloaded_error",'
        b'"param":null,"code":null}}'
    )
    prefix = b"event: error\n" if shape == "named" else b""
    assert body == EVENTS[0] + prefix + event(data)
    frames = b"".join(make_frame(TEXT, text) for text in TEXTS[:2])
    got, _ = await over_websocket(websocket_upstream, dial, [fault], frames)
    assert got == make_frame(TEXT, TEXTS[0]) + make_frame(TEXT, data) + make_frame(TEXT, TEXTS[1])


@pytest.mark.parametrize("retry", [0, 86_400_000, "soon"])
async def test_a_retry_field_comes_in_a_block_of_its_own(http_upstream, dial, retry):
    body, _ = await over_sse(http_upstream, dial, [RetryField(message=2, retry=retry)])
    assert body == EVENTS[0] + f"retry: {retry}\n\n".encode() + b"".join(EVENTS[1:])
    assert len(EventDecoder().feed(body)) == 4


@pytest.mark.parametrize("size", [1, 65536, 200_001])
async def test_an_oversized_message_is_inserted(
    http_upstream, websocket_upstream, dial, make_frame, size
):
    fault = Oversized(message=2, size=size)
    body, _ = await over_sse(http_upstream, dial, [fault])
    assert body == EVENTS[0] + event(b"x" * size) + b"".join(EVENTS[1:])
    frames = [make_frame(TEXT, text) for text in TEXTS]
    data, _ = await over_websocket(websocket_upstream, dial, [fault], b"".join(frames))
    assert data == frames[0] + make_frame(TEXT, b"x" * size) + b"".join(frames[1:])


async def test_an_oversized_frame_may_be_declared_only(
    websocket_upstream, http_upstream, dial, make_frame
):
    fault = Oversized(size=2**63 - 1, payload="missing")
    upstream = await websocket_upstream(make_frame(TEXT, b"a"))
    async with open_proxy(upstream.ws_url, schedule=[fault]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        assert await client.exactly(13) == b"\x81\x7f\x7f" + b"\xff" * 7 + b"\x81\x01a"
    body, injected = await over_sse(http_upstream, dial, [fault])
    assert (body, injected) == (b"".join(EVENTS), ())


async def test_edits_of_one_message_come_in_the_order_of_the_schedule(http_upstream, dial):
    schedule = [Spoil(message=1), Duplicate(message=1), Insert(message=1, data="new")]
    body, _ = await over_sse(http_upstream, dial, schedule)
    spoilt, new = event(b'{"n', 1), event(b"new")
    assert body == new + spoilt + new + spoilt + b"".join(EVENTS[1:])
    body, injected = await over_sse(http_upstream, dial, [Drop(message=1), Duplicate(message=1)])
    assert body == b"".join(EVENTS[1:])
    assert [each.fault.kind for each in injected] == ["drop"]


async def test_cuts_count_what_passes_and_edits_what_came(http_upstream, dial):
    schedule = [Duplicate(message=1), Drop(message=3), Cut(after_messages=4)]
    body, _ = await over_sse(http_upstream, dial, schedule)
    assert body == EVENTS[0] * 2 + EVENTS[1] + EVENTS[3]


async def test_a_place_in_a_message_that_is_swapped(http_upstream, dial):
    schedule = [Swap(message=1), Cut(at="inside_message", message=2)]
    body, _ = await over_sse(http_upstream, dial, schedule)
    assert body == EVENTS[1][: len(EVENTS[1]) // 2]


async def test_an_edit_may_aim_at_bytes(http_upstream, dial):
    body, _ = await over_sse(http_upstream, dial, [Drop(after_bytes=len(EVENTS[0]) + 1)])
    assert body == EVENTS[0] + EVENTS[1]


async def test_an_edit_may_aim_at_a_time(memory, into_memory, autojump_clock):
    schedule = [Drop(after_seconds=25, times=1)]
    server = Server(pace=10)
    proxy = Proxy("http://f.test", schedule=schedule, connect_upstream=into_memory(server))
    start = trio.current_time()
    client = await memory(proxy)
    client.limit = 1000
    await client.get("/feed?count=5")
    ids = [event.id for event in EventDecoder().feed(await client.chunks())]
    assert ids == ["1", "2", "3", "5", "6"]
    assert [each.time - start for each in proxy.injected] == [30]


FRAMINGS = [
    ("Content-Length: %d", lambda body: body),
    ("Transfer-Encoding: chunked", lambda body: b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)),
]


@pytest.mark.parametrize(("field", "frame"), FRAMINGS)
async def test_the_body_has_the_length_that_it_says(http_upstream, dial, field, frame):
    body = b"".join(EVENTS)
    head = f"{SSE}\n{field % len(body) if '%' in field else field}"
    upstream = await http_upstream(head, frame(body))
    async with open_proxy(upstream.url, schedule=[Duplicate(message=1)]) as proxy:
        client = await dial(proxy.port)
        _, headers = await client.get()
        assert headers["transfer-encoding"] == "chunked"
        assert "content-length" not in headers
        assert await client.chunks() == EVENTS[0] + body
        client = await dial(proxy.port)
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        _, headers = await client.head()
        assert not {"transfer-encoding", "content-length"} & headers.keys()
        assert await client.rest() == (EVENTS[0] + body, "fin")


async def test_comments_pass_while_an_event_is_held(http_upstream, dial):
    upstream = await http_upstream(SSE, b": hello\ndata: ", then=lambda plain: plain.rest())
    async with open_proxy(upstream.url, schedule=[Drop(message=9)]) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert await client.exactly(8) == b": hello\n"
        await client.silence()


@pytest.mark.parametrize("tail", [b"data: unfinished", b"data: x\r\n\r", b": c"])
async def test_what_is_held_at_the_end_passes(http_upstream, dial, tail):
    body, _ = await over_sse(http_upstream, dial, [Drop(message=9)], EVENTS[0] + tail)
    assert body == EVENTS[0] + tail
    body, _ = await over_sse(http_upstream, dial, [Swap(message=1)], EVENTS[0] + b": c\n")
    assert body in (EVENTS[0] + b": c\n", b": c\n" + EVENTS[0])


async def test_what_is_held_passes_before_the_reset(serve, dial, make_frame):
    async def handler(plain):
        await plain.accept_websocket()
        await plain.send(make_frame(TEXT, b"hello")[:4])
        await plain.exactly(1)
        linger = b"\x01\0\0\0\0\0\0\0"
        plain.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)

    upstream = await serve(handler)
    async with open_proxy(upstream.ws_url, schedule=[Drop(message=9)]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await client.send(b"!")
        assert await client.rest() == (b"\x81\x05he", "rst")


async def test_other_bodies_are_not_edited(http_upstream, dial):
    head = "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 9"
    body, injected = await over_sse(http_upstream, dial, [Drop(), Spoil()], b"data: x\n\n", head)
    assert (body, injected) == (b"data: x\n\n", ())


async def test_a_websocket_is_asked_for_without_compression(serve, dial):
    seen = []

    async def handler(plain):
        seen.append((await plain.accept_websocket())[1])
        await plain.rest()

    upstream = await serve(handler)
    offer = "Sec-WebSocket-Extensions: permessage-deflate"
    async with open_proxy(upstream.ws_url, schedule=[Drop(connection=1)]) as proxy:
        for _ in range(2):
            await (await dial(proxy.port)).upgrade("/", offer)
    assert [fields.get("sec-websocket-extensions") for fields in seen] == [
        None,
        "permessage-deflate",
    ]


async def test_what_the_client_sends_is_edited(serve, dial, make_frame):
    got = []

    async def handler(plain):
        await plain.accept_websocket()
        got.append((await plain.rest())[0])

    upstream = await serve(handler)
    schedule = [
        Insert(message=1, data="new", direction="to_server"),
        Drop(message=2, direction="to_server"),
        Spoil(message=3, how="garbled", direction="to_server"),
    ]
    mask = b"abcd"
    async with open_proxy(upstream.ws_url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        for text in (b"one", b"two", b"three"):
            await client.send(make_frame(TEXT, text, mask=mask))
        await client.stream.send_eof()
        await client.rest()
    assert got == [
        make_frame(TEXT, b"new", mask=b"\x1d\x8c\x05\xe7")
        + make_frame(TEXT, b"one", mask=mask)
        + make_frame(TEXT, b"three}", mask=mask)
    ]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Drop(message=0), "message must be an integer of at least 1, not 0"),
        (lambda: Drop(after_bytes=-1), "after_bytes must be an integer of at least 0, not -1"),
        (lambda: Drop(after_seconds=-1), "after_seconds must be a finite number"),
        (lambda: Drop(direction="x"), "direction must be 'to_client' or 'to_server', not 'x'"),
        (lambda: Duplicate(copies=0), "copies must be an integer from 1 to 1000, not 0"),
        (lambda: Spoil(how="x"), "how must be 'cut' or 'garbled' or 'utf8', not 'x'"),
        (lambda: Insert(data=1), "data must be text, not 1"),
        (lambda: Insert(data="\ud800"), "data must be text"),
        (lambda: Insert(data="a\rb"), "data must be text whose lines end with"),
        (lambda: Insert(event="a\nb"), "event must be text of one line"),
        (lambda: Insert(id="a\nb"), "id must be text of one line"),
        (lambda: ErrorEvent(shape="x"), "shape must be 'named' or 'unnamed', not 'x'"),
        (lambda: RetryField(retry=-1), "retry must be an integer of at least 0, not -1"),
        (lambda: RetryField(retry="1\n2"), "retry must be text of one line"),
        (lambda: RetryField(direction="to_server"), "direction must be 'to_client' for events"),
        (lambda: Oversized(size=0), "size must be an integer from 1 to 9223372036854775807"),
        (lambda: Oversized(size=2**31), "size must be an integer from 1 to 1073741824"),
        (lambda: Oversized(size=2**63, payload="missing"), "to 9223372036854775807"),
        (lambda: Oversized(payload="x"), "payload must be 'sent' or 'missing', not 'x'"),
    ],
)
def test_what_is_wrong_is_told(make, words):
    with pytest.raises(ScheduleError) as caught:
        make()
    assert words in str(caught.value)
