"""Faults of TCP in a schedule, as a plain client sees them."""

import math
import os
from contextlib import suppress

import pytest
import trio
import trio.testing

from moored.faults import (
    Bandwidth,
    Corrupt,
    Cut,
    Down,
    HalfOpen,
    Latency,
    LimitData,
    NeverAnswer,
    Proxy,
    Refuse,
    ResetPeer,
    ScheduleError,
    Server,
    Slicer,
    SlowClose,
    Timeout,
    duplex,
    open_proxy,
)
from moored.faults.tcp import peer_watch, stages

GET = b"GET /feed HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = "HTTP/1.1 200 OK\nContent-Length: 10"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123456789"


@pytest.fixture
async def timed(memory, nursery):
    """Call it with a schedule: what a client gets, and when, for a virtual clock."""

    async def run(*schedule, ends=True):
        async def connect():
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(answer, theirs)
            return ours

        async def answer(stream):
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += await stream.receive_some()
            await stream.send_all(
                ANSWER.replace(b"Connection: close\r\n", b"")[: None if ends else -1]
            )
            if not ends:
                await trio.sleep_forever()

        proxy = Proxy("http://f.test", schedule=schedule, seed=3, connect_upstream=connect)
        start = trio.current_time()
        client = await memory(proxy)
        client.limit = math.inf
        got = []
        with trio.move_on_after(1000) as scope:
            await client.send(GET)
            try:
                while data := await client.stream.receive_some():
                    got.append((trio.current_time() - start, bytes(data)))
                got.append((trio.current_time() - start, "fin"))
            except trio.BrokenResourceError:
                got.append((trio.current_time() - start, "broken"))
        if scope.cancelled_caught:
            got.append((trio.current_time() - start, "nothing"))
        return got, proxy

    return run


def whole(got):
    return b"".join(data for _, data in got if isinstance(data, bytes))


async def test_bytes_are_late(timed, autojump_clock):
    got, proxy = await timed(Latency(latency=3))
    assert whole(got) == ANSWER
    assert [time for time, _ in got] == [3] * len(got)
    (injected,) = proxy.injected
    assert (injected.fault, injected.time, injected.detail) == (
        Latency(latency=3),
        0,
        "after 0 ms",
    )
    got, _ = await timed(Latency(latency=3, direction="to_server"), Latency(latency=1))
    assert whole(got) == ANSWER
    assert got[0][0] == 4


async def test_jitter_comes_from_the_seed(timed, autojump_clock):
    fault = Latency(latency=3, jitter=2)
    first, _ = await timed(fault)
    again, _ = await timed(fault)
    assert first == again
    assert 1 <= first[0][0] <= 5
    assert first[0][0] != 3


async def test_bytes_come_at_a_rate(timed, autojump_clock):
    got, _ = await timed(Bandwidth(rate=10))
    assert whole(got) == ANSWER
    assert got[-1][0] == pytest.approx(len(ANSWER) / 10, abs=0.2)
    assert max(len(data) for _, data in got[:-1]) == 1
    got, _ = await timed(Bandwidth(rate=0))
    assert got == [(1000, "nothing")]


async def test_bytes_come_in_small_pieces(timed, autojump_clock):
    got, _ = await timed(Slicer(average_size=3, delay=1))
    assert whole(got) == ANSWER
    assert max(len(data) for _, data in got[:-1]) <= 3
    assert len({time for time, _ in got[:-1]}) >= len(ANSWER) / 3


async def test_the_connection_ends_after_so_many_bytes(timed, autojump_clock):
    got, _ = await timed(LimitData(bytes=20))
    assert whole(got) == ANSWER[:20]
    assert got[-1] == (0, "fin")


async def test_the_end_comes_late(timed, autojump_clock):
    got, _ = await timed(SlowClose(delay=30))
    assert whole(got) == ANSWER
    assert got[-2][0] == 0
    assert got[-1] == (30, "fin")


@pytest.mark.parametrize("direction", ["to_client", "to_server"])
async def test_a_black_hole_that_ends(timed, autojump_clock, direction):
    got, _ = await timed(Timeout(timeout=7, direction=direction), ends=False)
    assert got == [(7, "fin")]


async def test_a_black_hole_for_ever(timed, autojump_clock):
    got, _ = await timed(Timeout(), ends=False)
    assert got == [(1000, "nothing")]
    got, _ = await timed(Timeout())
    assert got == [(0, "fin")]  # The server had ended its answer.


