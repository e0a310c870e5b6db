"""What the user's callables raise is theirs: it ends the stream, with their name on it."""

from __future__ import annotations

import httpx
import pytest
import trio

import moored

from .support import Lines, cut, http, settled, talking


class Mine(Exception):
    pass


def fail(*_):
    raise Mine


async def fail_later(*_):
    await trio.sleep(0.1)
    raise Mine


async def failure_of(opened):
    """What a consumer of the stream is told."""
    with trio.fail_after(300):
        async with opened as stream:
            with pytest.raises(moored.HookFailed) as caught:
                while True:
                    await stream.receive()
            assert stream.state is moored.State.CLOSED
            with pytest.raises(moored.HookFailed) as again:  # and whoever asks again, or sends
                await stream.receive()
            assert again.value.hook == caught.value.hook
            if stream._supervisor.transport.sends:
                with pytest.raises(moored.HookFailed):
                    await stream.send("more")
            with pytest.raises(moored.HookFailed):
                await stream.wait_for(moored.State.OPEN)
    return caught.value


def heartbeat(**options):
    return moored.Policy(heartbeat=moored.Heartbeat(interval=1, timeout=1, **options))


FAILING = {
    "headers": {"headers": fail},
    "headers, async": {"headers": fail_later},
    "url": {"url": fail},
    "url, async": {"url": fail_later},
    "resume": {"resume": fail},
    "resume, async": {"resume": fail_later},
    "cursor": {"cursor": fail},
    "acknowledged": {"acknowledged": fail},
    "on_gap": {"on_gap": fail},
    "on_gap, async": {"on_gap": fail_later},
    "verdict": {"policy": moored.Policy(verdict=fail)},
    "heartbeat.ping": {"policy": heartbeat(ping=fail)},
    "heartbeat.is_pong": {"policy": heartbeat(ping=lambda: "ping", is_pong=fail)},
}


@pytest.mark.parametrize("case", FAILING)
async def test_what_a_hook_raises_ends_the_stream_with_its_name(clock, network, case):
    then = cut if case.split(",")[0] in ("resume", "on_gap", "verdict") else None
    network.serve(talking("one", then=then), talking("two"))
    error = await failure_of(network.websocket(**FAILING[case]))
    assert error.hook == case.split(",")[0]
    assert isinstance(error.__cause__, Mine)
    assert error.hook in str(error)


WRONG = {
    "headers": {"headers": lambda: {"a b": "c"}},
    "url": {"url": lambda: "http://not-ws.test"},
    "resume": {"resume": lambda _: 5},
    "resume, a mapping": {"resume": lambda _: {"resume": 7}},
    "resume, one of several": {"resume": lambda _: ["fine", 5]},
    "cursor": {"cursor": lambda _: ["cannot be hashed"]},
    "acknowledged": {"acknowledged": lambda _: None},
    "acknowledged, text": {"acknowledged": lambda _: "1"},
    "verdict": {"policy": moored.Policy(verdict=lambda _: "stop")},
    "heartbeat.ping": {"policy": heartbeat(ping=lambda: {"type": "ping"})},
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_of_no_use_is_the_hooks_failure_too(clock, network, case):
    then = cut if case.split(",")[0] in ("resume", "verdict") else None
    network.serve(talking("one", then=then))
    error = await failure_of(network.websocket(**WRONG[case]))
    assert error.hook == case.split(",")[0]
    assert isinstance(error.__cause__, (TypeError, ValueError))


async def test_a_terminator_that_raises(clock, network):
    async def one(peer):
        await peer.event("one")
        await trio.sleep_forever()

    network.serve(http(one))
    error = await failure_of(network.sse(terminator=fail))
    assert error.hook == "terminator"
    assert isinstance(error.__cause__, Mine)


async def test_messages_before_the_failure_are_delivered_first(clock, clean):
    transport = Lines()
    async with transport.open(on_gap=fail) as stream:
        line = await transport.line()
        line.deliver("one", "two")
        line.end()
        await stream.wait_for(moored.State.CLOSED)
        assert [await stream.receive(), await stream.receive()] == ["one", "two"]
        with pytest.raises(moored.HookFailed):
            await stream.receive()


@pytest.mark.parametrize(
    "error",
    [OSError("away"), TimeoutError(), trio.TooSlowError(), httpx.ConnectError("away")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("hook", ["headers", "url"])
async def test_credentials_that_cannot_be_had_now_are_asked_for_again(clock, network, hook, error):
    network.serve(talking("one"))
    calls = []

    async def credentials():
        calls.append(trio.current_time())
        if len(calls) < 3:
            raise error
        return {"Authorization": "Bearer x"} if hook == "headers" else "ws://feed.test/"

    async with network.websocket(**{"url": "ws://feed.test/", hook: credentials}) as stream:
        assert await stream.receive() == "one"
        causes = [t.cause async for t in take(stream.transitions(), 5) if t.cause is not None]
    assert len(calls) == 3
    assert [(c.stage, c.exception) for c in causes] == [("credentials", error)] * 2


async def take(iterator, count):
    for _ in range(count):
        yield await anext(iterator)


async def test_credentials_are_asked_for_before_every_attempt(clock, network):
    seen = []

    async def look(stream):
        data = await stream.receive_some()
        seen.append(bytes(data).split(b"Token: ")[1][:1])

    tokens = iter("abc")
    network.serve(look, look, talking("one"))
    async with network.websocket(headers=lambda: {"Token": next(tokens)}) as stream:
        await stream.receive()
    assert seen == [b"a", b"b"]
    assert list(tokens) == []


async def test_a_hook_that_closes_the_stream_does_no_harm(clock, clean):
    transport = Lines()

    async def close(_):
        await stream.aclose()

    async with transport.open(on_gap=close, policy=moored.Policy(close_timeout=1)) as stream:
        (await transport.line()).end()
        await settled()
        await stream.wait_for(moored.State.CLOSED)
    assert isinstance(stream.cause, moored.ClosedByUs)
