"""Faults that only WebSockets know, as a plain client sees them."""

import math
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from moored.faults import (
    CloseFrame,
    CommentsOnly,
    Cut,
    Fragment,
    IgnoreClose,
    LatePongs,
    Masked,
    Proxy,
    ReservedBits,
    ScheduleError,
    Server,
    Stall,
    SwallowPings,
    WrongAccept,
    open_proxy,
)
from moored.faults.endings import LINGER

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
KEY = b"\x1d\x8c\x05\xe7"


@pytest.fixture
def through(websocket_upstream, dial):
    """Call it with a schedule and what the server sends: a client, behind the proxy."""

    @asynccontextmanager
    async def connect(schedule, data=b"", then=None):
        upstream = await websocket_upstream(data, then)
        async with open_proxy(upstream.ws_url, schedule=schedule) as proxy:
            client = await dial(proxy.port)
            client.proxy = proxy
            client.answer = await client.upgrade()
            yield client

    return connect


@pytest.fixture
def echo(make_frame):
    """A server that answers pings, texts and a close as it should."""

    async def serve(plain):
        opcode = None
        while opcode != CLOSE:
            opcode, payload = await plain.frame()
            await plain.send(make_frame(PONG if opcode == PING else opcode, payload))

    return serve


@pytest.mark.parametrize("accept", [None, "something else", ""])
async def test_the_accept_key_is_wrong(through, make_frame, accept):
    fault = WrongAccept() if accept is None else WrongAccept(accept=accept)
    async with through([fault], make_frame(TEXT, b"hello")) as client:
        status, headers = client.answer
        assert status == 101
        assert headers["upgrade"] == "websocket"
        expected = {None: "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "": None}.get(accept, accept)
        assert headers.get("sec-websocket-accept") == expected
        assert await client.frame() == (TEXT, b"hello")
        assert client.proxy.injected_counts == {"wrong_accept": 1}


@pytest.mark.parametrize(
    ("fields", "payload"),
    [
        ({}, b"\x03\xe8"),
        ({"code": 1012, "reason": "größer"}, b"\x03\xf4" + "größer".encode()),
        ({"code": 1006}, b"\x03\xee"),
        ({"code": 0}, b"\0\0"),
        ({"code": 65535, "reason": "x" * 123}, b"\xff\xff" + b"x" * 123),
        ({"code": None}, b""),
    ],
)
async def test_a_close_frame_of_any_kind_comes_after_message_n(
    through, make_frame, fields, payload
):
    two = make_frame(TEXT, b"one") + make_frame(TEXT, b"two")
    async with through([CloseFrame(after_messages=1, **fields)], two) as client:
        assert await client.frame() == (TEXT, b"one")
        assert await client.frame() == (CLOSE, payload)
        await client.silence()  # until the client has answered
        await client.say(CLOSE, payload)
        assert await client.rest() == (b"", "fin")
        await client.aclose()
        proxy = client.proxy
        with trio.fail_after(2):
            await proxy.wait_until(lambda: proxy.connections[0].ended is not None)
        assert proxy.connections[0].outcome == "closed"


async def test_a_close_frame_waits_for_the_end_of_a_frame(through, make_frame):
    hello, more = make_frame(TEXT, b"hello"), make_frame(TEXT, b"more")
    async with through([CloseFrame(after_bytes=3)], hello + more) as client:
        assert await client.exactly(len(hello)) == hello
        assert await client.frame() == (CLOSE, b"\x03\xe8")


async def test_a_close_frame_comes_between_fragments(through, make_frame):
    async with through([CloseFrame(at="between_fragments")], make_frame(TEXT, b"abcd")) as client:
        assert await client.exactly(4) == make_frame(TEXT, b"ab", fin=False)
        assert await client.frame() == (CLOSE, b"\x03\xe8")


async def test_a_close_frame_that_is_not_answered_is_followed_by_the_end(
    memory, into_memory, autojump_clock
):

    proxy = Proxy(
        "ws://f.test",
        schedule=[CloseFrame(after_seconds=100)],
        connect_upstream=into_memory(Server(pace=1000)),
    )
    client = await memory(proxy)
    client.limit = math.inf
    await client.upgrade("/feed?resume=0")
    await client.frame()
    start = trio.current_time()
    assert await client.frame() == (CLOSE, b"\x03\xe8")
    assert trio.current_time() - start == 100
    assert await client.rest() == (b"", "fin")
    assert trio.current_time() - start == 100 + LINGER


async def test_connections_are_closed_at_once(through, make_frame):
    async with through([], make_frame(TEXT, b"hello")) as client:
        await client.frame()
        fault = CloseFrame(after_seconds=0, code=1013)
        assert client.proxy.strike(attrs.evolve(fault, path="/other")) == 0
        assert client.proxy.strike(attrs.evolve(fault, connection=2)) == 0
        assert client.proxy.strike(CommentsOnly(after_seconds=0)) == 0
        assert client.proxy.strike(fault) == 1
        assert await client.frame() == (CLOSE, b"\x03\xf5")
        assert client.proxy.injected[0].fault == fault


async def test_other_answers_have_no_close_frame(http_upstream, dial):
    head = "HTTP/1.1 200 OK\nContent-Type: text/event-stream"
    upstream = await http_upstream(head, b"data: x\n\n")
    schedule = [
        CloseFrame(after_messages=1),
        CloseFrame(after_seconds=0),
        CloseFrame(at="after_head"),
    ]
    async with open_proxy(upstream.url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.get()
        assert await client.rest() == (b"data: x\n\n", "fin")
        assert proxy.injected == ()


async def test_the_clients_close_is_ignored(serve, dial, make_frame):
    proceed, seen = trio.Event(), []

    async def handler(plain):
        await plain.accept_websocket()
        seen.append(await plain.frame())
        await proceed.wait()
        await plain.send(make_frame(TEXT, b"still here") + make_frame(CLOSE, b"\x03\xe8"))
        seen.append(await plain.rest())

    upstream = await serve(handler)
    async with open_proxy(upstream.ws_url, schedule=[IgnoreClose(times=1)]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await client.say(TEXT, b"hello")
        await client.say(CLOSE, b"\x03\xe8")
        await client.say(TEXT, b"more")
        await client.silence()
        proceed.set()
        assert await client.frame() == (TEXT, b"still here")
        await client.silence()
        assert proxy.injected_counts == {"ignore_close": 1}
        await client.aclose()
        with trio.fail_after(2):
            await proxy.wait_until(lambda: len(seen) == 1)
    await trio.testing.wait_all_tasks_blocked()
    assert seen[0] == (TEXT, b"hello")
    assert seen[1:] in ([(b"", "fin")], [(b"", "rst")])


async def test_pings_are_swallowed_while_data_flows(through, echo):
    async with through([SwallowPings()], then=echo) as client:
        for n in range(3):
            await client.say(PING, b"?")
            await client.say(TEXT, b"%d" % n)
            assert await client.frame() == (TEXT, b"%d" % n)
        assert client.proxy.injected_counts == {"swallow_pings": 3}
        await client.say(CLOSE, b"\x03\xe8")
        assert await client.frame() == (CLOSE, b"\x03\xe8")


async def test_pings_are_swallowed_from_a_time_on(memory, into_memory, autojump_clock):

    proxy = Proxy(
        "ws://f.test",
        schedule=[SwallowPings(after_seconds=60)],
        connect_upstream=into_memory(Server()),
    )
    client = await memory(proxy)
    await client.upgrade("/feed?wait=1")
    await client.say(PING, b"1")
    assert await client.frame() == (PONG, b"1")
    await trio.sleep(60)
    await client.say(PING, b"2")
    await client.silence(1000)


async def test_pongs_are_late_and_data_is_not(nursery, dial, make_frame, autojump_clock, echo):
    ours, theirs = trio.testing.memory_stream_pair()
    upstream_ours, upstream_theirs = trio.testing.memory_stream_pair()

    async def connect():
        return upstream_ours

    proxy = Proxy("ws://f.test", schedule=[LatePongs(seconds=30)], connect_upstream=connect)
    nursery.start_soon(proxy.serve_connection, theirs)
    upstream, client = await dial(upstream_theirs), await dial(ours)
    upstream.limit = client.limit = math.inf
    nursery.start_soon(upstream.accept_websocket)
    await client.upgrade()
    start = trio.current_time()
    await upstream.send(make_frame(PONG, b"1") + make_frame(TEXT, b"a"))
    assert await client.frame() == (TEXT, b"a")
    assert trio.current_time() == start
    # Half a frame is held back when the pong is due, so that it does not get into it.
    await upstream.send(make_frame(TEXT, b"long")[:4])
    assert await client.frame() == (PONG, b"1")
    assert trio.current_time() == start + 30
    await upstream.send(make_frame(TEXT, b"long")[4:])
    assert await client.frame() == (TEXT, b"long")
    assert proxy.injected_counts == {"late_pongs": 1}


async def test_pongs_are_late_on_a_socket(through, echo):
    async with through([LatePongs(seconds=0.1)], then=echo) as client:
        start = trio.current_time()
        await client.say(PING, b"?")
        await client.say(TEXT, b"in time")
        assert await client.frame() == (TEXT, b"in time")
        assert await client.frame() == (PONG, b"?")
        assert 0.1 <= trio.current_time() - start < 2
        await client.say(CLOSE, b"\x03\xe8")
        assert await client.frame() == (CLOSE, b"\x03\xe8")


async def test_a_late_pong_waits_for_its_turn(nursery, dial, make_frame, autojump_clock):
    # Lockstep: what is sent is on its way until the other side has read it.
    ours, theirs = trio.testing.lockstep_stream_pair()
    upstream_ours, upstream_theirs = trio.testing.memory_stream_pair()

    async def connect():
        return upstream_ours

    schedule = [LatePongs(seconds=5, times=1)]
    proxy = Proxy("ws://f.test", schedule=schedule, connect_upstream=connect)
    nursery.start_soon(proxy.serve_connection, theirs)
    upstream, client = await dial(upstream_theirs), await dial(ours)
    client.limit = math.inf
    nursery.start_soon(upstream.accept_websocket)
    await client.upgrade()
    await upstream.send(make_frame(PONG, b"1") + make_frame(PONG, b"2"))
    assert await client.frame() == (PONG, b"2")
    await upstream.send(make_frame(TEXT, b"long"))
    await trio.sleep(10)  # The message is on its way all the time, and the pong is due.
    assert await client.frame() == (TEXT, b"long")
    assert await client.frame() == (PONG, b"1")
    await upstream.send(make_frame(TEXT, b"a")[:2])
    assert await client.exactly(2) == b"\x81\x01"  # Nothing is held any more.


async def test_no_late_pong_comes_after_a_stall(memory, into_memory, autojump_clock):

    schedule = [LatePongs(seconds=30), Stall(after_seconds=10, pings="swallowed")]
    proxy = Proxy("ws://f.test", schedule=schedule, connect_upstream=into_memory(Server()))
    client = await memory(proxy)
    await client.upgrade("/feed?wait=1")
    await client.say(PING, b"?")
    await client.silence(1000)


async def test_a_late_pong_of_a_client_that_left_harms_nobody(memory, into_memory, autojump_clock):

    proxy = Proxy(
        "ws://f.test",
        schedule=[LatePongs(seconds=5)],
        connect_upstream=into_memory(Server(pace=3)),
    )
    client = await memory(proxy)
    await client.upgrade("/feed?resume=0")
    await client.say(PING, b"?")
    await client.aclose()
    await trio.sleep(60)
    assert proxy.connections[0].outcome == "client left"


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(range(256)) * 300])
async def test_a_servers_frame_is_masked(through, make_frame, payload):
    frames = [make_frame(TEXT, b"plain"), make_frame(BINARY, payload), make_frame(TEXT, b"end")]
    async with through([Masked(message=2)], b"".join(frames)) as client:
        masked = make_frame(BINARY, payload, mask=KEY)
        assert await client.exactly(len(frames[0] + masked + frames[2])) == (
            frames[0] + masked + frames[2]
        )


async def test_a_clients_frame_loses_its_mask(serve, dial, make_frame):
    got = []

    async def handler(plain):
        await plain.accept_websocket()
        got.append((await plain.rest())[0])

    upstream = await serve(handler)
    async with open_proxy(upstream.ws_url, schedule=[Masked(direction="to_server")]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await client.say(TEXT, b"hello")
        await client.stream.send_eof()
        await client.rest()
    assert got == [make_frame(TEXT, b"hello")]


@pytest.mark.parametrize(("bits", "first"), [(2, 0xA1), (4, 0xC1), (1, 0x91), (7, 0xF1)])
async def test_reserved_bits_are_set(through, make_frame, bits, first):
    sent = make_frame(TEXT, b"one") + make_frame(TEXT, b"two")
    async with through([ReservedBits(message=2, bits=bits)], sent) as client:
        assert await client.exactly(10) == sent[:5] + bytes([first]) + sent[6:]


async def test_a_message_comes_in_fragments(through, make_frame):
    sent = make_frame(BINARY, b"abcdefgh")
    async with through([Fragment(parts=3), Cut(after_messages=1)], sent) as client:
        assert await client.rest() == (
            make_frame(BINARY, b"ab", fin=False)
            + make_frame(0, b"cde", fin=False)
            + make_frame(0, b"fgh"),
            "fin",
        )


async def test_time_passes_between_fragments(memory, into_memory, autojump_clock):

    proxy = Proxy(
        "ws://f.test",
        schedule=[Fragment(message=1, pause=7)],
        connect_upstream=into_memory(Server()),
    )
    client = await memory(proxy)
    client.limit = math.inf
    await client.upgrade("/feed?resume=0")
    assert (await client.frame())[0] == TEXT
    start = trio.current_time()
    assert (await client.frame())[0] == 0
    assert trio.current_time() - start == 7


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CloseFrame(), "one of the four exactly"),
        (lambda: CloseFrame(after_messages=1, code=65536), "code must be an integer from 0 to 655"),
        (lambda: CloseFrame(after_messages=1, reason="x" * 124), "reason must be at most 123 byt"),
        (lambda: CloseFrame(after_messages=1, code=None, reason="x"), "reason must be empty"),
        (lambda: CloseFrame(at="inside_message"), "at must be 'after_head' or"),
        (lambda: CloseFrame(after_messages=1, direction="to_server"), "must be 'to_client', not"),
        (lambda: WrongAccept(accept="a\nb"), "accept must be printable ASCII"),
        (lambda: ReservedBits(bits=0), "bits must be an integer from 1 to 7, not 0"),
        (lambda: ReservedBits(bits=8), "bits must be an integer from 1 to 7, not 8"),
        (lambda: Fragment(parts=1), "parts must be an integer from 2 to 1000, not 1"),
        (lambda: Fragment(pause=-1), "pause must be a finite number of at least 0"),
        (lambda: LatePongs(seconds=-1), "seconds must be a finite number of at least 0"),
        (lambda: SwallowPings(after_seconds=-1), "after_seconds must be a finite number"),
    ],
)
def test_what_is_wrong_is_told(make, words):
    with pytest.raises(ScheduleError) as caught:
        make()
    assert words in str(caught.value)


async def test_who_is_ignored_does_not_hear_of_the_servers_end_either(serve, dial):
    """A server ends TCP by itself after a while; the docstring says that no end comes."""
    ignored = trio.Event()

    async def handler(plain):
        await plain.accept_websocket()
        await ignored.wait()
        await plain.aclose()

    upstream = await serve(handler)
    async with open_proxy(upstream.ws_url, schedule=[IgnoreClose()]) as proxy:
        client = await dial(proxy.port)
        await client.upgrade()
        await client.say(CLOSE, b"\x03\xe8")
        with trio.fail_after(2):
            await proxy.wait_until(lambda: bool(proxy.injected))
        ignored.set()
        await client.silence(0.2)
        await client.aclose()
