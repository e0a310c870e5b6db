"""How long to wait before the next attempt: full jitter, floors set by servers, a shared budget."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime

import attrs

from .checks import number

__all__ = ["RetryBudget", "ceiling", "delay", "parse_retry_after", "retry_after_of"]


def ceiling(retries: int, *, initial: float, maximum: float, multiplier: float) -> float:
    """The upper bound of the delay before retry number ``retries`` (from 0), in seconds.

    Grows from ``initial`` by ``multiplier`` up to ``maximum``.
    """
    try:
        return min(maximum, initial * multiplier**retries)
    except OverflowError:
        return maximum


def delay(upper: float, rng: random.Random, *, floor: float = 0.0) -> float:
    """A delay with full jitter: ``floor`` plus anything from 0 to ``upper``, in seconds.

    Full jitter, since clients that an outage synchronized would collide again after it (Brooker,
    "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).  The jitter comes on top of a
    server's floor and not only in its place: a fleet that was told ``Retry-After: 5`` would
    otherwise come back in lockstep.
    """
    return floor + rng.uniform(0.0, upper)


_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?\Z", re.ASCII)


def parse_retry_after(value: str, *, wall_time: float) -> float | None:
    """The seconds that a ``Retry-After`` header asks for, or ``None`` if it makes no sense.

    Both forms of RFC 9110, section 10.2.3: a number of seconds (a fraction is accepted, since
    servers send it) or an HTTP date, which is compared with ``wall_time``.  A date in the past
    gives 0.

    :param wall_time: the present, in seconds since the epoch.
    """
    value = value.strip()
    if _SECONDS.match(value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:  # the asctime form, which is in UTC (RFC 9110, section 5.6.7)
        date = date.replace(tzinfo=UTC)
    try:
        return max(0.0, date.timestamp() - wall_time)
    except (ValueError, OverflowError):
        return None


def retry_after_of(headers: Iterable[tuple[str, str]], *, wall_time: float) -> float | None:
    """The delay that an answer's headers ask for, in seconds, or ``None``.

    ``retry-after-ms``, a finer form that AI providers send, wins over ``Retry-After``.

    :param headers: pairs of name, in lower case, and value.
    :param wall_time: the present, in seconds since the epoch.
    """
    found = dict(headers)
    milliseconds = found.get("retry-after-ms", "").strip()
    if _SECONDS.match(milliseconds):
        return float(milliseconds) / 1000
    if "retry-after" in found:
        return parse_retry_after(found["retry-after"], wall_time=wall_time)
    return None


_LEAST_WAIT = 0.001


@attrs.define(eq=False)
class RetryBudget:
    """A token bucket of retries, shared between streams by sharing the object.

    However many streams lose their server at once, together they retry no faster than the bucket
    fills: every retry takes one token, time gives back ``refill_per_second``, and every connection
    that delivers something gives back ``refund``.  A stream that finds the bucket empty stays in
    BACKOFF and asks again later; it does not fail for it.

    The same idea as gRPC's retry throttling (gRFC A6), as Finagle's ``RetryBudget``, from where the
    defaults come (10 retries a second whatever happens, and 20% on top of what succeeds), and as
    the per-client retry budget of Google's SRE book, chapter 21.

    :param capacity: tokens that the full bucket holds: the largest burst of retries.
    :param refill_per_second: tokens that come back with time.
    :param refund: tokens that a connection gives back when its first message arrives.
    :raises ValueError: when a setting is out of bounds.
    """

    capacity: float = attrs.field(default=100.0, validator=number(minimum=1.0))
    refill_per_second: float = attrs.field(default=10.0, validator=number(minimum=0.0))
    refund: float = attrs.field(default=0.2, validator=number(minimum=0.0))
    _tokens: float = attrs.field(init=False)
    _counted_at: float | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._tokens = self.capacity

    def available(self, now: float) -> float:
        """Tokens in the bucket at ``now``, in seconds on the clock of all its streams."""
        self._refill(now)
        return self._tokens

    def withdraw(self, now: float) -> bool:
        """Take a token for one retry; ``False`` when there is none."""
        self._refill(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def wait(self, now: float) -> float:
        """Seconds until time alone will have brought a token; infinite if it never will.

        Where any time is missing, at least a millisecond: what rounding leaves of a token may take
        less time than the clock can tell, and whoever waited so would ask again at the same instant
        for ever.
        """
        self._refill(now)
        missing = 1.0 - self._tokens
        if missing <= 0:
            return 0.0
        if not self.refill_per_second:
            return math.inf
        return max(missing / self.refill_per_second, _LEAST_WAIT)

    def deposit(self, now: float) -> None:
        """Give back :attr:`refund` tokens: a connection has delivered something."""
        self._refill(now)
        self._tokens = min(self.capacity, self._tokens + self.refund)

    def _refill(self, now: float) -> None:
        if self._counted_at is not None and now > self._counted_at:
            grown = self._tokens + (now - self._counted_at) * self.refill_per_second
            self._tokens = min(self.capacity, grown)
        self._counted_at = now