@pytest.mark.parametrize("fault", [HalfOpen(), NeverAnswer()])
async def test_nothing_ever_comes(timed, autojump_clock, fault):
    got, proxy = await timed(fault)
    assert got == [(1000, "nothing")]
    assert proxy.injected[0].fault == fault


@pytest.mark.parametrize("kind", [HalfOpen, NeverAnswer])
@pytest.mark.parametrize("by_hand", [False, True])
async def test_nothing_comes_any_more(memory, into_memory, autojump_clock, kind, by_hand):
    """Not even the end of the feed; where the fault has its time, the rest comes after it."""
    for seconds in (None, 50):
        fault = kind(after_seconds=None if by_hand else 2.5, for_seconds=seconds)
        proxy = Proxy(
            "http://f.test",
            schedule=[] if by_hand else [fault],
            connect_upstream=into_memory(Server(pace=1)),
            controlled=True,
        )
        client = await memory(proxy)
        client.limit = math.inf
        await client.send(GET.replace(b"/feed", b"/feed?count=5"))
        await trio.sleep(2.5)
        assert not by_hand or proxy.strike(fault) == 1
        assert (await client.until(b'message 3"}\n\n\r\n')).count(b"data:") == 3
        await client.silence(30)
        if seconds is None:
            await client.silence(1000)
            assert proxy.open_connections
        else:
            rest, _ = await client.rest()
            assert rest.count(b"data:") == 3  # the end message too


async def test_bytes_are_corrupt(timed, autojump_clock):
    got, _ = await timed(Corrupt(offsets=[0, 13]))
    data = whole(got)
    wrong = [place for place in range(len(ANSWER)) if data[place] != ANSWER[place]]
    assert wrong == [0, 13]
    assert len(data) == len(ANSWER)


async def test_a_fault_has_its_time(timed, autojump_clock):
    got, proxy = await timed(Bandwidth(rate=0, for_seconds=12.5))
    assert whole(got) == ANSWER
    assert got[0][0] == 12.5
    got, proxy = await timed(Latency(latency=4, after_seconds=100))
    assert got[-1] == (0, "fin")
    assert proxy.injected == ()


async def test_a_fault_may_begin_later(memory, into_memory, autojump_clock):
    schedule = [Latency(latency=4, after_seconds=25)]
    server = Server(pace=10)
    proxy = Proxy("ws://f.test", schedule=schedule, connect_upstream=into_memory(server))
    client = await memory(proxy)
    client.limit = math.inf
    await client.upgrade("/feed?resume=0&count=4")
    start, times = trio.current_time(), []
    for _ in range(4):
        await client.frame()
        times.append(trio.current_time() - start)
    assert times == [0, 10, 20, 34]
    assert proxy.injected[0].detail == "after 25 s"


async def test_a_fault_may_aim_at_a_path_and_an_attempt(timed, autojump_clock):
    got, _ = await timed(Latency(latency=4, path="/other"), Latency(latency=5, attempt=2))
    assert got[-1][0] == 0
    got, proxy = await timed(Latency(latency=4, path="/feed", times=1))
    assert got[0][0] == 4
    assert proxy.injected[0].path == "/feed"


async def test_faults_of_all_layers_add_up(timed, autojump_clock):
    got, proxy = await timed(Latency(latency=2), Refuse(status=503), Slicer(average_size=1))
    assert whole(got).startswith(b"HTTP/1.1 503 ")
    assert got[0][0] == 2
    assert proxy.injected_counts == {"latency": 1, "slicer": 1, "refuse": 1}
    got, _ = await timed(Latency(latency=2), Cut(after_bytes=4))
    assert whole(got) == ANSWER[:-6]
    assert got[-1] == (2, "fin")


# On sockets, where the end differs


@pytest.mark.parametrize("how", ["rst", "fin"])
async def test_the_server_is_down(http_upstream, dial, how):
    upstream = await http_upstream(HEAD, b"0123456789")
    async with open_proxy(upstream.url, schedule=[Down(how=how, times=2)]) as proxy:
        for _ in range(2):
            client = await dial(proxy.port)
            assert await client.rest() == (b"", how)
        client = await dial(proxy.port)
        assert (await client.get())[0] == 200
        assert proxy.injected_counts == {"down": 2}
        assert proxy.connections[0].outcome == "cut"


@pytest.mark.parametrize("direction", ["to_client", "to_server"])
async def test_the_peer_resets(http_upstream, dial, direction):
    upstream = await http_upstream(HEAD, b"0123456789")
    async with open_proxy(upstream.url, schedule=[ResetPeer(direction=direction)]) as proxy:
        client = await dial(proxy.port)
        await client.send(GET)
        assert await client.rest() == (b"", "rst")


