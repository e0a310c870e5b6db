"""Each fault, as a plain client sees it on a real socket."""

import pytest
import trio
import trio.testing

from moored.faults import Cut, Refuse, Stall, open_proxy

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
EVENTS = [b"id: %d\ndata: message %d\n\n" % (n, n) for n in range(1, 7)]
SSE_CHUNKED = "HTTP/1.1 200 OK\nContent-Type: text/event-stream\nTransfer-Encoding: chunked"
SSE_LENGTH = f"HTTP/1.1 200 OK\nContent-Type: text/event-stream\nContent-Length: {6 * 23}"
SSE_CLOSE = "HTTP/1.1 200 OK\nContent-Type: text/event-stream"


def chunked(*pieces):
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def messages(make_frame, *texts):
    return b"".join(make_frame(TEXT, text) for text in texts)


# Cut: WebSocket


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_websocket_is_cut_after_n_messages(
    websocket_upstream, dial, make_frame, after, how
):
    sent = [b"one", b"two", b"three", b"four"]
    upstream = await websocket_upstream(messages(make_frame, *sent))
    async with open_proxy(upstream.ws_url, schedule=[Cut(after_messages=after, how=how)]) as proxy:
        client = await dial(proxy.port)
        assert (await client.upgrade("/"))[0] == 101
        assert await client.rest() == (messages(make_frame, *sent[:after]), how)
        (injected,) = proxy.injected
        assert injected.fault == Cut(after_messages=after, how=how)
        assert injected.detail.startswith(f"after {after} messages")
        assert injected.connection == 1


