"""TLS below both transports, with authorities made for the test; and HTTP/2 on top of it."""

from __future__ import annotations

import ssl
from contextlib import suppress

import h2.config
import h2.connection
import h2.events
import pytest
import trio
import trustme

import moored
from moored.core.causes import (
    AbnormalClosure,
    Completed,
    ConnectFailed,
    HandshakeRejected,
    PeerClosed,
)
from moored.transports.base import ConnectionEnded
from moored.transports.dialing import default_ssl_context, dial

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def server_context(authority, *names, alpn=()):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


@pytest.fixture
def trusting(authority):
    """A client's context that trusts the test's authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
async def tls(tcp, authority, nursery):
    """Call it with a script and the names in its certificate: a TLS server's port."""

    async def serve(script, *names, alpn=()):
        context = server_context(authority, *(names or ["127.0.0.1", "localhost"]), alpn=alpn)

        async def handle(peer):
            peer.tcp, stream = (
                peer.stream,
                trio.SSLStream(peer.stream, context, server_side=True, https_compatible=True),
            )
            peer.stream = stream
            with suppress(ssl.SSLError):
                await stream.do_handshake()
                await script(peer)

        return await tcp(handle)

    return serve


@pytest.fixture(params=["websocket", "sse"])
def connect(request, websocket, sse):
    """Call it with a port and a TLS context: a connection over each transport."""

    async def connect(port, context, host="127.0.0.1"):
        if request.param == "websocket":
            return await websocket(f"wss://{host}:{port}/", memory=False, ssl_context=context)
        return await sse(
            f"https://{host}:{port}/", memory=False, transport={"ssl_context": context}
        )

    connect.name = request.param
    return connect


async def serve_either(peer):
    """One message over whichever transport is asked for."""
    line, fields = await peer.head()
    if "upgrade" in fields:
        peer.buffer = line.encode() + b"\r\nSec-WebSocket-Key: "
        peer.buffer += fields["sec-websocket-key"][0] + b"\r\n\r\n"
        await peer.accept(extra=b"\x81\x01a")
    else:
        await peer.send(CHUNKED + b"9\r\ndata: a\n\n\r\n")
    await peer.rest()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_good_certificate(connect, tls, trusting, host):
    port = await tls(serve_either)
    connection = await connect(port, trusting, host)
    (message,) = await connection.receive()
    assert message == "a" or message.data == "a"


async def test_a_certificate_for_another_host(connect, tls, trusting, refused):
    cause = await refused(connect(await tls(serve_either, "other.test"), trusting))
    assert cause == ConnectFailed("tls")
    assert isinstance(cause.exception, ssl.SSLCertVerificationError)


@pytest.mark.parametrize("context", [None, "default"])
async def test_an_unknown_authority(connect, tls, refused, context):
    """Also the default context verifies."""
    context = ssl.create_default_context() if context else None
    cause = await refused(connect(await tls(serve_either), context))
    assert cause == ConnectFailed("tls")
    assert isinstance(cause.exception, ssl.SSLCertVerificationError)


@pytest.mark.parametrize("names", [("other.test",), None])
async def test_a_certificate_failure_stops_at_once(tls, trusting, names):
    """It does not become valid by asking again."""
    port = await tls(serve_either, *(names or ()))
    context = trusting if names else None
    for opened in (
        moored.open_websocket(f"wss://127.0.0.1:{port}/", ssl_context=context),
        moored.open_sse(f"https://127.0.0.1:{port}/", ssl_context=context),
    ):
        with trio.fail_after(5):
            async with opened as stream:
                with pytest.raises(moored.StreamError) as caught:
                    await stream.receive()
        assert caught.value.causes == (ConnectFailed("tls"),)
        assert stream.stats.attempts == 1


async def test_a_plain_server_where_tls_is_due(connect, tcp, trusting, refused):
    async def script(peer):
        await peer.stream.receive_some()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    cause = await refused(connect(await tcp(script), trusting))
    assert cause == ConnectFailed("tls")
    assert isinstance(cause.exception, ssl.SSLError)


@pytest.mark.parametrize("ending", ["fin", "rst"])
@pytest.mark.parametrize("answer", [b"", b"\x16\x03\x03\x00\x7a\x02"])
async def test_dropped_in_the_handshake(connect, tcp, trusting, refused, ending, answer):
    async def script(peer):
        await peer.stream.receive_some()
        if answer:
            await peer.send(answer)
        if ending == "rst":
            peer.rst()

    assert await refused(connect(await tcp(script), trusting)) == ConnectFailed("tls")


