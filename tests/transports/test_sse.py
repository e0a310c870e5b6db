"""One SSE connection: what is asked, which answers are a stream, and how its body may end."""

from __future__ import annotations

import errno
import gzip
import json
import zlib

import pytest
import trio
import trio.testing

import moored
from moored.core.causes import (
    AbnormalClosure,
    Completed,
    ConnectFailed,
    HandshakeRejected,
    Incomplete,
    PeerClosed,
    ProtocolViolation,
    RateLimited,
)
from moored.transports.base import Attempt, ConnectionEnded

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST = chunk(b"")


def event(data, **fields):
    lines = [f"{name}: {value}\n" for name, value in fields.items()]
    return ("".join(lines) + f"data: {data}\n\n").encode()


def answering(answer, *, then=None, requests=None):
    """A script: read the request, send ``answer``, and go, unless ``then`` says otherwise."""

    async def script(peer):
        request = await peer.request()
        if requests is not None:
            requests.append(request)
        await peer.send(answer)
        if then is None:
            await peer.fin()
        else:
            await then(peer)

    return script


async def stay(peer):
    await peer.rest()


async def datas(connection, drain):
    events, cause = await drain(connection)
    return [each.data for each in events], cause


# ------------------------------------------------------------------ what is asked


async def request_of(sse, dialled, url="http://peer.test/", **options):
    requests = []
    dialled.script = answering(CHUNKED, then=stay, requests=requests)
    await sse(url, **options)
    (request,) = requests
    return request


async def test_a_get(sse, dialled):
    line, fields, body = await request_of(sse, dialled, "http://peer.test/a%2Fb?q=1#fragment")
    assert line == "GET /a%2Fb?q=1 HTTP/1.1"
    assert body == b""
    assert fields["host"] == [b"peer.test"]
    assert fields["accept"] == [b"text/event-stream"]
    assert fields["accept-encoding"] == [b"identity"]
    assert fields["cache-control"] == [b"no-cache"]
    assert "last-event-id" not in fields
    assert "content-length" not in fields
    assert "authorization" not in fields
    assert dialled.where == [("peer.test", 80)]


@pytest.mark.parametrize(
    ("url", "host", "where"),
    [
        ("http://[::1]/", b"[::1]", ("::1", 80)),
        ("http://[::1]:8080/", b"[::1]:8080", ("::1", 8080)),
        ("http://peer.test:8080/", b"peer.test:8080", ("peer.test", 8080)),
    ],
)
async def test_hosts(sse, dialled, url, host, where):
    _, fields, _ = await request_of(sse, dialled, url)
    assert fields["host"] == [host]
    assert dialled.where == [where]


async def test_a_post_with_json(sse, dialled):
    line, fields, body = await request_of(
        sse, dialled, method="POST", json={"prompt": "grüße", "n": None}
    )
    assert line == "POST / HTTP/1.1"
    assert fields["content-type"] == [b"application/json"]
    assert json.loads(body) == {"prompt": "grüße", "n": None}


async def test_a_post_with_content(sse, dialled):
    _, fields, body = await request_of(
        sse, dialled, method="POST", content=b"\x00raw", headers={"Content-Type": "x/y"}
    )
    assert fields["content-type"] == [b"x/y"]
    assert body == b"\x00raw"


async def test_other_methods(sse, dialled):
    line, _, body = await request_of(sse, dialled, method="PUT", content=b"x")
    assert (line, body) == ("PUT / HTTP/1.1", b"x")


async def test_headers_of_the_user_win(sse, dialled):
    _, fields, _ = await request_of(
        sse,
        dialled,
        headers=[
            ("accept", "text/event-stream, application/json"),
            ("Cache-Control", "max-age=0"),
            ("X-Name", "grüße ✓"),
            ("X-Two", "a"),
            ("X-Two", "b"),
            ("User-Agent", "mine"),
        ],
    )
    assert fields["accept"] == [b"text/event-stream, application/json"]
    assert fields["cache-control"] == [b"max-age=0"]
    assert fields["x-name"] == ["grüße ✓".encode()]
    assert fields["x-two"] == [b"a", b"b"]
    assert fields["user-agent"] == [b"mine"]


