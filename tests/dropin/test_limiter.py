"""A limiter under the transport: what is reserved, for how long, and what comes back."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from moored import limits
from moored.dropin import AnswerError, Retry, TransportPolicy, estimate_tokens

from .support import (
    ANSWER,
    CUT,
    DONE,
    HANG,
    ROLE,
    STOP,
    Answer,
    Script,
    chunk,
    event,
    refuses,
    says,
    zipped,
)

REQUEST = {"model": "m", "stream": True, "messages": [], "max_tokens": 100}
ONCE = TransportPolicy(retry=Retry(attempts=1))


@attrs.define(eq=False)
class Granted:
    reserved: int
    settled: int | None = None

    def settle(self, *, tokens):
        self.settled = tokens


class Recorder:
    """A limiter that grants everything at once, or after a time, and keeps the books."""

    def __init__(self, wait=0.0):
        self.wait = wait
        self.grants, self.seen, self.failures = [], [], []
        self.held = 0

    @asynccontextmanager
    async def reserve(self, *, requests=1, tokens=0):
        assert requests == 1
        await trio.sleep(self.wait)
        self.held += 1
        self.grants.append(Granted(tokens))
        try:
            yield self.grants[-1]
        except Exception as exc:
            self.failures.append(exc)
            raise
        finally:
            await trio.lowlevel.checkpoint()  # as one that is shared over a network has it
            self.held -= 1

    def observe(self, headers, status):
        self.seen.append((status, headers.get("x-ratelimit-remaining-tokens")))

    @property
    def settled(self):
        assert self.held == 0
        return [grant.settled for grant in self.grants]


@pytest.fixture
def limiter():
    return Recorder()


async def read(client, json=REQUEST):
    async with client.stream("POST", "/v1/chat/completions", json=json) as response:
        return await response.aread()


async def test_the_estimate_is_reserved_and_the_usage_settled(make_client, limiter, autojump_clock):
    server = Script(says(*ANSWER, headers={"x-ratelimit-remaining-tokens": "5"}))
    client = make_client(server, limiter=limiter)
    await read(client)
    (request,) = server.requests
    assert [grant.reserved for grant in limiter.grants] == [-(-len(request[1]) // 4) + 100]
    assert limiter.settled == [7]
    assert limiter.seen == [(200, "5")]


async def test_it_is_held_until_the_answer_is_over(make_client, limiter, autojump_clock):
    client = make_client(Script(says(*ANSWER)), limiter=limiter)
    async with client.stream("POST", "/x", json=REQUEST) as response:
        async for _ in response.aiter_raw():
            assert limiter.held == 1
        assert limiter.held == 0
    async with client.stream("POST", "/x", json=REQUEST):
        assert limiter.held == 1
    assert limiter.settled == [7, None]


@pytest.mark.parametrize("coding", ["", "gzip", "zpaq"])
async def test_the_usage_of_an_answer_in_one_piece(make_client, limiter, coding, autojump_clock):
    text = json.dumps({"choices": [], "usage": {"total_tokens": 11}})
    body = zipped(text) if coding == "gzip" else text
    headers = {"Content-Encoding": coding} if coding else {}
    answer = Answer((body[:9], body[9:]), headers=headers, content_type="application/json")
    client = make_client(Script(answer), limiter=limiter)
    got = await read(client, {"model": "m"})
    assert got.decode() == text
    assert limiter.settled == [None if coding == "zpaq" else 11]


@pytest.mark.parametrize("body", ["[]", "no JSON", '{"usage": {"total_tokens": "x"}}'])
async def test_without_a_usage_the_estimate_stands(make_client, limiter, body, autojump_clock):
    client = make_client(Script(says(body, content_type="application/json")), limiter=limiter)
    await read(client, {"model": "m"})
    assert limiter.settled == [None]


async def test_what_is_refused_used_nothing(make_client, limiter, autojump_clock):
    server = Script(refuses(429, Retry_After="3"), refuses(503), says(*ANSWER))
    await read(make_client(server, limiter=limiter))
    assert limiter.settled == [0, 0, 7]
    assert [status for status, _ in limiter.seen] == [429, 503, 200]


@pytest.mark.parametrize("steps", [(CUT,), (ROLE, chunk("a"), CUT), (ROLE, HANG), (ROLE,)])
async def test_whatever_happens_it_comes_back(make_client, limiter, steps, autojump_clock):
    client = make_client(Script(says(*steps)), limiter=limiter, policy=ONCE)
    with pytest.raises(AnswerError) as info:
        await read(client)
    assert limiter.settled == [None]
    assert limiter.failures == [info.value]


@pytest.mark.parametrize("steps", [(HANG,), (ROLE, HANG)])
async def test_cancelled_it_comes_back(make_client, limiter, steps, autojump_clock):
    client = make_client(Script(says(*steps)), limiter=limiter)
    with trio.move_on_after(5) as scope:
        await read(client)
    assert scope.cancelled_caught
    assert limiter.settled == [None]


async def test_waiting_for_it_is_not_waiting_for_the_server(make_client, autojump_clock):
    limiter = Recorder(wait=10_000)
    client = make_client(Script(says(*ANSWER)), limiter=limiter)
    await read(client)
    assert limiter.settled == [7]
    assert trio.current_time() == 10_000


async def test_cancelled_while_it_waits_nothing_is_held(make_client, autojump_clock):
    limiter = Recorder(wait=10_000)
    server = Script(says(*ANSWER))
    with trio.move_on_after(5):
        await read(make_client(server, limiter=limiter))
    assert limiter.held == 0
    assert server.requests == []


async def test_a_failed_connect_used_nothing(library, limiter, autojump_clock):
    module = library.module

    class Down(module.AsyncBaseTransport):
        async def handle_async_request(self, request):
            raise module.ConnectError("refused")

    transport = library.transport(Down(), limiter=limiter)
    async with module.AsyncClient(transport=transport) as client:
        with pytest.raises(module.ConnectError):
            await client.post("http://x.test", json=REQUEST)
    assert limiter.settled == [0] * 5
    assert len(limiter.failures) == 5


async def test_the_estimate_may_be_ones_own(make_client, limiter, autojump_clock):
    client = make_client(Script(says(*ANSWER)), limiter=limiter, estimate=len)
    await read(client)
    await client.post("/x", content=aiter_of(b"{}"))
    body = json.dumps(REQUEST, separators=(",", ":"))
    assert [grant.reserved for grant in limiter.grants] == [len(body), 0]


async def aiter_of(*pieces):
    for piece in pieces:
        yield piece


async def test_anthropics_usage(make_client, limiter, autojump_clock):
    usage = {"input_tokens": 20, "output_tokens": 1}
    events = [
        {"type": "message_start", "message": {"usage": usage}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 9},
        },
        {"type": "message_stop"},
    ]
    server = Script(says(*(event(value, value["type"]) for value in events)))
    await read(make_client(server, limiter=limiter))
    assert limiter.settled == [29]


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({}, 0),
        ({"max_tokens": 50}, 50),
        ({"max_completion_tokens": 40, "max_tokens": 50}, 40),
        ({"max_output_tokens": 30}, 30),
        ({"max_tokens": 50, "n": 3}, 150),
        ({"max_tokens": None, "n": None}, 0),
        ({"max_tokens": "50", "n": True}, 0),
    ],
)
def test_the_default_estimate(asked, answer):
    body = json.dumps(asked)
    assert estimate_tokens(body.encode()) == -(-len(body) // 4) + answer


@pytest.mark.parametrize(
    ("body", "tokens"), [(b"", 0), (b"x" * 9, 3), (b"[1]", 1), (b"\xff" * 4, 1)]
)
def test_the_estimate_of_anything_else(body, tokens):
    assert estimate_tokens(body) == tokens


async def test_done_without_usage(make_client, limiter, autojump_clock):
    await read(make_client(Script(says(ROLE, STOP, DONE)), limiter=limiter))
    assert limiter.settled == [None]


async def test_with_mooreds_own(make_client, autojump_clock):
    """Two answers a minute, and a 429 that stops the third as well."""
    limiter = limits.Limiter(
        requests=limits.Rate.per_minute(2), tokens=limits.Rate.per_minute(1000)
    )
    server = Script(says(*ANSWER), refuses(429, Retry_After="40"), says(*ANSWER))
    client = make_client(server, limiter=limiter)
    await read(client)
    assert limiter.statistics().available == {"requests": 1, "tokens": 993}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, client)
        await trio.sleep(1)
        nursery.start_soon(read, client)
    assert server.times == [0, 0, 40, 60]


async def test_more_than_there_can_be_is_refused_at_once(make_client, autojump_clock):
    limiter = limits.Limiter(tokens=limits.Rate.per_minute(50))
    server = Script(says(*ANSWER))
    with pytest.raises(limits.CostTooLarge):
        await read(make_client(server, limiter=limiter))
    assert server.requests == []
