"""What a load consists of."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Literal

import attrs

from moored import chat
from moored.faults import Fault
from moored.limits import Limiter, Rate

__all__ = ["Plan"]


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be done.

    :param base_url: the endpoint; ``None`` for the mock server in this process.
    :param api_key: for it.
    :param model: what is asked for.
    :param transport: ``"sse"`` or ``"websocket"``.
    :param prompt: of every request; ``{n}`` in it stands for the request's number.
    :param fields: more fields of every request.
    :param requests: how many, in all.
    :param rate: how many arrive in a second, at random; ``None``: all at once.
    :param concurrency: slots of the pool.
    :param max_queued: how many may wait for one.
    :param rpm: requests a minute of the limiter; ``None`` for no limit.
    :param tpm: tokens a minute of the limiter; ``None`` for no limit.
    :param burst_seconds: for how many seconds' worth of its limits the full limiter holds.
    :param attempts: for each request, before it counts as failed.
    :param on_interrupt: what is done about an answer that was cut.
    :param timeout: seconds for each request once it has its slot; ``None`` for no bound.
    :param drain_timeout: seconds for which requests under way may go on after a signal.
    :param faults: what a proxy before the endpoint does.
    :param pace: seconds between two tokens of the mock server.
    :param seed: decides arrivals, faults and jitter.
    :param price: what the model costs.
    :param budget: what all requests together may cost.
    """

    base_url: str | None
    api_key: str | None = attrs.field(repr=False)
    model: str
    transport: Literal["sse", "websocket"]
    prompt: str
    fields: dict[str, Any]
    requests: int
    rate: float | None
    concurrency: int
    max_queued: int
    rpm: float | None
    tpm: float | None
    burst_seconds: float
    attempts: int
    on_interrupt: Literal["raise", "restart"]
    timeout: float | None
    drain_timeout: float
    faults: tuple[Fault, ...]
    pace: float
    seed: int
    price: chat.Price | None
    budget: tuple[chat.Budget, ...]

    @property
    def rates(self) -> dict[str, Rate]:
        """The limits, by dimension."""
        limits = {"requests": self.rpm, "tokens": self.tpm}
        return {
            name: Rate.per_minute(limit, burst=limit * self.burst_seconds / 60)
            for name, limit in limits.items()
            if limit is not None
        }

    def limiter(self) -> Limiter | None:
        """The limiter; ``None`` where there is no limit."""
        rates: dict[str, Any] = {**self.rates}
        return Limiter(**rates) if rates else None

    def messages(self, number: int) -> list[dict[str, Any]]:
        """Of the request of that number, from 1."""
        return [{"role": "user", "content": self.prompt.replace("{n}", str(number))}]

    def arrivals(self) -> Iterator[float | None]:
        """For each request, how many seconds after the first it arrives; ``None`` for at once.

        At a rate they arrive as a Poisson process, as those of many users do who know nothing of
        each other.
        """
        rng, at = Random(self.seed), 0.0
        for _ in range(self.requests):
            if self.rate is None:
                yield None
            else:
                yield at
                at += rng.expovariate(self.rate)