async def test_user_info_becomes_basic_authentication(sse, dialled):
    _, fields, _ = await request_of(sse, dialled, "http://us%40er:p%3Aw@peer.test/")
    assert fields["authorization"] == [b"Basic dXNAZXI6cDp3"]
    assert fields["host"] == [b"peer.test"]


async def test_an_authorization_header_wins_over_user_info(sse, dialled):
    _, fields, _ = await request_of(
        sse, dialled, "http://user:pw@peer.test/", headers={"authorization": "Bearer mine"}
    )
    assert fields["authorization"] == [b"Bearer mine"]


@pytest.mark.parametrize(
    ("cursor", "sent"),
    [
        (None, None),
        ("", None),
        ("7", b"7"),
        ("grüße ✓", "grüße ✓".encode()),
        ("a b", b"a b"),
        ("tab\there", b"tab\there"),
        ("\x01", None),
        ("\x7f", None),
        ("new\nline", None),
        (" space\t", b"space"),
        (" ", None),
        ("x" * 4096, b"x" * 4096),
        ("x" * 4097, None),
        ("lone \ud800 surrogate", b"lone ? surrogate"),
    ],
)
async def test_the_position_as_it_goes_over_the_wire(sse, dialled, cursor, sent):
    requests = []
    dialled.script = answering(CHUNKED, then=stay, requests=requests)
    connection = await sse(attempt=Attempt(cursor=cursor))
    assert requests[0][1].get("last-event-id") == (None if sent is None else [sent])
    assert connection.resumed == (sent is not None)
    assert connection.cursor == (cursor or "")  # kept for the consumer either way


async def test_the_position_replaces_a_header_of_the_user(sse, dialled):
    requests = []
    dialled.script = answering(CHUNKED, then=stay, requests=requests)
    await sse(attempt=Attempt(cursor="new"), headers={"Last-Event-ID": "old"})
    assert requests[0][1]["last-event-id"] == [b"new"]


# ------------------------------------------------------------------ which answers are a stream


@pytest.mark.parametrize(
    "media_type",
    [
        b"text/event-stream",
        b"Text/Event-STREAM",
        b"text/event-stream; charset=utf-8",
        b"text/event-stream;charset=iso-8859-1",
        b'text/event-stream ; a=b; c="d;e"',
        b"  text/event-stream  ",
    ],
)
async def test_media_types_that_are_a_stream(sse, dialled, drain, media_type):
    """The charset means nothing: it is UTF-8 always."""
    body = chunk("data: grüße\n\n".encode()) + LAST
    dialled.script = answering(
        b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % media_type
        + body,
    )
    assert await datas(await sse(), drain) == (["grüße"], PeerClosed(reason="the response ended"))


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Type: text/event-streaming\r\n",
        b"Content-Type: text/event-stream-x\r\n",
        b"Content-Type: xtext/event-stream\r\n",
        b"Content-Type: text/html; x=text/event-stream\r\n",
        b"Content-Type: application/json\r\n",
        b"Content-Type: text/event-stream, text/html\r\n",
        b"Content-Type:\r\n",
        b"",
    ],
)
async def test_other_media_types_are_refused(sse, dialled, refused, header):
    dialled.script = answering(
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n" + header + b"\r\ndata: x\n\n"
    )
    cause = await refused(sse())
    assert isinstance(cause, HandshakeRejected)
    assert (cause.status, cause.body) == (200, b"data: x\n\n")
    assert "content type" in cause.detail


async def test_204_is_the_end(sse, dialled, refused):
    dialled.script = answering(b"HTTP/1.1 204 No Content\r\n\r\n", then=stay)
    assert isinstance(await refused(sse()), Completed)


