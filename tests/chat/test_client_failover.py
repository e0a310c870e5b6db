"""A client of two endpoints, one of which is dead, hanging, or answering 429."""

from __future__ import annotations

import itertools
import json
import random
from functools import partial

import pytest
import trio

import moored
from moored import chat

from .support import (
    ASK,
    CUT,
    DONE,
    END,
    HANG,
    ROLE,
    STOP,
    USAGE,
    Event,
    Provider,
    Status,
    Wait,
    say,
)

CLEAN = [ROLE, say("Hel"), say("lo"), STOP, USAGE, DONE, END]
COOLDOWN = 30.0


class Two:
    """Endpoints ``a`` and ``b``, each with a provider of its own."""

    def __init__(self, network):
        self.network = network
        self.calls = {"a.test": [], "b.test": []}
        self.providers = {name: Provider(network, "sse") for name in self.calls}
        self.players = {}

    def plays(self, host, *scripts):
        provider = self.providers[host]
        self.players[host] = [
            each if isinstance(each, BaseException) else provider._player(each) for each in scripts
        ]

    async def dial(self, host, port):
        self.calls[host].append(trio.current_time())
        players = self.players[host]
        player = players.pop(0) if len(players) > 1 else players[0]
        self.network.serve(player)
        return await self.network.dial(host, port)

    def client(self, settings=None, failures=5, **options):
        endpoints = [
            chat.Endpoint("http://a.test/v1", "ka", name="a", **options.pop("a", {})),
            chat.Endpoint("http://b.test/v1", "kb", name="b", **options.pop("b", {})),
        ]
        breaker = partial(chat.CircuitBreaker, failures=failures, cooldown=COOLDOWN)
        failover = chat.Failover(endpoints, breaker=breaker)
        return chat.Client(
            endpoints=failover,
            dial=self.dial,
            rng=random.Random(1),
            settings=settings or chat.Settings(first_token_timeout=5.0),
            **options,
        )


@pytest.fixture
def two(network):
    return Two(network)


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(ConnectionRefusedError(111, "refused"), id="dead"),
        pytest.param([HANG], id="hanging"),
        pytest.param([ROLE, HANG], id="hanging after its head"),
        pytest.param([ROLE, CUT], id="cut before content"),
        pytest.param(Status(503), id="503"),
    ],
)
async def test_every_request_succeeds_and_the_dead_one_sees_one_probe_per_cooldown(
    clock, two, trouble
):
    two.plays("a.test", trouble)
    two.plays("b.test", CLEAN)
    async with two.client() as client:
        for _ in range(100):
            answer = await client.complete(**ASK)
            assert answer.text == "Hello"
            await trio.sleep(3)
        statistics = client.endpoint_statistics()
    assert len(two.calls["b.test"]) == 100
    assert statistics["b"].successes == 100
    calls = two.calls["a.test"]
    first = next(n for n, (x, y) in enumerate(itertools.pairwise(calls)) if y - x > 20)
    probes = calls[first + 1 :]
    assert first + 1 == 5  # failures in a row that open the circuit
    assert probes
    gaps = [y - x for x, y in zip(calls[first:], probes, strict=False)]
    assert min(gaps) >= COOLDOWN


async def test_many_at_once_send_one_probe(clock, two):
    two.plays("a.test", [HANG])
    two.plays("b.test", CLEAN)
    async with two.client() as client:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(lambda: client.complete(**ASK))
        two.calls["a.test"].clear()
        await trio.sleep(COOLDOWN + 1)
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(lambda: client.complete(**ASK))
    assert len(two.calls["a.test"]) == 1


async def test_a_429_is_a_cooldown_and_no_failure(clock, two):
    two.plays("a.test", Status(429, ("Retry-After: 60",)), CLEAN)
    two.plays("b.test", CLEAN)
    async with two.client() as client:
        for _ in range(100):
            assert (await client.complete(**ASK)).text == "Hello"
            await trio.sleep(1)
        statistics = client.endpoint_statistics()
    assert len(two.calls["b.test"]) in range(59, 63)
    assert (statistics["a"].failures, statistics["a"].rate_limits) == (0, 1)


