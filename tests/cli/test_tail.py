"""``moored tail``: what comes out, what goes in, and how it ends."""

import base64
import json
import signal
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
import trio_websocket

from moored import faults

END = '{"end":true}'


def ids(lines):
    return [json.loads(line).get("id", "end") for line in lines]


# ---------------------------------------------------------------------------- servers of its own


@attrs.define
class HttpServer:
    """Answers every request with ``answers`` in turn, and keeps what was asked."""

    port: int
    requests: list = attrs.field(factory=list)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/events"


def sse(*blocks):
    body = "".join(block + "\n\n" for block in blocks).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def http_server(*answers):
    waiting = list(answers)

    async def serve(stream):
        head, body = b"", b""
        async with stream:
            async for chunk in stream:
                head += chunk
                if b"\r\n\r\n" in head:
                    break
            head, body = head.split(b"\r\n\r\n", 1)
            line, *fields = head.decode("latin-1").split("\r\n")
            headers = {n.lower(): v for n, v in (field.split(": ", 1) for field in fields)}
            while len(body) < int(headers.get("content-length", 0)):
                body += await stream.receive_some()
            server.requests.append((line, headers, body))
            await stream.send_all(waiting.pop(0))

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        server = HttpServer(listener.socket.getsockname()[1])
        yield server
        nursery.cancel_scope.cancel()


@attrs.define
class SocketServer:
    """A WebSocket server: what it got, with what it was closed, what it was asked for."""

    port: int
    received: list = attrs.field(factory=list)
    closed: list = attrs.field(factory=list)
    requests: list = attrs.field(factory=list)
    over: trio.Event = attrs.field(factory=trio.Event)

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/socket"


@asynccontextmanager
async def socket_server(*messages, subprotocol=None, last=None):
    """Sends ``messages``, echoes text, and closes with 1000 once ``last`` has come."""

    async def serve(request):
        server.requests.append(request)
        ws = await request.accept(subprotocol=subprotocol)
        for message in messages:
            await ws.send_message(message)
        try:
            while True:
                message = await ws.get_message()
                server.received.append(message)
                if message == last:
                    await ws.aclose(1000)
                await ws.send_message(f"echo {message}")
        except trio_websocket.ConnectionClosed as exc:
            server.closed.append(exc.reason.code)
        server.over.set()

    async with trio.open_nursery() as nursery:
        listening = await nursery.start(trio_websocket.serve_websocket, serve, "127.0.0.1", 0, None)
        server = SocketServer(listening.port)
        yield server
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------------- through faults

