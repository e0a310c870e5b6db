"""The opening handshake of a WebSocket: what is asked, and every answer that is not a yes."""

from __future__ import annotations

import errno
import json
import socket

import pytest
import trio
import trio.testing

import moored
from moored.core.causes import ConnectFailed, HandshakeRejected, ProtocolViolation, RateLimited
from moored.transports.base import Attempt, ConnectionEnded
from moored.transports.target import Target
from moored.transports.websocket import WebSocketTransport


def answering(answer, *, then=None):
    """A script: read the request, send ``answer``, and go, unless ``then`` says otherwise."""

    async def script(peer):
        await peer.head()
        await peer.send(answer)
        if then is None:
            await peer.fin()
        else:
            await then(peer)

    return script


async def stay(peer):
    await peer.rest()


# ------------------------------------------------------------------ what is asked


async def request_of(websocket, dialled, url, **options):
    requests = []

    async def script(peer):
        requests.append(await peer.accept())

    dialled.script = script
    await websocket(url, **options)
    ((line, fields),) = requests
    return line, fields


async def test_the_request(websocket, dialled):
    line, fields = await request_of(websocket, dialled, "ws://peer.test/path?a=1&b=%20#fragment")
    assert line == "GET /path?a=1&b=%20 HTTP/1.1"
    assert fields["host"] == [b"peer.test"]
    assert fields["upgrade"] == [b"websocket"]
    assert b"upgrade" in fields["connection"][0].lower()
    assert fields["sec-websocket-version"] == [b"13"]
    assert len(fields["sec-websocket-key"]) == 1
    assert "authorization" not in fields
    assert "sec-websocket-protocol" not in fields
    assert dialled.where == [("peer.test", 80)]


@pytest.mark.parametrize(
    ("url", "line", "host", "where"),
    [
        ("ws://peer.test", "GET / HTTP/1.1", b"peer.test", ("peer.test", 80)),
        ("ws://peer.test?q=1", "GET /?q=1 HTTP/1.1", b"peer.test", ("peer.test", 80)),
        ("ws://peer.test:8080/x", "GET /x HTTP/1.1", b"peer.test:8080", ("peer.test", 8080)),
        ("ws://peer.test:80/x", "GET /x HTTP/1.1", b"peer.test", ("peer.test", 80)),
        ("ws://[::1]/x", "GET /x HTTP/1.1", b"[::1]", ("::1", 80)),
        ("ws://[::1]:8080/x", "GET /x HTTP/1.1", b"[::1]:8080", ("::1", 8080)),
        ("ws://peer.test/a%2Fb/ü", "GET /a%2Fb/%C3%BC HTTP/1.1", b"peer.test", ("peer.test", 80)),
        ("WS://PEER.test/", "GET / HTTP/1.1", b"peer.test", ("peer.test", 80)),
    ],
)
async def test_urls(websocket, dialled, url, line, host, where):
    asked, fields = await request_of(websocket, dialled, url)
    assert asked == line
    assert fields["host"] == [host]
    assert dialled.where == [where]


async def test_every_connection_has_a_key_of_its_own(websocket, dialled):
    keys = []

    async def script(peer):
        _, fields = await peer.accept()
        keys.append(fields["sec-websocket-key"][0])

    dialled.script = script
    for _ in range(3):
        await websocket()
    assert len(set(keys)) == 3


async def test_headers(websocket, dialled):
    _, fields = await request_of(
        websocket,
        dialled,
        "ws://peer.test/",
        headers=[
            ("X-Name", "grüße ✓"),
            ("X-Two", "a"),
            ("X-Two", "b"),
            ("Authorization", "Bearer s"),
        ],
    )
    assert fields["x-name"] == ["grüße ✓".encode()]
    assert fields["x-two"] == [b"a", b"b"]
    assert fields["authorization"] == [b"Bearer s"]


async def test_user_info_becomes_basic_authentication(websocket, dialled):
    line, fields = await request_of(websocket, dialled, "ws://us%40er:p%3Aw@peer.test/")
    assert fields["authorization"] == [b"Basic dXNAZXI6cDp3"]  # "us@er:p:w"
    assert fields["host"] == [b"peer.test"]
    assert "p%3Aw" not in line


async def test_an_authorization_header_wins_over_user_info(websocket, dialled):
    _, fields = await request_of(
        websocket, dialled, "ws://user:pw@peer.test/", headers={"authorization": "Bearer mine"}
    )
    assert fields["authorization"] == [b"Bearer mine"]


