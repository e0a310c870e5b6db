"""Whether an answer calls for another attempt, and when.  No I/O, no clock."""

from __future__ import annotations

import random
from collections.abc import Mapping

from moored.core import backoff
from moored.core.causes import is_retried_by_apis

from .policy import Retry

__all__ = ["asks_too_much", "delay", "is_sdk_retry", "retry_after", "should_retry"]


def should_retry(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a request that was answered so may be sent again.

    Statuses 408, 409, 425, 429 and 5xx, as far as ``x-should-retry`` does not say otherwise: a
    header by which OpenAI and Anthropic decide for their SDKs.
    """
    return status >= 400 and is_retried_by_apis(status, headers.get("x-should-retry", ""))


def retry_after(headers: Mapping[str, str], *, wall_time: float) -> float | None:
    """The delay that the server asks for, in seconds, or ``None``."""
    fields = ((name.lower(), value) for name, value in headers.items())
    return backoff.retry_after_of(fields, wall_time=wall_time)


def asks_too_much(retry: Retry, asked: float | None) -> bool:
    """Whether the server asks for a longer delay than ``retry`` allows for.

    Then there is no other attempt: one that comes earlier than asked is refused again, and may
    prolong the ban.
    """
    return asked is not None and asked > retry.retry_after_maximum


def delay(retry: Retry, retries: int, asked: float | None, rng: random.Random) -> float:
    """Seconds before retry number ``retries`` (from 0): full jitter, on top of what was asked."""
    upper = backoff.ceiling(
        retries, initial=retry.initial, maximum=retry.maximum, multiplier=retry.multiplier
    )
    return backoff.delay(upper, rng, floor=asked or 0.0)


def is_sdk_retry(headers: Mapping[str, str]) -> bool:
    """Whether the SDK itself is retrying: OpenAI's and Anthropic's count in this header."""
    return headers.get("x-stainless-retry-count", "0").strip() not in ("", "0")