@pytest.mark.parametrize(
    "status", [201, 202, 205, 206, 210, 299, 304, 300, 400, 401, 403, 404, 410, 500, 502, 503, 504]
)
async def test_other_statuses_are_refusals(sse, dialled, refused, status):
    """Also those of the right media type: an error's body is never dispatched as events."""
    body = b"" if status in (304, 205) else b"data: no event\n\n"
    dialled.script = answering(
        b"HTTP/1.1 %d Reason\r\nContent-Type: text/event-stream\r\nX-Why: because\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (status, len(body), body),
        then=stay,
    )
    cause = await refused(sse())
    assert type(cause) is HandshakeRejected
    assert (cause.status, cause.body) == (status, body)
    assert ("x-why", "because") in cause.headers


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        (b"Retry-After: 7\r\n", 7.0),
        (b"Retry-After: Thu, 01 Jan 1970 00:02:00 GMT\r\n", 20.0),
        (b"Retry-After: Thu, 01 Jan 1970 00:00:10 GMT\r\n", 0.0),
        (b"retry-after-ms: 1500\r\n", 1.5),
        (b"Retry-After: soon\r\n", None),
        (b"", None),
    ],
)
async def test_retry_after(sse, dialled, refused, headers, after):
    dialled.script = answering(b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n" + headers + b"\r\n")
    cause = await refused(sse(transport={"wall_clock": lambda: 100.0}))
    assert isinstance(cause, RateLimited)
    assert cause.retry_after == after


async def test_64_kib_of_a_refusals_body_are_kept(sse, dialled, refused):
    body = bytes(range(256)) * 1024
    dialled.script = answering(
        b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n" % len(body) + body, then=stay
    )
    assert (await refused(sse())).body == body[: 64 * 1024]


@pytest.mark.parametrize(
    "framing", [b"", b"Content-Length: 99\r\n", b"Transfer-Encoding: chunked\r\n"]
)
async def test_a_refusals_body_that_never_ends_is_not_waited_for(
    sse, dialled, refused, autojump_clock, framing
):
    start = chunk(b"start") if b"chunked" in framing else b"start"
    dialled.script = answering(b"HTTP/1.1 503 Busy\r\n" + framing + b"\r\n" + start, then=stay)
    began = trio.current_time()
    cause = await refused(sse())
    assert (cause.status, cause.body) == (503, b"start")
    assert trio.current_time() - began == pytest.approx(2.0)


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
async def test_an_unknown_media_type_in_a_known_coding(sse, dialled, refused, coding):
    dialled.script = answering(
        b"HTTP/1.1 401 No\r\nContent-Encoding: %b\r\nContent-Length: 3\r\n\r\nabc" % coding
    )
    assert (await refused(sse())).status == 401


async def test_an_unknown_coding_is_refused(sse, dialled, refused):
    dialled.script = answering(HEAD + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc")
    cause = await refused(sse())
    assert isinstance(cause, HandshakeRejected)
    assert cause.status == 200
    assert "'br'" in cause.detail


# ------------------------------------------------------------------ no answer


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\xff\x17garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000,
    ],
    ids=["garbage", "ssh", "no status", "no length", "no header", "endless head"],
)
async def test_no_http(sse, dialled, refused, answer):
    dialled.script = answering(answer, then=stay)
    assert isinstance(await refused(sse()), ProtocolViolation)


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-"])
async def test_the_peer_hangs_up_before_it_answered(sse, dialled, refused, part):
    dialled.script = answering(part)
    assert await refused(sse()) == ConnectFailed("handshake")


async def test_the_peer_resets_before_it_answered(sse, tcp, refused):
    async def script(peer):
        await peer.head()
        peer.rst()

    port = await tcp(script)
    cause = await refused(sse(f"http://127.0.0.1:{port}/", memory=False))
    assert cause == ConnectFailed("handshake")


async def test_the_real_resolver_says_dns(sse, refused):
    assert await refused(sse("http://does-not-exist.invalid/", memory=False)) == ConnectFailed(
        "dns"
    )


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".test"])
async def test_a_name_that_cannot_exist(sse, refused, host):
    assert await refused(sse(f"http://{host}/", memory=False)) == ConnectFailed("dns")


@pytest.mark.parametrize("phase", ["dial", "send", "answer", "part", "rejection", "redirected"])
async def test_a_cancelled_connect_leaves_no_stream(sse, dialled, phase):
    """Wherever it is cancelled: the fixture looks whether every stream was closed."""

    async def never(host, port):
        await trio.sleep_forever()

    answers = {
        "part": b"HTTP/1.1 20",
        "rejection": b"HTTP/1.1 500 Oops\r\n\r\nstart",
        "redirected": b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n",
    }

    async def script(peer):
        line, *_ = await peer.request()
        if "/next" not in line:
            await peer.send(answers.get(phase, b""))
        await peer.rest()

    dialled.script = script
    if phase == "send":
        dialled.pair, dialled.script = trio.testing.lockstep_stream_pair, None
    options = {"transport": {"open_stream": never}} if phase == "dial" else {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: sse(**options))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(dialled.streams) == {"dial": 0, "redirected": 2}.get(phase, 1)
    assert all(stream.closed for stream in dialled.streams)


