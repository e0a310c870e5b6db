"""Cancellation in every state: prompt, and nothing is left.  The fixtures look for what is left."""

from __future__ import annotations

import pytest
import trio
from wsproto import events as ws

import moored

from .support import (
    Lines,
    cut,
    goodbye,
    http,
    mute,
    our_tasks,
    raw,
    refusing,
    rest,
    settled,
    talking,
    websocket,
)

PROMPT = 0.5  # seconds


async def hold(_peer):
    """Say nothing at all, not even the answer to a ping or a close."""
    await trio.sleep_forever()


class Unreachable:
    """Dialling that never ends."""

    async def dial(self, host, port):
        await trio.sleep_forever()


async def cancelled_at(opened, when, use=None):
    """Cancel a stream's block at a time; return it, and the seconds that it took to be gone."""
    with trio.move_on_after(when) as scope:
        async with opened as stream:
            if use is not None:
                await use(stream)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert our_tasks() == []
    assert stream.state is moored.State.CLOSED
    return stream, trio.current_time() - when


def states(stream):
    return [t.target for t in stream._supervisor.history._kept]


async def test_while_dialling(clock, network):
    network.dial = Unreachable().dial
    stream, took = await cancelled_at(network.websocket(), 3)
    assert states(stream) == [moored.State.CONNECTING, moored.State.CLOSED]
    assert took == 0


@pytest.mark.parametrize("opener", ["websocket", "sse"])
async def test_while_shaking_hands(clock, network, opener):
    network.serve(mute)
    stream, took = await cancelled_at(getattr(network, opener)(), 3)
    assert states(stream) == [moored.State.CONNECTING, moored.State.CLOSED]
    assert took == 0


async def test_while_an_sse_answer_begins(clock, network):
    async def slowly(stream):
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Ty")
        await trio.sleep_forever()

    network.serve(slowly)
    _, took = await cancelled_at(network.sse(), 3)
    assert took == 0


@pytest.mark.parametrize("opener", ["websocket", "sse"])
async def test_while_the_body_of_a_refusal_is_read(clock, network, opener):
    async def slowly(stream):
        await stream.send_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nabc")
        await trio.sleep_forever()

    network.serve(slowly)
    _, took = await cancelled_at(getattr(network, opener)(), 0.25)
    assert took == 0


async def test_while_open_with_a_peer_that_answers(clock, network):
    network.serve(talking())
    stream, took = await cancelled_at(network.websocket(), 3)
    assert states(stream) == [
        moored.State.CONNECTING,
        moored.State.OPEN,
        moored.State.CLOSED,
    ]
    assert took == 0


async def test_while_open_with_a_peer_that_does_not(clock, network):
    network.serve(raw(hold))
    _, took = await cancelled_at(network.websocket(), 3)
    assert took <= PROMPT


async def test_a_live_peer_still_sees_a_close_frame(clock, network):
    seen = []

    async def watch(peer):
        try:
            await rest(peer)
        finally:
            seen.append(peer.closed.code)

    network.serve(websocket(watch))
    await cancelled_at(network.websocket(), 3)
    await settled()
    assert seen == [1000]


async def test_while_heartbeating(clock, network):
    network.serve(raw(hold))
    stream, took = await cancelled_at(network.websocket(), 25)
    assert states(stream)[-2] is moored.State.HEARTBEATING
    assert took <= PROMPT


async def test_while_backing_off(clock, network):
    network.serve(refusing(503, "Retry-After: 60"))
    stream, took = await cancelled_at(network.websocket(), 30)
    assert states(stream)[-2] is moored.State.BACKOFF
    assert took == 0


@pytest.mark.parametrize("opener", ["websocket", "sse"])
async def test_while_an_sse_or_websocket_stream_is_received(clock, network, opener):
    network.serve(talking("one") if opener == "websocket" else http(hold))

    async def consume(stream):
        async for _ in stream:
            pass

    _, took = await cancelled_at(getattr(network, opener)(), 3, consume)
    assert took <= PROMPT


