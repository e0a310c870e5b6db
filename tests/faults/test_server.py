"""The mock server, as a plain client sees it on a real socket."""

import json

import pytest
import trio

from moored.faults import Server, open_server
from moored.faults.feed import message
from moored.faults.replies import ChatRequest, Reply

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
NORMAL = b"\x03\xe8"
POLICY = b"\x03\xf0"


def event(number):
    return f"id: {number}\ndata: {message(number)}\n\n"


def end_event(number):
    return f'event: end\nid: {number}\ndata: {{"end":true}}\n\n'


async def ask(client, body, *headers):
    """POST a chat request; status, headers, and the body as text."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: x", f"Content-Length: {len(data)}"]
    await client.send("\r\n".join([*lines, *headers, "", ""]).encode() + data)
    line, fields = await client.head()
    if fields.get("transfer-encoding") == "chunked":
        text = (await client.chunks()).decode()
    else:
        text = (await client.exactly(int(fields["content-length"]))).decode()
    return int(line.split()[1]), fields, text


# Chat


async def test_a_chat_streams_chunks_and_ends_with_done(dial):
    async with open_server() as server:
        client = await dial(server.port)
        for _ in range(2):  # on one connection
            status, headers, text = await ask(client, {**CHAT, "stream": True})
            assert (status, headers["content-type"]) == (200, "text/event-stream")
            chunks = list(Reply(ChatRequest.parse(json.dumps(CHAT))).chunks())
            assert text == "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"])
        with trio.fail_after(2):
            await server.wait_until(lambda: all(r.ended for r in server.requests))
        assert [(r.transport, r.sent, r.complete) for r in server.requests] == [
            ("sse", 5, True),
            ("sse", 5, True),
        ]


async def test_a_chat_comes_in_one_piece_without_stream(dial):
    async with open_server() as server:
        client = await dial(server.port)
        status, headers, text = await ask(client, CHAT)
        assert (status, headers["content-type"]) == (200, "application/json")
        assert text == Reply(ChatRequest.parse(json.dumps(CHAT))).completion()


@pytest.mark.parametrize("body", [b"{", {"messages": []}, {"model": "m"}])
async def test_a_bad_chat_request_gets_openais_error(dial, body):
    async with open_server() as server:
        status, _, text = await ask(await dial(server.port), body)
        error = json.loads(text)["error"]
        assert status == 400
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"


async def test_the_api_key_is_asked_for_by_the_chat_alone(dial):
    async with open_server(api_key="right") as server:
        client = await dial(server.port)
        for headers, expected in [
            ([], 401),
            (["Authorization: Bearer wrong"], 401),
            (["Authorization: right"], 401),
            (["Authorization: Bearer right"], 200),
        ]:
            status, _, text = await ask(client, CHAT, *headers)
            assert status == expected
            if status == 401:
                assert json.loads(text)["error"]["code"] == "invalid_api_key"
        assert (await (await dial(server.port)).upgrade("/v1/chat/stream"))[0] == 401
        right = "Authorization: Bearer right"
        assert (await (await dial(server.port)).upgrade("/v1/chat/stream", right))[0] == 101
        assert (await (await dial(server.port)).get("/feed"))[0] == 200
        assert (await (await dial(server.port)).upgrade("/feed"))[0] == 101
        assert "right" not in repr(server.requests)


async def test_a_websocket_chat_is_a_request_then_chunks_then_done(dial):
    async with open_server() as server:
        client = await dial(server.port)
        assert (await client.upgrade("/v1/chat/stream"))[0] == 101
        await client.say(TEXT, json.dumps(CHAT).encode())
        for chunk in Reply(ChatRequest.parse(json.dumps(CHAT))).chunks():
            assert await client.frame() == (TEXT, chunk.encode())
        assert await client.frame() == (TEXT, b"[DONE]")
        assert await client.frame() == (CLOSE, NORMAL)
        await client.say(CLOSE, NORMAL)
        assert await client.rest() == (b"", "fin")


async def test_a_bad_websocket_chat_request_gets_the_error_and_1008(dial):
    async with open_server() as server:
        client = await dial(server.port)
        await client.upgrade("/v1/chat/stream")
        await client.say(TEXT, b"{}")
        opcode, payload = await client.frame()
        assert (opcode, json.loads(payload)["error"]["param"]) == (TEXT, "model")
        opcode, payload = await client.frame()
        assert (opcode, payload[:2]) == (CLOSE, POLICY)


# The feed, as events


async def test_who_has_seen_the_end_of_the_feed_is_told_to_stop(dial):
    async with open_server() as server:
        client = await dial(server.port)
        status, headers = (await client.get("/feed?count=3", "Last-Event-ID: 4"))[:2]
        assert status == 204
        assert "content-length" not in headers
        await server.wait_until(lambda: server.requests[0].complete)


@pytest.mark.parametrize(
    ("path", "headers", "expected", "end"),
    [
        ("/feed?count=3", [], [1, 2, 3], 4),
        ("/feed?count=2&start=8", [], [8, 9], 10),
        ("/feed?count=3", ["Last-Event-ID: 1"], [2, 3], 4),
        ("/feed?count=3", ["Last-Event-ID: 3"], [], 4),
    ],
)
async def test_the_feed_is_numbered_and_resumes(dial, path, headers, expected, end):
    async with open_server() as server:
        client = await dial(server.port)
        assert (await client.get(path, *headers))[0] == 200
        body = (await client.chunks()).decode()
        assert body == "".join(event(n) for n in expected) + end_event(end)
        (served,) = server.requests
        assert served.path == "/feed"
        assert served.sent == len(expected)
        assert served.resumed_after == (int(headers[0].split()[1]) if headers else None)


@pytest.mark.parametrize(("headers", "expected"), [([], [1, 2]), (["Last-Event-ID: 2"], [])])
async def test_a_feed_says_first_when_to_come_back(dial, headers, expected):
    async with open_server() as server:
        client = await dial(server.port)
        await client.get("/feed?count=2&retry=200", *headers)
        body = (await client.chunks()).decode()
        assert body == "retry: 200\n" + "".join(event(n) for n in expected) + end_event(3)


async def test_a_feed_to_be_followed_goes_on_until_the_client_leaves(dial):
    async with open_server() as server:
        client = await dial(server.port)
        await client.get("/feed?follow=1&pace=0.001")
        await client.until(event(30).encode())
        await client.aclose()
        with trio.fail_after(2):
            await server.wait_until(lambda: server.requests[0].ended is not None)
        assert not server.requests[0].complete
        assert server.requests[0].sent >= 30


async def test_a_quiet_stream_notices_that_its_client_left(dial):
    # Nothing is sent that could fail: it has to be read.
    async with open_server(pace=1000) as server:
        sse, websocket = await dial(server.port), await dial(server.port)
        await sse.get("/feed")
        await websocket.upgrade("/feed?resume=0")
        await websocket.frame()
        for client in (sse, websocket):
            await client.aclose()
        with trio.fail_after(2):
            await server.wait_until(
                lambda: [r.ended is not None for r in server.requests] == [True, True]
            )


# The feed, as a WebSocket


async def finish_feed(client, expected):
    for number in expected:
        assert await client.frame() == (TEXT, message(number).encode())
    assert await client.frame() == (TEXT, b'{"end":true}')
    assert await client.frame() == (CLOSE, NORMAL)
    await client.say(CLOSE, NORMAL)
    assert await client.rest() == (b"", "fin")


async def test_a_client_that_says_nothing_gets_the_feed_from_its_start(dial):
    async with open_server() as server:
        client = await dial(server.port)
        await client.upgrade("/feed?count=3")
        assert await client.frame() == (PING, b"")
        await client.silence()
        await client.say(PONG, b"")
        await finish_feed(client, [1, 2, 3])


async def test_a_client_that_resumes_first_gets_just_what_it_missed(dial):
    async with open_server() as server:
        client = await dial(server.port)
        await client.upgrade("/feed?count=3")
        assert await client.frame() == (PING, b"")
        await client.say(TEXT, b'{"resume": 1}')
        await client.say(PONG, b"")
        await finish_feed(client, [2, 3])
        assert server.requests[0].resumed_after == 1


@pytest.mark.parametrize(
    ("path", "headers"), [("/feed?count=3&resume=1", []), ("/feed?count=3", ["Last-Event-ID: 1"])]
)
async def test_a_position_in_the_handshake_needs_no_message(dial, path, headers):
    async with open_server() as server:
        client = await dial(server.port)
        await client.upgrade(path, *headers)
        await finish_feed(client, [2, 3])


@pytest.mark.parametrize(("position", "expected"), [(0, [1, 2, 3]), (2, [3]), ("null", [1, 2, 3])])
async def test_a_feed_that_is_told_to_wait_waits_for_the_message(dial, position, expected):
    async with open_server() as server:
        client = await dial(server.port)
        await client.upgrade("/feed?count=3&wait=1")
        await client.say(PONG, b"")
        await client.silence()
        await client.say(TEXT, f'{{"resume": {position}}}'.encode())
        await finish_feed(client, expected)


@pytest.mark.parametrize("grace", [0, 0.2])
async def test_a_feed_with_a_time_of_grace_begins_by_itself(dial, grace):
    async with open_server() as server:
        client = await dial(server.port)
        began = trio.current_time()
        await client.upgrade(f"/feed?count=2&grace={grace}")
        await client.say(PONG, b"")
        await finish_feed(client, [1, 2])
        assert trio.current_time() - began >= grace


async def test_a_feed_with_a_time_of_grace_takes_the_resume_message_at_once(dial):
    async with open_server() as server:
        client = await dial(server.port)
        await client.upgrade("/feed?count=3&grace=60")
        await client.say(TEXT, b'{"resume": 1}')
        await finish_feed(client, [2, 3])


async def test_a_resume_message_that_comes_late_moves_the_feed(dial):
    async with open_server() as server:
        client = await dial(server.port)
        await client.upgrade("/feed?count=9&resume=0&pace=0.05")
        assert await client.frame() == (TEXT, message(1).encode())
        await client.say(TEXT, b'{"resume": 8}')
        await finish_feed(client, [9])


@pytest.mark.parametrize("opcode_and_text", [(TEXT, b"hello"), (BINARY, b'{"resume": 1}')])
async def test_what_is_no_resume_message_ends_the_feed_with_1008(dial, opcode_and_text):
    async with open_server() as server:
        client = await dial(server.port)
        await client.upgrade("/feed")
        await client.frame()
        await client.say(*opcode_and_text)
        opcode, payload = await client.frame()
        assert (opcode, payload[:2]) == (CLOSE, POLICY)


async def test_a_websocket_chat_notices_that_its_client_left(dial):
    async with open_server(pace=1000) as server:
        client = await dial(server.port)
        await client.upgrade("/v1/chat/stream")
        await client.say(TEXT, json.dumps(CHAT).encode())
        await client.frame()
        await client.aclose()
        with trio.fail_after(2):
            await server.wait_until(lambda: server.requests[0].ended is not None)
        assert not server.requests[0].complete


async def test_what_a_client_sends_right_behind_its_handshake_is_not_lost(dial, make_frame):
    async with open_server() as server:
        client = await dial(server.port)
        await client.send(
            b"GET /feed?wait=1&count=2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n" + make_frame(TEXT, b'{"resume": 1}', mask=b"abcd")
        )
        assert (await client.head())[0].split()[1] == "101"
        await finish_feed(client, [2])


# WebSocket manners


async def waiting(client):
    assert (await client.upgrade("/feed?wait=1"))[0] == 101


async def test_pings_are_answered_and_fragments_put_together(dial):
    async with open_server() as server:
        client = await dial(server.port)
        await client.upgrade("/feed?wait=1&count=1")
        await client.say(PING, b"abc")
        assert await client.frame() == (PONG, b"abc")
        await client.say(TEXT, b'{"res', fin=False)
        await client.say(PING, b"")
        assert await client.frame() == (PONG, b"")
        await client.say(0, b'ume": 0}')
        await finish_feed(client, [1])


async def test_a_close_frame_is_answered_and_tcp_closed(dial):
    async with open_server() as server:
        client = await dial(server.port)
        await waiting(client)
        await client.say(CLOSE, NORMAL + b"bye")
        assert await client.frame() == (CLOSE, NORMAL + b"bye")
        assert await client.rest() == (b"", "fin")


async def test_a_frame_without_a_mask_is_a_protocol_error(dial, make_frame):
    async with open_server() as server:
        client = await dial(server.port)
        await waiting(client)
        await client.send(make_frame(TEXT, b"x"))
        opcode, payload = await client.frame()
        assert (opcode, payload[:2]) == (CLOSE, b"\x03\xea")
        assert (await client.rest())[1] == "fin"


async def test_a_message_that_is_too_large_is_refused_with_1009(dial):
    async with open_server() as server:
        client = await dial(server.port)
        await waiting(client)
        await client.say(TEXT, b"x" * (1024 * 1024 + 1))
        opcode, payload = await client.frame()
        assert (opcode, payload[:2]) == (CLOSE, b"\x03\xf1")
        await client.say(CLOSE, b"\x03\xf1")
        assert (await client.rest())[1] == "fin"


@pytest.mark.parametrize(
    ("path", "status"), [("/nothing", 404), ("/v1/chat/completions", 404), ("/feed?count=x", 400)]
)
async def test_a_handshake_that_cannot_be_is_rejected(dial, path, status):
    async with open_server() as server:
        client = await dial(server.port)
        got, headers = await client.upgrade(path)
        assert got == status
        body = await client.exactly(int(headers["content-length"]))
        assert json.loads(body)["error"]["message"]
        assert await client.rest() == (b"", "fin")
        with trio.fail_after(2):
            await server.wait_until(lambda: server.requests[0].status == status)


async def test_a_handshake_without_a_key_is_a_bad_request(dial):
    async with open_server() as server:
        client = await dial(server.port)
        headers = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        assert (await client.get("/feed", *headers))[0] == 400


# HTTP manners


@pytest.mark.parametrize(
    ("method", "path", "status", "header"),
    [
        ("GET", "/nothing", 404, None),
        ("GET", "/v1/chat/completions", 405, ("allow", "POST")),
        ("POST", "/feed", 405, ("allow", "GET")),
        ("GET", "/v1/chat/stream", 426, ("upgrade", "websocket")),
        ("GET", "/feed?count=-1", 400, None),
    ],
)
async def test_what_cannot_be_served_is_told_so(dial, method, path, status, header):
    async with open_server() as server:
        client = await dial(server.port)
        got, headers = await client.get(path, method=method)
        assert got == status
        assert header is None or headers[header[0]] == header[1]
        with trio.fail_after(2):
            await server.wait_until(lambda: server.requests[0].status == status)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n", 413),
    ],
)
async def test_a_request_that_cannot_be_read_is_told_so(dial, request_, status):
    async with open_server() as server:
        client = await dial(server.port)
        await client.send(request_ + b"x" * (1_100_000 if status == 413 else 0))
        assert (await client.head())[0].startswith(f"HTTP/1.1 {status} ")
        assert (await client.rest())[1] == "fin"


async def test_what_the_block_raises_comes_out_as_itself():
    with pytest.raises(ZeroDivisionError):
        async with open_server():
            raise ZeroDivisionError


@pytest.mark.parametrize("arguments", [{"pace": -1}, {"pace": float("nan")}, {"keepalive": 0}])
def test_settings_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Server(**arguments)


def test_a_server_made_by_hand_has_no_address():
    for name in ("port", "url", "ws_url"):
        with pytest.raises(RuntimeError, match="does not listen"):
            getattr(Server(), name)


# One client's requests are no other's concern


DEEP = b"[" * 100_000
SURROGATE = json.dumps({**CHAT, "model": "\ud800"}).encode()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD /feed HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"GET //[/x HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET http://[::bad/feed HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
    ],
)
async def test_an_odd_request_is_answered_and_the_server_goes_on(dial, request_, status):
    async with open_server() as server:
        client = await dial(server.port)
        await client.send(request_)
        line, _ = await client.head()
        assert line.split()[1].encode() == status
        assert (await ask(await dial(server.port), CHAT))[0] == 200


@pytest.mark.parametrize("body", [DEEP, SURROGATE])
async def test_odd_json_is_a_bad_request(dial, body):
    async with open_server() as server:
        assert (await ask(await dial(server.port), body))[0] == 400
        client = await dial(server.port)
        await client.upgrade("/v1/chat/stream")
        await client.say(TEXT, body)
        assert (await client.frame())[0] == TEXT
        assert (await client.frame())[1][:2] == POLICY
        assert (await ask(await dial(server.port), CHAT))[0] == 200


async def test_an_odd_resume_message_is_refused(dial):
    async with open_server() as server:
        client = await dial(server.port)
        await client.upgrade("/feed?wait=1")
        await client.say(TEXT, DEEP)
        assert (await client.frame())[1][:2] == POLICY