@pytest.mark.parametrize("how", ["rst", "fin"])
async def test_cuts_end_as_they_should_behind_a_latency(http_upstream, dial, how):
    upstream = await http_upstream(HEAD, b"0123456789", lambda plain: plain.rest())
    schedule = [Latency(latency=0.1), Cut(after_bytes=4, how=how)]
    async with open_proxy(upstream.url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.send(GET)
        assert await client.rest() == (ANSWER[:-6], how)


@pytest.mark.parametrize(
    ("fault", "seen"), [(LimitData(bytes=20), ANSWER[:20]), (Slicer(average_size=3), ANSWER)]
)
async def test_the_same_on_sockets(http_upstream, dial, fault, seen):
    upstream = await http_upstream(HEAD, b"0123456789", lambda plain: plain.rest())
    async with open_proxy(upstream.url, schedule=[fault]) as proxy:
        client = await dial(proxy.port)
        await client.send(GET)
        assert await client.rest() == (seen, "fin")


@pytest.mark.parametrize(
    "fault",
    [
        Latency(latency=0.1),
        Latency(latency=0.1, direction="to_server"),
        Bandwidth(rate=500),
        SlowClose(delay=0.1),
    ],
)
async def test_it_takes_time_on_sockets(http_upstream, dial, fault):
    upstream = await http_upstream(HEAD, b"0123456789")
    async with open_proxy(upstream.url, schedule=[fault]) as proxy:
        client = await dial(proxy.port)
        start = trio.current_time()
        await client.send(GET)
        assert await client.rest() == (ANSWER, "fin")
        assert 0.1 <= trio.current_time() - start < 2


@pytest.mark.parametrize("fault", [Timeout(timeout=0.1), NeverAnswer(), HalfOpen()])
async def test_silence_on_sockets(http_upstream, dial, fault):
    upstream = await http_upstream(HEAD, b"012345678", lambda plain: plain.rest())
    async with open_proxy(upstream.url, schedule=[fault]) as proxy:
        client = await dial(proxy.port)
        await client.send(GET)
        await client.silence()
        if isinstance(fault, Timeout):
            assert await client.rest() == (b"", "fin")


async def test_corrupt_bytes_on_sockets(http_upstream, dial):
    upstream = await http_upstream(HEAD, b"0123456789")
    async with open_proxy(upstream.url, schedule=[Corrupt(offsets=[2])]) as proxy:
        client = await dial(proxy.port)
        await client.send(GET)
        data, ending = await client.rest()
        assert ending == "fin"
        assert data[2] != ANSWER[2]
        assert data[:2] + data[3:] == ANSWER[:2] + ANSWER[3:]


async def test_the_proxy_ends_while_a_peer_is_half_open(http_upstream, dial):
    upstream = await http_upstream(HEAD, b"0123456789")
    with trio.fail_after(5):
        async with open_proxy(upstream.url, schedule=[HalfOpen()]) as proxy:
            client = await dial(proxy.port)
            await client.send(GET)
            await client.silence()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Latency(latency=-1), "latency must be a finite number of at least 0, not -1"),
        (lambda: Latency(direction="x"), "direction must be 'to_client' or 'to_server', not 'x'"),
        (lambda: Latency(after_seconds=-1), "after_seconds must be a finite number of at least 0"),
        (lambda: Latency(for_seconds="x"), "for_seconds must be a finite number of at least 0"),
        (lambda: LimitData(bytes=1.5), "bytes must be an integer of at least 0, not 1.5"),
        (lambda: Corrupt(share=2), "share must be a number from 0 to 1, not 2"),
        (lambda: Corrupt(offsets="x"), "offsets must be"),
        (lambda: Down(how="x"), "how must be 'fin' or 'rst', not 'x'"),
        (lambda: Down(path="/x"), "path must be left out: there is no request yet, not '/x'"),
        (lambda: Down(attempt=1), "attempt must be left out: there is no request yet, not 1"),
    ],
)
def test_what_is_wrong_is_told(make, words):
    with pytest.raises(ScheduleError) as caught:
        make()
    assert words in str(caught.value)


BLACK_HOLES = [
    [NeverAnswer()],
    [HalfOpen()],
    [HalfOpen(path="/feed")],
    [Bandwidth(rate=0)],
    [Bandwidth(rate=0), Bandwidth(rate=0, direction="to_server")],
    [Timeout()],
]