async def test_while_the_inbox_is_full(clock, network):
    network.serve(talking(*(str(n) for n in range(500))))
    stream, took = await cancelled_at(network.websocket(), 100)
    assert stream.stats.inbox >= 256
    assert took <= PROMPT


async def test_while_a_send_waits_for_room(clock, network):
    network.dial = Unreachable().dial

    async def send_two(stream):
        await stream.send("one")
        await stream.send("two")

    policy = moored.Policy(outbox_messages=1)
    stream, took = await cancelled_at(network.websocket(policy=policy), 3, send_two)
    assert took == 0
    assert stream.stats.outbox == 1


@pytest.mark.parametrize("when", [0.1, 3])
async def test_while_closing_with_a_dead_peer(clock, network, when):
    network.serve(raw(hold))

    async def close(stream):
        await stream.wait_for(moored.State.OPEN)
        await stream.aclose()

    _, took = await cancelled_at(network.websocket(), when, close)
    assert took <= PROMPT


async def test_while_closing_at_the_end_of_the_block(clock, network):
    network.serve(raw(hold))

    async def leave(stream):
        await stream.wait_for(moored.State.OPEN)

    with trio.move_on_after(3) as scope:
        async with network.websocket() as stream:
            await leave(stream)
    assert scope.cancelled_caught
    assert trio.current_time() <= 3 + PROMPT


async def test_while_the_outbox_is_being_flushed(clock, network):
    network.dial = Unreachable().dial

    async def close(stream):
        await stream.send("never")
        await stream.aclose()

    _, took = await cancelled_at(network.websocket(), 3, close)
    assert took == 0


async def test_while_another_task_closes(clock, network, nursery):
    network.serve(raw(hold))

    async def close_elsewhere(stream):
        await stream.wait_for(moored.State.OPEN)
        nursery.start_soon(stream.aclose)
        await trio.sleep_forever()

    _, took = await cancelled_at(network.websocket(), 2, close_elsewhere)
    assert took <= PROMPT


async def test_while_the_peer_lingers_after_its_own_close(clock, network):
    async def close_and_linger(peer):
        await peer.say(ws.CloseConnection(code=1012))
        await trio.sleep_forever()

    network.serve(raw(close_and_linger))
    _, took = await cancelled_at(network.websocket(), 0.25)
    assert took <= PROMPT


@pytest.mark.parametrize("hook", ["headers", "url"])
async def test_while_a_credentials_hook_runs(clock, network, hook):
    network.serve(talking())
    stopped = []

    async def slow():
        try:
            await trio.sleep_forever()
        finally:
            stopped.append(hook)

    options = {"url": slow} if hook == "url" else {"headers": slow}
    _, took = await cancelled_at(network.websocket(**options), 3)
    assert stopped == [hook]
    assert took == 0


@pytest.mark.parametrize("hook", ["resume", "on_gap"])
async def test_while_a_hook_of_a_reconnection_runs(clock, network, hook):
    network.serve(talking(then=cut), talking())
    stopped = []

    async def slow(_):
        try:
            await trio.sleep_forever()
        finally:
            stopped.append(trio.current_time())

    stream, took = await cancelled_at(network.websocket(**{hook: slow}), 5)
    assert stopped == [5]
    assert stream.stats.attempts == 2
    assert took <= PROMPT


async def test_before_anything_has_happened(clock, network):
    network.serve(talking())
    with trio.CancelScope() as scope:
        scope.cancel()
        async with network.websocket() as stream:
            await stream.receive()
    assert scope.cancelled_caught
    assert trio.current_time() == 0


async def test_in_every_checkpoint_of_a_busy_life(clock, network):
    """Whatever moment the cancellation hits, nothing is left: the fixture looks."""
    network.serve(
        OSError("refused"), talking("a", "b", then=cut), talking("c", then=goodbye(1012)), talking()
    )
    policy = moored.Policy(reconnect=moored.Reconnect(initial=0.5, maximum=0.5))
    ticks = 0
    while ticks < 60:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as own:

                async def cancel_after(count, scope=scope):
                    for _ in range(count):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                own.start_soon(cancel_after, ticks)
                async with network.websocket(policy=policy) as stream:
                    async for _ in stream:
                        pass
        assert our_tasks() == []
        ticks += 1


