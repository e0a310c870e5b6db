"""What an answer does to a limiter."""

import pytest
import trio

from moored.limits import AdaptiveConcurrency, Limiter, Quota, Rate, RateLimitHeaders
from moored.limits.pacing import pace


def decide(*quotas, status=200, retry_after=None, max_pause=3600.0):
    seen = RateLimitHeaders(retry_after, quotas)
    return pace(seen, status, {"requests", "tokens"}, max_pause=max_pause)


def test_retry_after_pauses_but_not_on_a_redirect():
    assert decide(retry_after=5).pause == 5
    assert decide(retry_after=5, status=429).pause == 5
    assert decide(retry_after=5, status=301).pause == 0
    assert decide(retry_after=5, max_pause=2).pause == 2


def test_a_quota_that_comes_back_at_once_pauses_until_then():
    assert decide(Quota("requests", 100, 0, 30)).pause == 30
    assert decide(Quota("requests", 100, 1, 30)).pause == 0
    assert decide(Quota("requests", 100, 0, 30, gradual=True)).pause == 0
    assert decide(Quota("searches", 100, 0, 30)).pause == 0


def test_a_429_always_pauses():
    assert decide(status=429).pause == 1
    assert decide(Quota("requests", 60, 0, 60, gradual=True), status=429).pause == 1
    assert decide(Quota("requests", 600, 0, 60, gradual=True), status=429).pause == 0.1
    assert decide(Quota("requests", 600, 0, gradual=True), status=429).pause == 1
    assert decide(status=503).pause == 0


def test_of_several_windows_the_tightest_counts():
    told = decide(Quota("tokens", remaining=50, window="day"), Quota("tokens", remaining=90))
    assert told.remaining == {"tokens": 50}


async def test_the_limiter_takes_over_what_remains_but_never_more(clock):
    limiter = Limiter(requests=Rate(60), tokens=Rate(600))
    limiter.observe(
        {"x-ratelimit-remaining-tokens": "60", "x-ratelimit-remaining-requests": "9999"}
    )
    assert limiter.statistics().available == {"requests": 60, "tokens": 60}
    async with limiter.reserve(tokens=100) as reservation:
        assert reservation.waited == 4
    limiter.observe({"x-ratelimit-remaining-tokens": "500"})
    assert limiter.statistics().available["tokens"] == pytest.approx(0)


async def test_a_429_holds_everyone(clock):
    limiter = Limiter(requests=Rate(60))
    limiter.observe({"retry-after-ms": "2500"}, 429)
    async with limiter.reserve() as reservation:
        assert reservation.waited == 2.5
    limiter.observe({}, 429)
    assert limiter.statistics().paused_for == 1


async def test_the_longest_pause_that_headers_cause_is_bounded(clock):
    limiter = Limiter(max_pause=60, requests=Rate(60))
    limiter.observe({"retry-after": "86400"}, 429)
    assert limiter.statistics().paused_for == 60


async def test_a_date_is_compared_with_the_time_given(clock):
    limiter = Limiter(requests=Rate(60))
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1750000030"}
    limiter.observe(headers, wall_time=1_750_000_000)
    assert limiter.statistics().paused_for == 30


async def test_overload_lowers_the_concurrency(clock):
    concurrency = AdaptiveConcurrency(initial=8)
    limiter = Limiter(concurrency=concurrency)
    for status, expected in ((200, 8), (429, 4), (404, 4), (529, 2)):
        await trio.sleep(2)
        limiter.observe({}, status)
        assert concurrency.limit == expected
