"""Faults of HTTP answers and event streams, as a plain client sees them."""

import math
import zlib
from email.utils import parsedate_to_datetime

import pytest
import trio

from moored.core.sse import EventDecoder
from moored.faults import (
    CommentsOnly,
    ContentType,
    Cut,
    GzipCut,
    Proxy,
    Refuse,
    ScheduleError,
    Server,
    SlowHead,
    Stall,
    open_proxy,
)

EVENTS = [b"id: %d\ndata: message %d\n\n" % (n, n) for n in range(1, 5)]
BODY = b"".join(EVENTS)
SSE = "HTTP/1.1 200 OK\nContent-Type: text/event-stream"
CHUNKED = f"{SSE}\nTransfer-Encoding: chunked"


def chunked(*pieces):
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


# Answers of the proxy's own


async def answers(dial, schedule, count, **options):
    """Status, headers and body of so many answers."""
    got = []
    async with open_proxy("http://127.0.0.1:9", schedule=schedule, **options) as proxy:
        for _ in range(count):
            client = await dial(proxy.port)
            status, headers = await client.get("/feed")
            body, ending = await client.rest()
            assert ending == "fin"
            got.append((status, headers, body))
    return got


@pytest.mark.parametrize(
    ("given", "sent"),
    [(None, None), (7, "7"), (10**12, "1000000000000"), ("-1", "-1"), ("", ""), ("never", "never")],
)
async def test_retry_after_may_be_absent_or_absurd(dial, given, sent):
    ((status, headers, _),) = await answers(dial, [Refuse(retry_after=given)], 1)
    assert status == 429
    assert headers.get("retry-after") == sent