async def test_a_silent_peer_is_left_when_cancelled(connect, tcp, trusting):
    async def script(peer):
        await peer.rest()

    port = await tcp(script)
    with trio.move_on_after(0.05) as scope:
        await connect(port, trusting)
    assert scope.cancelled_caught  # and the fixture counts the descriptors


@pytest.mark.parametrize("ending", ["fin", "close_notify"])
async def test_the_end_of_tls_says_nothing_about_the_end_of_the_stream(
    connect, tls, trusting, drain, ending
):
    """With close_notify or without: complete is what the protocol above says is complete."""

    async def script(peer):
        rest, peer.rest = peer.rest, trio.lowlevel.checkpoint
        await serve_either(peer)
        if ending == "close_notify":
            with suppress(trio.BrokenResourceError):
                await peer.stream.unwrap()
        await peer.tcp.send_eof()
        await rest()

    connection = await connect(await tls(script), trusting)
    with trio.fail_after(5):
        messages, cause = await drain(connection)
    assert len(messages) == 1
    assert cause == AbnormalClosure(1006 if connect.name == "websocket" else None)


async def test_https_to_http_is_refused(sse, tls, tcp, trusting, refused):
    visits = []

    async def plain(peer):
        visits.append(await peer.request())

    plain_port = await tcp(plain)

    async def script(peer):
        await peer.request()
        await peer.send(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/\r\n"
            b"Content-Length: 0\r\n\r\n" % plain_port
        )
        await peer.rest()

    port = await tls(script)
    cause = await refused(
        sse(f"https://127.0.0.1:{port}/", memory=False, transport={"ssl_context": trusting})
    )
    assert isinstance(cause, HandshakeRejected)
    assert cause.status == 302
    assert "https" in cause.detail
    assert visits == []


def test_default_contexts_are_made_once_and_verify():
    for purpose in ("websocket", "http1", "http2"):
        context = default_ssl_context(purpose)
        assert context is default_ssl_context(purpose)
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
    assert default_ssl_context("http1") is not default_ssl_context("http2")


async def test_dialling_is_by_the_function_that_is_given(trusting, tls):
    async def script(peer):
        await peer.rest()

    port = await tls(script)
    asked = []

    async def tunnel(host, number):
        asked.append((host, number))
        return await trio.open_tcp_stream("127.0.0.1", port)

    stream = await dial("localhost", 443, ssl_context=trusting, open_stream=tunnel)
    await trio.aclose_forcefully(stream)
    assert asked == [("localhost", 443)]
    with pytest.raises(ConnectionEnded):  # TLS goes on top of it, and checks the real name
        await dial("other.test", 443, ssl_context=trusting, open_stream=tunnel)


# ------------------------------------------------------------------ HTTP/2


class Http2:
    """A server on one HTTP/2 connection: runs ``script`` for each request."""

    def __init__(self, peer, script, requests):
        self.stream = peer.stream
        self.script = script
        self.requests = requests
        self.writing = trio.Lock()
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )

    async def flush(self):
        async with self.writing:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self.stream.send_all(self.h2.data_to_send())

    async def serve(self):
        self.h2.initiate_connection()
        await self.flush()
        try:
            await self.run()
        except* trio.BrokenResourceError:
            pass  # that the client leaves is often the test

    async def run(self):
        async with trio.open_nursery() as nursery:
            while data := await self.stream.receive_some(65536):
                for each in self.h2.receive_data(data):
                    if isinstance(each, h2.events.RequestReceived):
                        self.requests.append(dict(each.headers))
                        nursery.start_soon(self.script, self, each.stream_id)
                await self.flush()
            nursery.cancel_scope.cancel()

    async def respond(self, number, status=200, **headers):
        fields = {":status": str(status), "content-type": "text/event-stream", **headers}
        self.h2.send_headers(number, list(fields.items()))
        await self.flush()

    async def data(self, number, data, end=False):
        self.h2.send_data(number, data, end_stream=end)
        await self.flush()