SCHEDULES = {
    "cut by RST": [faults.Cut(after_messages=3, how="rst", times=2)],
    "cut by FIN": [faults.Cut(after_messages=3, how="fin", times=2)],
    "refused": [faults.Refuse(times=1, retry_after=0), faults.Refuse(status=503, times=1)],
    "stalled": [faults.Stall(after_messages=4, times=1)],
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize("transport", ["SSE", "WebSocket"])
async def test_everything_comes_once_through_faults(moored, transport, schedule):
    async with (
        faults.open_server() as server,
        faults.open_proxy(server.url, schedule=schedule) as proxy,
    ):
        options = ["--idle-timeout", "0.7"]
        if transport == "SSE":
            url = f"{proxy.http_url}/feed?count=10"
            options += ["--terminator", END]
        else:
            url = f"{proxy.ws_url}/feed?count=10"
            options += ["--cursor", "id", "--resume", '{"resume": {cursor}}']
        result = await moored("tail", url, *options)
    assert result.status == 0, result.err
    assert ids(result.lines) == [*range(1, 11), *(["end"] if transport == "WebSocket" else [])]
    struck = sum(fault.times for fault in schedule)
    assert len(proxy.injected) == struck
    assert len([line for line in result.errors if " backoff " in line]) == struck
    assert result.errors[0] == "moored: connecting (attempt 1)"
    assert result.errors[-1].startswith("moored: closed: ")
    assert "may have been lost" not in result.err


async def test_where_a_websocket_cannot_resume_it_says_so(moored):
    schedule = [faults.Cut(after_messages=3, times=1)]
    async with (
        faults.open_server() as server,
        faults.open_proxy(server.url, schedule=schedule) as proxy,
    ):
        result = await moored("tail", f"{proxy.ws_url}/feed?count=5")
    assert ids(result.lines) == [1, 2, 3, 1, 2, 3, 4, 5, "end"]
    assert "moored: messages may have been lost here: no position is known" in result.errors


async def test_quiet_is_quiet(moored):
    schedule = [faults.Cut(after_messages=3, times=1)]
    async with (
        faults.open_server() as server,
        faults.open_proxy(server.url, schedule=schedule) as proxy,
    ):
        result = await moored("tail", "-q", f"{proxy.url}/feed?count=5", "--terminator", END)
    assert (result.status, result.err) == (0, "")
    assert ids(result.lines) == [1, 2, 3, 4, 5]


# ---------------------------------------------------------------------------- what goes out


async def test_sse_as_it_is(moored):
    answer = sse(
        "id: 1\nevent: a\nretry: 5\ndata: one\ndata: two", "data: drei \u2028 €", "data: ."
    )
    async with http_server(answer) as server:
        result = await moored("tail", "-q", server.url, "--terminator", ".")
    assert (result.status, result.err) == (0, "")
    assert result.out == "one\ntwo\ndrei \u2028 €\n"


async def test_sse_as_json(moored):
    answer = sse("id: 1\nevent: a\nretry: 5\ndata: one\ndata: two", "data: €", "data: .")
    async with http_server(answer) as server:
        result = await moored("tail", "-q", "--json", server.url, "--terminator", ".")
    assert [json.loads(line) for line in result.lines] == [
        {"event": "a", "data": "one\ntwo", "id": "1", "retry": 5},
        {"event": "message", "data": "€", "id": "1", "retry": None},
    ]


@pytest.mark.parametrize("as_json", [False, True])
async def test_websocket_messages(moored, as_json):
    async with socket_server("a\nb", b"\xff\x00", last="over") as server:
        options = ["--json"] if as_json else []
        result = await moored("tail", "-q", server.url, "--send", "over", *options)
    assert (result.status, result.err) == (0, "")
    if as_json:
        first, second = map(json.loads, result.lines)
        assert first == {"text": "a\nb"}
        assert base64.b64decode(second["bytes"]) == b"\xff\x00"
    else:
        assert result.out == "a\nb\n\udcff\x00\n"


async def test_each_message_is_written_at_once(started):
    async with socket_server("first") as server, started("tail", "--stdin", server.url) as tail:
        assert await tail.line() == "first"
        await tail.send(b"more\n")
        assert await tail.line() == "echo more"


async def test_a_number_of_messages_is_enough(moored):
    async with socket_server(*"abcdef") as server:
        result = await moored("tail", server.url, "--max-messages", "2")
        with trio.fail_after(5):
            await server.over.wait()
    assert (result.status, result.lines) == (0, ["a", "b"])
    assert result.errors[-1] == "moored: closed: closed by us"
    assert server.closed == [1000]


async def test_a_reader_that_has_enough_ends_it_quietly(started):
    async with socket_server("first") as server, started("tail", "-q", server.url) as tail:
        assert await tail.line() == "first"
        await tail.process.stdout.aclose()
        assert await tail.wait() == 0  # although no further message comes
        assert await tail.rest_of_errors() == []
        with trio.fail_after(5):
            await server.over.wait()
        assert server.closed == [1000]


async def test_a_reader_that_goes_while_much_is_written(started):
    async with faults.open_server() as server:
        url = f"{server.url}/feed?follow=1"
        async with started("tail", "-q", url) as tail:
            assert ids([await tail.line()]) == [1]
            await tail.process.stdout.aclose()
            assert await tail.wait() == 0
            assert await tail.rest_of_errors() == []


async def test_a_slow_reader_loses_nothing(started):
    """Far more than a pipe holds: writing waits, and the stream goes on living."""
    async with faults.open_server() as server:
        url = f"{server.ws_url}/feed?count=20000"
        async with started("tail", "-q", url, "--idle-timeout", "0.5") as tail:
            lines = [await tail.line()]
            await trio.sleep(1.5)
            lines += await tail.rest()
            assert await tail.wait() == 0
    assert ids(lines) == [*range(1, 20001), "end"]


# ---------------------------------------------------------------------------- what goes in


async def test_headers_and_where_to_begin(moored):
    async with http_server(sse("data: .")) as server:
        headers = ["--header", "Authorization: Bearer a:b", "--header", "X-Other:  c "]
        result = await moored(
            "tail", server.url, *headers, "--last-event-id", "41", "--terminator", "."
        )
    ((line, got, body),) = server.requests
    assert result.status == 0
    assert line == "GET /events HTTP/1.1"
    assert got["authorization"] == "Bearer a:b"
    assert got["x-other"] == "c"
    assert got["last-event-id"] == "41"
    assert body == b""


BODY = '{"n": 1.50, "text": "\u20ac"}'


@pytest.mark.parametrize("way", ["argument", "file", "input"])
async def test_data_makes_it_a_post(moored, tmp_path, way):
    (tmp_path / "body.json").write_text(BODY, "utf-8")
    given = {"argument": BODY, "file": f"@{tmp_path}/body.json", "input": "-"}[way]
    stdin = BODY.encode() if way == "input" else b""
    async with http_server(sse("data: .")) as server:
        result = await moored("tail", server.url, "--data", given, "--terminator", ".", stdin=stdin)
    ((line, got, body),) = server.requests
    assert result.status == 0
    assert line == "POST /events HTTP/1.1"
    assert got["content-type"] == "application/json"
    assert body == BODY.encode()  # the very bytes


async def test_data_of_another_type(moored):
    async with http_server(sse("data: .")) as server:
        options = ["--data", "a=1", "--header", "content-type: text/x"]
        await moored("tail", server.url, *options, "--terminator", ".")
    ((_, got, body),) = server.requests
    assert (got["content-type"], body) == ("text/x", b"a=1")


async def test_an_answer_that_breaks_off_is_not_asked_for_again(moored):
    async with http_server(sse("data: 1", "data: 2")) as server:
        result = await moored("tail", "-q", server.url, "--data", "{}", "--terminator", ".")
    assert (result.status, result.lines) == (1, ["1", "2"])
    assert result.err.startswith("moored: the answer broke off after 2 events: ")
    assert "incomplete: the body ended without" in result.err
    assert len(result.errors) == len(server.requests) == 1


async def test_sending_first_then_standard_input(started):
    async with (
        socket_server(last="over", subprotocol="b") as server,
        started(
            *("tail", "-q", server.url, "--header", "X-Key: k", "--stdin"),
            *("--send", "one", "--send", "two", "--subprotocol", "a", "--subprotocol", "b"),
        ) as tail,
    ):
        assert [await tail.line(), await tail.line()] == ["echo one", "echo two"]
        await tail.send(b"three\r\nfo")
        assert await tail.line() == "echo three"
        await tail.send(b"ur\nover")
        assert await tail.line() == "echo four"
        await tail.process.stdin.aclose()  # a last line without its end counts
        assert await tail.wait() == 0
    assert server.received == ["one", "two", "three", "four", "over"]
    (request,) = server.requests
    assert dict(request.headers)[b"x-key"] == b"k"
    assert request.proposed_subprotocols == ("a", "b")


# ---------------------------------------------------------------------------- how it ends


async def test_an_attempt_and_no_other(moored):
    async with http_server(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n") as server:
        url = server.url.replace("//", "//user:secret@") + "?key=secret"
        result = await moored("tail", url, "--max-attempts", "0")
    assert (result.status, result.out) == (1, "")
    assert result.errors == [
        "moored: connecting (attempt 1)",
        "moored: reconnecting is off: rejected with status 503",
    ]


async def test_attempts_in_a_row(moored):
    answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    async with http_server(answer, answer) as server:
        result = await moored("tail", "-q", server.url, "--max-attempts", "2")
    assert (result.status, len(server.requests), len(result.errors)) == (1, 2, 1)
    assert result.err.endswith(": rejected with status 503\n")


async def test_attempts_without_end(started):
    async with started("tail", "--max-attempts", "unlimited", "http://127.0.0.1:1/") as tail:
        await tail.error_until("backoff")
        tail.interrupt()
        assert await tail.wait() == 130


async def test_what_stops_at_once(moored):
    async with http_server(b"HTTP/1.1 401 No\r\nContent-Length: 6\r\n\r\nsecret") as server:
        result = await moored("tail", "-q", server.url, "--header", "Authorization: secret")
    assert (result.status, result.err) == (1, "moored: rejected with status 401\n")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
async def test_a_signal_closes_a_websocket_in_order(started, number, status):
    async with socket_server("first") as server, started("tail", server.url) as tail:
        assert await tail.line() == "first"
        tail.interrupt(number)
        assert await tail.wait() == status
        with trio.fail_after(5):
            await server.over.wait()
        assert server.closed == [1000]
        assert (await tail.rest_of_errors())[-1] == "moored: closed: closed by us"


async def test_a_signal_ends_sse(started):
    async with faults.open_server(pace=0.05) as server:
        async with started("tail", "-q", f"{server.url}/feed?follow=1") as tail:
            assert ids([await tail.line()]) == [1]
            tail.interrupt()
            assert await tail.wait() == 130
            assert await tail.rest_of_errors() == []
        with trio.fail_after(5):
            await server.wait_until(lambda: server.requests[0].ended is not None)


async def test_a_signal_lets_what_is_to_be_sent_go_out_first(started):
    """The server reads nothing until the signal has come, and there is a lot."""
    go_on = trio.Event()
    received = []

    async def serve(request):
        ws = await request.accept()
        await ws.send_message("ready")
        await go_on.wait()
        try:
            while True:
                received.append(await ws.get_message())
        except trio_websocket.ConnectionClosed as exc:
            received.append(exc.reason.code)
        over.set()

    over = trio.Event()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_websocket.serve_websocket, serve, "127.0.0.1", 0, None)
        sent = [str(number) * 100 for number in range(300)]
        url = f"ws://127.0.0.1:{server.port}/"
        sends = [each for text in sent for each in ("--send", text)]
        async with started("tail", url, *sends) as tail:
            assert await tail.line() == "ready"
            tail.interrupt()
            go_on.set()
            assert await tail.wait() == 130
            with trio.fail_after(5):
                await over.wait()
        nursery.cancel_scope.cancel()
    assert received == [*sent, 1000]


async def test_a_second_signal_stops_at_once(started):
    """The peer accepts and answers nothing, so closing in order would take its time."""
    async with trio.open_nursery() as nursery:

        async def ignore(stream):
            await trio.sleep_forever()

        (listener,) = await nursery.start(partial(trio.serve_tcp, ignore, 0, host="127.0.0.1"))
        url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/"
        async with started("tail", url, "--send", "waits in the outbox") as tail:
            await tail.error_until("connecting")
            began = trio.current_time()
            tail.interrupt()
            with trio.move_on_after(0.5):
                await tail.process.wait()
            assert tail.process.returncode is None  # within its 5 seconds
            tail.interrupt(signal.SIGTERM)
            assert await tail.wait() == 143
            assert trio.current_time() - began < 4
        nursery.cancel_scope.cancel()
