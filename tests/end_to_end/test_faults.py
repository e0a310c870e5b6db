"""Each fault of the issue's list, over both transports: the cause that it has, and the recovery."""

from __future__ import annotations

import errno
import json
import time

import pytest
import trio
import trio.testing

import moored
from moored import State
from moored.faults import Cut, Refuse, Stall, open_proxy, open_server

LIMIT = 5.0


def errnos(exception):
    """The error numbers on the way to ``exception``."""
    found, pending = set(), [exception]
    while pending:
        each = pending.pop()
        if each is not None:
            found.add(getattr(each, "errno", None))
            pending += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
    return found


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_drops_lose_and_repeat_nothing(feed, quick, causes, how):
    schedule = [Cut(after_messages=3, how=how, connection=(1, 2, 3))]
    async with open_server() as server, open_proxy(server.url, schedule=schedule) as proxy:
        with trio.fail_after(LIMIT):
            async with feed.open(proxy, policy=quick()) as stream:
                assert await feed.numbers(stream) == list(range(1, 21))
    *drops, end = await causes(stream)
    code = 1006 if feed.name == "websocket" else None
    assert drops == [moored.AbnormalClosure(code)] * 3
    for drop in drops:
        assert (errno.ECONNRESET in errnos(drop.exception)) == (how == "rst")
    if feed.name == "websocket":
        assert end == moored.PeerClosed(1000)
    else:
        assert end == moored.Completed("the terminator came")
    assert proxy.injected_counts == {"cut": 3}
    assert [request.resumed_after for request in server.requests] == [None, 3, 6, 9]
    assert stream.stats.connections == 4
    assert stream.stats.duplicates_dropped == 0
    assert stream.stats.gaps == 0


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_cut_inside_a_message_invents_nothing(feed, quick, causes, how):
    schedule = [Cut(after_bytes=70, how=how, connection=1)]
    async with open_server() as server, open_proxy(server.url, schedule=schedule) as proxy:
        with trio.fail_after(LIMIT):
            async with feed.open(proxy, policy=quick()) as stream:
                assert await feed.numbers(stream) == list(range(1, 21))
    drop, _ = await causes(stream)
    assert drop == moored.AbnormalClosure(1006 if feed.name == "websocket" else None)


@pytest.mark.faults(Stall(after_messages=4, pings="answered", connection=1))
async def test_stall_with_answered_pings_is_caught_by_the_idle_timeout(
    feed, quick, causes, fault_proxy
):
    # SSE has no pings: nobody can answer there, so its heartbeat is off.
    heartbeat = moored.Heartbeat(0.03, 0.1) if feed.name == "websocket" else None
    policy = quick(idle_timeout=0.3, heartbeat=heartbeat)
    with trio.fail_after(LIMIT):
        async with feed.open(fault_proxy, policy=policy) as stream:
            assert await feed.numbers(stream) == list(range(1, 21))
    stall, _ = await causes(stream)
    assert isinstance(stall, moored.Stalled)
    assert stall.silent_for == pytest.approx(0.3, abs=0.2)
    assert not stall.before_first
    assert fault_proxy.injected_counts == {"stall": 1}


@pytest.mark.faults(Stall(after_messages=4, pings="swallowed", connection=1))
async def test_stall_with_swallowed_pings_is_caught_by_the_heartbeat(
    feed, quick, causes, fault_proxy
):
    policy = quick(idle_timeout=20.0, heartbeat=moored.Heartbeat(0.1, 0.1))
    with trio.fail_after(LIMIT):
        async with feed.open(fault_proxy, policy=policy) as stream:
            assert await feed.numbers(stream) == list(range(1, 21))
    stall, _ = await causes(stream)
    assert isinstance(stall, moored.HeartbeatLost)
    assert stall.silent_for == pytest.approx(0.2, abs=0.15)
    passed = [each.target async for each in stream.transitions()]
    assert passed[:4] == [State.CONNECTING, State.OPEN, State.HEARTBEATING, State.BACKOFF]


async def test_a_peer_that_answers_pings_is_left_alone(feed, quick):
    """The same heartbeat over a quiet and healthy stream: no alarm."""
    policy = quick(heartbeat=moored.Heartbeat(0.05, 0.1))
    async with open_server(keepalive=0.05) as server, open_proxy(server.url) as proxy:
        with trio.fail_after(LIMIT):
            async with feed.open(proxy, "?count=3&pace=0.2", policy=policy) as stream:
                assert await feed.numbers(stream) == [1, 2, 3]
    assert stream.stats.connections == 1