# ------------------------------------------------------------------ events


async def test_all_events_of_one_read_come_as_one_batch(sse, dialled):
    body = b"".join(event(n, id=n) for n in range(100))
    dialled.script = answering(CHUNKED + chunk(body), then=stay)
    connection = await sse()
    assert [each.data for each in await connection.receive()] == [str(n) for n in range(100)]
    assert connection.cursor == "99"


async def test_events_split_at_every_byte(sse, dialled):
    body = "id: 1\r\ndata: grüße ✓\r\n\r\n: comment\r\n\r\ndata: two\r\n\r\n".encode()

    async def script(peer):
        await peer.request()
        await peer.send(CHUNKED)
        for byte in body:
            await peer.send(chunk(bytes([byte])))
            await trio.testing.wait_all_tasks_blocked()
        await peer.rest()

    dialled.script = script
    connection = await sse()
    found = []
    while len(found) < 2:
        found += [each.data for each in await connection.receive()]
    assert found == ["grüße ✓", "two"]


async def test_a_comment_is_a_sign_of_life(sse, dialled):
    dialled.script = answering(CHUNKED + chunk(b": keep-alive\n\n"), then=stay)
    connection = await sse()
    assert list(await connection.receive()) == []


async def test_the_id_of_a_block_without_data_counts(sse, dialled):
    dialled.script = answering(CHUNKED + chunk(b"id: 7\n\n"), then=stay)
    connection = await sse()
    await connection.receive()
    assert connection.cursor == "7"


async def test_the_id_of_an_unfinished_block_does_not_count(sse, dialled):
    dialled.script = answering(CHUNKED + chunk(event("a", id=1) + b"id: 2\ndata: b\n"), then=stay)
    connection = await sse()
    await connection.receive()
    assert connection.cursor == "1"


async def test_the_id_is_kept_over_a_reconnect(sse, dialled):
    """HTML to the letter would erase it at the first event without one; browsers do not."""
    dialled.script = answering(CHUNKED + chunk(event("a")), then=stay)
    connection = await sse(attempt=Attempt(cursor="7"))
    (first,) = await connection.receive()
    assert first.id == "7"
    assert connection.cursor == "7"


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b"retry: 1500\n", [1.5]),
        (b"retry: 1500\nretry: 1500\n", [1.5]),
        (b"retry: 0\n\n", [0.0]),
        (b"retry:\n\n", []),
        (b"retry: -1\n\n", []),
        (b"retry: 1_0\n\n", []),
        ("retry: １\n\n".encode(), []),
        (b"retry: 1.5\n\n", []),
    ],
)
async def test_retry_takes_effect_as_its_line_is_read(sse, dialled, body, seconds):
    told = []
    dialled.script = answering(CHUNKED + chunk(body), then=stay)
    connection = await sse(attempt=Attempt(server_retry=told.append))
    await connection.receive()
    assert told == seconds


@pytest.mark.parametrize(
    "body", [b"data: " + b"x" * 2000, b"data: xxxxxxxx\n" * 200, b"x" * 5000, b"id: " + b"1" * 2000]
)
async def test_an_event_over_the_bound(sse, dialled, drain, body):
    dialled.script = answering(CHUNKED + chunk(event("before") + body), then=stay)
    found, cause = await datas(await sse(), drain)
    assert found == ["before"]
    assert isinstance(cause, ProtocolViolation)
    assert "1000" in cause.detail


# ------------------------------------------------------------------ how a body ends