async def test_subprotocols(websocket, dialled):
    requests = []

    async def script(peer):
        requests.append(await peer.accept(headers=b"Sec-WebSocket-Protocol: b\r\n"))

    dialled.script = script
    await websocket(subprotocols=["a", "b"])
    assert b"".join(requests[0][1]["sec-websocket-protocol"]).replace(b" ", b"") == b"a,b"


async def test_a_server_need_not_choose_a_subprotocol(websocket, dialled):
    await websocket(subprotocols=["a", "b"])


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize("status", [401, 403, 404, 426, 429, 500, 503, 301, 302, 307, 200, 204])
async def test_refused_with_a_status(websocket, dialled, refused, status):
    body = b"" if status == 204 else b"the reason"
    dialled.script = answering(
        b"HTTP/1.1 %d Reason\r\nX-Why: because\r\nLocation: ws://other.test/\r\n"
        b"Retry-After: 7\r\n"
        % status
        + (b"Content-Length: %d\r\n\r\n" % len(body) if body else b"\r\n")
        + body,
        then=stay,
    )
    cause = await refused(websocket())
    assert type(cause) is (RateLimited if status == 429 else HandshakeRejected)
    assert cause.status == status
    assert cause.body == body
    assert cause.retry_after == 7
    assert ("x-why", "because") in cause.headers
    assert len(dialled.where) == 1  # a redirect is not followed


@pytest.mark.parametrize("status", [100, 103])
async def test_an_interim_answer_decides_nothing(websocket, dialled, refused, status):
    """RFC 9110, section 15.2."""
    interim = b"HTTP/1.1 %d Interim\r\nLink: </a>\r\n\r\n" % status

    async def script(peer):
        await peer.send(interim)
        await peer.accept()
        await peer.send(b"\x81\x02hi")

    dialled.script = script
    assert list(await (await websocket()).receive()) == ["hi"]
    dialled.script = answering(interim + b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", then=stay)
    assert (await refused(websocket())).status == 403


@pytest.mark.parametrize("chunked", [False, True])
async def test_64_kib_of_a_refusals_body_are_kept(websocket, dialled, refused, chunked):
    body = bytes(range(256)) * 1024
    if chunked:
        framed = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        framed = b"Content-Length: %d\r\n\r\n" % len(body) + body
    dialled.script = answering(b"HTTP/1.1 503 Busy\r\n" + framed, then=stay)
    cause = await refused(websocket())
    assert cause.status == 503
    assert cause.body == body[: 64 * 1024]


async def test_a_refusals_body_without_a_length_ends_with_the_connection(
    websocket, dialled, refused
):
    dialled.script = answering(b"HTTP/1.1 500 Oops\r\n\r\nto the end")
    cause = await refused(websocket())
    assert (cause.status, cause.body) == (500, b"to the end")


@pytest.mark.parametrize(
    "framing", [b"", b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"]
)
async def test_a_refusals_body_that_never_ends_is_not_waited_for(
    websocket, dialled, refused, autojump_clock, framing
):
    start = b"5\r\nstart\r\n" if b"chunked" in framing else b"start"
    dialled.script = answering(b"HTTP/1.1 503 Busy\r\n" + framing + b"\r\n" + start, then=stay)
    began = trio.current_time()
    cause = await refused(websocket())
    assert (cause.status, cause.body) == (503, b"start")
    assert trio.current_time() - began == pytest.approx(2.0)


async def test_a_refusals_body_that_drips_is_not_waited_for(
    websocket, dialled, refused, autojump_clock
):
    async def drip(peer):
        while True:
            await peer.send(b"1\r\n.\r\n")
            await trio.sleep(0.3)

    head = b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n"
    dialled.script = answering(head, then=drip)
    began = trio.current_time()
    cause = await refused(websocket())
    assert cause.status == 401
    assert cause.body.strip(b".") == b""
    assert cause.body
    assert trio.current_time() - began <= 2.0


async def test_a_refusals_body_that_is_cut(websocket, dialled, refused):
    dialled.script = answering(b"HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\nshort")
    cause = await refused(websocket())
    assert (cause.status, cause.body) == (401, b"short")


# ------------------------------------------------------------------ answers that are none

GOOD = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: "
)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(GOOD + b"d3JvbmcgYnV0IGJhc2U2NCE=\r\n\r\n", id="wrong accept"),
        pytest.param(GOOD + b"\r\n\r\n", id="empty accept"),
        pytest.param(
            b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            id="no accept",
        ),
        pytest.param(
            b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
            id="no upgrade",
        ),
        pytest.param(b"\x00\xff\x17garbage\r\n\r\n", id="garbage"),
        pytest.param(b"HTTP/1.1 abc What\r\n\r\n", id="no status"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x28\r\n\r\n", id="a TLS alert"),
    ],
)
async def test_no_handshake(websocket, dialled, refused, answer):
    dialled.script = answering(answer, then=stay)
    cause = await refused(websocket())
    assert isinstance(cause, ProtocolViolation)
    assert cause.detail


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"Sec-WebSocket-Protocol: other\r\n", id="unknown subprotocol"),
        pytest.param(b"Sec-WebSocket-Extensions: permessage-deflate\r\n", id="unasked extension"),
    ],
)
async def test_what_was_not_offered(websocket, dialled, refused, header):
    async def script(peer):
        await peer.accept(headers=header)
        await peer.rest()

    dialled.script = script
    cause = await refused(websocket(subprotocols=["mine"]))
    assert isinstance(cause, ProtocolViolation)


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 1", b"HTTP/1.1 101 Switching\r\nUpgr"])
async def test_the_peer_hangs_up_before_it_answered(websocket, dialled, refused, part):
    dialled.script = answering(part)
    assert await refused(websocket()) == ConnectFailed("handshake")


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 101 Switching\r\nUpgr"])
async def test_the_peer_resets_before_it_answered(websocket, tcp, refused, part):
    async def script(peer):
        await peer.head()
        if part:
            await peer.send(part)
            await trio.sleep(0.02)
        peer.rst()

    port = await tcp(script)
    cause = await refused(websocket(f"ws://127.0.0.1:{port}/", memory=False))
    assert cause == ConnectFailed("handshake")
    assert cause.exception.errno == errno.ECONNRESET


