"""Failover: which of several endpoints gets the next request, and why not the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import attrs

from moored.core.checks import number

from .breaker import CircuitBreaker, CircuitState, Permit
from .endpoint import Endpoint
from .errors import NoHealthyEndpoint
from .needs import Needs

__all__ = ["EndpointChoice", "EndpointStatistics", "Failover"]

# A wait shorter than the clock can tell would be waited for ever.
_LEAST_WAIT = 0.001
# When to ask again while a probe is under way, whose end nobody knows, in seconds.
_PROBE_RECHECK = 1.0
_CAUSE_LENGTH = 200


@attrs.frozen
class EndpointStatistics:
    """How one endpoint is doing, and what was asked of it since the beginning.

    :param state: of its circuit breaker.
    :param failures_in_a_row: since the last success.
    :param requests: requests that it was chosen for, probes included.
    :param successes: those that it answered.
    :param failures: those that failed.
    :param rate_limits: those that it answered with 429.
    :param abandoned: those that were cancelled.
    :param available_in: seconds until it may be asked; 0 for at once, infinite while a probe is
        under way.
    :param last_failure: why the last failure failed; ``""`` before the first.
    """

    state: CircuitState
    failures_in_a_row: int
    requests: int
    successes: int
    failures: int
    rate_limits: int
    abandoned: int
    available_in: float
    last_failure: str

    @property
    def active(self) -> int:
        """Requests that are under way."""
        return self.requests - self.successes - self.failures - self.rate_limits - self.abandoned


@attrs.define(eq=False)
class _Record:
    """One endpoint, with its breaker and its counts."""

    endpoint: Endpoint
    breaker: CircuitBreaker
    rate_limit_cooldown: float
    retry_after_maximum: float
    requests: int = 0
    successes: int = 0
    failures: int = 0
    rate_limits: int = 0
    abandoned: int = 0
    last_failure: str = ""

    def wait(self, now: float) -> float:
        """Seconds until it may be asked, or until it is worth while to look again."""
        wait = self.breaker.available_at(now) - now
        if wait == math.inf:
            wait = max(_PROBE_RECHECK, self.breaker.cooling(now))
        return max(wait, _LEAST_WAIT) if wait > 0 else 0.0

    def unavailable(self, now: float) -> str:
        """Why it cannot be asked at ``now``, in words."""
        breaker, reasons = self.breaker, []
        state = breaker.state(now)
        if state is not CircuitState.CLOSED:
            row = breaker.failures_in_a_row
            after = f"after {row} failure{'s' * (row != 1)} in a row: {self.last_failure}"
            if state is CircuitState.OPEN:
                reasons.append(f"circuit open for another {_s(breaker.open_for(now))} {after}")
            elif breaker.probing:
                reasons.append(f"circuit half-open, its one probe under way, {after}")
        if cooling := breaker.cooling(now):
            reasons.append(f"cooling for another {_s(cooling)} after a 429")
        return ", and ".join(reasons) or "available"

    def choice(self, now: float) -> EndpointChoice:
        """The choice of it: at once, which takes the probe where there is one, or after a wait."""
        permit = self.breaker.begin(now)
        if permit is None:
            return EndpointChoice(self, None, self.endpoint, wait=self.wait(now), probe=False)
        self.requests += 1
        return EndpointChoice(self, permit, self.endpoint, wait=0.0, probe=permit.probe)

    def statistics(self, now: float) -> EndpointStatistics:
        """A snapshot."""
        return EndpointStatistics(
            state=self.breaker.state(now),
            failures_in_a_row=self.breaker.failures_in_a_row,
            requests=self.requests,
            successes=self.successes,
            failures=self.failures,
            rate_limits=self.rate_limits,
            abandoned=self.abandoned,
            available_in=self.breaker.available_at(now) - now,
            last_failure=self.last_failure,
        )


@attrs.define(eq=False)
class EndpointChoice:
    """An endpoint to send a request to, now or after a wait.

    Where :attr:`wait` is 0, say how the request went, once: the first of :meth:`succeeded`,
    :meth:`failed`, :meth:`rate_limited` and :meth:`abandoned` counts, later ones are ignored.  So
    call :meth:`abandoned` in a ``finally``.  A request that is a probe keeps all others waiting:
    call :meth:`succeeded` as soon as its first content has come.

    Where there is a wait, nothing is taken yet: sleep, and choose again.

    :ivar endpoint: the endpoint.
    :ivar wait: seconds to sleep before choosing again; 0 for none.
    :ivar probe: whether the request is the probe of a half-open circuit.
    """

    _record: _Record = attrs.field(repr=False)
    _permit: Permit | None = attrs.field(repr=False)
    endpoint: Endpoint
    wait: float
    probe: bool

    def succeeded(self, now: float) -> None:
        """The endpoint answered."""
        if permit := self._settle():
            self._record.successes += 1
            self._record.breaker.succeeded(now, permit)

    def failed(self, now: float, reason: str) -> None:
        """The request failed, by the endpoint's fault: no connection, a 5xx, a stall, a cut.

        Not for a request that is itself at fault (400, 413, 422): that says nothing about the
        endpoint's health, so :meth:`abandoned` is right.

        :param reason: what went wrong, in words; :class:`moored.chat.NoHealthyEndpoint` repeats it.
        """
        if permit := self._settle():
            self._record.failures += 1
            self._record.last_failure = reason[:_CAUSE_LENGTH]
            self._record.breaker.failed(now, permit)

    def rate_limited(self, now: float, retry_after: float | None = None) -> None:
        """The endpoint answered 429: it is left alone for a while, which is no failure.

        :param retry_after: seconds that it asked for, or ``None``.
        """
        if permit := self._settle():
            record = self._record
            record.rate_limits += 1
            record.breaker.abandoned(now, permit)
            seconds = record.rate_limit_cooldown if retry_after is None else retry_after
            record.breaker.cool(now + min(seconds, record.retry_after_maximum))

    def abandoned(self, now: float) -> None:
        """The request was cancelled, or is itself at fault: it proves nothing."""
        if permit := self._settle():
            self._record.abandoned += 1
            self._record.breaker.abandoned(now, permit)

    def _settle(self) -> Permit | None:
        permit, self._permit = self._permit, None
        return permit


def _makes_breakers(failover: Any, field: attrs.Attribute[Any], value: object) -> None:
    if not callable(value):
        raise TypeError(
            "Failover.breaker must be a callable that makes a CircuitBreaker, such as "
            f"functools.partial(CircuitBreaker, failures=3), not {value!r}"
        )


def _endpoints(failover: Any, field: attrs.Attribute[Any], value: tuple[object, ...]) -> None:
    names = set()
    for endpoint in value:
        if not isinstance(endpoint, Endpoint):
            raise TypeError(f"Failover.endpoints must hold Endpoints, not {endpoint!r}")
        if endpoint.name in names:
            raise ValueError(
                f"Failover.endpoints: two are named {endpoint.name!r}; "
                "give each an Endpoint.name of its own"
            )
        names.add(endpoint.name)
    if not names:
        raise ValueError("Failover.endpoints must hold at least one Endpoint")


def _in_order(value: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    return tuple(value)


@attrs.define(eq=False)
class Failover:
    """Endpoints in order of preference, of which each request gets the first that is healthy.

    It does no I/O and does not sleep: :meth:`choose` says where to send a request, and the
    :class:`moored.chat.EndpointChoice` is told how it went.

    :param endpoints: the most preferred first.  Their names have to differ.
    :param breaker: makes the circuit breaker of each endpoint; by default with its own defaults.
    :param rate_limit_cooldown: seconds that an endpoint is left alone after a 429 that does not say
        how long.  5, as LiteLLM's router has it.
    :param retry_after_maximum: cap on what a 429 says, in seconds.  300, as for a stream
        (:class:`moored.Reconnect`).
    :raises ValueError: when there is no endpoint, when two have the same name, or when a setting is
        out of bounds.
    """

    endpoints: tuple[Endpoint, ...] = attrs.field(converter=_in_order, validator=_endpoints)
    breaker: Callable[[], CircuitBreaker] = attrs.field(
        default=CircuitBreaker, kw_only=True, repr=False, validator=_makes_breakers
    )
    rate_limit_cooldown: float = attrs.field(default=5.0, kw_only=True, validator=number(minimum=0))
    retry_after_maximum: float = attrs.field(
        default=300.0, kw_only=True, validator=number(minimum=0)
    )
    _records: tuple[_Record, ...] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._records = tuple(
            _Record(each, self.breaker(), self.rate_limit_cooldown, self.retry_after_maximum)
            for each in self.endpoints
        )

    def choose(
        self,
        needs: Needs,
        now: float,
        *,
        tried: Collection[Endpoint] = (),
        max_wait: float = math.inf,
    ) -> EndpointChoice:
        """Where to send a request.

        The first endpoint that can serve it, is healthy and was not tried; else the first healthy
        one although it was tried; else, with :attr:`moored.chat.EndpointChoice.wait`, the one that
        may be asked earliest.  While a probe decides over it, look again after a second.

        :param needs: what the request needs.
        :param now: the present, in seconds on a monotonic clock such as ``trio.current_time()``.
        :param tried: the endpoints that this request has been sent to.
        :param max_wait: the longest wait that is of use, in seconds; by default any.
        :raises NoHealthyEndpoint: when no endpoint can serve it, or none within ``max_wait``.
        """
        unmet = {record.endpoint.name: needs.unmet_by(record.endpoint) for record in self._records}
        able = [record for record in self._records if not unmet[record.endpoint.name]]
        healthy = [record for record in able if record.breaker.allows(now)]
        names = {endpoint.name for endpoint in tried}
        fresh = [record for record in healthy if record.endpoint.name not in names]
        if fresh or healthy:
            return (fresh or healthy)[0].choice(now)
        retry_after = min((record.wait(now) for record in able), default=None)
        if retry_after is None or retry_after > max_wait:
            reasons = {
                record.endpoint.name: unmet[record.endpoint.name] or record.unavailable(now)
                for record in self._records
            }
            raise NoHealthyEndpoint(needs.model, reasons, retry_after=retry_after)
        return min(able, key=lambda record: record.wait(now)).choice(now)

    def has_fresh(self, needs: Needs, now: float, *, tried: Collection[Endpoint] = ()) -> bool:
        """Whether an endpoint that was not tried can serve a request now."""
        names = {endpoint.name for endpoint in tried}
        return any(
            record.endpoint.name not in names
            and record.breaker.allows(now)
            and not needs.unmet_by(record.endpoint)
            for record in self._records
        )

    def statistics(self, now: float) -> Mapping[str, EndpointStatistics]:
        """How each endpoint is doing at ``now``, by its name."""
        return {record.endpoint.name: record.statistics(now) for record in self._records}


def _s(seconds: float) -> str:
    """``"12.3 s"``, and never ``"0 s"`` for what is not over."""
    return f"{max(seconds, 0.1):.1f}".removesuffix(".0") + " s"