@pytest.mark.parametrize(
    ("seconds", "date"),
    [
        (0, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (0.2, "Sun, 06 Nov 1994 08:49:38 GMT"),
        (86400, "Mon, 07 Nov 1994 08:49:37 GMT"),
    ],
)
async def test_retry_after_may_be_a_date(memory, seconds, date):
    schedule = [Refuse(retry_after=seconds, retry_after_as="date")]
    proxy = Proxy("http://127.0.0.1:9", schedule=schedule, wall_clock=lambda: 784111777.0)
    _, headers = await (await memory(proxy)).get()
    assert headers["retry-after"] == date
    assert parsedate_to_datetime(date).timestamp() == math.ceil(784111777 + seconds)


async def test_one_401_and_then_it_is_fine(http_upstream, dial):
    upstream = await http_upstream(SSE, BODY)
    schedule = [Refuse(status=401, headers={"WWW-Authenticate": "Bearer"}, times=1)]
    async with open_proxy(upstream.url, schedule=schedule) as proxy:
        got = []
        for _ in range(2):
            client = await dial(proxy.port)
            got.append(await client.get())
        assert [status for status, _ in got] == [401, 200]
        assert got[0][1]["www-authenticate"] == "Bearer"


async def test_several_redirects(dial):
    schedule = [
        Refuse(status=307, headers={"Location": "/feed?hop"}, times=2),
        Refuse(status=301, headers={"Location": "http://elsewhere.test/"}, attempt=3),
        Refuse(status=308, path="/feed", headers={"Location": "/feed"}),
    ]
    got = await answers(dial, schedule, 4)
    assert [(status, headers["location"]) for status, headers, _ in got] == [
        (307, "/feed?hop"),
        (307, "/feed?hop"),
        (301, "http://elsewhere.test/"),
        (308, "/feed"),
    ]


async def test_an_error_page_that_says_200_and_an_empty_204(dial):
    page = Refuse(status=200, headers={"Content-Type": "text/html"}, body="<h1>Oops", times=1)
    got = await answers(dial, [page, Refuse(status=204)], 2)
    assert [(status, headers.get("content-type"), body) for status, headers, body in got] == [
        (200, "text/html", b"<h1>Oops"),
        (204, None, b""),
    ]


# Heads


async def test_the_head_dribbles(memory, into_memory, autojump_clock):
    schedule = [SlowHead(seconds=10)]
    proxy = Proxy("http://f.test", schedule=schedule, connect_upstream=into_memory(Server()))
    client = await memory(proxy)
    client.limit = math.inf
    start = trio.current_time()
    await client.send(b"GET /feed?count=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    head, times = b"", []
    while not head.endswith(b"\r\n\r\n"):
        head += await client.exactly(1)
        assert client.buffer == b""  # one byte at a time
        times.append(trio.current_time() - start)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert times == pytest.approx([10 * n / len(head) for n in range(1, len(head) + 1)])
    assert await client.chunks()
    assert trio.current_time() - start == times[-1]


async def test_the_head_dribbles_on_a_socket(http_upstream, dial):
    upstream = await http_upstream("HTTP/1.1 200 OK\nContent-Length: 2", b"ok")
    async with open_proxy(upstream.url, schedule=[SlowHead(seconds=0.2)]) as proxy:
        client = await dial(proxy.port)
        start = trio.current_time()
        assert (await client.get())[0] == 200
        assert 0.2 <= trio.current_time() - start < 2
        assert await client.rest() == (b"ok", "fin")


async def test_a_slow_head_may_end_in_its_middle(memory, into_memory, autojump_clock):
    schedule = [SlowHead(seconds=10), Stall(at="inside_head")]
    proxy = Proxy("ws://f.test", schedule=schedule, connect_upstream=into_memory(Server()))
    client = await memory(proxy)
    client.limit = math.inf
    await client.send(b"GET /feed HTTP/1.1\r\nHost: x\r\n\r\n")
    start = trio.current_time()
    head = b""
    with trio.move_on_after(1000):
        while True:
            head += await client.exactly(1)
            came = trio.current_time() - start
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\n\r\n" not in head
    assert came == pytest.approx(5, abs=0.1)
    assert proxy.injected_counts == {"slow_head": 1, "stall": 1}


@pytest.mark.parametrize("content_type", ["text/html", "application/json; charset=utf-8", ""])
async def test_the_answer_has_another_content_type(http_upstream, dial, content_type):
    upstream = await http_upstream(f"{SSE}\nX-Other: kept", BODY)
    schedule = [ContentType(content_type=content_type), Cut(after_messages=2)]
    async with open_proxy(upstream.url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        status, headers = await client.get()
        assert status == 200
        assert headers.get("content-type", "") == content_type
        assert headers["x-other"] == "kept"
        # It is still an event stream, and its events are counted.
        assert await client.rest() == (EVENTS[0] + EVENTS[1], "fin")


async def test_a_content_type_is_added_where_there_was_none(http_upstream, dial):
    upstream = await http_upstream("HTTP/1.1 200 OK\nContent-Length: 1", b"x")
    async with open_proxy(upstream.url, schedule=[ContentType()]) as proxy:
        client = await dial(proxy.port)
        assert (await client.get())[1]["content-type"] == "text/html"


# Compression


def gunzip(data):
    """What can be decompressed, and whether the end of the gzip stream was seen."""
    decompressor = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    return decompressor.decompress(data), decompressor.eof


GZIP = [
    (GzipCut(), BODY),
    (GzipCut(message=2), EVENTS[0] + EVENTS[1][: len(EVENTS[1]) // 2]),
]


@pytest.mark.parametrize(("fault", "readable"), GZIP)
@pytest.mark.parametrize("head", [CHUNKED, f"{SSE}\nContent-Length: {len(BODY)}"])
async def test_gzip_is_cut_and_the_body_is_not(http_upstream, dial, fault, readable, head):
    body = chunked(*EVENTS) + b"0\r\n\r\n" if head == CHUNKED else BODY
    upstream = await http_upstream(head, body)
    async with open_proxy(upstream.url, schedule=[fault]) as proxy:
        client = await dial(proxy.port)
        status, headers = await client.get()
        assert (status, headers["content-encoding"]) == (200, "gzip")
        assert "content-length" not in headers
        assert gunzip(await client.chunks()) == (readable, False)
        assert await client.rest() == (b"", "fin")
        assert proxy.injected_counts == {"gzip_cut": 1}


async def test_gzip_that_is_not_cut_is_whole(http_upstream, dial):
    upstream = await http_upstream(CHUNKED, chunked(*EVENTS) + b"0\r\n\r\n")
    async with open_proxy(upstream.url, schedule=[GzipCut(message=5)]) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert gunzip(await client.chunks()) == (BODY, True)
        assert proxy.injected == ()


async def test_gzip_can_be_read_as_it_comes(http_upstream, dial):
    upstream = await http_upstream(CHUNKED, chunked(EVENTS[0]), lambda plain: plain.rest())
    async with open_proxy(upstream.url, schedule=[GzipCut()]) as proxy:
        client = await dial(proxy.port)
        await client.get()
        size = int(await client.until(b"\r\n"), 16)
        assert gunzip(await client.exactly(size)) == (EVENTS[0], False)


async def test_json_may_be_compressed_too_and_br_is_left_alone(http_upstream, dial):
    upstream = await http_upstream("HTTP/1.1 200 OK\nContent-Length: 2", b"{}")
    async with open_proxy(upstream.url, schedule=[GzipCut()]) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert gunzip(await client.chunks()) == (b"{}", False)
    head = "HTTP/1.1 200 OK\nContent-Encoding: br\nContent-Length: 2"
    upstream = await http_upstream(head, b"{}")
    async with open_proxy(upstream.url, schedule=[GzipCut()]) as proxy:
        client = await dial(proxy.port)
        assert (await client.get())[1]["content-encoding"] == "br"
        assert await client.rest() == (b"{}", "fin")
        assert proxy.injected == ()


# Comments


@pytest.mark.parametrize(
    ("trigger", "before"),
    [
        ({"after_messages": 2}, EVENTS[0] + EVENTS[1]),
        ({"at": "after_head"}, b""),
        ({"after_bytes": 3}, EVENTS[0][:3] + b"\n"),
    ],
)
async def test_nothing_but_comments_comes_for_ever(
    memory, into_memory, autojump_clock, trigger, before
):
    schedule = [CommentsOnly(**trigger, interval=15, comment="ping")]
    proxy = Proxy("http://f.test", schedule=schedule, connect_upstream=into_memory(Server()))
    client = await memory(proxy)
    client.limit = math.inf
    await client.get("/feed")
    start = trio.current_time()
    body = b""
    for _ in range(100):
        while not body.endswith(b": ping\n"):
            size = int(await client.until(b"\r\n"), 16)
            body += (await client.exactly(size + 2))[:-2]
        assert body.endswith(b": ping\n")
        comments = body.count(b": ping\n")
        assert trio.current_time() - start == 15 * (comments - 1)
        if comments == 20:
            break
        size = int(await client.until(b"\r\n"), 16)
        body += (await client.exactly(size + 2))[:-2]
    # What was cut in the middle of a line gets its end first.
    assert body.split(b": ping\n")[0].endswith(before[-1:])
    ids = [event.id for event in EventDecoder().feed(body)]
    assert ids == [str(n + 1) for n in range(before.count(b"\n\n"))]
    assert proxy.injected_counts == {"comments_only": 1}
    await client.aclose()
    await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
    assert proxy.connections[0].outcome == "client left"


async def test_comments_do_not_begin_before_the_answer(memory, into_memory, autojump_clock):
    schedule = [CommentsOnly(after_seconds=0), Cut(after_seconds=5)]
    proxy = Proxy("http://f.test", schedule=schedule, connect_upstream=into_memory(Server()))
    client = await memory(proxy)
    client.limit = math.inf
    assert await client.rest() == (b"", "fin")


async def test_comments_can_still_be_cut(http_upstream, dial):
    upstream = await http_upstream(SSE, BODY, lambda plain: plain.rest())
    schedule = [CommentsOnly(after_messages=4), Cut(after_seconds=0.05, how="rst")]
    async with open_proxy(upstream.url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert await client.rest() == (BODY + b": comment\n", "rst")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Refuse(retry_after_as="date"), "retry_after must be a number, to be sent as a"),
        (lambda: Refuse(retry_after="x", retry_after_as="date"), "retry_after must be a number"),
        (lambda: Refuse(retry_after=1e11, retry_after_as="date"), "retry_after must be a number"),
        (lambda: Refuse(retry_after_as="x"), "retry_after_as must be 'seconds' or 'date'"),
        (lambda: SlowHead(seconds=-1), "seconds must be a finite number of at least 0, not -1"),
        (lambda: ContentType(content_type="a\nb"), "content_type must be printable ASCII"),
        (lambda: GzipCut(message=0), "message must be an integer of at least 1, not 0"),
        (lambda: CommentsOnly(after_messages=1, interval=0), "interval must be more than 0"),
        (lambda: CommentsOnly(after_messages=1, comment="a\nb"), "comment must be text of one"),
        (lambda: CommentsOnly(at="before_head"), "at must be 'after_head' or 'before_done'"),
        (lambda: CommentsOnly(after_messages=1, direction="to_server"), "must be 'to_client'"),
    ],
)
def test_what_is_wrong_is_told(make, words):
    with pytest.raises(ScheduleError) as caught:
        make()
    assert words in str(caught.value)
