"""Failover: which endpoint gets a request, and why not the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from moored.chat.breaker import CircuitBreaker, CircuitState
from moored.chat.endpoint import Capabilities, Endpoint
from moored.chat.errors import ChatError, NoHealthyEndpoint
from moored.chat.failover import EndpointChoice, Failover
from moored.chat.needs import Needs


def endpoint(name: str, *, models: tuple[str, ...] | None = None, **capabilities: bool) -> Endpoint:
    return Endpoint(
        f"http://{name}.example/v1",
        name=name,
        models=models,
        capabilities=Capabilities(**capabilities),
    )


A, B, C = endpoint("a"), endpoint("b"), endpoint("c")
ANY = Needs("m")


def fail(failover: Failover, now: float, times: int = 5, reason: str = "refused") -> None:
    for _ in range(times):
        failover.choose(ANY, now).failed(now, reason)


def reasons(failover: Failover, needs: Needs, now: float, **options: float) -> dict[str, str]:
    with pytest.raises(NoHealthyEndpoint) as caught:
        failover.choose(needs, now, **options)
    return dict(caught.value.reasons)


# ---------------------------------------------------------------- the order


def test_the_first_is_preferred() -> None:
    failover = Failover([A, B])
    for _ in range(3):
        choice = failover.choose(ANY, 0)
        assert (choice.endpoint, choice.wait, choice.probe) == (A, 0, False)
        choice.succeeded(0)


def test_the_next_is_taken_once_the_first_was_tried() -> None:
    failover = Failover([A, B, C])
    assert failover.choose(ANY, 0, tried=[A]).endpoint is B
    assert failover.choose(ANY, 0, tried=[B]).endpoint is A
    assert failover.choose(ANY, 0, tried=[A, B]).endpoint is C


def test_one_that_was_tried_is_taken_again_when_no_other_is_healthy() -> None:
    failover = Failover([A, B])
    assert failover.choose(ANY, 0, tried=[A, B]).endpoint is A
    failover.choose(ANY, 0, tried=[A]).rate_limited(0, 60)
    choice = failover.choose(ANY, 0, tried=[A])
    assert (choice.endpoint, choice.wait) == (A, 0)


def test_an_open_circuit_sends_requests_to_the_next_and_back_after_a_probe() -> None:
    failover = Failover([A, B])
    fail(failover, 0)
    assert failover.choose(ANY, 29).endpoint is B
    probe = failover.choose(ANY, 30)
    assert (probe.endpoint, probe.probe) == (A, True)
    assert failover.choose(ANY, 30).endpoint is B  # one probe at a time
    probe.succeeded(31)
    assert failover.choose(ANY, 31).endpoint is A
    assert not failover.choose(ANY, 31).probe


def test_only_those_that_can_serve_it_are_asked() -> None:
    plain = endpoint("plain", tools=False)
    other = endpoint("other", models=("other",))
    failover = Failover([plain, other, C])
    assert failover.choose(Needs("m", tools=True), 0).endpoint is C
    assert failover.choose(Needs("m"), 0).endpoint is plain
    assert failover.choose(Needs("other", tools=True), 0).endpoint is other


# ---------------------------------------------------------------- 429


def test_a_429_is_a_cooldown_and_not_a_failure() -> None:
    failover = Failover([A, B])
    fail(failover, 0, times=4)
    failover.choose(ANY, 0).rate_limited(0, 12.5)
    statistics = failover.statistics(0)["a"]
    assert statistics.state is CircuitState.CLOSED
    assert statistics.failures_in_a_row == 4
    assert statistics.available_in == 12.5
    assert failover.choose(ANY, 12.4).endpoint is B
    assert failover.choose(ANY, 12.5).endpoint is A


@pytest.mark.parametrize(
    ("retry_after", "expected"), [(None, 5), (0, 0), (2.5, 2.5), (86_400, 300)]
)
def test_the_cooldown_is_what_the_endpoint_says_within_bounds(
    retry_after: float | None, expected: float
) -> None:
    failover = Failover([A])
    failover.choose(ANY, 10).rate_limited(10, retry_after)
    assert failover.statistics(10)["a"].available_in == expected


def test_the_bounds_of_the_cooldown_can_be_set() -> None:
    failover = Failover([A, B], rate_limit_cooldown=1, retry_after_maximum=20)
    failover.choose(ANY, 0).rate_limited(0)
    failover.choose(ANY, 0).rate_limited(0, 60)
    assert [each.available_in for each in failover.statistics(0).values()] == [1, 20]


def test_a_probe_answered_429_leaves_the_slot_to_the_next_after_the_cooldown() -> None:
    failover = Failover([A])
    fail(failover, 0)
    failover.choose(ANY, 30).rate_limited(30, 7)
    choice = failover.choose(ANY, 30)
    assert (choice.wait, choice.probe) == (7, False)
    assert failover.choose(ANY, 37).probe


# ---------------------------------------------------------------- waiting


def test_when_all_are_cooling_the_earliest_is_chosen() -> None:
    failover = Failover([A, B, C])
    for seconds in (20, 7, 12):
        failover.choose(ANY, 0).rate_limited(0, seconds)
    choice = failover.choose(ANY, 0)
    assert (choice.endpoint, choice.wait, choice.probe) == (B, 7, False)
    choice = failover.choose(ANY, 3)
    assert (choice.endpoint, choice.wait) == (B, 4)
    assert failover.choose(ANY, 7).wait == 0


def test_the_earliest_may_be_one_whose_circuit_is_open() -> None:
    failover = Failover([A, B])
    fail(failover, 0)
    failover.choose(ANY, 0).rate_limited(0, 60)
    choice = failover.choose(ANY, 10)
    assert (choice.endpoint, choice.wait) == (A, 20)


def test_waiting_takes_no_probe() -> None:
    failover = Failover([A])
    fail(failover, 0)
    waiting = [failover.choose(ANY, 10) for _ in range(3)]
    for choice in waiting:
        choice.succeeded(10)
        choice.failed(10, "not sent")
    assert [choice.wait for choice in waiting] == [20, 20, 20]
    assert failover.statistics(10)["a"].requests == 5
    assert failover.choose(ANY, 30).probe


def test_while_the_probe_of_the_only_one_is_under_way_others_look_again_each_second() -> None:
    failover = Failover([A])
    fail(failover, 0)
    probe = failover.choose(ANY, 30)
    assert failover.choose(ANY, 30).wait == 1
    assert failover.choose(ANY, 31).wait == 1
    probe.succeeded(31.5)
    assert failover.choose(ANY, 32).wait == 0


def test_a_429_to_a_request_from_before_counts_also_during_a_probe() -> None:
    failover = Failover([A])
    before = failover.choose(ANY, 0)
    fail(failover, 0)
    failover.choose(ANY, 30)
    before.rate_limited(30, 9)
    assert failover.choose(ANY, 30).wait == 9


def test_a_wait_is_never_too_short_for_the_clock() -> None:
    failover = Failover([A])
    now = 1e9
    failover.choose(ANY, now).rate_limited(now, 1e-6)
    assert failover.choose(ANY, now).wait in (0, 0.001)


# ---------------------------------------------------------------- none can serve


def test_when_none_can_serve_it_each_reason_is_listed() -> None:
    failover = Failover(
        [
            endpoint("one", models=("other",)),
            endpoint("two", tools=False),
            endpoint("three", tools=False, vision=False),
        ]
    )
    with pytest.raises(NoHealthyEndpoint) as caught:
        failover.choose(Needs("m", tools=True, vision=True), 0)
    assert isinstance(caught.value, ChatError)
    assert caught.value.model == "m"
    assert caught.value.retry_after is None
    assert caught.value.reasons == {
        "one": "does not serve model 'm'",
        "two": "has no tools",
        "three": "has no tools and no vision",
    }
    assert str(caught.value) == (
        "no endpoint can serve model 'm': one: does not serve model 'm'; two: has no tools; "
        "three: has no tools and no vision"
    )


def test_when_none_can_serve_it_soon_enough_each_reason_is_listed() -> None:
    failover = Failover([A, B, endpoint("c", models=("other",))])
    fail(failover, 0, reason="status 503")
    failover.choose(ANY, 0).rate_limited(0, 38.3)
    with pytest.raises(NoHealthyEndpoint) as caught:
        failover.choose(ANY, 26, max_wait=3)
    assert caught.value.retry_after == 4
    assert str(caught.value) == (
        "no endpoint can serve model 'm' soon enough: "
        "a: circuit open for another 4 s after 5 failures in a row: status 503; "
        "b: cooling for another 12.3 s after a 429; "
        "c: does not serve model 'm'"
    )
    assert failover.choose(ANY, 26, max_wait=4).wait == 4


def test_a_probe_under_way_is_a_reason() -> None:
    failover = Failover([A], breaker=partial(CircuitBreaker, failures=1))
    fail(failover, 0, 1, "no connection")
    failover.choose(ANY, 30)
    assert reasons(failover, ANY, 30, max_wait=0) == {
        "a": "circuit half-open, its one probe under way, after 1 failure in a row: no connection"
    }


def test_open_and_cooling_are_both_said() -> None:
    failover = Failover([A])
    before = failover.choose(ANY, 0)
    fail(failover, 0)
    before.rate_limited(0, 40)
    assert reasons(failover, ANY, 0, max_wait=0) == {
        "a": "circuit open for another 30 s after 5 failures in a row: refused, "
        "and cooling for another 40 s after a 429"
    }
    assert reasons(failover, ANY, 31, max_wait=0) == {"a": "cooling for another 9 s after a 429"}


def test_a_cause_is_cut_to_a_sensible_length() -> None:
    failover = Failover([A])
    fail(failover, 0, reason="x" * 10_000)
    assert len(reasons(failover, ANY, 0, max_wait=0)["a"]) < 300
    assert failover.statistics(0)["a"].last_failure == "x" * 200


# ---------------------------------------------------------------- settling

SETTLE: dict[str, Callable[[EndpointChoice, float], None]] = {
    "successes": lambda choice, now: choice.succeeded(now),
    "failures": lambda choice, now: choice.failed(now, "refused"),
    "rate_limits": lambda choice, now: choice.rate_limited(now, 10),
    "abandoned": lambda choice, now: choice.abandoned(now),
}


@pytest.mark.parametrize("first", SETTLE)
def test_a_choice_is_settled_once(first: str) -> None:
    failover = Failover([A], breaker=partial(CircuitBreaker, failures=2))
    choice = failover.choose(ANY, 0)
    assert failover.statistics(0)["a"].active == 1
    for name in (first, *SETTLE):
        SETTLE[name](choice, 0)
    statistics = failover.statistics(0)["a"]
    assert {name: getattr(statistics, name) for name in SETTLE} == {
        name: int(name == first) for name in SETTLE
    }
    assert (statistics.requests, statistics.active) == (1, 0)
    assert statistics.failures_in_a_row == int(first == "failures")
    assert statistics.available_in == (10 if first == "rate_limits" else 0)


def test_a_probe_that_is_cancelled_leaves_its_slot() -> None:
    failover = Failover([A])
    fail(failover, 0)
    failover.choose(ANY, 30).abandoned(31)
    assert failover.choose(ANY, 31).probe


def test_statistics_say_how_each_is_doing() -> None:
    failover = Failover([A, B])
    fail(failover, 0, reason="status 500")
    failover.choose(ANY, 1).succeeded(2)
    statistics = failover.statistics(10)
    assert list(statistics) == ["a", "b"]
    assert statistics["a"].state is CircuitState.OPEN
    assert statistics["a"].failures_in_a_row == 5
    assert statistics["a"].available_in == 20
    assert statistics["a"].last_failure == "status 500"
    assert statistics["b"].state is CircuitState.CLOSED
    assert (statistics["b"].requests, statistics["b"].successes) == (1, 1)
    failover.choose(ANY, 30)
    assert failover.statistics(30)["a"].available_in == math.inf


# ---------------------------------------------------------------- settings


def test_names_have_to_differ() -> None:
    with pytest.raises(ValueError) as caught:
        Failover([Endpoint("http://a.example/v1"), Endpoint("http://a.example/v2")])
    assert str(caught.value) == (
        "Failover.endpoints: two are named 'a.example'; give each an Endpoint.name of its own"
    )


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="must hold at least one Endpoint"):
        Failover([])
    with pytest.raises(TypeError, match="must hold Endpoints, not 'http"):
        Failover(["http://a.example/v1"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"Failover\.breaker must be a callable"):
        Failover([A], breaker=CircuitBreaker())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Failover\.rate_limit_cooldown must be at least 0"):
        Failover([A], rate_limit_cooldown=-1)


def test_each_endpoint_has_a_breaker_of_its_own() -> None:
    failover = Failover([A, B], breaker=partial(CircuitBreaker, failures=1, cooldown=3))
    fail(failover, 0, 1)
    statistics = failover.statistics(0)
    assert [each.available_in for each in statistics.values()] == [3, 0]


def test_an_endpoint_whose_headers_are_a_dict_can_be_tried() -> None:
    """Such an endpoint has no hash."""
    one = Endpoint("http://one.example/v1", headers={"x": "y"})
    assert Failover([one, B]).choose(ANY, 0, tried=[one]).endpoint is B


# ---------------------------------------------------------------- any history

steps = st.lists(
    st.tuples(st.floats(0, 40), st.sampled_from([*SETTLE, "later"]), st.integers(0, 7)),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(steps=steps)
def test_over_any_history_the_first_healthy_one_is_chosen(
    steps: list[tuple[float, str, int]],
) -> None:
    able, unable = [A, B, C], endpoint("d", models=("other",))
    failover = Failover(
        [A, unable, B, C], breaker=partial(CircuitBreaker, failures=2, cooldown=10, maximum=40)
    )
    now, under_way, chosen = 0.0, [], Counter[str]()
    for seconds, outcome, which in steps:
        now += seconds
        tried = [each for bit, each in enumerate(able) if which >> bit & 1]
        before = failover.statistics(now)
        choice = failover.choose(ANY, now, tried=tried)
        healthy = [each for each in able if before[each.name].available_in == 0]
        fresh = [each for each in healthy if each not in tried]
        if not healthy:
            waits = [before[each.name].available_in for each in able]
            if math.inf not in waits:
                assert choice.wait == pytest.approx(min(waits), abs=0.002)
            else:  # a probe is under way
                assert choice.wait == pytest.approx(min(waits), abs=0.002) or choice.wait >= 1
            now += choice.wait
            continue
        assert choice.endpoint is (fresh or healthy)[0]
        assert choice.wait == 0
        assert choice.probe == (before[choice.endpoint.name].failures_in_a_row >= 2)
        chosen[choice.endpoint.name] += 1
        under_way.append(choice)
        if outcome != "later":
            SETTLE[outcome](under_way.pop(which % len(under_way)), now)
    after = failover.statistics(now)
    assert {name: each.requests for name, each in after.items() if each.requests} == chosen
    assert sum(each.active for each in after.values()) == len(under_way)
    for choice in under_way:  # what is given back at the end leaves nothing held
        choice.abandoned(now)
    after = failover.statistics(now)
    assert all(each.active == 0 and each.available_in < math.inf for each in after.values())


# ---------------------------------------------------------------- many requests, one bad endpoint


async def requests_of(failover: Failover, bad: str, asked: list[float]) -> int:
    """Forty requests in two minutes for each of ten users; returns how many were answered."""
    answered = 0

    async def send(choice: EndpointChoice) -> bool:
        if choice.endpoint is B:
            await trio.sleep(0.5)
            choice.succeeded(trio.current_time())
            return True
        asked.append(trio.current_time())
        if bad == "hanging":
            await trio.sleep(2)
        if bad == "429":
            choice.rate_limited(trio.current_time(), 10)
        else:
            choice.failed(trio.current_time(), bad)
        return False

    async def request() -> None:
        nonlocal answered
        tried: list[Endpoint] = []
        for _ in range(2):
            choice = failover.choose(ANY, trio.current_time(), tried=tried)
            assert choice.wait == 0
            try:
                if await send(choice):
                    answered += 1
                    return
            finally:
                choice.abandoned(trio.current_time())
            tried.append(choice.endpoint)

    async def user() -> None:
        for _ in range(40):
            await request()
            await trio.sleep(2.5)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(user)
    return answered


@pytest.mark.parametrize("bad", ["dead", "hanging", "429"])
def test_with_one_bad_endpoint_every_request_succeeds_and_it_sees_one_probe_per_cooldown(
    bad: str,
) -> None:
    asked: list[float] = []
    failover = Failover([A, B])
    answered = trio.run(requests_of, failover, bad, asked, clock=MockClock(autojump_threshold=0))
    assert answered == 400
    began = asked[0]
    at_first = [at for at in asked if at - began < 5]
    probes = [at - began for at in asked if at - began >= 5]
    assert 1 <= len(at_first) <= 10  # as many as there are users
    statistics = failover.statistics(asked[-1] + 10)["a"]
    if bad == "429":
        # Ten users ask at the same instant once each cooldown is over, before any is answered.
        assert statistics.failures == 0
        assert statistics.state is CircuitState.CLOSED
        assert len(asked) <= 10 * 13
    else:
        assert len(probes) == 2  # after 30 s, and 60 s after that
        assert probes[0] >= 30
        assert probes[1] - probes[0] >= 60
    assert failover.statistics(asked[-1] + 10)["b"].failures == 0
