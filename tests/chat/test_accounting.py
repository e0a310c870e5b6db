"""What a client takes from limits and budgets, and what it says an answer cost."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
import trio

import moored
from moored import chat
from moored.limits import CostTooLarge, Limiter, Rate

from ..stream.support import HttpPeer
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
    Headers,
    Status,
    Wait,
    chunk,
    say,
)

CLEAN = [ROLE, say("Hel"), say("lo"), STOP, USAGE, DONE, END]  # 5 input and 2 output tokens
UNREPORTED = [ROLE, say("Hello"), STOP, DONE]
PRICES = {"m": chat.Price(input=1, output=10)}  # dollars for a million tokens
REPORTED = Decimal("0.000025")


class Characters:
    """A counter that takes each character for a token."""

    name = "each character"

    def count(self, text, model):
        return len(text)


# ---------------------------------------------------------------------------- cost


async def test_what_the_provider_reported_is_what_it_cost(clock, provider):
    provider.plays(CLEAN)
    async with provider.client(prices=PRICES) as client, client.stream(**ASK) as reply:
        answer = await reply.complete()
    assert reply.cost == answer.cost
    assert (reply.cost.usd, reply.cost.estimated, reply.cost.source) == (REPORTED, False, "user")
    assert reply.tokens == reply.usage == chat.Usage(5, 2)


@pytest.mark.parametrize("script", [UNREPORTED, [say("Hello"), CUT], [say("Hello"), HANG]])
async def test_what_was_not_reported_is_estimated_and_says_so(clock, provider, script):
    provider.plays(script)
    async with (
        provider.client(prices=PRICES, counter=Characters()) as client,
        client.stream(**ASK) as reply,
    ):
        async for _ in reply.text():
            break  # cancelled
    assert reply.usage is None
    assert reply.tokens.estimated
    assert reply.tokens.output_tokens == 5
    assert reply.cost.estimated
    assert reply.cost.output_usd == Decimal("0.00005")
    assert "estimated" in str(reply.cost)
    assert client.counter_name == "each character"


EARLY = json.dumps({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 0}})


@pytest.mark.parametrize("end", [CUT, HANG])
async def test_usage_that_came_before_the_cut_is_not_all_of_it(clock, provider, end):
    provider.plays([EARLY, say("Hello"), end])
    async with (
        provider.client(prices=PRICES, counter=Characters()) as client,
        client.stream(**ASK) as reply,
    ):
        async for _ in reply.text():
            break
    assert reply.usage == chat.Usage(20, 0)  # what the provider said
    assert reply.tokens == chat.Usage(20, 5, estimated=True)
    assert reply.cost.estimated


async def test_a_request_that_was_sent_and_hung_up_on_may_have_cost(clock, provider):
    async def hangs_up(stream):
        await HttpPeer(stream).request()

    provider.network.serve(hangs_up)
    budget = chat.Budget(1)
    async with provider.client(prices=PRICES, budget=budget) as client:
        with pytest.raises(chat.ConnectionFailed):
            await client.complete(**ASK)
    assert budget.spent_usd > 0


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_what_was_cancelled_before_it_was_sent_cost_nothing(clock, transport):
    async def dial(host, port):
        await trio.sleep_forever()

    budget, limiter = chat.Budget(1), Limiter(requests=Rate(10), tokens=Rate(5000))
    options = {"prices": PRICES, "budget": budget, "limits": limiter, "transport": transport}
    async with (
        chat.Client("http://ai.test/v1", dial=dial, **options) as client,
        client.stream(**ASK) as reply,
    ):
        await trio.sleep(1)
    assert reply.cost.usd == budget.spent_usd == 0
    assert limiter.statistics().available == {"requests": 10, "tokens": 5000}


async def test_a_model_without_a_price_has_no_cost(clock, provider):
    provider.plays(CLEAN)
    async with provider.client(prices={}) as client:
        assert (await client.complete(**ASK)).cost is None


async def test_what_was_refused_cost_nothing(clock, provider):
    provider.plays(Status(401))
    async with provider.client(prices=PRICES) as client, client.stream(**ASK) as reply:
        with pytest.raises(chat.RequestRejected):
            await reply.complete()
    assert reply.cost.usd == 0


async def test_an_answer_that_was_restarted_costs_twice(clock, provider):
    provider.plays([say("Hallo"), CUT], CLEAN)
    async with (
        provider.client(prices=PRICES, counter=Characters(), on_interrupt="restart") as client,
        client.stream(**ASK) as reply,
    ):
        await reply.complete()
    given = reply.tokens.input_tokens - 5
    assert reply.tokens == chat.Usage(given + 5, 7, estimated=True)
    assert reply.cost.usd == REPORTED + Decimal(given + 50) / 1_000_000


async def test_an_answer_that_was_continued_costs_both_parts(clock, provider):
    provider.plays([say("Hello"), CUT], [say("!!"), STOP, USAGE, DONE])
    capable = chat.Capabilities(prefill="assistant")
    async with (
        provider.client(
            prices=PRICES, counter=Characters(), on_interrupt="continue", capabilities=capable
        ) as client,
        client.stream(**ASK) as reply,
    ):
        await reply.complete()
    assert reply.tokens.output_tokens == 5 + 2


async def test_prices_of_the_endpoint_win(clock, provider):
    provider.plays(CLEAN)
    own = {"m": chat.Price(input=0, output=1_000_000)}
    endpoint = chat.Endpoint("http://ai.test/v1", prices=own)
    client = chat.Client(endpoints=[endpoint], prices=PRICES, dial=provider.network.dial)
    async with client:
        assert (await client.complete(**ASK)).cost.usd == 2


class Broken:
    """A counter and a limiter with bugs."""

    name = "broken"

    def count(self, text, model):
        raise ZeroDivisionError

    def reserve(self, requests=1, **amounts):
        raise ZeroDivisionError

    observe = pause = reserve


@pytest.mark.parametrize(
    ("options", "hook"),
    [
        ({"counter": Broken(), "limits": Limiter(tokens=Rate.per_minute(5000))}, "counter"),
        ({"limits": Broken()}, "limits"),
    ],
)
async def test_a_bug_in_a_counter_or_limiter_of_the_users_is_said_to_be_that(
    clock, provider, options, hook
):
    provider.plays(CLEAN)
    async with provider.client(**options) as client:
        with pytest.raises(moored.HookFailed) as caught:
            await client.complete(**ASK)
    assert caught.value.hook == hook
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_the_counter_learns_from_what_is_reported(clock, provider):
    text = "many words of one answer " * 10
    usage = {"prompt_tokens": 500, "completion_tokens": 400}
    provider.plays([say(text), chunk(finish="stop", usage=usage), DONE])
    counter = chat.CharacterCounter()
    before = counter.count(text, "m")
    async with provider.client(counter=counter) as client:
        await client.complete(**ASK)
    assert counter.count(text, "m") > before * 1.5


async def test_it_learns_nothing_from_usage_that_came_before_the_end(clock, provider):
    text = "many words of one answer " * 10
    early = json.dumps({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1}})
    provider.plays([early, say(text), CUT])
    counter = chat.CharacterCounter()
    before = counter.count(text, "m")
    async with provider.client(counter=counter) as client:
        with pytest.raises(chat.StreamTruncated):
            await client.complete(**ASK)
    assert counter.count(text, "m") == before


async def test_a_resumption_that_a_budget_refuses_leaves_what_was_spent(clock, provider):
    provider.plays([Event(say("Hello"), id="1"), CUT], CLEAN)
    budget = chat.Budget("0.0005")
    capable = chat.Capabilities(resume=True)
    async with (
        provider.client(
            prices=PRICES,
            budget=budget,
            counter=Characters(),
            on_interrupt="resume",
            capabilities=capable,
        ) as client,
        client.stream(**ASK, max_tokens=45) as reply,
    ):
        with pytest.raises(chat.BudgetExceeded):
            await reply.complete()
    assert reply.cost.usd == budget.spent_usd > 0


# ---------------------------------------------------------------------------- budgets


async def test_a_budget_is_settled_with_what_it_cost(clock, provider):
    provider.plays(CLEAN)
    budget = chat.Budget(1)
    async with provider.client(prices=PRICES, budget=budget) as client:
        for _ in range(4):
            await client.complete(**ASK)
    assert (budget.spent_usd, budget.reserved_usd) == (4 * REPORTED, 0)


async def test_what_may_cost_too_much_is_not_sent(clock, provider):
    provider.plays(CLEAN)
    budget = chat.Budget("0.001", scope="team")
    async with provider.client(prices=PRICES, budget=budget, counter=Characters()) as client:
        with pytest.raises(chat.BudgetExceeded) as caught:
            await client.complete(**ASK, max_tokens=200)
        assert provider.times == []
        await client.complete(**ASK, max_tokens=50)
    assert caught.value.requested_usd > Decimal("0.002")
    assert (caught.value.limit_usd, caught.value.scope) == (Decimal("0.001"), "team")


async def test_a_request_can_have_a_budget_of_its_own(clock, provider):
    provider.plays(CLEAN)
    mine, ours = chat.Budget("0.0001"), chat.Budget(1)
    async with provider.client(prices=PRICES, budget=ours) as client:
        with pytest.raises(chat.BudgetExceeded):
            await client.complete(**ASK, budget=mine)
        await client.complete(**ASK)
    assert (ours.spent_usd, ours.reserved_usd, mine.spent_usd) == (REPORTED, 0, 0)


async def test_many_at_once_cannot_overshoot_together(clock, provider):
    provider.plays([ROLE, Wait(1), *CLEAN])
    budget = chat.Budget("0.01")
    refused = []

    async def ask():
        try:
            await client.complete(**ASK, max_tokens=300)
        except chat.BudgetExceeded as exc:
            refused.append(exc)

    async with (
        provider.client(prices=PRICES, budget=budget) as client,
        trio.open_nursery() as nursery,
    ):
        for _ in range(10):
            nursery.start_soon(ask)
    assert len(refused) == 7  # of $0.003 and a little each


async def test_a_refused_request_gives_its_money_back(clock, provider):
    provider.plays(Status(401))
    budget = chat.Budget(1)
    async with provider.client(prices=PRICES, budget=budget) as client:
        with pytest.raises(chat.RequestRejected):
            await client.complete(**ASK)
    assert (budget.spent_usd, budget.reserved_usd) == (0, 0)


async def test_a_cancelled_answer_is_charged_by_estimate(clock, provider):
    provider.plays([say("Hello"), HANG])
    budget = chat.Budget(1)
    async with (
        provider.client(prices=PRICES, budget=budget, counter=Characters()) as client,
        client.stream(**ASK) as reply,
    ):
        async for _ in reply:
            break
    assert budget.spent_usd == reply.cost.usd > Decimal("0.00005")
    assert budget.reserved_usd == 0


async def test_a_budget_without_a_price_refuses(clock, provider):
    provider.plays(CLEAN)
    async with provider.client(prices={}, budget=chat.Budget(1)) as client:
        with pytest.raises(chat.PriceUnknown, match="no price is known for 'm'"):
            await client.complete(**ASK)
    assert provider.times == []


# ---------------------------------------------------------------------------- limits


async def test_requests_keep_to_the_limit(clock, provider):
    provider.plays(CLEAN)
    limiter = Limiter(requests=Rate(2, per=10))
    async with provider.client(limits=limiter) as client:
        for _ in range(6):
            await client.complete(**ASK)
    assert provider.times == pytest.approx([0, 0, 5, 10, 15, 20])


async def test_what_was_reserved_and_not_used_comes_back(clock, provider):
    provider.plays(CLEAN)
    limiter = Limiter(tokens=Rate.per_minute(1000))
    async with provider.client(limits=limiter, counter=Characters()) as client:
        for _ in range(10):
            await client.complete(**ASK, max_tokens=900)
    assert clock.current_time() < 1
    assert limiter.statistics().available["tokens"] == pytest.approx(1000 - 70, abs=10)


@pytest.mark.parametrize("script", [Status(401), ConnectionRefusedError(111, "refused")])
async def test_what_was_not_generated_takes_no_tokens(clock, provider, script):
    provider.network.serve(script if isinstance(script, Exception) else provider._player(script))
    limiter = Limiter(tokens=Rate.per_minute(1000))
    async with provider.client(limits=limiter) as client:
        with pytest.raises(chat.ReplyError):
            await client.complete(**ASK, max_tokens=100)
    assert limiter.statistics().available["tokens"] == pytest.approx(1000)


async def test_what_never_fits_is_refused_at_once(clock, provider):
    provider.plays(CLEAN)
    async with provider.client(limits=Limiter(tokens=Rate.per_minute(100))) as client:
        with pytest.raises(CostTooLarge):
            await client.complete(**ASK, max_tokens=200)
    assert provider.times == []


async def test_a_429_pauses_everybody(clock, provider):
    provider.plays(Status(429, ("Retry-After: 30",)), CLEAN)
    limiter = Limiter(requests=Rate.per_second(100))
    async with provider.client(limits=limiter) as client, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: client.complete(**ASK))
        await trio.sleep(1)
        await client.complete(**ASK)
    assert [time for time in provider.times if 0 < time < 30] == []


async def test_a_429_without_a_time_pauses_them_for_the_backoff(clock, provider):
    provider.plays(Status(429), CLEAN)
    limiter = Limiter(requests=Rate.per_second(100))
    async with provider.client(limits=limiter) as client, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: client.complete(**ASK))
        await trio.sleep(0.001)
        assert limiter.statistics().paused_for > 0
        nursery.cancel_scope.cancel()


async def test_the_headers_of_a_good_answer_pace_the_limiter(clock, provider):
    told = ("x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 8s")
    provider.plays([Headers(told), *CLEAN])
    limiter = Limiter(requests=Rate.per_minute(600))
    async with provider.client(limits=limiter) as client:
        await client.complete(**ASK)
        assert limiter.statistics().available["requests"] < 2


async def test_waiting_for_a_limit_counts_for_no_clock_but_the_total(clock, provider):
    provider.plays(CLEAN)
    limiter = Limiter(requests=Rate(1, per=100))
    settings = chat.Settings(first_token_timeout=5)
    async with provider.client(limits=limiter, settings=settings) as client:
        await client.complete(**ASK)
        assert (await client.complete(**ASK)).text == "Hello"
        with pytest.raises(chat.TotalTimeout):
            await client.complete(**ASK, settings=chat.Settings(total_timeout=50))
    assert len(provider.times) == 2