@pytest.fixture
async def http2(tls, trusting, sse):
    """Call it with ``async def script(server, stream_id)``: an SSE connection over HTTP/2."""

    async def connect(script, **options):
        connect.requests = requests = []

        async def serve(peer):
            assert peer.stream.selected_alpn_protocol() == "h2"
            await Http2(peer, script, requests).serve()

        connect.port = await tls(serve, alpn=["h2", "http/1.1"])
        trusting.set_alpn_protocols(["h2", "http/1.1"])
        return await sse(
            f"https://127.0.0.1:{connect.port}/path?q=1",
            memory=False,
            transport={"ssl_context": trusting, "http2": True},
            **options,
        )

    return connect


async def test_http2(http2, drain):
    async def script(server, number):
        await server.respond(number)
        await server.data(number, b"data: a\n\nda")
        await server.data(number, b"ta: b\n\n", end=True)

    connection = await http2(script)
    events, cause = await drain(connection)
    assert [event.data for event in events] == ["a", "b"]
    assert cause == PeerClosed(reason="the response ended")
    (request,) = http2.requests
    assert (request[":method"], request[":path"]) == ("GET", "/path?q=1")
    assert request["accept"] == "text/event-stream"


async def test_http2_post_with_a_terminator(http2, drain):
    async def script(server, number):
        await server.respond(number)
        await server.data(number, b"data: a\n\ndata: [DONE]\n\n")
        await trio.sleep_forever()

    connection = await http2(script, method="POST", json={"a": 1}, terminator="[DONE]")
    events, cause = await drain(connection)
    assert [event.data for event in events] == ["a"]
    assert cause == Completed("the terminator came")


async def test_http2_refusal(http2, refused):
    async def script(server, number):
        await server.respond(number, 401)
        await server.data(number, b"who?", end=True)

    cause = await refused(http2(script))
    assert (cause.status, cause.body) == (401, b"who?")


@pytest.mark.parametrize("how", ["reset", "goaway", "fin"])
async def test_http2_drops(http2, drain, how):
    async def script(server, number):
        await server.respond(number)
        await server.data(number, b"data: a\n\ndata: b")
        await trio.sleep(0.02)
        if how == "reset":
            server.h2.reset_stream(number, 2)
            await server.flush()
        elif how == "goaway":
            server.h2.close_connection(2, last_stream_id=0)
            await server.flush()
        if how != "reset":
            await server.stream.transport_stream.send_eof()
        await trio.sleep_forever()

    connection = await http2(script)
    with trio.fail_after(5):
        events, cause = await drain(connection)
    assert [event.data for event in events] == ["a"]
    assert cause == AbnormalClosure()
    assert cause.exception is None or isinstance(cause.exception, Exception)


async def test_http2_reset_before_the_answer(http2, refused):
    async def script(server, number):
        server.h2.reset_stream(number, 7)
        await server.flush()

    with trio.fail_after(5):
        assert await refused(http2(script)) == ConnectFailed("handshake")


async def test_http2_large_bodies_get_their_window_back(http2, drain):
    """More than the 64 KiB of the initial window."""

    async def script(server, number):
        await server.respond(number)
        left = 3000
        while left:
            room = server.h2.local_flow_control_window(number)
            if room < 600:
                await trio.sleep(0.001)
                continue
            await server.data(number, b"data: " + b"x" * 592 + b"\n\n")
            left -= 1
        await server.data(number, b"", end=True)

    with trio.fail_after(10):
        events, cause = await drain(await http2(script))
    assert len(events) == 3000
    assert cause == PeerClosed(reason="the response ended")


async def test_http2_where_the_server_has_only_http1(sse, tls, trusting):
    port = await tls(serve_either, alpn=["http/1.1"])
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    connection = await sse(
        f"https://127.0.0.1:{port}/",
        memory=False,
        transport={"ssl_context": trusting, "http2": True},
    )
    assert [event.data for event in await connection.receive()] == ["a"]


async def test_http2_cancelled(http2):
    """At any moment; the fixture counts the descriptors, and generators left are errors."""

    async def script(server, number):
        await trio.sleep(0.005)
        await server.respond(number)
        await trio.sleep(0.005)
        await server.data(number, b"data: a\n\n")
        await trio.sleep_forever()

    for delay in (0.004, 0.008, 0.02):
        with trio.move_on_after(delay):
            connection = await http2(script)
            while True:
                await connection.receive()
