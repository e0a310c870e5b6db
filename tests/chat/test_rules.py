"""Conditions: when they hold, and what they say."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from moored.chat.rules import RouteRequest, Rule, When

# ---------------------------------------------------------------- each condition


@pytest.mark.parametrize(
    ("when", "request_", "holds", "words"),
    [
        ({}, {}, True, "no conditions"),
        (
            {"min_tokens": 1000},
            {"estimated_tokens": 1000},
            True,
            "about 1,000 tokens, at least 1,000",
        ),
        (
            {"min_tokens": 1000},
            {"estimated_tokens": 999},
            False,
            "about 999 tokens, fewer than 1,000",
        ),
        (
            {"max_tokens": 1000},
            {"estimated_tokens": 1000},
            True,
            "about 1,000 tokens, at most 1,000",
        ),
        (
            {"max_tokens": 1000},
            {"estimated_tokens": 1001},
            False,
            "about 1,001 tokens, more than 1,000",
        ),
        ({"min_tokens": 0}, {}, False, "tokens not estimated"),
        ({"max_tokens": 9}, {}, False, "tokens not estimated"),
        ({"tools": True}, {"tools": True}, True, "has tools"),
        ({"tools": True}, {}, False, "has no tools"),
        ({"tools": False}, {}, True, "has no tools"),
        ({"tools": False}, {"tools": True}, False, "has tools"),
        ({"vision": True}, {"vision": True}, True, "has images"),
        ({"structured": True}, {"structured": True}, True, "has structured output"),
        ({"reasoning": True}, {}, False, "has no reasoning"),
        ({"tags": ["a", "b"]}, {"tags": {"a", "b", "c"}}, True, "tagged a, b"),
        ({"tags": ["a", "b"]}, {"tags": {"a"}}, False, "not tagged b"),
        ({"remaining_below_usd": 1}, {"remaining_usd": "0.9"}, True, "$0.90 left, below $1.00"),
        ({"remaining_below_usd": 1}, {"remaining_usd": 1}, False, "$1.00 left, not below $1.00"),
        ({"remaining_below_usd": 1}, {}, False, "no budget"),
        ({"remaining_above_usd": 0.5}, {"remaining_usd": 0.501}, True, "$0.501 left, above $0.50"),
        (
            {"remaining_above_usd": 0.5},
            {"remaining_usd": 0.5},
            False,
            "$0.50 left, not above $0.50",
        ),
        ({"remaining_above_usd": 0.5}, {}, True, "no budget"),
    ],
)
def test_a_condition_holds_or_not_and_says_why(
    when: dict[str, Any], request_: dict[str, Any], holds: bool, words: str
) -> None:
    assert When(**when).check(RouteRequest(**request_)) == (holds, words)


def test_all_conditions_have_to_hold() -> None:
    when = When(min_tokens=10, max_tokens=20, tools=True, tags={"code"}, remaining_above_usd=1)
    request = RouteRequest(estimated_tokens=15, tools=True, tags={"code"}, remaining_usd=2)
    assert when.check(request) == (
        True,
        "about 15 tokens, at least 10, about 15 tokens, at most 20, has tools, tagged code, "
        "$2.00 left, above $1.00",
    )
    request = RouteRequest(estimated_tokens=15, tools=False, tags={"prose"}, remaining_usd=2)
    assert when.check(request) == (False, "has no tools, not tagged code")


def test_a_predicate_is_called_with_the_request() -> None:
    def mentions_cats(request: RouteRequest) -> bool:
        return any("cat" in message["content"] for message in request.messages)

    when = When(predicate=mentions_cats)
    cats = RouteRequest(messages=[{"role": "user", "content": "my cat"}])
    assert when.check(cats) == (True, "mentions_cats says yes")
    assert when.check(RouteRequest()) == (False, "mentions_cats says no")


def test_what_a_predicate_raises_is_the_users() -> None:
    def broken(request: RouteRequest) -> bool:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        When(predicate=broken).check(RouteRequest())


# ---------------------------------------------------------------- requests


def test_a_request_is_read_from_its_body() -> None:
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]
    body = {"model": "auto", "messages": messages, "tools": [{"type": "function"}]}
    request = RouteRequest.of(
        body, estimated_tokens=7, tags=["a"], conversation="c", remaining_usd=0.1
    )
    assert request == RouteRequest(
        "auto",
        messages=messages,
        estimated_tokens=7,
        tools=True,
        vision=True,
        tags={"a"},
        conversation="c",
        remaining_usd=Decimal("0.1"),
    )
    assert RouteRequest.of({}) == RouteRequest()


def test_messages_are_not_in_the_repr() -> None:
    secret = [{"role": "user", "content": "secret"}]
    assert "secret" not in repr(RouteRequest(messages=secret))


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: When(min_tokens=-1), "When.min_tokens must be at least 0, not -1"),
        (
            lambda: When(min_tokens=5, max_tokens=4),
            "When.max_tokens must be at least min_tokens, 5, not 4",
        ),
        (lambda: When(tools=1), "When.tools must be True, False or None, not 1"),  # type: ignore[arg-type]
        (lambda: When(tags="code"), "tags must be a set of names, not 'code'"),
        (lambda: When(predicate=3), "When.predicate must be callable or None, not 3"),  # type: ignore[arg-type]
        (
            lambda: When(remaining_below_usd=-1),
            "When.remaining_below_usd must be from 0 to 1000000, not -1",
        ),
        (lambda: Rule("", use="m"), "Rule.name must be a name of its own, not ''"),
        (lambda: Rule("default", use="m"), "Rule.name must be a name of its own, not 'default'"),
        (lambda: Rule(3, use="m"), "Rule.name must be text, not 3"),  # type: ignore[arg-type]
        (lambda: Rule("r", use=()), "Rule.use must hold at least one name"),
        (lambda: Rule("r", use=[""]), "Rule.use must not hold an empty name"),
        (lambda: Rule("r", use=[3]), "Rule.use must hold names, not 3"),  # type: ignore[list-item]
        (
            lambda: Rule("r", use="m", when={"tools": True}),  # type: ignore[arg-type]
            "Rule.when must be a When, not {'tools': True}",
        ),
        (
            lambda: RouteRequest(estimated_tokens=-1),
            "RouteRequest.estimated_tokens must be at least 0, not -1",
        ),
    ],
)
def test_a_bad_setting_is_refused(make: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert str(caught.value) == words
