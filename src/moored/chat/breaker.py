"""A circuit breaker: an endpoint that fails again and again is left alone, and then probed."""

from __future__ import annotations

import enum
import math
from typing import Any

import attrs

from moored.core.backoff import ceiling
from moored.core.checks import count, number

__all__ = ["CircuitBreaker", "CircuitState", "Permit"]


class CircuitState(enum.Enum):
    """Where a circuit breaker is."""

    CLOSED = "closed"
    """All is well: every request may go."""
    OPEN = "open"
    """It failed too often in a row: no request may go until the cooldown is over."""
    HALF_OPEN = "half-open"
    """The cooldown is over: one request at a time may go, as a probe."""


@attrs.frozen(eq=False)
class Permit:
    """The leave to send one request.  Give it back exactly once, with how the request went.

    :param probe: whether the request is the probe of a half-open circuit.
    :param period: which period between two openings it belongs to.  What a request proves that
        began before the circuit opened is out of date, and is ignored.
    """

    probe: bool
    period: int


def _not_below_cooldown(breaker: Any, field: attrs.Attribute[Any], value: float) -> None:
    if value < breaker.cooldown:
        raise ValueError(
            f"CircuitBreaker.maximum must be at least cooldown, {breaker.cooldown:g}, not {value!r}"
        )


@attrs.define(eq=False)
class CircuitBreaker:
    """Whether requests may go to one endpoint.  It does no I/O and reads no clock.

    ``failures`` failures in a row open the circuit.  After the cooldown it is half-open, and
    exactly one request goes as a probe, however many ask.  If that fails, the circuit opens again,
    for longer; if it succeeds, the circuit is closed.

    The defaults of ``failures``, ``cooldown`` and ``maximum`` are those of Envoy's outlier
    detection (``consecutive_5xx``, ``base_ejection_time``, ``max_ejection_time``); the last two are
    those of gRPC's as well (gRFC A50).  ``multiplier`` is that of the backoff between a stream's
    attempts.

    :param failures: failures in a row that open the circuit.
    :param cooldown: seconds that the circuit stays open at first.
    :param maximum: the most seconds that it stays open, after however many failed probes.
    :param multiplier: what the cooldown grows by with every failed probe; 1 keeps it as it is.
    :raises ValueError: when a setting is out of bounds.
    """

    failures: int = attrs.field(default=5, validator=count(minimum=1))
    cooldown: float = attrs.field(default=30.0, validator=number(above=0))
    maximum: float = attrs.field(default=300.0, validator=[number(above=0), _not_below_cooldown])
    multiplier: float = attrs.field(default=2.0, validator=number(minimum=1))
    _in_a_row: int = attrs.field(init=False, default=0)
    _openings: int = attrs.field(init=False, default=0)  # since it was last closed
    _open_until: float | None = attrs.field(init=False, default=None)
    _cool_until: float = attrs.field(init=False, default=-math.inf)
    _period: int = attrs.field(init=False, default=0)
    _probe: Permit | None = attrs.field(init=False, default=None)

    @property
    def failures_in_a_row(self) -> int:
        """Failures since the last success, failed probes included."""
        return self._in_a_row

    @property
    def probing(self) -> bool:
        """Whether a probe is under way."""
        return self._probe is not None

    def state(self, now: float) -> CircuitState:
        """Where it is at ``now``.  A cooldown after a 429 is no state: see :meth:`cooling`."""
        if self._open_until is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now < self._open_until else CircuitState.HALF_OPEN

    def open_for(self, now: float) -> float:
        """Seconds that the circuit still stays open; 0 where it is not."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - now)

    def cooling(self, now: float) -> float:
        """Seconds that the cooldown after a 429 still lasts; 0 without one."""
        return max(0.0, self._cool_until - now)

    def available_at(self, now: float) -> float:
        """When a request may go, at the earliest; ``now`` where it may go at once.

        Infinite while a probe is under way: only its end decides.
        """
        if self._probe is not None:
            return math.inf
        opened = -math.inf if self._open_until is None else self._open_until
        return max(now, opened, self._cool_until)

    def allows(self, now: float) -> bool:
        """Whether :meth:`begin` would give a permit."""
        return self.available_at(now) <= now

    def begin(self, now: float) -> Permit | None:
        """Take the leave to send a request, in half-open the probe; ``None`` when there is none."""
        if not self.allows(now):
            return None
        permit = Permit(probe=self._open_until is not None, period=self._period)
        if permit.probe:
            self._probe = permit
        return permit

    def succeeded(self, now: float, permit: Permit) -> None:
        """The request was answered.  A probe that was closes the circuit."""
        if permit is self._probe:
            self._probe = self._open_until = None
            self._openings = self._in_a_row = 0
        elif self._counts(permit):
            self._in_a_row = 0

    def failed(self, now: float, permit: Permit) -> None:
        """The request failed, by the endpoint's fault."""
        if permit is self._probe:
            self._probe = None
            self._in_a_row += 1
            self._open(now)
        elif self._counts(permit):
            self._in_a_row += 1
            if self._in_a_row >= self.failures:
                self._open(now)

    def abandoned(self, now: float, permit: Permit) -> None:
        """The request was cancelled, which proves nothing.  A probe's slot comes back."""
        if permit is self._probe:
            self._probe = None

    def cool(self, until: float) -> None:
        """No request may go before ``until``: the endpoint answered 429.

        That is no failure, and no success either: the count stays as it is.  Give the permit back
        with :meth:`abandoned`.  A cooldown that is longer already stays.
        """
        self._cool_until = max(self._cool_until, until)

    def _counts(self, permit: Permit) -> bool:
        return not permit.probe and self._open_until is None and permit.period == self._period

    def _open(self, now: float) -> None:
        lasts = ceiling(
            self._openings,
            initial=self.cooldown,
            maximum=self.maximum,
            multiplier=self.multiplier,
        )
        self._openings += 1
        self._period += 1
        self._open_until = now + lasts