# ---------------------------------------------------------------------------- single calls


async def test_a_cancelled_receive_loses_nothing(clock, clean):
    transport = Lines()
    got = []
    async with transport.open() as stream:
        line = await transport.line()
        for number in range(100):
            with trio.CancelScope() as scope:
                line.deliver(str(number))
                for _ in range(number % 5):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
                got.append(await stream.receive())
        with trio.move_on_after(1):
            while True:
                got.append(await stream.receive())
    assert got == [str(n) for n in range(100)]


async def test_a_receive_that_is_cancelled_as_a_message_comes_loses_nothing(clock, clean):
    transport = Lines()
    got = []

    async def take(scope, stream):
        with scope:
            got.append(await stream.receive())

    async with transport.open() as stream, trio.open_nursery() as own:
        line = await transport.line()
        for number in range(20):
            scope = trio.CancelScope()
            own.start_soon(take, scope, stream)
            await settled()
            line.deliver(str(number))
            for _ in range(number % 4):
                await trio.lowlevel.checkpoint()
            scope.cancel()
            await settled()
        with trio.move_on_after(1):
            while True:
                got.append(await stream.receive())
    assert got == [str(n) for n in range(20)]


async def test_a_cancelled_send_leaves_the_message_out(clock, clean):
    transport = Lines()
    policy = moored.Policy(outbox_messages=1)
    async with transport.open(policy=policy) as stream:
        line = await transport.line()
        line.blocked = True
        await stream.send("written for ever")
        await settled()
        await stream.send("in the outbox")
        with trio.move_on_after(1) as scope:
            await stream.send("given up")
        assert scope.cancelled_caught
        line.end()
        line = await transport.line(2)
        await stream.send("after")
        await settled()
        assert line.sent == ["in the outbox", "after"]


async def test_a_cancelled_send_does_not_cut_the_frame_that_is_being_written(clock, network):
    """The frame is written by a task of ours, so the caller's scope cannot cut it in two."""
    network.make_pair = trio.testing.lockstep_stream_pair
    got = []

    async def slow(peer):
        await trio.sleep(10)
        while await peer.read():
            got[:] = [e.data for _, e in peer.seen if isinstance(e, ws.Message)]

    network.serve(raw(slow))
    async with network.websocket() as stream:
        await stream.wait_for(moored.State.OPEN)
        with trio.move_on_after(1):
            await stream.send("x" * 10)
        await stream.send("y" * 10)
        await trio.sleep(20)
        assert got == ["x" * 10, "y" * 10]


async def test_cancelling_a_wait_or_a_watch_harms_nothing(clock, network):
    network.serve(talking("one"))
    async with network.websocket() as stream:
        with trio.move_on_after(1):
            await stream.wait_for(moored.State.BACKOFF)
        with trio.move_on_after(1):
            async for _ in stream.transitions():
                pass
        assert await stream.receive() == "one"
        assert stream.state is moored.State.OPEN


async def test_leaving_in_a_scope_that_is_cancelled_already_takes_half_a_second(clock, clean):
    for _ in range(20):  # which checkpoint notices depends on the order of tasks
        lines, began = Lines(), trio.current_time()
        with trio.CancelScope() as scope:
            async with lines.open() as stream:
                line = await lines.line()
                line.blocked = True
                await stream.send("never lands")
                scope.cancel()
        assert trio.current_time() - began <= 0.5


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_does_not_wait_for_the_outbox(clock, clean, error):
    lines = Lines()
    with pytest.raises(error):
        async with lines.open() as stream:
            line = await lines.line()
            line.blocked = True
            await stream.send("never lands")
            raise error
    assert trio.current_time() <= 0.5
