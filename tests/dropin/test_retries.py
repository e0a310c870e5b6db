"""Whether to retry, and when; and the settings for it."""

from __future__ import annotations

import random
import re

import pytest

from moored.dropin import Retry, TransportPolicy
from moored.dropin.retries import (
    asks_too_much,
    delay,
    is_sdk_retry,
    retry_after,
    should_retry,
)

RETRIED = {408, 409, 425, 429, *range(500, 600)}


def test_the_statuses():
    assert {status for status in range(100, 600) if should_retry(status, {})} == RETRIED


@pytest.mark.parametrize(
    ("status", "said", "again"),
    [
        (429, "false", False),
        (503, " False ", False),
        (400, "true", True),
        (200, "true", False),
        (429, "maybe", True),
        (400, "", False),
    ],
)
def test_what_the_server_says_goes_before_the_status(status, said, again):
    assert should_retry(status, {"x-should-retry": said}) is again


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:30 GMT"}, 20),
        ({"Retry-After": "7", "Retry-After-Ms": "250"}, 0.25),
        ({"retry-after": "x"}, None),
    ],
)
def test_what_the_server_asks_for(headers, seconds):
    assert retry_after(headers, wall_time=10) == seconds


def test_full_jitter_on_top_of_what_was_asked():
    rng = random.Random(1)
    for retries, upper in ((0, 0.5), (1, 1), (3, 4), (4, 8), (90, 8), (10_000, 8)):
        drawn = [delay(Retry(), retries, None, rng) for _ in range(500)]
        assert 0 <= min(drawn) < upper * 0.05
        assert upper * 0.95 < max(drawn) <= upper
        asked = [delay(Retry(), retries, 3, rng) for _ in range(100)]
        assert 3 <= min(asked) <= max(asked) <= 3 + upper
    assert 1e9 <= delay(Retry(), 0, 1e9, rng) <= 1e9 + 0.5


@pytest.mark.parametrize(
    ("asked", "too_much"), [(None, False), (0, False), (60, False), (60.1, True), (1e9, True)]
)
def test_a_longer_delay_than_is_waited_for(asked, too_much):
    assert asks_too_much(Retry(), asked) is too_much


@pytest.mark.parametrize(
    ("headers", "again"),
    [
        ({}, False),
        ({"x-stainless-retry-count": "0"}, False),
        ({"x-stainless-retry-count": ""}, False),
        ({"x-stainless-retry-count": "1"}, True),
    ],
)
def test_the_sdks_own_retries(headers, again):
    assert is_sdk_retry(headers) is again


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Retry(attempts=0), "Retry.attempts must be at least 1, not 0"),
        (lambda: Retry(initial=0), "Retry.initial must be more than 0, not 0"),
        (lambda: Retry(initial=9), "Retry.maximum must be at least Retry.initial=9, not 8.0"),
        (lambda: Retry(retry_after_maximum=-1), "Retry.retry_after_maximum must be at least 0"),
        (
            lambda: TransportPolicy(first_token_timeout=0),
            "TransportPolicy.first_token_timeout must be more than 0, not 0",
        ),
        (
            lambda: TransportPolicy(progress_timeout=float("nan")),
            "TransportPolicy.progress_timeout must be finite or None, not nan",
        ),
        (
            lambda: TransportPolicy(required_end="stop"),
            "TransportPolicy.required_end must be one of 'finish', 'terminator', 'anything', "
            "not 'stop'",
        ),
        (
            lambda: TransportPolicy(max_event_bytes=0),
            "TransportPolicy.max_event_bytes must be at least 1, not 0",
        ),
    ],
)
def test_a_wrong_setting_is_named(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_a_retry_is_a_retry():
    with pytest.raises(TypeError, match=r"TransportPolicy\.retry must be a Retry"):
        TransportPolicy(retry=3)
