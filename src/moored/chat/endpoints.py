"""Whose turn it is to answer: one endpoint, or several with failover between them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import attrs
import trio

from .endpoint import Endpoint
from .errors import NoHealthyEndpoint, ReplyError, RequestRejected
from .failover import EndpointChoice, EndpointStatistics, Failover
from .needs import Needs
from .request import Request
from .verdicts import is_rate_limit, may_retry

__all__ = ["Endpoints", "Turn"]


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
        elif isinstance(error, RequestRejected) and error.status < 500 and not may_retry(error):
            # A key that is refused is the endpoint's fault; a malformed request is not.
            if error.status in (401, 403):
                self._choice.failed(now, str(error.args[0]))
            else:
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
        self._alone = len(failover.endpoints) == 1

    @property
    def all(self) -> tuple[Endpoint, ...]:
        """The endpoints."""
        return self._failover.endpoints

    def statistics(self) -> dict[str, EndpointStatistics]:
        """How each is doing, by its name."""
        return dict(self._failover.statistics(trio.current_time()))

    def has_other(self, requests: Sequence[Request], tried: Collection[Endpoint]) -> bool:
        """Whether one that was not tried could answer now."""
        if self._alone:
            return False
        now = trio.current_time()
        return any(self._failover.has_fresh(_needs(each), now, tried=tried) for each in requests)

    async def next_turn(
        self,
        requests: Sequence[Request],
        *,
        tried: Collection[Endpoint],
        stay: Endpoint | None = None,
        max_wait: float,
    ) -> Turn:
        """Wait for an endpoint that can answer.

        :param requests: the same request of several models, in order of preference.
        :param tried: the endpoints that this request was sent to.
        :param stay: the endpoint to stay with, if it can be had at all.
        :param max_wait: the longest wait that is of use, in seconds.
        :raises NoHealthyEndpoint: when none can answer, or none soon enough.
        """
        await trio.lowlevel.checkpoint()
        if self._alone:
            return self._only_turn(requests)
        if stay is not None:
            tried = [each for each in self.all if each is not stay]
        deadline = trio.current_time() + max_wait
        while True:
            wait = self._try(requests, tried, deadline - trio.current_time())
            if isinstance(wait, Turn):
                return wait
            await trio.sleep(wait)

    def _only_turn(self, requests: Sequence[Request]) -> Turn:
        [endpoint] = self.all
        reasons: dict[str, str] = {}
        for request in requests:
            why = _needs(request).unmet_by(endpoint)
            if not why:
                return Turn(endpoint, request)
            reasons.setdefault(endpoint.name, why)
        raise NoHealthyEndpoint(requests[0].model, reasons)

    def _try(
        self, requests: Sequence[Request], tried: Collection[Endpoint], patience: float
    ) -> Turn | float:
        """A turn, or the seconds to wait for one."""
        now = trio.current_time()
        waits: list[float] = []
        refusal: NoHealthyEndpoint | None = None
        for request in requests:
            try:
                choice = self._failover.choose(
                    _needs(request), now, tried=tried, max_wait=max(0.0, patience)
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


def _needs(request: Request) -> Needs:
    return Needs.of({"model": request.model, "messages": request.messages, **request.fields})