@pytest.mark.faults(Refuse(times=2, status=429, retry_after=0.25, body="slow down"))
async def test_429_waits_at_least_as_long_as_it_says(feed, quick, causes, fault_proxy):
    with trio.fail_after(LIMIT):
        async with feed.open(fault_proxy, policy=quick()) as stream:
            assert await feed.numbers(stream) == list(range(1, 21))
    first, second, _ = await causes(stream)
    for refusal in (first, second):
        assert isinstance(refusal, moored.RateLimited)
        assert refusal.retry_after == 0.25
        assert refusal.body == b"slow down"
        assert ("retry-after", "0.25") in refusal.headers
    accepted = [connection.accepted for connection in fault_proxy.connections]
    assert accepted[1] - accepted[0] >= 0.25
    assert accepted[2] - accepted[1] >= 0.25


@pytest.mark.faults(Refuse(status=401, body="who are you?"))
async def test_401_stops_at_once_with_one_clear_error(feed, quick, fault_proxy):
    with trio.fail_after(LIMIT):
        async with feed.open(fault_proxy, policy=quick()) as stream:
            with pytest.raises(moored.StreamError) as caught:
                await feed.numbers(stream)
    assert fault_proxy.connection_count == 1
    error = caught.value
    assert isinstance(error.cause, moored.HandshakeRejected)
    assert error.cause.status == 401
    assert error.cause.body == b"who are you?"
    assert error.causes == (error.cause,)
    assert error.gave_up == ""
    assert str(error) == "rejected with status 401"
    assert stream.state is State.CLOSED


@pytest.mark.faults(Refuse(status=401))
async def test_the_error_comes_out_of_the_block_as_it_is(feed, quick, fault_proxy):
    with pytest.raises(moored.StreamError), trio.fail_after(LIMIT):
        async with feed.open(fault_proxy, policy=quick()) as stream:
            await stream.receive()


CHAT = {"model": "mock", "stream": True, "messages": [{"role": "user", "content": "hello"}]}


async def collect(stream, found):
    async for message in stream:
        found.append(message)


def deltas(events):
    texts = []
    for event in events:
        for choice in json.loads(event.data)["choices"]:
            texts.append(choice["delta"].get("content", ""))
    return "".join(texts)


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_post_cut_after_its_first_event_is_not_repeated(quick, how):
    schedule = [Cut(after_messages=1, how=how, connection=1)]
    async with open_server() as server, open_proxy(server.url, schedule=schedule) as proxy:
        url = proxy.url + "/v1/chat/completions"
        delivered = []
        with trio.fail_after(LIMIT):
            async with moored.open_sse(
                url, json=CHAT, policy=quick(), terminator="[DONE]"
            ) as stream:
                with pytest.raises(moored.StreamInterrupted) as caught:
                    await collect(stream, delivered)
        assert len(server.requests) == 1
    assert len(delivered) == 1
    assert caught.value.received == tuple(delivered)
    assert caught.value.received_all
    assert caught.value.cause == moored.AbnormalClosure()
    assert stream.stats.attempts == 1


@pytest.mark.faults(Cut(after_messages=0, connection=1), Refuse(status=503, connection=2))
async def test_a_post_is_repeated_before_its_first_event(quick, causes, fault_proxy):
    url = fault_proxy.url + "/v1/chat/completions"
    with trio.fail_after(LIMIT):
        async with moored.open_sse(url, json=CHAT, policy=quick(), terminator="[DONE]") as stream:
            events = [event async for event in stream]
    drop, refusal, end = await causes(stream)
    assert drop == moored.AbnormalClosure()
    assert refusal.status == 503
    assert end == moored.Completed("the terminator came")
    assert deltas(events)
    assert stream.stats.gaps == 0


@pytest.mark.faults(Cut(after_messages=1, connection=1))
async def test_a_post_cut_after_its_first_event_is_repeated_where_chosen(
    quick, causes, fault_proxy, fault_server
):
    url = fault_proxy.url + "/v1/chat/completions"
    with trio.fail_after(LIMIT):
        async with moored.open_sse(
            url, json=CHAT, policy=quick(), terminator="[DONE]", repeat=True, gaps=True
        ) as stream:
            items = [item async for item in stream]
    assert len(fault_server.requests) == 2
    # The first event, word that continuity is not known, and the whole answer again.
    assert isinstance(items[1], moored.Gap)
    assert deltas(items[2:])
    drop, end = await causes(stream)
    assert drop == moored.AbnormalClosure()
    assert end == moored.Completed("the terminator came")


