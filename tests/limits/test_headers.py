"""Every spelling of a server's limits, and what is no limit at all."""

import math

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moored.limits import Quota, RateLimitHeaders, parse_headers
from moored.limits.pacing import pace

NOW = 1_750_000_000.0  # 2025-06-15T15:06:40Z


def quotas(headers, now=NOW):
    return {
        (quota.dimension, quota.window): (quota.limit, quota.remaining, quota.reset_after)
        for quota in parse_headers(headers, wall_time=now).quotas
    }


def test_openai():
    assert quotas(
        {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-limit-tokens": "150000",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-remaining-tokens": "149984",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-reset-tokens": "6m0s",
        }
    ) == {("requests", ""): (60, 59, 1), ("tokens", ""): (150_000, 149_984, 360)}


def test_azure_tells_only_what_remains():
    assert quotas(
        {"X-RateLimit-Remaining-Requests": "9", "x-ratelimit-remaining-tokens": "900"}
    ) == {("requests", ""): (None, 9, None), ("tokens", ""): (None, 900, None)}


def test_groq():
    headers = {
        "retry-after": "2",
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-remaining-requests": "14370",
        "x-ratelimit-reset-requests": "2m59.56s",
        "x-ratelimit-reset-tokens": "7.66s",
    }
    assert parse_headers(headers, wall_time=NOW).retry_after == 2
    assert quotas(headers) == {
        ("requests", ""): (14_400, 14_370, pytest.approx(179.56)),
        ("tokens", ""): (None, None, 7.66),
    }


def test_anthropic():
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2025-06-15T15:06:41Z",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-input-tokens-reset": "2025-06-15T17:07:40+02:00",
        "anthropic-ratelimit-output-tokens-limit": "8000",
    }
    assert quotas(headers) == {
        ("requests", ""): (50, 49, 1),
        ("input_tokens", ""): (None, 0, 60),
        ("output_tokens", ""): (8000, None, None),
    }
    assert all(quota.gradual for quota in parse_headers(headers, wall_time=NOW).quotas)


def test_github():
    (quota,) = parse_headers(
        {
            "x-ratelimit-limit": "5000",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": "1750000030",
            "x-ratelimit-used": "5000",
            "x-ratelimit-resource": "core",
        },
        wall_time=NOW,
    ).quotas
    assert quota == Quota("requests", 5000, 0, 30)


def test_windows_by_name():
    headers = {
        "x-ratelimit-remaining-req-minute": "3",
        "x-ratelimit-remaining-requests-day": "70",
        "x-ratelimit-reset-requests-day": "33011.382867",
        "x-ratelimit-limit-tokens-minute": "60000",
    }
    assert quotas(headers) == {
        ("requests", "minute"): (None, 3, None),
        ("requests", "day"): (None, 70, 33011.382867),
        ("tokens", "minute"): (60_000, None, None),
    }
    assert not any(quota.gradual for quota in parse_headers(headers, wall_time=NOW).quotas)


def test_the_ietf_draft():
    assert quotas(
        {
            "RateLimit-Policy": '"burst";q=100;w=60,"daily";q=1000;w=86400, "up";q=5;qu="bytes"',
            "RateLimit": '"burst";r=50;t=30, "daily";r=1;t=4000;pk=:a,b:, "up";r=0;t=9',
        }
    ) == {("requests", "burst"): (100, 50, 30), ("requests", "daily"): (1000, 1, 4000)}