ENDED = PeerClosed(reason="the response ended")


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        pytest.param(CHUNKED + chunk(event("a")) + LAST, ENDED, id="last chunk"),
        pytest.param(CHUNKED + chunk(event("a")) + b"0\r\nX: y\r\n\r\n", ENDED, id="trailer"),
        pytest.param(
            HEAD + b"Content-Length: 9\r\n\r\ndata: a\n\n", ENDED, id="Content-Length met"
        ),
        pytest.param(
            HEAD + b"Content-Length: 99\r\n\r\ndata: a\n\n",
            AbnormalClosure(),
            id="Content-Length short",
        ),
        pytest.param(HEAD + b"\r\ndata: a\n\n", ENDED, id="close-delimited"),
        pytest.param(HEAD.replace(b"1.1", b"1.0") + b"\r\ndata: a\n\n", ENDED, id="HTTP/1.0"),
        pytest.param(
            HEAD.replace(b"1.1", b"1.0") + b"\r\ndata: a\n\ndata: b",
            Incomplete("the rest of an event"),
            id="HTTP/1.0 inside an event",
        ),
        pytest.param(
            HEAD + b"\r\ndata: a\n\ndata: b\n",
            Incomplete("the rest of an event"),
            id="close-delimited inside an event",
        ),
        pytest.param(
            CHUNKED + chunk(event("a") + b"data: b\n") + LAST,
            Incomplete("the rest of an event"),
            id="last chunk inside an event",
        ),
        pytest.param(
            CHUNKED + chunk(event("a") + b"data: \xe2\x9c") + LAST,
            Incomplete("the rest of an event"),
            id="last chunk inside a character",
        ),
        pytest.param(CHUNKED + chunk(event("a")), AbnormalClosure(), id="between chunks"),
        pytest.param(
            CHUNKED + chunk(event("a")) + b"ff\r\ndata: b", AbnormalClosure(), id="inside a chunk"
        ),
        pytest.param(
            CHUNKED + chunk(event("a")) + b"f", AbnormalClosure(), id="inside a chunk's size"
        ),
        pytest.param(
            CHUNKED + chunk(event("a")) + b"0\r\n", AbnormalClosure(), id="inside the last chunk"
        ),
        pytest.param(
            CHUNKED + chunk(event("a")) + b"xyz\r\ndata: b\n\n\r\n",
            AbnormalClosure(),
            id="malformed chunk",
        ),
        pytest.param(
            CHUNKED + chunk(event("a")) + b"-5\r\ndata: b\n\n\r\n",
            AbnormalClosure(),
            id="negative chunk",
        ),
    ],
)
async def test_ends(sse, dialled, drain, answer, cause):
    dialled.script = answering(answer)
    assert await datas(await sse(), drain) == (["a"], cause)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_end_in_good_order_completes_a_one_shot_answer(sse, dialled, drain, method):
    dialled.script = answering(CHUNKED + chunk(event("a")) + LAST)
    _, cause = await drain(await sse(method=method))
    assert cause == (Completed("the answer ended") if method == "POST" else ENDED)


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + chunk(event("a")),
        CHUNKED + chunk(event("a")) + b"ff\r\ndata: b",
        HEAD + b"Content-Length: 99\r\n\r\ndata: a\n\ndata: \xe2\x9c",
        HEAD + b"\r\ndata: a\n\n",
    ],
    ids=["between chunks", "inside a chunk", "inside a character", "close-delimited"],
)
async def test_resets(sse, tcp, drain, answer):
    received = trio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(answer)
        await received.wait()
        peer.rst()

    port = await tcp(script)
    connection = await sse(f"http://127.0.0.1:{port}/", memory=False)
    found = []
    while not found:
        found += await connection.receive()
    received.set()
    events, cause = await drain(connection)
    assert [each.data for each in found + events] == ["a"]
    assert cause == AbnormalClosure()
    numbers, exception = set(), cause.exception
    while exception is not None:
        numbers.add(getattr(exception, "errno", None))
        exception = exception.__cause__ or exception.__context__
    assert errno.ECONNRESET in numbers


async def test_an_ended_connection_stays_ended(sse, dialled, drain):
    for answer in (CHUNKED + chunk(event("a")) + LAST, CHUNKED + b"x\r\n"):
        dialled.script = answering(answer)
        connection = await sse()
        await drain(connection)
        with pytest.raises(ConnectionEnded):
            await connection.receive()


# ------------------------------------------------------------------ terminators


async def test_a_terminator_that_is_text_is_not_delivered(sse, dialled, drain):
    body = chunk(event("a") + event("[DONE]") + event("after"))
    dialled.script = answering(CHUNKED + body, then=stay)  # the body is left open
    connection = await sse(terminator="[DONE]")
    with trio.fail_after(1):
        assert await datas(connection, drain) == (["a"], Completed("the terminator came"))