@pytest.mark.parametrize("piece", [b"X-More: %b\r\n" % (b"a" * 80), b"a" * 80])
async def test_an_endless_answer_is_cut_off(websocket, dialled, refused, piece):
    sent = 0

    async def endless(peer):
        nonlocal sent
        while not dialled.streams[0].closed:
            await peer.send(piece * 100)
            sent += len(piece) * 100
            await trio.testing.wait_all_tasks_blocked()

    dialled.script = answering(b"HTTP/1.1 101 Switching\r\n", then=endless)
    cause = await refused(websocket())
    assert isinstance(cause, ProtocolViolation)
    assert sent < 300_000


async def test_a_silent_peer_meets_the_connect_timeout(dialled, autojump_clock):
    dialled.script = stay
    policy = moored.Policy(reconnect=moored.Reconnect(attempts=0))
    began = trio.current_time()
    async with moored.open_websocket("ws://peer.test/", policy=policy, dial=dialled) as stream:
        with pytest.raises(moored.StreamError) as caught:
            await stream.receive()
    assert caught.value.cause.stage == "timeout"
    assert trio.current_time() - began == pytest.approx(10)


async def test_a_peer_that_reads_nothing_meets_the_connect_timeout(dialled, autojump_clock):
    dialled.pair = trio.testing.lockstep_stream_pair
    policy = moored.Policy(connect_timeout=3, reconnect=moored.Reconnect(attempts=0))
    async with moored.open_websocket("ws://peer.test/", policy=policy, dial=dialled) as stream:
        with pytest.raises(moored.StreamError) as caught:
            await stream.receive()
    assert caught.value.cause.stage == "timeout"


# ------------------------------------------------------------------ below the handshake


async def test_a_port_where_nobody_listens(websocket, refused):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        cause = await refused(websocket(f"ws://127.0.0.1:{sock.getsockname()[1]}/", memory=False))
    assert cause == ConnectFailed("tcp")
    assert isinstance(cause.exception, OSError)


async def test_a_name_that_does_not_resolve(websocket, refused):
    async def resolve(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    cause = await refused(websocket(memory=False, open_stream=resolve))
    assert cause == ConnectFailed("dns")
    assert isinstance(cause.exception, socket.gaierror)


async def test_the_real_resolver_says_dns(websocket, refused):
    cause = await refused(websocket("ws://does-not-exist.invalid/", memory=False))
    assert cause == ConnectFailed("dns")


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".test"])
async def test_a_name_that_cannot_exist(websocket, refused, host):
    assert await refused(websocket(f"ws://{host}/", memory=False)) == ConnectFailed("dns")