async def test_when_all_are_cooling_the_earliest_is_chosen(clock, two):
    two.plays("a.test", Status(429, ("Retry-After: 50",)), CLEAN)
    two.plays("b.test", Status(429, ("Retry-After: 20",)), CLEAN)
    async with two.client() as client, client.stream(**ASK) as reply:
        await reply.complete()
        assert reply.endpoint.name == "b"
    assert trio.current_time() == pytest.approx(20, abs=1.0)


async def test_the_wait_is_bounded_where_all_are_cooling(clock, two):
    two.plays("a.test", Status(429, ("Retry-After: 100",)))
    two.plays("b.test", Status(429, ("Retry-After: 200",)))
    async with two.client() as client:
        with pytest.raises(chat.NoHealthyEndpoint) as caught:
            await client.complete(**ASK)
    assert trio.current_time() < 5
    assert caught.value.retry_after == pytest.approx(100, abs=5)


@pytest.mark.parametrize(
    "trouble",
    [
        *(Status(status) for status in (401, 402, 403, 404)),
        Status(200, ("Content-Type: text/html",), b"<html>"),
        Status(429, ("x-should-retry: false",)),
        [json.dumps({"error": {"type": "authentication_error", "message": "no"}})],
        ["not JSON"],
    ],
)
async def test_what_is_wrong_with_one_endpoint_is_not_wrong_with_the_other(clock, two, trouble):
    two.plays("a.test", trouble)
    two.plays("b.test", CLEAN)
    async with two.client() as client:
        for _ in range(10):
            assert (await client.complete(**ASK)).text == "Hello"


async def test_a_class_of_models_fails_over_too(clock, two):
    two.plays("a.test", Status(503))
    two.plays("b.test", CLEAN)
    router = chat.Router([], default="fast", models={"fast": ("f1", "f2")})
    only = {"a": {"models": ("f1",)}, "b": {"models": ("f2",)}}
    async with two.client(router=router, **only) as client:
        async with client.stream(**{**ASK, "model": "auto"}) as reply:
            assert (await reply.complete()).text == "Hello"
        assert (reply.model, reply.attempts) == ("f2", 2)


async def test_when_none_can_serve_each_is_named_with_its_reason(clock, two):
    two.plays("a.test", Status(429, ("Retry-After: 250",)))
    two.plays("b.test", CLEAN)
    once = chat.Settings(reconnect=moored.Reconnect(attempts=1))
    async with two.client(b={"models": ("other",)}) as client:
        with pytest.raises(chat.RequestRejected):
            await client.complete(**ASK, settings=once)
        with pytest.raises(chat.NoHealthyEndpoint) as caught:
            await client.complete(**ASK)
    assert set(caught.value.reasons) == {"a", "b"}
    assert "after a 429" in caught.value.reasons["a"]
    assert caught.value.reasons["b"] == "does not serve model 'm'"


async def test_a_partial_answer_is_not_taken_to_another_endpoint_unasked(clock, two):
    two.plays("a.test", [ROLE, say("Hal"), CUT])
    two.plays("b.test", CLEAN)
    async with two.client() as client:
        with pytest.raises(chat.StreamTruncated) as caught:
            await client.complete(**ASK)
    assert caught.value.answer.text == "Hal"
    assert two.calls["b.test"] == []


async def test_a_restart_goes_to_the_other(clock, two):
    two.plays("a.test", [ROLE, say("Hal"), CUT])
    two.plays("b.test", CLEAN)
    async with two.client(on_interrupt="restart") as client, client.stream(**ASK) as reply:
        assert (await reply.complete()).text == "Hello"
        assert reply.endpoint.name == "b"