async def test_control_frames_and_fragments_are_not_messages(websocket_upstream, dial, make_frame):
    first = (
        make_frame(TEXT, b"a", fin=False)
        + make_frame(PING, b"?")
        + make_frame(0, b"b", fin=False)
        + make_frame(0, b"c")
    )
    upstream = await websocket_upstream(first + make_frame(BINARY, b"d") + make_frame(TEXT, b"e"))
    async with open_proxy(upstream.ws_url, schedule=[Cut(after_messages=2)]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        assert await client.rest() == (first + make_frame(BINARY, b"d"), "fin")


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("after", [0, 1, 5, 6, 7])
async def test_a_websocket_is_cut_after_n_bytes_inside_a_frame_if_need_be(
    websocket_upstream, dial, make_frame, after, how
):
    data = messages(make_frame, b"one", b"two")
    upstream = await websocket_upstream(data)
    async with open_proxy(upstream.ws_url, schedule=[Cut(after_bytes=after, how=how)]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        assert await client.rest() == (data[:after], how)


async def test_all_of_a_large_message_arrives_before_a_reset(websocket_upstream, dial, make_frame):
    large = make_frame(BINARY, bytes(range(256)) * 2000)
    upstream = await websocket_upstream(large + make_frame(TEXT, b"more"))
    async with open_proxy(upstream.ws_url, schedule=[Cut(after_messages=1, how="rst")]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        # More than the kernels take for a client that is slow to read: when the cut comes, the end
        # of the message is still in the proxy's own send queue.
        await trio.sleep(0.05)
        assert await client.rest() == (large, "rst")


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_connection_is_cut_after_t_seconds(websocket_upstream, dial, make_frame, how):
    upstream = await websocket_upstream(messages(make_frame, b"one"))
    async with open_proxy(upstream.ws_url, schedule=[Cut(after_seconds=0.1, how=how)]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        assert await client.rest() == (messages(make_frame, b"one"), how)
        (injected,), (connection,) = proxy.injected, proxy.connections
        assert 0.1 <= injected.time - connection.accepted < 1


async def test_a_time_may_come_before_the_answer(serve, dial):
    async def silent(plain):
        await plain.rest()

    upstream = await serve(silent)
    async with open_proxy(upstream.url, schedule=[Cut(after_seconds=0.05)]) as proxy:
        client = await dial(proxy.port)
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await client.rest() == (b"", "fin")


async def test_a_time_may_come_before_the_request(serve, dial):
    async with open_proxy("http://127.0.0.1:9", schedule=[Cut(after_seconds=0.05)]) as proxy:
        client = await dial(proxy.port)
        assert await client.rest() == (b"", "fin")
        assert proxy.injected[0].path == ""


async def test_the_upstream_of_a_cut_connection_is_closed(websocket_upstream, dial, make_frame):
    ended = trio.Event()

    async def until_closed(plain):
        await plain.rest()
        ended.set()

    upstream = await websocket_upstream(make_frame(TEXT, b"x"), until_closed)
    async with open_proxy(upstream.ws_url, schedule=[Cut(after_messages=1)]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        with trio.fail_after(2):
            await ended.wait()


# Cut: HTTP and SSE


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("after", [0, 1, 4])
async def test_a_chunked_event_stream_is_cut_after_n_events(http_upstream, dial, after, how):
    body = chunked(*EVENTS)
    upstream = await http_upstream(SSE_CHUNKED, body, lambda plain: plain.rest())
    async with open_proxy(upstream.url, schedule=[Cut(after_messages=after, how=how)]) as proxy:
        client = await dial(proxy.port)
        status, headers = await client.get("/feed")
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        data, ending = await client.rest()
        assert ending == how
        assert unchunked(data) == b"".join(EVENTS[:after])
        assert not data.endswith(b"0\r\n\r\n")


def unchunked(data):
    """The body of whole chunks; what is no whole chunk fails."""
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        assert data[int(size, 16) :][:2] == b"\r\n"
        body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return body


@pytest.mark.parametrize("head", [SSE_LENGTH, SSE_CLOSE])
async def test_other_framings_are_cut_after_n_events_too(http_upstream, dial, head):
    upstream = await http_upstream(head, b"".join(EVENTS))
    async with open_proxy(upstream.url, schedule=[Cut(after_messages=2)]) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert await client.rest() == (b"".join(EVENTS[:2]), "fin")


async def test_comments_and_blocks_without_data_are_no_events(http_upstream, dial):
    body = b": hello\n\nid: 7\n\nretry: 5\n\ndata: a\n\n: more\n\ndata: b\n\ndata: c\n\n"
    upstream = await http_upstream(SSE_CLOSE, body)
    async with open_proxy(upstream.url, schedule=[Cut(after_messages=2)]) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert await client.rest() == (body[: -len(b"data: c\n\n")], "fin")


async def test_an_event_that_comes_byte_by_byte_is_one_event(http_upstream, dial):
    async def dribble(plain):
        for byte in b"data: a\r\n\r\ndata: b\n\n":
            await plain.send(bytes([byte]))

    upstream = await http_upstream(SSE_CLOSE, then=dribble)
    async with open_proxy(upstream.url, schedule=[Cut(after_messages=1)]) as proxy:
        client = await dial(proxy.port)
        await client.get()
        # The last CR ends the event.  Whether its LF passes depends on when it comes.
        data, ending = await client.rest()
        assert data in (b"data: a\r\n\r", b"data: a\r\n\r\n")
        assert ending == "fin"


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_body_is_cut_after_n_bytes(http_upstream, dial, how):
    head = "HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: 10"
    upstream = await http_upstream(head, b"0123456789")
    async with open_proxy(upstream.url, schedule=[Cut(after_bytes=4, how=how)]) as proxy:
        client = await dial(proxy.port)
        assert (await client.get())[1]["content-length"] == "10"
        assert await client.rest() == (b"0123", how)


async def test_events_are_counted_although_the_client_accepts_gzip(serve, dial):
    asked = {}

    async def handler(plain):
        asked.update((await plain.head())[1])
        await plain.send(SSE_CLOSE.replace("\n", "\r\n").encode() + b"\r\n\r\n")

    upstream = await serve(handler)
    async with open_proxy(upstream.url, schedule=[Cut(after_messages=1, connection=1)]) as proxy:
        for expected in ("identity", "gzip"):
            client = await dial(proxy.port)
            await client.get("/", "Accept-Encoding: gzip")
            assert asked["accept-encoding"] == expected


async def test_events_in_a_compressed_body_are_not_counted(http_upstream, dial):
    # An upstream that compresses although it was asked not to.
    body = b"data: looks like\n\ndata: events\n\n"
    upstream = await http_upstream(SSE_CLOSE + "\nContent-Encoding: br", body)
    async with open_proxy(upstream.url, schedule=[Cut(after_messages=1)]) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert await client.rest() == (body, "fin")
        assert proxy.injected == ()


# Stall


async def stalled(proxy):
    with trio.fail_after(2):
        await proxy.wait_until(lambda: proxy.injected_counts["stall"] == 1)


@pytest.mark.parametrize("after", [0, 2])
async def test_a_stalled_websocket_answers_pings_and_nothing_else(
    websocket_upstream, dial, make_frame, after
):
    seen = []

    async def keep_sending(plain):
        for _ in range(20):
            await plain.send(make_frame(TEXT, b"more"))
        data, _ = await plain.rest()
        seen.append(data)

    upstream = await websocket_upstream(messages(make_frame, b"one", b"two"), keep_sending)
    async with open_proxy(upstream.ws_url, schedule=[Stall(after_messages=after)]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        expected = messages(make_frame, b"one", b"two")[: 5 * after]
        assert await client.exactly(len(expected)) == expected
        await stalled(proxy)
        await client.say(TEXT, b"hello?")
        await client.say(PING, b"still there?")
        assert await client.frame() == (PONG, b"still there?")
        await client.say(CLOSE, b"\x03\xe8")
        await client.say(PING, b"")
        assert await client.frame() == (PONG, b"")
        await client.silence()
        assert proxy.connections[0].ended is None
        await client.aclose()
        with trio.fail_after(2):
            await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [b""]  # Nothing that the client said reached the upstream.


async def test_a_stalled_websocket_may_swallow_pings(websocket_upstream, dial, make_frame):
    upstream = await websocket_upstream(messages(make_frame, b"one", b"two"))
    schedule = [Stall(after_messages=1, pings="swallowed")]
    async with open_proxy(upstream.ws_url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        assert await client.frame() == (TEXT, b"one")
        await stalled(proxy)
        await client.say(PING, b"still there?")
        await client.silence()


async def test_the_client_can_leave_a_stalled_connection(websocket_upstream, dial, make_frame):
    ended = trio.Event()

    async def until_closed(plain):
        await plain.rest()
        ended.set()

    upstream = await websocket_upstream(make_frame(TEXT, b"x"), until_closed)
    async with open_proxy(upstream.ws_url, schedule=[Stall(after_messages=1)]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await stalled(proxy)
        assert not ended.is_set()
        await client.aclose()
        with trio.fail_after(2):
            await ended.wait()
            await proxy.wait_until(lambda: proxy.connections[0].outcome == "client left")


async def test_a_stall_that_answers_pings_ends_the_frame_it_is_in(
    websocket_upstream, dial, make_frame
):
    release = trio.Event()

    async def rest_of_the_frame(plain):
        await release.wait()
        await plain.send(make_frame(TEXT, b"one")[2:] + make_frame(TEXT, b"two"))
        await plain.rest()

    upstream = await websocket_upstream(make_frame(TEXT, b"one")[:2], rest_of_the_frame)
    async with open_proxy(upstream.ws_url) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await client.until(b"\x81\x03")
        assert proxy.stall() == 1
        assert proxy.injected == ()
        release.set()
        assert await client.exactly(3) == b"one"
        await stalled(proxy)
        await client.say(PING, b"")
        assert await client.frame() == (PONG, b"")


async def test_a_ping_that_was_on_its_way_when_the_stall_came_is_answered(
    websocket_upstream, dial, make_frame
):
    got_ping = trio.Event()

    async def hold_the_pong(plain):
        assert await plain.frame() == (PING, b"early")
        got_ping.set()
        await plain.rest()

    upstream = await websocket_upstream(b"", hold_the_pong)
    async with open_proxy(upstream.ws_url) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await client.say(PING, b"early")
        await got_ping.wait()
        proxy.stall()
        assert await client.frame() == (PONG, b"early")
        await client.silence()


async def test_a_ping_that_was_answered_before_the_stall_is_not_answered_again(
    websocket_upstream, dial, make_frame
):
    async def answer(plain):
        assert await plain.frame() == (PING, b"early")
        await plain.send(make_frame(PONG, b"early"))
        await plain.rest()

    upstream = await websocket_upstream(b"", answer)
    async with open_proxy(upstream.ws_url) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await client.say(PING, b"early")
        assert await client.frame() == (PONG, b"early")
        proxy.stall()
        await client.silence()


async def test_a_ping_whose_pong_came_behind_the_stall_is_answered(
    websocket_upstream, dial, make_frame
):
    async def answer(plain):
        assert await plain.frame() == (PING, b"p")
        await plain.send(make_frame(TEXT, b"last") + make_frame(PONG, b"p"))
        await plain.rest()

    upstream = await websocket_upstream(b"", answer)
    async with open_proxy(upstream.ws_url, schedule=[Stall(after_messages=1)]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await client.say(PING, b"p")
        assert await client.frame() == (TEXT, b"last")
        assert await client.frame() == (PONG, b"p")


@pytest.mark.parametrize("trigger", [{"after_messages": 2}, {"after_bytes": 46}])
async def test_nothing_flows_on_a_stalled_event_stream(http_upstream, dial, trigger):
    upstream = await http_upstream(SSE_CLOSE, b"".join(EVENTS))
    async with open_proxy(upstream.url, schedule=[Stall(**trigger)]) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert await client.exactly(46) == b"".join(EVENTS[:2])
        await stalled(proxy)
        await client.silence()


async def test_a_stalled_connection_can_still_be_cut_by_time(http_upstream, dial):
    schedule = [
        Stall(after_messages=1),
        Cut(after_seconds=0.1, how="rst"),
        Stall(after_seconds=0.05),
    ]
    upstream = await http_upstream(SSE_CLOSE, b"".join(EVENTS))
    async with open_proxy(upstream.url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert await client.rest() == (EVENTS[0], "rst")
        assert proxy.injected_counts == {"stall": 1, "cut": 1}


# Refuse


async def test_the_first_k_attempts_are_refused(http_upstream, dial):
    upstream = await http_upstream("HTTP/1.1 200 OK\nContent-Length: 2", b"ok")
    fault = Refuse(times=2, retry_after=3, headers={"X-Why": "test"}, body="slow down")
    async with open_proxy(upstream.url, schedule=[fault]) as proxy:
        for _ in range(2):
            client = await dial(proxy.port)
            status, headers = await client.get("/feed")
            assert status == 429
            assert headers == {
                "retry-after": "3",
                "x-why": "test",
                "content-length": "9",
                "connection": "close",
            }
            assert await client.rest() == (b"slow down", "fin")
            await client.aclose()
        client = await dial(proxy.port)
        assert (await client.get("/feed"))[0] == 200
        assert proxy.injected_counts == {"refuse": 2}
        assert [injected.connection for injected in proxy.injected] == [1, 2]
        with trio.fail_after(5):
            await proxy.wait_until(lambda: proxy.connections[1].ended is not None)
        assert [c.outcome for c in proxy.connections[:2]] == ["refused", "refused"]
        assert [c.status for c in proxy.connections[:2]] == [429, 429]


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_a_handshake_is_refused_with_any_status(dial, status):
    async with open_proxy("ws://127.0.0.1:9", schedule=[Refuse(status=status)]) as proxy:
        client = await dial(proxy.port)
        got, headers = await client.upgrade()
        assert got == status
        assert "retry-after" not in headers
        assert await client.rest() == (b"", "fin")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (0, "0"),
        (2.0, "2"),
        (0.25, "0.25"),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ("soon", "soon"),
    ],
)
async def test_retry_after_in_every_form(dial, given, sent):
    async with open_proxy("http://127.0.0.1:9", schedule=[Refuse(retry_after=given)]) as proxy:
        client = await dial(proxy.port)
        assert (await client.get())[1]["retry-after"] == sent


async def test_the_body_of_a_refused_request_does_not_destroy_the_answer(dial):
    # Unread bytes in the socket that is closed would make the kernel send a reset.
    async with open_proxy("http://127.0.0.1:9", schedule=[Refuse(body="no")]) as proxy:
        client = await dial(proxy.port)
        body = bytes(300_000)
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + body)
        line, _ = await client.head()
        assert line.startswith("HTTP/1.1 429 ")
        assert await client.rest() == (b"no", "fin")


@pytest.mark.parametrize(
    ("method", "status", "length"), [("HEAD", 429, "4"), ("GET", 204, None), ("GET", 304, None)]
)
async def test_answers_that_have_no_body(dial, method, status, length):
    body = "full" if status == 429 else ""
    schedule = [Refuse(status=status, body=body)]
    async with open_proxy("http://127.0.0.1:9", schedule=schedule) as proxy:
        client = await dial(proxy.port)
        got, headers = await client.get(method=method)
        assert (got, headers.get("content-length")) == (status, length)
        assert await client.rest() == (b"", "fin")


# Aim


async def test_faults_strike_the_connections_they_aim_at(http_upstream, dial):
    upstream = await http_upstream(SSE_CLOSE, EVENTS[0] + EVENTS[1])
    schedule = [
        {"fault": "refuse", "connection": 1},
        {"fault": "cut", "after_messages": 1, "connection": {"from": 2, "to": 3}},
        {"fault": "cut", "after_messages": 0, "path": "/other"},
    ]
    async with open_proxy(upstream.url, schedule=schedule) as proxy:
        bodies = []
        for path in ("/", "/", "/", "/", "/other"):
            client = await dial(proxy.port)
            await client.get(path)
            bodies.append((await client.rest())[0])
            await client.aclose()
        assert bodies == [b"", EVENTS[0], EVENTS[0], EVENTS[0] + EVENTS[1], b""]
        assert [injected.connection for injected in proxy.injected] == [1, 2, 3, 5]
        assert proxy.injected[3].path == "/other"


async def test_a_timed_fault_may_aim_at_a_path(http_upstream, dial):
    upstream = await http_upstream(SSE_CLOSE, EVENTS[0], lambda plain: plain.rest())
    async with open_proxy(upstream.url, schedule=[Cut(after_seconds=0.05, path="/cut")]) as proxy:
        kept, cut = await dial(proxy.port), await dial(proxy.port)
        await kept.get("/kept")
        await cut.get("/cut?secret=1")
        assert await cut.rest() == (EVENTS[0], "fin")
        assert await kept.exactly(len(EVENTS[0])) == EVENTS[0]
        await kept.silence()
        assert proxy.injected[0].path == "/cut"


async def test_times_bound_a_timed_fault(http_upstream, dial):
    upstream = await http_upstream(SSE_CLOSE, EVENTS[0], lambda plain: plain.rest())
    async with open_proxy(upstream.url, schedule=[Cut(after_seconds=0.05, times=1)]) as proxy:
        first = await dial(proxy.port)
        await first.get()
        assert (await first.rest())[1] == "fin"
        second = await dial(proxy.port)
        await second.get()
        await second.exactly(len(EVENTS[0]))
        await second.silence(0.1)


# Live


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_open_connections_are_cut_at_once(websocket_upstream, dial, make_frame, how):
    upstream = await websocket_upstream(make_frame(TEXT, b"x"))
    async with open_proxy(upstream.ws_url) as proxy:
        clients = [await dial(proxy.port) for _ in range(3)]
        for client in clients:
            await client.upgrade()
            await client.frame()
        assert proxy.cut(how, connection=2) == 1
        assert await clients[1].rest() == (b"", how)
        await clients[0].silence()
        assert proxy.cut(how) == 2
        for client in (clients[0], clients[2]):
            assert await client.rest() == (b"", how)
        assert proxy.injected_counts == {"cut": 3}
        assert proxy.cut() == 0


async def test_a_connection_stalls_once_and_can_then_be_cut(websocket_upstream, dial, make_frame):
    upstream = await websocket_upstream(make_frame(TEXT, b"x"))
    async with open_proxy(upstream.ws_url) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await client.frame()
        assert proxy.stall("swallowed") == 1
        await stalled(proxy)
        assert proxy.stall("answered") == 0
        await client.say(PING, b"")
        await client.silence()
        assert proxy.cut("rst") == 1
        assert await client.rest() == (b"", "rst")
