"""The chat client on real sockets, through the fault proxy, over both transports."""

from __future__ import annotations

import random

import pytest
import trio

import moored
from moored import chat, faults
from moored.limits import Limiter, Rate
from moored.pool import Pool

ASK = {"model": "mock", "messages": [{"role": "user", "content": "hello"}]}
QUICK = moored.Reconnect(initial=0.01, maximum=0.02)
SETTINGS = chat.Settings(reconnect=QUICK, progress_timeout=0.5, first_token_timeout=0.5)
TRANSPORTS = ("sse", "websocket")


def client_of(url, transport, **options):
    options.setdefault("settings", SETTINGS)
    return chat.Client(url + "/v1", "k", transport=transport, rng=random.Random(1), **options)


@pytest.fixture
async def server():
    async with faults.open_server(api_key="k") as server:
        yield server


@pytest.fixture
async def whole(server):
    """The answer as it is without any fault."""
    async with client_of(server.url, "sse") as client:
        return (await client.complete(**ASK)).text


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_whole_answer(server, whole, transport):
    async with client_of(server.url, transport) as client:
        answer = await client.complete(**ASK)
    assert (answer.text, answer.finish_reason) == (whole, "stop")
    assert answer.usage.output_tokens == len(whole.split())


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "schedule",
    [
        [faults.Refuse(status=429, retry_after=0, connection=[1, 2])],
        [faults.Refuse(status=503, connection=1)],
        [faults.Cut(after_messages=0, connection=1)],
        [faults.Cut(after_messages=1, how="rst", connection=[1, 2])],
        [faults.Stall(after_messages=1, connection=1)],
    ],
)
async def test_what_breaks_before_content_is_mended_in_silence(server, whole, transport, schedule):
    async with (
        faults.open_proxy(server.url, schedule=schedule) as proxy,
        client_of(proxy.url, transport) as client,
        client.stream(**ASK) as reply,
    ):
        events = [event async for event in reply]
    assert reply.answer.text == whole
    assert reply.attempts == 1 + len(proxy.injected)
    assert not any(isinstance(event, chat.Restarted) for event in events)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.Cut(after_messages=6), chat.StreamTruncated),
        (faults.Cut(after_messages=6, how="rst"), chat.StreamTruncated),
        (faults.Stall(after_messages=6), chat.ProgressTimeout),
    ],
)
async def test_what_breaks_after_content_is_told_with_the_part(
    server, whole, transport, fault, error
):
    async with (
        faults.open_proxy(server.url, schedule=[fault]) as proxy,
        client_of(proxy.url, transport) as client,
    ):
        with pytest.raises(error) as caught:
            await client.complete(**ASK)
    partial = caught.value.answer
    assert partial.text == " ".join(whole.split()[:5])  # the first message has the role
    assert partial.finish_reason is None


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_restart_gives_the_whole_answer(server, whole, transport):
    schedule = [faults.Cut(after_messages=6, connection=1)]
    async with (
        faults.open_proxy(server.url, schedule=schedule) as proxy,
        client_of(proxy.url, transport, on_interrupt="restart") as client,
        client.stream(**ASK) as reply,
    ):
        events = [event async for event in reply]
    assert reply.answer.text == whole
    [restarted] = [event for event in events if isinstance(event, chat.Restarted)]
    assert restarted.discarded.text == " ".join(whole.split()[:5])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_server_sees_a_reply_that_was_left(transport):
    async with (
        faults.open_server(pace=0.02) as server,
        client_of(server.url, transport) as client,
    ):
        async with client.stream(**ASK) as reply:
            async for _ in reply.text():
                break
        with trio.fail_after(5):
            await server.wait_until(lambda: server.requests[0].ended is not None)
    assert not server.requests[0].complete


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_burst_through_a_pool_and_limits_under_random_faults(server, whole, transport):
    schedule = [
        faults.Refuse(status=429, retry_after=0, probability=0.2),
        faults.Cut(after_messages=1, probability=0.2),
    ]
    answers = []
    limits = Limiter(requests=Rate.per_second(200), tokens=Rate.per_second(100_000))

    async def ask():
        answers.append((await client.complete(**ASK)).text)

    settings = chat.Settings(reconnect=moored.Reconnect(initial=0.01, maximum=0.02, attempts=20))
    async with (
        faults.open_proxy(server.url, schedule=schedule, seed=1) as proxy,
        client_of(proxy.url, transport, settings=settings, limits=limits, pool=Pool(10)) as client,
        trio.open_nursery() as nursery,
    ):
        for _ in range(40):
            nursery.start_soon(ask)
    assert answers == [whole] * 40
    assert len(proxy.injected) > 5


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_server_ends_its_answer_in_order(server, transport):
    async with client_of(server.url, transport) as client:
        for _ in range(30):
            await client.complete(**ASK)
    with trio.fail_after(5):
        await server.wait_until(lambda: all(request.ended for request in server.requests))
    assert [request.complete for request in server.requests] == [True] * 30
