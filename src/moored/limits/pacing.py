"""What follows for a limiter from an answer: how long to pause, and what is left."""

from __future__ import annotations

from collections.abc import Collection

import attrs

from .headers import Quota, RateLimitHeaders

__all__ = ["OVERLOADED", "Pace", "pace"]

OVERLOADED = frozenset({429, 503, 529})
"""The statuses that mean "too much": RFC 6585, RFC 9110, and Anthropic's for being overloaded."""

_WITHOUT_A_HINT = 1.0


@attrs.frozen
class Pace:
    """The consequences of one answer.

    :param pause: seconds for which nobody is granted anything; 0 for none.
    :param remaining: the units that are left at the server, by dimension.
    """

    pause: float
    remaining: dict[str, float]


def pace(
    seen: RateLimitHeaders, status: int, dimensions: Collection[str], *, max_pause: float
) -> Pace:
    """Decide what an answer means for a limiter.

    - ``Retry-After`` pauses, with any status but a redirect's, where it is about the new place.
    - A quota that is used up, and comes back all at once, pauses until then.
    - A 429 without any of this pauses until a quota that is used up has its next unit, or for a
      second where the server says nothing.
    - Beside that, the limiter holds no more than what remains at the server.

    :param status: the answer's HTTP status.
    :param dimensions: those that the limiter limits; what is told of others is left aside.
    :param max_pause: the longest pause, in seconds.
    """
    quotas = [quota for quota in seen.quotas if quota.dimension in dimensions]
    pauses = [
        quota.reset_after
        for quota in quotas
        if _used_up(quota) and not quota.gradual and quota.reset_after is not None
    ]
    if seen.retry_after is not None and not 300 <= status < 400:
        pauses.append(seen.retry_after)
    if not pauses and status == 429:
        pauses = [_next_unit(quota) for quota in quotas if _used_up(quota)] or [_WITHOUT_A_HINT]
    remaining: dict[str, float] = {}
    for quota in quotas:
        if quota.remaining is not None:
            least = remaining.get(quota.dimension, quota.remaining)
            remaining[quota.dimension] = min(least, quota.remaining)
    return Pace(min(max(pauses, default=0.0), max_pause), remaining)


def _used_up(quota: Quota) -> bool:
    return quota.remaining is not None and quota.remaining < 1


def _next_unit(quota: Quota) -> float:
    if quota.reset_after is None:
        return _WITHOUT_A_HINT
    return quota.reset_after / max(1.0, quota.limit or 1.0)