async def test_a_continuation_stays(clock, two):
    prefill = {"capabilities": chat.Capabilities(prefill="assistant")}
    two.plays("a.test", [ROLE, say("Hel"), CUT], [say("lo"), STOP, DONE])
    two.plays("b.test", CLEAN)
    async with (
        two.client(on_interrupt="continue", a=prefill, b=prefill) as client,
        client.stream(**ASK) as reply,
    ):
        assert (await reply.complete()).text == "Hello"
        assert reply.endpoint.name == "a"


@pytest.mark.parametrize("way", ["continue", "resume"])
async def test_another_endpoint_does_not_go_on_with_what_it_did_not_begin(clock, two, way):
    able = {"capabilities": chat.Capabilities(prefill="assistant", resume=True)}
    cut = [Event(say("Hel"), id="1"), CUT]
    two.plays("a.test", cut)
    two.plays("b.test", CLEAN)
    async with two.client(failures=1, on_interrupt=way, a=able) as client:
        with pytest.raises(chat.ReplyError) as caught:
            await client.complete(**ASK)
    assert caught.value.not_recovered == "the endpoint that began it cannot be asked now"
    assert caught.value.answer.text == "Hel"
    assert two.calls["b.test"] == []


async def test_a_malformed_request_is_not_sent_to_the_others(clock, two):
    two.plays("a.test", Status(400))
    two.plays("b.test", CLEAN)
    async with two.client() as client:
        with pytest.raises(chat.RequestRejected):
            await client.complete(**ASK)
        assert client.endpoint_statistics()["a"].failures == 0
    assert two.calls["b.test"] == []


async def test_cancelling_a_probe_gives_it_back(clock, two):
    two.plays("a.test", [HANG])
    two.plays("b.test", CLEAN)
    async with two.client() as client:
        for _ in range(5):
            await client.complete(**ASK)
        await trio.sleep(COOLDOWN + 1)
        with trio.move_on_after(1):
            await client.complete(**ASK)
        before = len(two.calls["a.test"])
        await client.complete(**ASK)
    assert len(two.calls["a.test"]) == before + 1


async def test_an_endpoint_that_always_cuts_its_answers_opens_its_circuit(clock, two):
    two.plays("a.test", [ROLE, say("Hal"), CUT])
    two.plays("b.test", CLEAN)
    async with two.client() as client:
        for _ in range(5):
            with pytest.raises(chat.StreamTruncated):
                await client.complete(**ASK)
        assert (await client.complete(**ASK)).text == "Hello"
    assert len(two.calls["a.test"]) == 5


async def test_a_long_probe_keeps_the_others_waiting_only_until_its_first_content(clock, two):
    two.plays("a.test", *[Status(503)] * 5, [say("Hel"), Wait(50), say("lo"), STOP, DONE])
    two.plays("b.test", CLEAN)
    async with two.client() as client:
        for _ in range(5):
            await client.complete(**ASK)
        await trio.sleep(COOLDOWN + 1)
        two.calls["b.test"].clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.complete(**ASK))
            await trio.sleep(1)
            await client.complete(**ASK)
    assert two.calls["b.test"] == []


async def test_each_endpoint_gets_its_own_key(clock, two):
    two.plays("a.test", Status(503))
    two.plays("b.test", CLEAN)
    async with two.client() as client:
        await client.complete(**ASK)
    assert two.providers["a.test"].headers[0]["authorization"] == "Bearer ka"
    assert two.providers["b.test"].headers[0]["authorization"] == "Bearer kb"


def test_endpoints_and_a_base_url_do_not_go_together():
    endpoint = chat.Endpoint("http://a.test/v1")
    with pytest.raises(TypeError, match="together with endpoints"):
        chat.Client("http://a.test", endpoints=[endpoint])
    with pytest.raises(ValueError, match="two are named"):
        chat.Client(endpoints=[endpoint, endpoint])
