"""The router: which model, and why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moored.chat.endpoint import Capabilities
from moored.chat.errors import ChatError, NoSuitableModel
from moored.chat.router import Explanation, Route, Router
from moored.chat.rules import RouteRequest, Rule, When

RULES = [
    Rule("long", use="gemini-pro", when=When(min_tokens=100_000)),
    Rule("frugal", use="fast", when=When(remaining_below_usd=1)),
    Rule("code", use="smart", when=When(tools=True, tags={"code"})),
]
MODELS = {"fast": ("gpt-5-mini", "haiku"), "smart": ("gpt-5", "sonnet")}


def router(**options: Any) -> Router:
    return Router(RULES, **{"default": "fast", "models": MODELS, **options})


CODE = {"tools": True, "tags": {"code"}}

# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("fields", "models", "rule"),
    [
        ({}, ("gpt-5-mini", "haiku"), "default"),
        ({"estimated_tokens": 99_999}, ("gpt-5-mini", "haiku"), "default"),
        ({"estimated_tokens": 100_000}, ("gemini-pro",), "long"),
        (CODE, ("gpt-5", "sonnet"), "code"),
        ({**CODE, "remaining_usd": 0.5}, ("gpt-5-mini", "haiku"), "frugal"),
        ({**CODE, "estimated_tokens": 200_000}, ("gemini-pro",), "long"),
        ({"model": "auto", **CODE}, ("gpt-5", "sonnet"), "code"),
    ],
)
def test_the_first_rule_that_applies_decides(
    fields: dict[str, Any], models: tuple[str, ...], rule: str
) -> None:
    route = router().route(RouteRequest(**fields))
    assert (route.models, route.rule, route.model) == (models, rule, models[0])


def test_later_rules_are_not_looked_at() -> None:
    def broken(request: RouteRequest) -> bool:
        raise AssertionError

    rules = [Rule("first", use="m"), Rule("second", use="n", when=When(predicate=broken))]
    assert Router(rules, default="d").route(RouteRequest()).model == "m"


def test_a_rule_may_lead_to_several_each_once() -> None:
    rules = [Rule("all", use=("gpt-5", "smart", "other", "fast"))]
    assert Router(rules, default="d", models=MODELS).route(RouteRequest()).models == (
        "gpt-5",
        "sonnet",
        "other",
        "gpt-5-mini",
        "haiku",
    )


# ---------------------------------------------------------------- what the user asks for


def test_a_model_that_the_user_asks_for_wins() -> None:
    route = router(context_tokens={"mine": 10}).route(
        RouteRequest("mine", estimated_tokens=200_000, remaining_usd=0)
    )
    assert route == Route(("mine",), None, "the user asks for this model")


def test_a_class_that_the_user_asks_for_wins() -> None:
    route = router().route(RouteRequest("smart", remaining_usd=0))
    assert route == Route(("gpt-5", "sonnet"), None, "the user asks for 'smart'")


# ---------------------------------------------------------------- what models can do


def test_a_model_that_does_not_suit_is_left_out_and_named() -> None:
    route = router(capabilities={"gpt-5-mini": Capabilities(vision=False, tools=False)}).route(
        RouteRequest(vision=True, tools=True)
    )
    assert route.models == ("haiku",)
    assert route.reason == (
        "rule 'default': where no rule decides; not gpt-5-mini, which has no tools and no vision"
    )


def test_a_rule_of_which_no_model_suits_is_passed_over() -> None:
    blind = Capabilities(vision=False)
    route = router(capabilities={"gpt-5": blind, "sonnet": blind}).route(
        RouteRequest(vision=True, **CODE)
    )
    assert (route.rule, route.models) == ("default", ("gpt-5-mini", "haiku"))


def test_a_request_that_is_too_long_for_a_model_does_not_suit_it() -> None:
    short = router(context_tokens={"gpt-5": 8000, "gemini-pro": 1_000_000})
    assert short.route(RouteRequest("smart", estimated_tokens=8000)).model == "gpt-5"
    route = short.route(RouteRequest("smart", estimated_tokens=8001))
    assert route.models == ("sonnet",)
    assert route.reason == (
        "the user asks for 'smart'; not gpt-5, which takes 8,000 tokens of about 8,001"
    )
    assert short.route(RouteRequest("smart")).model == "gpt-5"  # not known to be too long


def test_when_no_model_suits_each_reason_is_listed() -> None:
    blind = Capabilities(vision=False)
    lone = Router(
        [Rule("long", use="gemini", when=When(min_tokens=100)), Rule("t", "x", When(tools=True))],
        default="mini",
        capabilities={"gemini": blind, "mini": blind},
        context_tokens={"mini": 50},
        models={"class": "mini"},
    )
    request = RouteRequest(vision=True, estimated_tokens=1000)
    with pytest.raises(NoSuitableModel) as caught:
        lone.route(request)
    assert isinstance(caught.value, ChatError)
    assert caught.value.reasons == {
        "gemini": "has no vision",
        "mini": "takes 50 tokens of about 1,000 and has no vision",
    }
    assert str(caught.value) == (
        "no model suits the request: gemini has no vision; "
        "mini takes 50 tokens of about 1,000 and has no vision"
    )
    assert lone.explain(request).route is None
    assert str(lone.explain(request)).splitlines()[0] == "no model suits the request"
    with pytest.raises(NoSuitableModel, match="request: mini has no vision"):
        lone.route(RouteRequest("class", vision=True))


# ---------------------------------------------------------------- conversations


def test_a_conversation_keeps_its_model() -> None:
    one = router()
    first = one.route(RouteRequest(conversation="c", **CODE))
    later = one.route(RouteRequest(conversation="c", estimated_tokens=200_000, remaining_usd=0))
    assert (first.models, first.kept) == (("gpt-5", "sonnet"), False)
    assert later == Route(
        ("gpt-5", "sonnet"), "code", "the conversation 'c' keeps its model", kept=True
    )
    assert one.route(RouteRequest(conversation="other")).rule == "default"
    assert one.route(RouteRequest()).rule == "default"


def test_a_conversation_that_outgrows_its_model_moves_and_says_so() -> None:
    one = router(context_tokens={"gpt-5-mini": 50_000})
    one.route(RouteRequest(conversation="c", estimated_tokens=50_000))
    moved = one.route(RouteRequest(conversation="c", estimated_tokens=120_000))
    assert moved == Route(
        ("gemini-pro",),
        "long",
        "rule 'long': about 120,000 tokens, at least 100,000; the conversation 'c' leaves "
        "gpt-5-mini, which takes 50,000 tokens of about 120,000",
        moved_from="gpt-5-mini",
    )
    kept = one.route(RouteRequest(conversation="c", estimated_tokens=10))
    assert (kept.model, kept.kept, kept.moved_from) == ("gemini-pro", True, None)


def test_a_conversation_that_needs_vision_now_moves() -> None:
    one = router(capabilities={"gpt-5-mini": Capabilities(vision=False)})
    assert one.route(RouteRequest(conversation="c")).model == "gpt-5-mini"
    moved = one.route(RouteRequest(conversation="c", vision=True))
    assert (moved.models, moved.moved_from) == (("haiku",), "gpt-5-mini")
    assert one.route(RouteRequest(conversation="c")).model == "haiku"


def test_only_what_suits_is_kept() -> None:
    one = router(capabilities={"haiku": Capabilities(vision=False)})
    assert one.route(RouteRequest(conversation="c")).models == ("gpt-5-mini", "haiku")
    assert one.route(RouteRequest(conversation="c", vision=True)).models == ("gpt-5-mini",)
    assert one.route(RouteRequest(conversation="c")).models == ("gpt-5-mini", "haiku")


def test_a_model_asked_for_by_name_leaves_the_conversation_as_it_was() -> None:
    one = router()
    one.route(RouteRequest(conversation="c", **CODE))
    assert one.route(RouteRequest("mine", conversation="c")).model == "mine"
    assert one.route(RouteRequest(conversation="c")).model == "gpt-5"


def test_another_class_asked_for_is_decided_anew() -> None:
    one = router()
    one.route(RouteRequest(conversation="c"))
    assert one.route(RouteRequest("smart", conversation="c")).model == "gpt-5"
    assert one.route(RouteRequest("smart", conversation="c")).kept
    route = one.route(RouteRequest("auto", conversation="c"))
    assert (route.model, route.kept, route.moved_from) == ("gpt-5-mini", False, None)


def test_a_conversation_can_be_forgotten() -> None:
    one = router()
    one.route(RouteRequest(conversation="c", **CODE))
    one.forget("c")
    one.forget("never heard of")
    assert one.route(RouteRequest(conversation="c")).rule == "default"


def test_the_conversation_not_heard_of_for_the_longest_is_forgotten_first() -> None:
    one = router(conversations=2)
    for name in ("a", "b", "a", "c"):
        one.route(RouteRequest(conversation=name, **CODE))
    kept = [one.explain(RouteRequest(conversation=name)).route.kept for name in "abc"]  # type: ignore[union-attr]
    assert kept == [True, False, True]


# ---------------------------------------------------------------- explanations


def test_an_explanation_has_a_line_for_each_rule() -> None:
    request = RouteRequest(estimated_tokens=1200, remaining_usd=3.5, **CODE)
    assert str(router().explain(request)) == (
        "gpt-5, sonnet: rule 'code': has tools, tagged code\n"
        "   long     no   about 1,200 tokens, fewer than 100,000\n"
        "   frugal   no   $3.50 left, not below $1.00\n"
        "-> code     yes  has tools, tagged code\n"
        "   default  yes  where no rule decides"
    )


def test_rules_after_the_one_that_decides_are_explained_too() -> None:
    rules = router().explain(RouteRequest(remaining_usd=0, **CODE)).rules
    assert [(each.name, each.matched, each.chosen) for each in rules] == [
        ("long", False, False),
        ("frugal", True, True),
        ("code", True, False),
        ("default", True, False),
    ]


@pytest.mark.parametrize("model", ["mine", "smart"])
def test_no_rule_decides_where_the_user_does(model: str) -> None:
    explanation = router().explain(RouteRequest(model, **CODE))
    assert not any(each.chosen for each in explanation.rules)
    assert str(explanation).splitlines()[0].endswith(explanation.route.reason)  # type: ignore[union-attr]


def test_no_rule_decides_where_the_conversation_keeps_its_model() -> None:
    one = router()
    one.route(RouteRequest(conversation="c", **CODE))
    explanation = one.explain(RouteRequest(conversation="c"))
    assert str(explanation).splitlines()[0] == (
        "gpt-5, sonnet: the conversation 'c' keeps its model"
    )
    assert not any(each.chosen for each in explanation.rules)


requests = st.builds(
    RouteRequest,
    st.sampled_from([None, "auto", "fast", "smart", "mine"]),
    estimated_tokens=st.sampled_from([None, 10, 60_000, 150_000, 2_000_000]),
    tools=st.booleans(),
    vision=st.booleans(),
    tags=st.sets(st.sampled_from(["code", "batch"])),
    conversation=st.sampled_from([None, "a", "b", "c"]),
    remaining_usd=st.sampled_from([None, 0, 2]),
)


@given(history=st.lists(requests, max_size=15))
def test_an_explanation_tells_what_the_route_will_be_and_changes_nothing(
    history: list[RouteRequest],
) -> None:
    one = router(
        conversations=2,
        context_tokens={"gpt-5-mini": 50_000, "haiku": 200_000, "gemini-pro": 1_000_000},
        capabilities={"haiku": Capabilities(vision=False), "gpt-5": Capabilities(tools=False)},
    )
    twin = Router(**{name: getattr(one, name) for name in (
        "rules", "default", "models", "context_tokens", "capabilities", "conversations"
    )})  # fmt: skip
    for request in history:
        told: Explanation = one.explain(request)
        assert one.explain(request) == told
        if told.route is None:
            for each in (one, twin):
                with pytest.raises(NoSuitableModel) as caught:
                    each.route(request)
                assert all(caught.value.reasons.values())
            continue
        route = one.route(request)
        assert told.route == route == twin.route(request)  # the twin was never asked to explain
        chosen = [each for each in told.rules if each.chosen]
        assert [each.name for each in chosen] == [route.rule] * (
            route.rule is not None and not route.kept
        )
        assert len(str(told).splitlines()) == 1 + len(told.rules)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"default": ()}, "Router.default must hold at least one name"),
        ({"models": {"fast": ()}}, "Router.models['fast'] must hold at least one name"),
        (
            {"models": {"auto": "m"}},
            "Router.models: 'auto' is no name for a class of models",
        ),
        (
            {"models": {"any": ("fast", "x"), "fast": "m"}},
            "Router.models['any'] must hold models, not the class 'fast'",
        ),
        (
            {"context_tokens": {"m": 0}},
            "Router.context_tokens['m'] must be a whole number of at least 1, not 0",
        ),
        (
            {"capabilities": {"m": "vision"}},
            "Router.capabilities['m'] must be Capabilities, not 'vision'",
        ),
        ({"conversations": 0}, "Router.conversations must be at least 1, not 0"),
    ],
)
def test_a_bad_setting_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        router(**options)
    assert str(caught.value) == words


def test_rules_have_names_of_their_own() -> None:
    with pytest.raises(ValueError, match=r"Router\.rules: two are named 'r'"):
        Router([Rule("r", "m"), Rule("r", "n")], default="d")
    with pytest.raises(TypeError, match=r"Router\.rules must hold Rules, not 'r'"):
        Router(["r"], default="d")  # type: ignore[list-item]


def test_a_class_may_be_called_like_a_model_of_its_own() -> None:
    one = Router([], default="gpt-5", models={"gpt-5": ("gpt-5", "gpt-5-mini")})
    assert one.route(RouteRequest()).models == ("gpt-5", "gpt-5-mini")
