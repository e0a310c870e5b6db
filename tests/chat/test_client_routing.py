"""A client with a router: which model is asked, and why."""

from __future__ import annotations

import pytest

from moored import chat

from .support import ASK, DONE, STOP, Status, say

CLEAN = [say("Hello"), STOP, DONE]
ROUTER = chat.Router(
    [
        chat.Rule("long", use="large", when=chat.When(min_tokens=1000)),
        chat.Rule("tools", use="large", when=chat.When(tools=True)),
        chat.Rule("batch", use="cheap", when=chat.When(tags={"batch"})),
        chat.Rule("poor", use="cheap", when=chat.When(remaining_below_usd=1)),
    ],
    models={"large": ("l-1", "l-2"), "cheap": "c-1"},
    default="m-1",
)
AUTO = {**ASK, "model": "auto"}
PRICES = {name: chat.Price(input=1, output=1) for name in ("l-1", "l-2", "c-1", "m-1", "m")}


@pytest.mark.parametrize(
    ("ask", "model"),
    [
        ({}, "m-1"),
        ({"model": "m"}, "m"),
        ({"model": "large"}, "l-1"),
        ({"messages": [{"role": "user", "content": "word " * 2000}]}, "l-1"),
        ({"max_tokens": 5000}, "l-1"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "l-1"),
        ({"routing_tags": ["batch"]}, "c-1"),
        ({"budget": chat.Budget("0.5")}, "c-1"),
    ],
)
async def test_the_first_rule_that_applies_decides(clock, provider, ask, model):
    provider.plays(CLEAN)
    async with (
        provider.client(router=ROUTER, prices=PRICES) as client,
        client.stream(**{**AUTO, **ask}) as reply,
    ):
        await reply.complete()
    assert provider.requests[0]["model"] == reply.model == model
    assert {"routing_tags", "routing_key", "budget"}.isdisjoint(provider.requests[0])


async def test_a_conversation_keeps_its_model(clock, provider):
    provider.plays(CLEAN)
    async with provider.client(router=ROUTER) as client:
        await client.complete(**AUTO, routing_key="c", routing_tags=["batch"])
        await client.complete(**AUTO, routing_key="c")
        await client.complete(**AUTO)
    assert [each["model"] for each in provider.requests] == ["c-1", "c-1", "m-1"]


async def test_it_says_why(clock, provider):
    provider.plays(CLEAN)
    async with provider.client(router=ROUTER) as client:
        explanation = client.explain(**AUTO, routing_tags=["batch"])
    assert explanation.route.models == ("c-1",)
    assert "batch" in str(explanation)
    assert len(str(explanation).splitlines()) == 6
    assert provider.times == []


async def test_the_next_model_of_a_class_where_nobody_serves_the_first(clock, provider):
    provider.plays(CLEAN)
    async with provider.client(router=ROUTER, models=("l-2",)) as client:
        await client.complete(**{**AUTO, "model": "large"})
    assert provider.requests[0]["model"] == "l-2"


async def test_a_client_without_a_router_has_nothing_to_explain(clock, provider):
    async with provider.client() as client:
        with pytest.raises(ValueError, match="no router"):
            client.explain(**ASK)


async def test_no_model_suits(clock, provider):
    provider.plays(Status(500))
    router = chat.Router([], default="small", context_tokens={"small": 10})
    async with provider.client(router=router) as client:
        with pytest.raises(chat.NoSuitableModel):
            await client.complete(**AUTO, max_tokens=100)
    assert provider.times == []