@pytest.mark.parametrize("schedule", BLACK_HOLES)
@pytest.mark.parametrize("pace", [1, 0])
async def test_a_client_that_has_left_is_let_go(
    memory, into_memory, autojump_clock, schedule, pace
):
    """Or sockets would pile up with each client that gives up."""
    server = Server(pace=pace)
    proxy = Proxy("http://f.test", schedule=schedule, connect_upstream=into_memory(server))
    client = await memory(proxy)
    await client.send(GET.replace(b"/feed", b"/feed?follow=1" if pace else b"/feed"))
    await trio.sleep(3)
    await client.stream.send_eof()
    with trio.fail_after(11):
        await proxy.wait_until(lambda: proxy.connections[0].ended is not None)


@pytest.mark.parametrize("schedule", BLACK_HOLES)
@pytest.mark.parametrize("more", [b"", bytes(1 << 25)])
async def test_the_same_on_sockets_after_a_reset(http_upstream, dial, schedule, more):
    async def endless(plain):
        while True:
            await plain.send(b"x" * 100_000)
            await trio.sleep(0.01)

    upstream = await http_upstream("HTTP/1.1 200 OK", b"", endless)
    async with open_proxy(upstream.url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.send(GET)
        with trio.move_on_after(0.1):
            await client.stream.send_all(more)
        await trio.sleep(0.05)
        assert proxy.open_connections
        linger = b"\1\0\0\0\0\0\0\0"
        client.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
        await client.aclose()
        with trio.fail_after(1):
            await proxy.wait_until(lambda: not proxy.open_connections)


@pytest.mark.parametrize("schedule", BLACK_HOLES)
async def test_a_client_that_stays_hears_no_end(http_upstream, dial, schedule, monkeypatch):
    for module in (duplex, peer_watch, stages):
        monkeypatch.setattr(module, "HALF_CLOSED_GRACE", 0.05)
    answered = trio.Event()
    upstream = await http_upstream("HTTP/1.1 200 OK", b"01", lambda plain: answered.wait())
    async with open_proxy(upstream.url, schedule=schedule) as proxy:
        client = await dial(proxy.port)
        await client.send(GET)
        await client.silence(0.1)
        if schedule != [Timeout()]:  # which ends where the server does
            answered.set()
        await client.silence(0.15)
        assert proxy.open_connections
        before = len(os.listdir("/proc/self/fd"))
        await client.aclose()
        with trio.fail_after(1):
            await proxy.wait_until(lambda: not proxy.open_connections)
        assert len(os.listdir("/proc/self/fd")) <= before - 2


# With a path or an attempt: the request is the first that is struck


POST = b"POST /feed HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"
AIMS = [{"path": "/feed"}, {"attempt": 1}, {"path": "/feed", "attempt": range(1, 3)}]


@pytest.fixture
async def asked(memory, nursery):
    """Call it with a schedule and what to send: what client and server get, and when the end is."""

    async def ask(*schedule, send=GET, seconds=1000.0, eof=False, **settings):
        heard = []

        async def connect():
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(answer, theirs)
            return ours

        async def answer(stream):
            request = b""
            with suppress(trio.BrokenResourceError):
                while data := await stream.receive_some():
                    heard.append((trio.current_time() - start, bytes(data)))
                    request += data
                    if request.endswith(b"9" if request.startswith(b"POST") else b"\r\n\r\n"):
                        await stream.send_all(ANSWER)

        proxy = Proxy("http://f.test", schedule=schedule, connect_upstream=connect, **settings)
        start = trio.current_time()
        client = await memory(proxy)
        got = []
        with trio.move_on_after(seconds):
            await client.send(send)
            if eof:
                await client.stream.send_eof()
            try:
                while data := await client.stream.receive_some():
                    got.append((trio.current_time() - start, bytes(data)))
                got.append((trio.current_time() - start, "fin"))
            except trio.BrokenResourceError:
                got.append((trio.current_time() - start, "broken"))
        await trio.testing.wait_all_tasks_blocked()  # The client may hear of the end first.
        return got, heard, proxy

    return ask


@pytest.mark.parametrize("aim", AIMS)
@pytest.mark.parametrize("kind", [ResetPeer, Timeout])
@pytest.mark.parametrize("send", [GET, POST])
async def test_the_request_aimed_at_is_lost(asked, autojump_clock, kind, aim, send):
    fault = kind(timeout=3, direction="to_server", **aim)
    got, heard, proxy = await asked(fault, send=send)
    assert got == [(3, "fin")]  # in memory there is no reset to be seen
    assert heard == []
    [injected] = proxy.injected
    assert (injected.fault, injected.path, injected.time) == (fault, "/feed", 0)
    assert proxy.connections[0].path == "/feed"


@pytest.mark.parametrize("aim", AIMS)
@pytest.mark.parametrize("kind", [ResetPeer, Timeout, LimitData, Latency, Corrupt, SlowClose])
async def test_the_request_not_aimed_at_passes(asked, autojump_clock, kind, aim):
    elsewhere = {name: {"path": "/x", "attempt": 7}[name] for name in aim}
    got, heard, proxy = await asked(kind(direction="to_server", **elsewhere))
    assert whole(got).endswith(b"0123456789")
    assert heard
    assert proxy.injected == ()


@pytest.mark.parametrize("aim", AIMS)
async def test_the_request_aimed_at_is_limited(asked, autojump_clock, aim):
    head = len(POST) - 10
    for limit in (0, 5, head - 1):
        fault = LimitData(bytes=limit, direction="to_server", **aim)
        got, heard, proxy = await asked(fault, send=POST)
        assert got == [(0, "fin")]
        assert heard == []  # which never gets a head that is not whole
        assert proxy.injected_counts == {"limit_data": 1}
    got, heard, proxy = await asked(
        LimitData(bytes=head + 4, direction="to_server", **aim), send=POST
    )
    assert got[-1][1] == "fin"
    assert whole(heard).partition(b"\r\n\r\n")[2] == b"0123"
    assert proxy.injected_counts == {"limit_data": 1}
    got, heard, proxy = await asked(LimitData(bytes=999, direction="to_server", **aim), send=POST)
    assert whole(heard).endswith(b"0123456789")
    assert whole(got)
    assert proxy.injected == ()  # It made no difference.


@pytest.mark.parametrize("eof", [False, True])
async def test_the_request_aimed_at_is_late(asked, autojump_clock, eof):
    fault = Latency(latency=4, direction="to_server", path="/feed")
    got, heard, proxy = await asked(fault, Latency(latency=1, direction="to_server"), eof=eof)
    assert heard[0][0] == 5
    assert whole(got)
    assert [each.seconds for each in proxy.injected] == [0, 1]


async def test_what_comes_behind_the_request_stays_behind_it(asked, autojump_clock):
    """Half of the body has been read with the head, the rest waits in another toxic."""
    schedule = [
        Slicer(average_size=1, direction="to_server"),
        Latency(latency=2, jitter=2, direction="to_server"),
        Latency(latency=3, direction="to_server", path="/feed"),
        Slicer(average_size=7, direction="to_server", attempt=1),
    ]
    _, heard, proxy = await asked(*schedule, send=POST)
    assert whole(heard).endswith(b"\r\n\r\n0123456789")
    assert proxy.injected_counts == {"slicer": 2, "latency": 2}


async def test_a_request_that_is_lost_is_not_refused_too(asked, autojump_clock):
    schedule = [
        Refuse(times=1),
        ResetPeer(timeout=1, direction="to_server", path="/feed", times=1),
    ]
    _, _, proxy = await asked(*schedule)
    assert proxy.injected_counts == {"reset_peer": 1}


async def test_a_lost_request_can_still_be_cut(asked, autojump_clock):
    lost = Timeout(direction="to_server", path="/feed")
    got, _, proxy = await asked(lost, Cut(after_seconds=5, path="/feed"))
    assert got == [(5, "fin")]
    assert proxy.injected_counts == {"timeout": 1, "cut": 1}


@pytest.mark.parametrize(
    "fault",
    [
        ResetPeer(direction="to_server", after_seconds=0.5),
        ResetPeer(direction="to_server", after_seconds=0.5, path="/feed"),
        LimitData(direction="to_server", after_seconds=0.5, path="/feed"),
        Timeout(direction="to_server", after_seconds=0.5, path="/feed"),
        Corrupt(offsets=[1000]),
        LimitData(bytes=1000),
        SlowClose(direction="to_server", delay=1, after_seconds=0.5),
    ],
)
async def test_what_makes_no_difference_is_not_injected(asked, autojump_clock, fault):
    got, _, proxy = await asked(fault, Latency(latency=2))
    assert whole(got)
    assert proxy.injected_counts == {"latency": 1}


async def test_a_reset_of_the_request_on_sockets(http_upstream, dial):
    upstream = await http_upstream(HEAD, b"0123456789")
    fault = ResetPeer(timeout=0.05, direction="to_server", path="/feed", attempt=1)
    async with open_proxy(upstream.url, schedule=[fault]) as proxy:
        client = await dial(proxy.port)
        await client.send(GET)
        assert await client.rest() == (b"", "rst")
        assert proxy.injected_counts == {"reset_peer": 1}
        client = await dial(proxy.port)
        assert (await client.get("/feed"))[0] == 200
