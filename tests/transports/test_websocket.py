"""One WebSocket connection after its handshake: messages, pings, and every way to end."""

from __future__ import annotations

import errno
import time
import tracemalloc

import pytest
import trio
import trio.testing

from moored.core.causes import AbnormalClosure, PeerClosed, ProtocolViolation
from moored.transports.base import ConnectionEnded

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def frame(opcode, payload=b"", *, fin=True, reserved=0, mask=False):
    """One frame of a server, as RFC 6455 section 5.2 draws it."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    bit = 0x80 if mask else 0
    size = len(payload)
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65536:
        head = bytes([first, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
    return head + (bytes(4) if mask else b"") + payload


def close(code, reason=b""):
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


# ------------------------------------------------------------------ messages


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (frame(TEXT, b"hello"), ["hello"]),
        (frame(TEXT), [""]),
        (frame(BINARY, b"\x00\xff"), [b"\x00\xff"]),
        (frame(BINARY), [b""]),
        (frame(TEXT, "grüße ✓".encode()), ["grüße ✓"]),
        (frame(TEXT, b"a" * 126), ["a" * 126]),
        (frame(TEXT, b"a", fin=False) + frame(CONT, b"b", fin=False) + frame(CONT, b"c"), ["abc"]),
        (frame(BINARY, b"a", fin=False) + frame(CONT, b"b"), [b"ab"]),
        # A character split over two fragments.
        (frame(TEXT, b"\xe2\x9c", fin=False) + frame(CONT, b"\x93"), ["✓"]),
        (frame(TEXT, fin=False) + frame(CONT), [""]),
        # Control frames between the fragments of a message.
        (
            frame(TEXT, b"a", fin=False)
            + frame(PING, b"p")
            + frame(PONG)
            + frame(CONT, b"b")
            + frame(BINARY, b"c"),
            ["ab", b"c"],
        ),
        (b"".join(frame(TEXT, b"%d" % n) for n in range(500)), [str(n) for n in range(500)]),
    ],
)
async def test_all_messages_of_one_read_come_as_one_batch(websocket, dialled, data, messages):
    connection = await websocket()
    await dialled.peers[0].send(data)
    batch = await connection.receive()
    assert list(batch) == messages
    assert [type(message) for message in batch] == [type(message) for message in messages]


async def test_messages_split_at_every_byte(websocket, dialled):
    connection = await websocket()
    data = (
        frame(TEXT, "✓".encode(), fin=False)
        + frame(PING, b"p")
        + frame(CONT, "é".encode())
        + frame(BINARY, b"x" * 200)
    )
    found = []
    for byte in data:
        await dialled.peers[0].send(bytes([byte]))
        found += await connection.receive()
    assert found == ["✓é", b"x" * 200]


async def test_frames_in_the_same_packet_as_the_handshake(websocket, dialled):
    async def script(peer):
        await peer.accept(extra=frame(TEXT, b"early") + frame(TEXT, b"bird")[:3])
        await peer.send(frame(TEXT, b"bird")[3:])

    dialled.script = script
    connection = await websocket()
    assert list(await connection.receive()) == ["early"]
    assert list(await connection.receive()) == ["bird"]


@pytest.mark.parametrize("code", [1008, 1014])
@pytest.mark.parametrize("after", [b"", frame(TEXT, b"against the rules")])
async def test_a_close_in_the_same_packet_as_the_handshake(websocket, dialled, drain, code, after):
    async def script(peer):
        await peer.accept(extra=frame(TEXT, b"early") + close(code, b"no") + after)

    dialled.script = script
    assert await drain(await websocket()) == (["early"], PeerClosed(code, "no"))


async def test_the_end_is_known_as_soon_as_it_was_read(websocket, dialled):
    connection = await websocket()
    await dialled.peers[0].send(frame(TEXT, b"last"))
    assert list(await connection.receive()) == ["last"]
    assert connection.end_cause is None
    await dialled.peers[0].send(frame(TEXT, b"very last") + close(1008))
    assert list(await connection.receive()) == ["very last"]
    assert connection.end_cause == PeerClosed(1008)


async def test_a_peer_that_reads_nothing_keeps_no_message_from_us(websocket, dialled):
    """Not even one that pings and closes: nothing is written while reading."""
    dialled.pair = trio.testing.lockstep_stream_pair  # what is sent blocks until it is read

    async def script(peer):
        await peer.accept()
        await peer.send(frame(PING, b"p") + frame(TEXT, b"a") + frame(PING) + close(1008))

    dialled.script = script
    connection = await websocket()
    with trio.fail_after(5):
        assert list(await connection.receive()) == ["a"]
    assert connection.end_cause == PeerClosed(1008)


async def test_sending_text_and_bytes(websocket, dialled):
    connection = await websocket()
    peer = dialled.peers[0]
    for message in ["grüße", b"\x00\xff", bytearray(b"ba"), memoryview(b"mv"), "", "a" * 70000]:
        await connection.send(message)
    assert await peer.frame() == (TEXT, "grüße".encode())
    assert await peer.frame() == (BINARY, b"\x00\xff")
    assert await peer.frame() == (BINARY, b"ba")
    assert await peer.frame() == (BINARY, b"mv")
    assert await peer.frame() == (TEXT, b"")
    assert await peer.frame() == (TEXT, b"a" * 70000)


# ------------------------------------------------------------------ pings


async def test_a_ping_is_answered_with_its_payload(websocket, dialled):
    connection = await websocket()
    await dialled.peers[0].send(frame(PING, b"payload"))
    assert list(await connection.receive()) == []  # a sign of life, and no message
    assert connection.reply_due
    await connection.reply()
    assert not connection.reply_due
    assert await dialled.peers[0].frame() == (PONG, b"payload")


async def test_a_ping_in_the_same_packet_as_the_handshake_is_answered(websocket, dialled):
    async def script(peer):
        await peer.accept(extra=frame(PING, b"first"))

    dialled.script = script
    connection = await websocket()
    assert list(await connection.receive()) == []
    assert connection.reply_due


async def test_a_pong_is_a_sign_of_life(websocket, dialled):
    connection = await websocket()
    await connection.ping()
    opcode, payload = await dialled.peers[0].frame()
    assert opcode == PING
    await dialled.peers[0].send(frame(PONG, payload))
    assert list(await connection.receive()) == []


async def test_a_ping_during_a_large_send_is_answered_behind_it(websocket, dialled, nursery):
    dialled.pair = trio.testing.lockstep_stream_pair  # what is sent blocks until it is read
    connection = await websocket()
    peer = dialled.peers[0]
    nursery.start_soon(connection.send, "x" * 200_000)
    await trio.testing.wait_all_tasks_blocked()
    for payload in (b"one", b"two"):
        nursery.start_soon(peer.send, frame(PING, payload))
        with trio.fail_after(5):
            assert list(await connection.receive()) == []  # reading does not wait for the writing
        await trio.testing.wait_all_tasks_blocked()
    with trio.fail_after(5):
        assert await peer.frame() == (TEXT, b"x" * 200_000)  # whole, nothing in between
        assert await peer.frame() == (PONG, b"one")
        assert await peer.frame() == (PONG, b"two")
    nursery.start_soon(connection.send, "next")
    assert await peer.frame() == (TEXT, b"next")


async def test_a_ping_of_ours_waits_behind_a_large_send(websocket, dialled, nursery):
    dialled.pair = trio.testing.lockstep_stream_pair
    connection = await websocket()
    nursery.start_soon(connection.send, b"x" * 200_000)
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(connection.ping)
    assert (await dialled.peers[0].frame())[0] == BINARY
    assert (await dialled.peers[0].frame())[0] == PING


async def test_sending_into_a_connection_that_vanished(websocket, dialled):
    connection = await websocket()
    await dialled.peers[0].stream.aclose()
    with pytest.raises(ConnectionEnded) as caught:
        await connection.send("x")
    assert caught.value.cause == AbnormalClosure(1006)
    with pytest.raises(ConnectionEnded):
        await connection.ping()


# ------------------------------------------------------------------ the peer closes

CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3003, 4000]


@pytest.mark.parametrize("code", [*CODES, 3999, 4999])
async def test_close_codes_of_the_peer(websocket, dialled, drain, nursery, code):
    connection = await websocket()
    peer = dialled.peers[0]
    await peer.send(frame(TEXT, b"last") + close(code, "grüße".encode()))
    assert await drain(connection) == (["last"], PeerClosed(code, "grüße"))
    nursery.start_soon(connection.aclose, 1000)
    opcode, payload = await peer.frame()
    assert opcode == CLOSE  # the close was answered
    assert payload[:2] == code.to_bytes(2, "big") or code == 1014
    with pytest.raises(ConnectionEnded):  # and it stays ended
        await connection.receive()


async def test_a_close_frame_without_a_code_is_1005(websocket, dialled, drain, nursery):
    connection = await websocket()
    await dialled.peers[0].send(frame(CLOSE))
    assert await drain(connection) == ([], PeerClosed(1005))
    nursery.start_soon(connection.aclose, 1000)
    assert await dialled.peers[0].frame() == (CLOSE, b"")


@pytest.mark.parametrize("code", CODES)
async def test_a_close_frame_split_at_any_byte(websocket, dialled, drain, code):
    data = frame(TEXT, b"last") + close(code, b"reason")
    for at in range(1, len(data)):
        connection = await websocket()
        peer = dialled.peers[-1]
        await peer.send(data[:at])
        messages = []
        if at < 6:
            assert list(await connection.receive()) == []
        else:
            messages += await connection.receive()
        await peer.send(data[at:])
        more, cause = await drain(connection)
        assert (messages + more, cause) == (["last"], PeerClosed(code, "reason")), at
        await connection.aclose(None)


@pytest.mark.parametrize("code", [1000, 1014])
async def test_a_close_frame_that_comes_byte_by_byte(websocket, dialled, drain, code):
    connection = await websocket()
    *most, last = (bytes([byte]) for byte in close(code, b"r" * 123))
    for byte in most:
        await dialled.peers[0].send(byte)
        assert list(await connection.receive()) == []
    await dialled.peers[0].send(last)
    assert await drain(connection) == ([], PeerClosed(code, "r" * 123))


async def test_a_close_between_the_fragments_of_a_message(websocket, dialled, drain):
    connection = await websocket()
    await dialled.peers[0].send(frame(TEXT, b"a", fin=False) + close(1001))
    assert await drain(connection) == ([], PeerClosed(1001))


# ------------------------------------------------------------------ the connection vanishes


@pytest.mark.parametrize("partial", [b"", frame(TEXT, b"cut")[:3], frame(TEXT, b"a", fin=False)])
async def test_the_end_of_file_is_1006(websocket, dialled, drain, partial):
    connection = await websocket()
    await dialled.peers[0].send(frame(TEXT, b"last") + partial)
    await dialled.peers[0].fin()
    messages, cause = await drain(connection)
    assert (messages, cause) == (["last"], AbnormalClosure(1006))
    assert cause.exception is None


async def test_a_reset_is_1006(websocket, tcp, drain):
    received = trio.Event()

    async def script(peer):
        await peer.accept(extra=frame(TEXT, b"last"))
        await received.wait()
        peer.rst()

    port = await tcp(script)
    connection = await websocket(f"ws://127.0.0.1:{port}/", memory=False)
    assert list(await connection.receive()) == ["last"]
    received.set()
    messages, cause = await drain(connection)
    assert (messages, cause) == ([], AbnormalClosure(1006))
    assert cause.exception.errno == errno.ECONNRESET


# ------------------------------------------------------------------ the peer breaks the protocol


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(TEXT, b"x", mask=True), 1002, id="masked"),
        pytest.param(frame(TEXT, b"x", reserved=4), 1002, id="rsv1"),
        pytest.param(frame(TEXT, b"x", reserved=2), 1002, id="rsv2"),
        pytest.param(frame(TEXT, b"x", reserved=1), 1002, id="rsv3"),
        pytest.param(frame(0x3, b"x"), 1002, id="opcode 3"),
        pytest.param(frame(0xB, b"x"), 1002, id="opcode 11"),
        pytest.param(frame(PING, b"x", fin=False), 1002, id="fragmented ping"),
        pytest.param(frame(PING, b"x" * 126), 1002, id="long ping"),
        pytest.param(frame(CONT, b"x"), 1002, id="nothing to continue"),
        pytest.param(
            frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002, id="message in a message"
        ),
        pytest.param(b"\x81\x7f\x80" + bytes(7), 1002, id="length of 64 bits"),
        pytest.param(frame(CLOSE, b"\x03"), 1002, id="close of one byte"),
        pytest.param(close(999), 1002, id="code 999"),
        pytest.param(close(1004), 1002, id="code 1004"),
        pytest.param(close(1005), 1002, id="code 1005"),
        pytest.param(close(1006), 1002, id="code 1006"),
        pytest.param(close(1015), 1002, id="code 1015"),
        pytest.param(close(1016), 1002, id="code 1016"),
        pytest.param(close(2000), 1002, id="code 2000"),
        pytest.param(close(5000), 1002, id="code 5000"),
        pytest.param(close(1000, b"\xff"), 1007, id="reason in bad UTF-8"),
        pytest.param(frame(TEXT, b"\xc3("), 1007, id="bad UTF-8"),
        pytest.param(frame(TEXT, b"\xe2\x9c"), 1007, id="cut UTF-8"),
        pytest.param(frame(TEXT, b"\xed\xa0\x80"), 1007, id="surrogate"),
        pytest.param(frame(TEXT, b"x" * 1001), 1009, id="too long"),
        pytest.param(
            frame(BINARY, b"x" * 999, fin=False) + frame(CONT, b"yy"), 1009, id="fragments too long"
        ),
        pytest.param(b"\x82\x7f" + (2**40).to_bytes(8, "big") + bytes(2000), 1009, id="endless"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", 1002, id="no frames at all"),
    ],
)
async def test_violations(websocket, dialled, drain, nursery, data, code):
    connection = await websocket()
    peer = dialled.peers[0]
    await peer.send(frame(TEXT, b"before") + data)
    messages, cause = await drain(connection)
    assert messages == ["before"]  # what came before it is delivered
    assert isinstance(cause, ProtocolViolation)
    assert cause.detail
    nursery.start_soon(connection.aclose, 1000)
    opcode, payload = await peer.frame()
    assert (opcode, payload[:2]) == (CLOSE, code.to_bytes(2, "big"))


async def test_a_message_as_long_as_the_bound_is_delivered(websocket, dialled):
    connection = await websocket()
    await dialled.peers[0].send(frame(BINARY, b"x" * 1000) + frame(TEXT, "é".encode() * 500))
    assert [len(message) for message in await connection.receive()] == [1000, 500]


async def test_a_bound_in_bytes_counts_bytes_of_text_too(websocket, dialled, drain):
    connection = await websocket()
    await dialled.peers[0].send(frame(TEXT, "é".encode() * 501))
    messages, cause = await drain(connection)
    assert (messages, type(cause)) == ([], ProtocolViolation)


@pytest.mark.parametrize(("data", "bound"), [(b"", 100_000), (b"y", 1_000_000)])
async def test_endless_small_fragments_take_no_more_memory_than_they_hold(
    websocket, dialled, data, bound
):
    connection = await websocket(max_message_bytes=100_000)
    await dialled.peers[0].send(frame(TEXT, b"x", fin=False))
    await connection.receive()
    tracemalloc.start()
    for _ in range(50):
        await dialled.peers[0].send(frame(CONT, data, fin=False) * 1000)
        assert list(await connection.receive()) == []
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < bound  # 50,000 fragments: as objects they would take 2.5 MB
    await dialled.peers[0].send(frame(CONT, b"z"))
    assert list(await connection.receive()) == ["x" + data.decode() * 50_000 + "z"]


async def test_a_violation_ends_the_socket_in_bounded_time(
    websocket, dialled, drain, autojump_clock
):
    """The peer never answers our close frame."""
    connection = await websocket()
    await dialled.peers[0].send(frame(0x3))
    await drain(connection)
    with trio.move_on_after(1):
        await connection.aclose(1000)
    assert dialled.streams[0].closed


# ------------------------------------------------------------------ we close


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_our_close_is_a_handshake(websocket, dialled, nursery, code):
    connection = await websocket()
    peer = dialled.peers[0]
    closed = trio.Event()

    async def aclose():
        await connection.aclose(code)
        closed.set()

    nursery.start_soon(aclose)
    assert await peer.frame() == (CLOSE, code.to_bytes(2, "big"))
    await trio.testing.wait_all_tasks_blocked()
    assert not closed.is_set()  # it waits for the answer
    await peer.send(frame(TEXT, b"late") + frame(PING, b"late") + close(code))
    with trio.fail_after(5):
        await closed.wait()
    assert dialled.streams[0].closed
    assert await peer.rest() == b""


@pytest.mark.parametrize(
    "behaviour", [b"", frame(TEXT, b"x") * 5, frame(PING, b"x"), b"\xff\xff garbage", b"\x81"]
)
async def test_our_close_is_bounded_with_a_peer_that_never_answers(
    websocket, dialled, autojump_clock, behaviour
):
    connection = await websocket()
    await dialled.peers[0].send(behaviour)
    with trio.move_on_after(3):
        await connection.aclose(1000)
    assert dialled.streams[0].closed
    assert (await dialled.peers[0].frame())[0] == CLOSE


async def test_hanging_up_sends_no_close_frame(websocket, dialled):
    connection = await websocket()
    await connection.aclose(None)
    assert dialled.streams[0].closed
    assert await dialled.peers[0].rest() == b""


async def test_closing_a_cancelled_scope_closes_the_stream(websocket, dialled):
    connection = await websocket()
    with trio.CancelScope() as scope:
        scope.cancel()
        await connection.aclose(1000)
    assert dialled.streams[0].closed


async def test_closing_after_the_peers_close_waits_for_its_end_of_file(
    websocket, dialled, drain, nursery
):
    """Hanging up on unread bytes would reset the connection, and might lose our answer."""
    connection = await websocket()
    peer = dialled.peers[0]
    await peer.send(close(1000))
    await drain(connection)
    nursery.start_soon(connection.aclose, 1000)
    await trio.testing.wait_all_tasks_blocked()
    assert not dialled.streams[0].closed
    await peer.fin()
    await trio.testing.wait_all_tasks_blocked()
    assert dialled.streams[0].closed
    assert await peer.frame() == (CLOSE, b"\x03\xe8")  # once
    assert await peer.rest() == b""


async def test_closing_twice_is_fine(websocket, dialled):
    connection = await websocket()
    await connection.aclose(None)
    with trio.fail_after(1):
        await connection.aclose(1000)
    with pytest.raises(ConnectionEnded):
        await connection.send("x")


async def test_sending_while_closing_ends(websocket, dialled, nursery):
    connection = await websocket()
    nursery.start_soon(connection.aclose, 1000)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(ConnectionEnded):
        await connection.send("too late")
    with pytest.raises(ConnectionEnded):
        await connection.ping()
    await dialled.peers[0].send(close(1000))


CUT_FRAME = 8 + 10_000  # header and mask, payload


async def test_a_frame_cut_by_cancellation_kills_the_connection(websocket, dialled, nursery):
    dialled.pair = trio.testing.lockstep_stream_pair
    connection = await websocket()
    peer = dialled.peers[0]
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            inner.start_soon(connection.send, "x" * 10_000)
            assert await peer.stream.receive_some(100)
            scope.cancel()
    with pytest.raises(ConnectionEnded) as caught:
        await connection.send("not inside of the payload of the one before")
    assert caught.value.cause == AbnormalClosure(1006)
    with pytest.raises(ConnectionEnded):
        await connection.ping()
    nursery.start_soon(connection.aclose, 1000)
    # What the stream in memory still holds of that frame: no close frame either, and the end.
    assert len(await peer.rest()) == CUT_FRAME - 100
    assert dialled.streams[0].closed


async def test_a_ping_after_a_cut_frame_is_not_answered(websocket, dialled, nursery):
    dialled.pair = trio.testing.lockstep_stream_pair
    connection = await websocket()
    peer = dialled.peers[0]
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            inner.start_soon(connection.send, "x" * 10_000)
            assert await peer.stream.receive_some(100)
            scope.cancel()
    nursery.start_soon(peer.send, frame(PING, b"?"))
    with trio.fail_after(5):
        assert list(await connection.receive()) == []
    await connection.aclose(None)
    assert len(await peer.rest()) == CUT_FRAME - 100


async def test_receiving_can_be_cancelled_without_losing_anything(websocket, dialled):
    connection = await websocket()
    peer = dialled.peers[0]
    await peer.send(frame(TEXT, b"one")[:2])
    assert list(await connection.receive()) == []
    with trio.move_on_after(0.01):
        await connection.receive()
    await peer.send(frame(TEXT, b"one")[2:])
    assert list(await connection.receive()) == ["one"]


async def test_many_fragments_take_time_in_proportion(websocket, dialled):
    connection = await websocket(max_message_bytes=10**6)
    count = 20_000
    data = frame(TEXT, b"", fin=False) + frame(CONT, b"x", fin=False) * count + frame(CONT)
    await dialled.peers[0].send(data)
    began = time.perf_counter()
    messages = []
    while not messages:
        messages += await connection.receive()
    assert messages == ["x" * count]
    assert time.perf_counter() - began < 3


async def test_many_pings_of_one_read_are_all_answered_in_order(websocket, dialled):
    connection = await websocket()
    await dialled.peers[0].send(b"".join(frame(PING, b"%d" % n) for n in range(10)))
    assert list(await connection.receive()) == []
    await connection.reply()
    assert [await dialled.peers[0].frame() for _ in range(10)] == [
        (PONG, b"%d" % n) for n in range(10)
    ]


async def test_pongs_for_a_peer_that_does_not_read_are_bounded(websocket, dialled):
    connection = await websocket()
    for n in range(100):
        await dialled.peers[0].send(frame(PING, b"%03d" % n + b"x" * 120) * 10)
        await connection.receive()
    assert len(connection._pongs) < 20_000
    await connection.reply()
    last = None
    with trio.move_on_after(0.2):
        while True:
            last = await dialled.peers[0].frame()
    assert last == (PONG, b"099" + b"x" * 120)  # the latest is answered


async def test_a_send_that_is_cancelled_before_its_first_byte_does_not_spoil_the_close(
    websocket, dialled, nursery
):
    connection = await websocket()
    with trio.CancelScope() as scope:
        scope.cancel()
        await connection.send("never begun")
    nursery.start_soon(connection.aclose, 1000)
    assert await dialled.peers[0].frame() == (CLOSE, b"\x03\xe8")