async def test_a_terminator_that_is_a_function_is_delivered(sse, dialled, drain):
    body = chunk(event("a") + event("z", event="end") + event("after"))
    dialled.script = answering(CHUNKED + body, then=stay)
    connection = await sse(terminator=lambda each: each.event == "end")
    assert await datas(connection, drain) == (["a", "z"], Completed("the terminator came"))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("terminator", ["[DONE]", lambda each: each.data == "[DONE]"])
async def test_an_end_without_the_terminator_is_incomplete(sse, dialled, drain, method, terminator):
    dialled.script = answering(CHUNKED + chunk(event("a")) + LAST)
    found, cause = await datas(await sse(method=method, terminator=terminator), drain)
    assert found == ["a"]
    assert isinstance(cause, Incomplete)


@pytest.mark.parametrize(
    "almost", ["[done]", "[DONE] ", " [DONE]", "[DONE][DONE]", "x\ndata: [DONE]"]
)
async def test_what_only_looks_like_the_terminator(sse, dialled, drain, almost):
    dialled.script = answering(CHUNKED + chunk(event(almost)) + LAST)
    found, cause = await datas(await sse(terminator="[DONE]"), drain)
    assert len(found) == 1
    assert isinstance(cause, Incomplete)


async def test_an_unfinished_terminator_is_none(sse, dialled, drain):
    """Its blank line is missing, as when the body was cut there."""
    dialled.script = answering(CHUNKED + chunk(event("a") + b"data: [DONE]\n") + LAST)
    found, cause = await datas(await sse(terminator="[DONE]"), drain)
    assert found == ["a"]
    assert isinstance(cause, Incomplete)


@pytest.mark.parametrize(
    ("options", "body", "repeatable"),
    [
        ({}, event("a"), True),
        ({"method": "POST"}, b": comment\n\n", True),
        ({"method": "POST"}, event("a"), False),
        ({"method": "POST", "repeat": True}, event("a"), True),
        ({"method": "POST"}, event("a", id=1), True),
        ({"method": "PUT"}, event("a"), False),
    ],
)
async def test_what_may_be_asked_again(sse, dialled, options, body, repeatable):
    dialled.script = answering(CHUNKED + chunk(body), then=stay)
    connection = await sse(**options)
    assert connection.repeatable
    await connection.receive()
    assert connection.repeatable == repeatable


# ------------------------------------------------------------------ content codings

PACKED = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
}


def coded(coding):
    return HEAD + b"Content-Encoding: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % coding.encode()


@pytest.mark.parametrize("coding", PACKED)
async def test_codings(sse, dialled, drain, coding):
    body = PACKED[coding]("".join(f"data: grüße {n}\n\n" for n in range(50)).encode())
    dialled.script = answering(coded(coding) + chunk(body) + LAST)
    assert await datas(await sse(), drain) == ([f"grüße {n}" for n in range(50)], ENDED)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_codings_split_at_every_byte(sse, dialled, drain, coding):
    body = PACKED[coding]("data: grüße\n\ndata: b\n\n".encode())
    dialled.script = answering(
        coded(coding) + b"".join(chunk(bytes([byte])) for byte in body) + LAST
    )
    assert await datas(await sse(), drain) == (["grüße", "b"], ENDED)