@pytest.mark.parametrize(
    "headers",
    [
        {"RateLimit": "limit=100, remaining=50, reset=5", "RateLimit-Policy": "100;w=10"},
        {"RateLimit-Limit": "100, 100;w=10", "RateLimit-Remaining": "50", "RateLimit-Reset": "5"},
    ],
)
def test_its_older_versions(headers):
    assert quotas(headers) == {("requests", ""): (100, 50, 5)}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("1.5s", 1.5),
        ("120ms", 0.12),
        ("1h2m3s", 3723),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("17ns", 17e-9),
        ("1d", 86400),
        ("0s", 0),
        ("30", 30),
        ("0.5", 0.5),
        ("1750000012", 12),
        ("1750000000500", 0.5),
        ("1749999000", 0),
        ("2025-06-15T15:06:50Z", 10),
        ("2025-06-15T15:06:50.250Z", 10.25),
        ("2025-06-15T13:06:50-02:00", 10),
        ("2020-01-01T00:00:00Z", 0),
        ("Sun, 15 Jun 2025 15:07:40 GMT", 60),
    ],
)
def test_moments(text, seconds):
    assert quotas({"x-ratelimit-reset-tokens": text}) == {
        ("tokens", ""): (None, None, pytest.approx(seconds))
    }


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "-5", "nan", "inf", "1e9", "6x", "s", "6m0", "9" * 400, "9" * 20 + "h"),
        *("2025-99-99T00:00:00Z", "9999-12-31T23:59:59Z", "99999999", "\x00", "٣", "0x10", "1_0"),
    ],
)
def test_nonsense_is_left_out(text):
    headers = {
        "x-ratelimit-reset-tokens": text,
        "x-ratelimit-remaining": text if text != "99999999" else "",
        "ratelimit": text,
        "retry-after": text if not text.startswith("9" * 8) else "",  # that is a long pause
    }
    assert parse_headers(headers, wall_time=NOW) == RateLimitHeaders()


def test_retry_after():
    def read(**headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return parse_headers(named, wall_time=NOW).retry_after

    assert read(retry_after="3") == 3
    assert read(Retry_After="3", Retry_After_Ms="1500") == 1.5
    assert read(retry_after="Sun, 15 Jun 2025 15:06:50 GMT") == 10
    # A server whose clock differs from ours is understood by its own.
    late = "Sun, 15 Jun 2025 18:00:00 GMT"
    assert read(retry_after="Sun, 15 Jun 2025 18:00:07 GMT", date=late) == 7
    assert read(retry_after="Sun, 15 Jun 2025 15:06:50 GMT", date="today") == 10


def test_headers_come_in_many_forms():
    expected = {("requests", ""): (None, 7, None)}
    assert quotas([("X-RateLimit-Remaining", " 7 ")]) == expected
    assert quotas([(b"x-ratelimit-remaining", b"7")]) == expected
    assert quotas(httpx.Headers({"x-ratelimit-remaining": "7"})) == expected
    assert (
        quotas([("x-ratelimit-remaining", 7), (None, None), ("x-ratelimit-limit", "x" * 9999)])
        == {}
    )


NAMES = st.sampled_from(
    ["retry-after", "retry-after-ms", "ratelimit", "ratelimit-policy", "ratelimit-reset", "date"]
    + [f"x-ratelimit-{field}" for field in ("limit", "remaining", "reset")]
    + [f"x-ratelimit-{field}-tokens" for field in ("limit", "remaining", "reset")]
)
VALUES = st.one_of(
    st.text(max_size=30),
    st.text('0123456789.,;="smhr twq-:TZ', max_size=30),
    st.floats().map(str),
    st.datetimes().map(str),
    st.integers().map(str),
)


@given(st.dictionaries(NAMES, VALUES))
def test_nothing_raises_and_every_figure_is_sane(headers):
    seen = parse_headers(headers, wall_time=NOW)
    figures = [seen.retry_after]
    for quota in seen.quotas:
        figures += [quota.limit, quota.remaining, quota.reset_after]
    assert all(each is None or (math.isfinite(each) and each >= 0) for each in figures)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("6m0s", 360), ("5s", 5), ("120ms", 0.12), ("99999999", 32 * 86400), ("9" * 400, 32 * 86400)],
)
def test_a_retry_after_may_be_a_duration_and_is_bounded_rather_than_ignored(value, seconds):
    seen = parse_headers({"Retry-After": value}, wall_time=0)
    assert seen.retry_after == pytest.approx(seconds)
    assert pace(seen, 429, {"requests"}, max_pause=60).pause == pytest.approx(min(60, seconds))