@pytest.mark.faults(Cut(after_messages=1, connection=1))
async def test_a_chat_over_websocket_says_that_it_was_cut(quick, fault_proxy):
    """There is no request to repeat there: what to do on a new connection is the user's to say."""
    policy = quick(reconnect={"attempts": 0})
    with trio.fail_after(LIMIT):
        async with moored.open_websocket(
            fault_proxy.ws_url + "/v1/chat/stream", policy=policy
        ) as stream:
            await stream.send(json.dumps(CHAT))
            received = []
            with pytest.raises(moored.StreamError) as caught:
                await collect(stream, received)
    assert len(received) == 1
    assert caught.value.causes == (moored.AbnormalClosure(1006),)


@pytest.mark.parametrize("count", [150])
async def test_150_streams_at_once(feed, quick, causes, count):
    """All of them are open at one time: no pool of connections caps them."""
    open_now = 0
    all_open = trio.Event()
    results = {}

    async def one(number, peer):
        nonlocal open_now
        async with feed.open(peer, "?count=4&pace=0.05", policy=quick()) as stream:
            first = feed.number(await stream.receive())
            open_now += 1
            if open_now == count:
                all_open.set()
            await all_open.wait()
            results[number] = [first, *(await feed.numbers(stream))]

    async with open_server() as server:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for number in range(count):
                    nursery.start_soon(one, number, server)
    assert results == {number: [1, 2, 3, 4] for number in range(count)}


async def test_refused_port(feed, quick):
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    with trio.fail_after(LIMIT):
        async with feed.open(port, policy=quick(reconnect={"attempts": 2})) as stream:
            with pytest.raises(moored.StreamError) as caught:
                await stream.receive()
    assert [cause.stage for cause in caught.value.causes] == ["tcp"] * 2
    for cause in caught.value.causes:
        assert errno.ECONNREFUSED in errnos(cause.exception)
    assert caught.value.gave_up


async def test_a_port_that_opens_later_heals(feed, quick, causes):
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    policy = quick(reconnect={"attempts": None})
    with trio.fail_after(LIMIT):
        async with feed.open(port, policy=policy) as stream:
            await stream.wait_for(State.BACKOFF)
            async with open_server(port=port):
                assert await feed.numbers(stream) == list(range(1, 21))
    first, *_, _end = await causes(stream)
    assert first.stage == "tcp"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\x17garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"+OK POP3\r\n-ERR what?\r\n\r\n",
        b"HTTP/1.1 200\x00 OK\r\n\r\n",
    ],
)
async def test_garbage_instead_of_a_handshake(feed, quick, serve, garbage):
    async def handler(stream):
        await stream.receive_some()
        await stream.send_all(garbage)

    port = await serve(handler)
    with trio.fail_after(LIMIT):
        async with feed.open(port, policy=quick(reconnect={"attempts": 2})) as stream:
            with pytest.raises(moored.StreamError) as caught:
                await stream.receive()
    assert len(caught.value.causes) == 2
    for cause in caught.value.causes:
        assert isinstance(cause, moored.ProtocolViolation)


async def test_a_peer_that_hangs_up_before_it_answered(feed, quick, serve):
    async def handler(stream):
        await stream.receive_some()
        await stream.send_all(b"220 mail ESMTP\r\n")

    port = await serve(handler)
    with trio.fail_after(LIMIT):
        async with feed.open(port, policy=quick(reconnect={"attempts": 2})) as stream:
            with pytest.raises(moored.StreamError) as caught:
                await stream.receive()
    assert [cause.stage for cause in caught.value.causes] == ["handshake", "handshake"]


async def test_a_server_that_never_answers(feed, quick, serve):
    async def handler(stream):
        while await stream.receive_some():
            pass

    port = await serve(handler)
    policy = quick(connect_timeout=0.1, reconnect={"attempts": 2})
    with trio.fail_after(LIMIT):
        async with feed.open(port, policy=policy) as stream:
            with pytest.raises(moored.StreamError) as caught:
                await stream.receive()
    assert [cause.stage for cause in caught.value.causes] == ["timeout", "timeout"]


async def test_a_slow_consumer_raises_no_false_alarm(feed, quick, causes):
    """The consumer sleeps for longer than both clocks allow; the stream waits with it."""
    policy = quick(
        idle_timeout=0.15,
        heartbeat=moored.Heartbeat(0.05, 0.1),
        inbox_messages=2,
    )
    query = "?count=40"
    async with open_server() as server, open_proxy(server.url) as proxy:
        with trio.fail_after(LIMIT):
            async with feed.open(proxy, query, policy=policy) as stream:
                found = [feed.number(await stream.receive())]
                await trio.sleep(0.5)
                found += await feed.numbers(stream)
    assert found == list(range(1, 41))
    (end,) = await causes(stream)
    assert isinstance(end, moored.PeerClosed | moored.Completed)
    assert stream.stats.connections == 1
    assert len(server.requests) == 1


