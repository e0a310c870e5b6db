"""Whose turn it is to answer: one endpoint, or several with failover between them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeAlias

import attrs
import trio

from .endpoint import Endpoint
from .errors import NoHealthyEndpoint, ReplyError, RequestRejected
from .failover import EndpointChoice, EndpointStatistics, Failover
from .needs import Needs
from .request import Request
from .verdicts import is_rate_limit, is_the_requests_fault

__all__ = ["Endpoints", "Tried", "Turn"]

Tried: TypeAlias = tuple[Endpoint, str]
"""An endpoint that was asked, and for which model."""


@attrs.define(eq=False)
class Turn:
    """One endpoint's turn at one request.  Say once how it went; what comes later is ignored.

    :ivar request: what it is asked for.
    """

    endpoint: Endpoint
    request: Request
    _choice: EndpointChoice | None = None

    def began(self) -> None:
        """Its first content has come.  A probe has proved enough: it keeps all others waiting."""
        if self._choice is not None and self._choice.probe:
            self._choice.succeeded(trio.current_time())

    def succeeded(self) -> None:
        """It answered."""
        if self._choice is not None:
            self._choice.succeeded(trio.current_time())

    def failed(self, error: ReplyError) -> None:
        """It did not, or the request was at fault."""
        if self._choice is None:
            return
        now = trio.current_time()
        if is_rate_limit(error):
            after = error.retry_after if isinstance(error, RequestRejected) else None
            self._choice.rate_limited(now, after)
        elif is_the_requests_fault(error):
            self._choice.abandoned(now)
        else:
            self._choice.failed(now, str(error.args[0]))

    def abandoned(self) -> None:
        """Nothing was proved."""
        if self._choice is not None:
            self._choice.abandoned(trio.current_time())


class Endpoints:
    """A client's endpoints.

    One endpoint alone has no circuit breaker: there is nothing to fail over to, and each request
    finds out for itself.

    :param failover: the endpoints, in order of preference.
    """

    def __init__(self, failover: Failover) -> None:
        self._failover = failover
        #: Whether there is only one.
        self.alone: bool = len(failover.endpoints) == 1

    @property
    def all(self) -> tuple[Endpoint, ...]:
        """The endpoints."""
        return self._failover.endpoints

    def statistics(self) -> dict[str, EndpointStatistics]:
        """How each is doing, by its name."""
        return dict(self._failover.statistics(trio.current_time()))

    def has_other(self, requests: Sequence[Request], tried: Collection[Tried]) -> bool:
        """Whether one that was not tried could answer now."""
        now = trio.current_time()
        return any(self._is_fresh(each, now, tried) for each in requests)

    def _is_fresh(self, request: Request, now: float, tried: Collection[Tried]) -> bool:
        """Whether an endpoint was not asked for this model yet and could answer now."""
        needs = _needs(request)
        if self.alone:
            [endpoint] = self.all
            return not needs.unmet_by(endpoint) and (endpoint, request.model) not in tried
        return self._failover.has_fresh(needs, now, tried=_of(request.model, tried))

    async def next_turn(
        self,
        requests: Sequence[Request],
        *,
        tried: Collection[Tried],
        stay: Turn | None = None,
        max_wait: float,
    ) -> Turn:
        """Wait for an endpoint that can answer.

        :param requests: the same request of several models, in order of preference.
        :param tried: the endpoints that were asked, each with the model.
        :param stay: the turn to go on with, if its endpoint can be had at all.
        :param max_wait: the longest wait that is of use, in seconds.
        :raises NoHealthyEndpoint: when none can answer, or none soon enough.
        """
        await trio.lowlevel.checkpoint()
        if stay is not None:
            requests = [stay.request]
            tried = [(each, stay.request.model) for each in self.all if each is not stay.endpoint]
        if self.alone:
            return self._only_turn(requests, tried)
        deadline = trio.current_time() + max_wait
        while True:
            wait = self._try(requests, tried, deadline - trio.current_time())
            if isinstance(wait, Turn):
                return wait
            await trio.sleep(wait)

    def _only_turn(self, requests: Sequence[Request], tried: Collection[Tried]) -> Turn:
        [endpoint] = self.all
        unmet = [_needs(request).unmet_by(endpoint) for request in requests]
        able = [request for request, why in zip(requests, unmet, strict=True) if not why]
        if not able:
            raise NoHealthyEndpoint(requests[0].model, {endpoint.name: unmet[0]})
        fresh = [request for request in able if (endpoint, request.model) not in tried]
        return Turn(endpoint, (fresh or able)[0])

    def _try(
        self, requests: Sequence[Request], tried: Collection[Tried], patience: float
    ) -> Turn | float:
        """A turn, or the seconds to wait for one."""
        now = trio.current_time()
        # One that was not tried goes before one that was, whatever the models' order.
        requests = sorted(requests, key=lambda each: not self._is_fresh(each, now, tried))
        waits: list[float] = []
        refusal: NoHealthyEndpoint | None = None
        for request in requests:
            try:
                choice = self._failover.choose(
                    _needs(request),
                    now,
                    tried=_of(request.model, tried),
                    max_wait=max(0.0, patience),
                )
            except NoHealthyEndpoint as exc:
                refusal = refusal or exc
                continue
            if choice.wait == 0:
                return Turn(choice.endpoint, request, choice)
            waits.append(choice.wait)
        if not waits:
            assert refusal is not None
            raise refusal
        return min(waits)


def _of(model: str, tried: Collection[Tried]) -> list[Endpoint]:
    return [endpoint for endpoint, asked_for in tried if asked_for == model]


def _needs(request: Request) -> Needs:
    return Needs.of({"model": request.model, "messages": request.messages, **request.fields})