async def test_gzip_of_many_members(sse, dialled, drain):
    body = b"".join(gzip.compress(event(n)) for n in range(20))
    dialled.script = answering(coded("gzip") + chunk(body) + LAST)
    assert await datas(await sse(), drain) == ([str(n) for n in range(20)], ENDED)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_coding_that_is_flushed_comes_at_once(sse, dialled, coding):
    packer = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    first = packer.compress(event("a")) + packer.flush(zlib.Z_SYNC_FLUSH)
    dialled.script = answering(coded(coding) + chunk(first), then=stay)
    connection = await sse()
    assert [each.data for each in await connection.receive()] == ["a"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_cut_coding_is_no_success(sse, dialled, drain, coding, method):
    """Also where HTTP's own end is in good order."""
    body = PACKED[coding](event("a") * 50)
    for at in range(1, len(body)):
        dialled.script = answering(coded(coding) + chunk(body[:at]) + LAST)
        _, cause = await drain(await sse(method=method))
        assert cause == AbnormalClosure(), at


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_coding_that_is_none(sse, dialled, drain, coding):
    dialled.script = answering(coded(coding) + chunk(event("a")) + LAST)
    events, cause = await drain(await sse())
    assert events == []
    assert isinstance(cause, ProtocolViolation)
    assert isinstance(cause.exception, zlib.error)


async def test_a_gzip_bomb_is_bounded(sse, dialled, drain):
    body = gzip.compress(b"data: " + bytes(50 * 1024 * 1024))
    dialled.script = answering(coded("gzip") + chunk(body), then=stay)
    events, cause = await drain(await sse())
    assert events == []
    assert isinstance(cause, ProtocolViolation)


# ------------------------------------------------------------------ clocks


async def test_a_post_that_is_thought_over_for_long_is_healthy(dialled, autojump_clock):
    """Some servers send no header before the first token: the connect timeout does not count."""

    async def script(peer):
        await peer.request()
        await trio.sleep(300)
        await peer.send(CHUNKED)
        await trio.sleep(200)
        await peer.send(chunk(event("a") + event("[DONE]")))
        await peer.rest()

    dialled.script = script
    async with moored.open_sse(
        "http://peer.test/", json={}, terminator="[DONE]", dial=dialled
    ) as stream:
        assert [each.data async for each in stream] == ["a"]
    assert stream.stats.attempts == 1
    assert trio.current_time() >= 500


async def test_a_get_that_is_not_answered_meets_the_connect_timeout(dialled, autojump_clock):
    dialled.script = stay
    policy = moored.Policy(reconnect=moored.Reconnect(attempts=0))
    began = trio.current_time()
    async with moored.open_sse("http://peer.test/", policy=policy, dial=dialled) as stream:
        with pytest.raises(moored.StreamError) as caught:
            await stream.receive()
    assert caught.value.cause.stage == "timeout"
    assert trio.current_time() - began == pytest.approx(10)


async def test_a_quiet_get_is_left_alone_for_as_long_as_comments_come(dialled, autojump_clock):
    async def script(peer):
        await peer.request()
        await peer.send(CHUNKED)
        for _ in range(100):
            await trio.sleep(50)
            await peer.send(chunk(b":\n"))
        await peer.send(chunk(event("a")))
        await peer.rest()

    dialled.script = script
    async with moored.open_sse("http://peer.test/", dial=dialled) as stream:
        assert (await stream.receive()).data == "a"
    assert stream.stats.attempts == 1
    assert trio.current_time() >= 5000


async def test_a_stream_that_reconnects_sends_the_last_id(dialled, autojump_clock):
    asked = []
    bodies = [
        event("a", id="1") + b"id: 2\n\n",  # the id of a block without data counts
        event("b"),  # no id: the position stays
        event("c", id="\x01"),  # cannot stand in a header
        event("d", id=""),  # taken back
    ]

    async def script(peer):
        _, fields, _ = await peer.request()
        asked.append(fields.get("last-event-id"))
        if len(asked) > len(bodies):
            await peer.send(b"HTTP/1.1 204 Done\r\n\r\n")
        else:
            await peer.send(CHUNKED + chunk(bodies[len(asked) - 1]) + LAST)
        await peer.rest()

    dialled.script = script
    async with moored.open_sse("http://peer.test/", dial=dialled) as stream:
        events = [each async for each in stream]
    assert [each.data for each in events] == ["a", "b", "c", "d"]
    assert asked == [None, [b"2"], [b"2"], None, None]


async def test_retry_is_a_floor_under_the_delay(dialled, autojump_clock):
    connected = []

    async def script(peer):
        await peer.request()
        connected.append(trio.current_time())
        if len(connected) == 2:
            await peer.send(b"HTTP/1.1 204 Done\r\n\r\n")
        else:
            await peer.send(CHUNKED + chunk(b"retry: 12000\n\n" + event("a")) + LAST)

    dialled.script = script
    async with moored.open_sse("http://peer.test/", dial=dialled) as stream:
        async for _ in stream:
            pass
    assert connected[1] - connected[0] >= 12