async def test_a_slow_consumer_holds_up_the_server_not_the_memory(feed, quick):
    """What is not consumed stays with the server: TCP's backpressure reaches it."""
    policy = quick(inbox_messages=2)
    async with open_server() as server:
        with trio.fail_after(LIMIT):
            async with feed.open(server, "?follow=1", policy=policy) as stream:
                await stream.receive()
                before = -1
                while before != server.requests[0].sent:  # until nothing moves any more
                    before = server.requests[0].sent
                    await trio.sleep(0.1)
                waiting = stream.stats.inbox
    assert server.requests[0].sent > waiting
    # One read of at most 64 KiB, of messages of about 30 bytes, on top of the bound.
    assert waiting < 2 + 64 * 1024 / 30


def task_names():
    """The names of every task but the helpers of the test itself."""
    found, pending = [], [trio.lowlevel.current_root_task()]
    while pending:
        task = pending.pop()
        found.append(task.name)
        for nursery in task.child_nurseries:
            pending += nursery.child_tasks
    return sorted(found)


async def until(condition):
    """The server's ends of connections close a moment after ours."""
    with trio.fail_after(LIMIT):
        while not condition():  # noqa: ASYNC110 - descriptors tell nobody when they close
            await trio.sleep(0.01)


async def silent(stream):
    while await stream.receive_some():
        pass


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
async def test_cancellation_in_every_state_leaves_nothing(feed, quick, serve, descriptors, state):
    schedules = {
        State.CONNECTING: [],
        State.OPEN: [],
        State.HEARTBEATING: [Stall(after_messages=1, pings="swallowed")],
        State.BACKOFF: [Refuse(status=503, retry_after=60)],
        State.CLOSED: [Refuse(status=401)],
    }
    heartbeat = moored.Heartbeat(0.02, 60) if state is State.HEARTBEATING else None
    policy = quick(heartbeat=heartbeat)
    port = await serve(silent)
    async with (
        open_server() as server,
        open_proxy(server.url, schedule=schedules[state]) as proxy,
    ):
        await trio.testing.wait_all_tasks_blocked()
        tasks, open_before = task_names(), descriptors()
        peer = port if state is State.CONNECTING else proxy
        with trio.fail_after(LIMIT), trio.CancelScope() as scope:
            async with feed.open(peer, "?follow=1&pace=30", policy=policy) as stream:
                if state is not State.CONNECTING:
                    await stream.wait_for(state)
                else:
                    await trio.sleep(0.02)
                assert stream.state is state
                began = time.monotonic()
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert time.monotonic() - began < 1.5
        assert stream.state is State.CLOSED
        await until(lambda: (descriptors(), task_names()) == (open_before, tasks))


async def test_cancellation_while_closing_leaves_nothing(feed, quick, descriptors):
    """The peer never answers the close; our own scope ends before the bound on closing does."""
    schedule = [Stall(after_messages=1, pings="swallowed")]
    async with open_server() as server, open_proxy(server.url, schedule=schedule) as proxy:
        await trio.testing.wait_all_tasks_blocked()
        tasks, open_before = task_names(), descriptors()
        began = time.monotonic()
        with trio.move_on_after(0.3):
            async with feed.open(proxy, "?follow=1", policy=quick()) as stream:
                await stream.receive()
                await stream.aclose()
        assert time.monotonic() - began < 2.0
        await until(lambda: (descriptors(), task_names()) == (open_before, tasks))


@pytest.mark.faults(Stall(after_messages=1, pings="swallowed"))
async def test_closing_is_bounded_with_a_peer_that_never_answers(feed, quick, fault_proxy):
    policy = quick(close_timeout=0.2)
    async with feed.open(fault_proxy, "?follow=1", policy=policy) as stream:
        await stream.receive()
        began = time.monotonic()
    assert time.monotonic() - began < 0.8
    assert stream.state is State.CLOSED
    assert stream.cause == moored.ClosedByUs()


async def test_leaving_early_leaves_nothing(feed, quick, descriptors):
    async with open_server() as server:
        await trio.testing.wait_all_tasks_blocked()
        tasks, open_before = task_names(), descriptors()
        with trio.fail_after(LIMIT):
            async with feed.open(server, "?follow=1", policy=quick()) as stream:
                async for _ in stream:
                    break
            await until(lambda: (descriptors(), task_names()) == (open_before, tasks))
        assert not server.requests[0].complete