@pytest.mark.parametrize("failure", [OSError("no route"), trio.BrokenResourceError("tunnel")])
async def test_a_dial_that_fails(websocket, refused, failure):
    async def fail(host, port):
        raise failure

    cause = await refused(websocket(memory=False, open_stream=fail))
    assert cause == ConnectFailed("tcp")
    assert cause.exception is failure


@pytest.mark.parametrize("phase", ["dial", "send", "answer", "part", "body"])
async def test_a_cancelled_connect_leaves_no_stream(dialled, phase):
    """Wherever it is cancelled: the fixture looks whether every stream was closed."""

    async def never(host, port):
        await trio.sleep_forever()

    answers = {"answer": b"", "part": b"HTTP/1.1 10", "body": b"HTTP/1.1 500 Oops\r\n\r\nstart"}
    dialled.script = answering(answers.get(phase, b""), then=stay)
    if phase == "send":
        dialled.pair, dialled.script = trio.testing.lockstep_stream_pair, None
    transport = WebSocketTransport(
        Target("ws://peer.test/", ("ws", "wss")),
        max_message_bytes=1000,
        open_stream=never if phase == "dial" else dialled,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.connect, Attempt())
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert all(stream.closed for stream in dialled.streams)


async def test_several_urls_take_turns(dialled):
    transport = WebSocketTransport(
        Target(["ws://one.test/", "ws://two.test:81/"], ("ws", "wss")),
        max_message_bytes=1000,
        open_stream=dialled,
    )
    dialled.script = answering(b"HTTP/1.1 503 Busy\r\n\r\n")
    for turn in range(3):
        with pytest.raises(ConnectionEnded):
            await transport.connect(Attempt(turn=turn))
    assert dialled.where == [("one.test", 80), ("two.test", 81), ("one.test", 80)]


async def test_callables_are_asked_before_every_attempt(dialled):
    """An expired token heals; that its callable is async does not matter."""
    tokens = iter(["old", "new"])
    seen = []

    async def headers():
        await trio.lowlevel.checkpoint()
        return {"Authorization": f"Bearer {next(tokens)}"}

    async def script(peer):
        line, fields = await peer.head()
        seen.append((line, fields["authorization"][0]))
        await peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        await peer.rest()

    dialled.script = script
    transport = WebSocketTransport(
        Target(lambda: f"ws://peer.test/{len(seen)}", ("ws",), headers),
        max_message_bytes=1000,
        open_stream=dialled,
    )
    for _ in range(2):
        with pytest.raises(ConnectionEnded):
            await transport.connect(Attempt())
    assert seen == [("GET /0 HTTP/1.1", b"Bearer old"), ("GET /1 HTTP/1.1", b"Bearer new")]


@pytest.mark.parametrize("message", [1, None, ["x"], {"a": 1}])
async def test_only_text_and_bytes_are_messages(message):
    transport = WebSocketTransport(Target("ws://x", ("ws",)), max_message_bytes=10)
    with pytest.raises(TypeError, match="str or bytes"):
        transport.size_of(message)
    assert transport.size_of(json.dumps(message)) == len(json.dumps(message))


async def test_a_host_header_of_the_users_wins(websocket, dialled):
    _, fields = await request_of(
        websocket, dialled, "ws://peer.test/", headers={"Host": "other.test"}
    )
    assert fields["host"] == [b"other.test"]
    assert dialled.where == [("peer.test", 80)]


async def test_the_subprotocol_that_the_server_chose(websocket, dialled):
    async def script(peer):
        await peer.accept(headers=b"Sec-WebSocket-Protocol: v2\r\n")

    dialled.script = script
    assert (await websocket(subprotocols=["v1", "v2"])).subprotocol == "v2"
    dialled.script = None
    assert (await websocket(subprotocols=["v1", "v2"])).subprotocol is None


async def test_a_status_is_not_lost_over_a_body_that_never_ends(dialled, autojump_clock):
    """Within a connect timeout that is shorter than the wait for the body."""
    dialled.script = answering(b"HTTP/1.1 401 No\r\n\r\nno", then=stay)
    for opened in (
        moored.open_websocket("ws://peer.test/", policy=IMPATIENT, dial=dialled),
        moored.open_sse("http://peer.test/", policy=IMPATIENT, dial=dialled),
    ):
        async with opened as stream:
            with pytest.raises(moored.StreamError) as caught:
                await stream.receive()
            assert caught.value.cause.status == 401
            assert caught.value.cause.body == b"no"
            assert trio.current_time() < 2.5


IMPATIENT = moored.Policy(connect_timeout=1)
