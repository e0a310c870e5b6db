"""The result of a load: figures in, verdict and data out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from moored.cli.chat.summary import cost_data
from moored.cli.load.burst import Burst
from moored.cli.load.measures import BusiestMinute, Percentiles
from moored.cli.load.plan import Plan
from moored.cli.load.tally import Tally
from moored.limits import Rate

__all__ = ["TIMES", "LimitUse", "Result"]

TIMES = {
    "pool_wait": "waiting for a slot",
    "limiter_wait": "waiting for the limiter",
    "first_token": "time to first token",
    "answer": "time to the whole answer",
    "total": "total, with all waiting",
}
"""What is timed, and how it is called."""


@attrs.frozen
class LimitUse:
    """What was used of one dimension.

    :param rate: its limit; ``None`` for none.
    :param allowed: the most that the limit lets through in the time; ``None`` for no bound.
    :param used: in all.
    :param per_minute: on average.
    :param busiest_minute: the most in any minute.
    """

    rate: Rate | None
    allowed: float | None
    used: float
    per_minute: float
    busiest_minute: float

    @property
    def limit_per_minute(self) -> float | None:
        """The limit."""
        return None if self.rate is None else self.rate.amount * 60 / self.rate.per

    @classmethod
    def of(cls, rate: Rate | None, use: BusiestMinute, seconds: float) -> LimitUse:
        """Over so many seconds."""
        average = use.total * 60 / seconds if seconds > 0 else 0.0
        allowed = None if rate is None else rate.burst + rate.amount * seconds / rate.per
        return cls(rate, allowed, use.total, average, use.most)

    def to_data(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "limit_per_minute": self.limit_per_minute,
            "burst": None if self.rate is None else self.rate.burst,
            "allowed": None if self.allowed is None else round(self.allowed, 1),
            "used": self.used,
            "used_per_minute": round(self.per_minute, 1),
            "busiest_minute": self.busiest_minute,
        }


@attrs.frozen
class Result:
    """What came of a load.

    :param seconds: how long it took.
    :param interrupted: whether a signal ended it.
    :param rate_limited: answers with status 429.
    :param injected: faults that took effect, by kind.
    """

    plan: Plan
    tally: Tally
    seconds: float
    interrupted: bool
    rate_limited: int
    limits: Mapping[str, LimitUse]
    injected: Mapping[str, int]

    @classmethod
    def of(cls, burst: Burst, injected: Mapping[str, int]) -> Result:
        """Of a burst that is over."""
        rates, seconds = burst.plan.rates, burst.seconds
        used = {"requests": burst.limiter.used, "tokens": burst.tally.tokens}
        limits = {name: LimitUse.of(rates.get(name), each, seconds) for name, each in used.items()}
        return cls(
            burst.plan,
            burst.tally,
            seconds,
            burst.draining,
            burst.limiter.rate_limited,
            limits,
            dict(injected),
        )

    @property
    def ok(self) -> bool:
        """Whether every request was completed."""
        return self.tally.completed == self.plan.requests

    @property
    def verdict(self) -> str:
        """In one line."""
        tally = self.tally
        told = f"{tally.completed} of {self.plan.requests} requests completed"
        others = {
            "failed": tally.failed.total(),
            "not sent": self.plan.requests - tally.ended + tally.not_sent,
            "cut short": tally.interrupted,
        }
        told += "".join(f", {count} {words}" for words, count in others.items() if count)
        state = "COMPLETED" if self.ok else "INTERRUPTED" if self.interrupted else "FAILED"
        return f"{state}: {told}, in {self.seconds:.1f} s"

    @property
    def times(self) -> dict[str, Percentiles | None]:
        """What is timed, under the names in :data:`TIMES`."""
        return {name: getattr(self.tally, name).percentiles() for name in TIMES}

    def to_data(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        plan, tally = self.plan, self.tally
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "interrupted": self.interrupted,
            "seconds": round(self.seconds, 3),
            "seed": plan.seed,
            "endpoint": plan.base_url or "mock",
            "transport": plan.transport,
            "model": plan.model,
            "requests": {
                "planned": plan.requests,
                "arrived": tally.arrived,
                "completed": tally.completed,
                "failed": tally.failed.total(),
                "not_sent": plan.requests - tally.ended + tally.not_sent,
                "interrupted": tally.interrupted,
                "retried": tally.retried,
                "restarted": tally.restarted,
                "attempts": tally.attempts,
            },
            "failures": {
                kind: {"count": count, "example": tally.examples[kind]}
                for kind, count in tally.failed.most_common()
            },
            "rate_limited": self.rate_limited,
            "concurrency": {"limit": plan.concurrency, "most": tally.most_active},
            "tokens": {
                "input": tally.input_tokens,
                "output": tally.output_tokens,
                "total": tally.input_tokens + tally.output_tokens,
                "estimated": tally.estimated,
            },
            "cost": cost_data(tally.cost),
            "seconds_of": {
                name: None if found is None else found.to_data()
                for name, found in self.times.items()
            },
            "limits": {name: use.to_data() for name, use in self.limits.items()},
            "faults": dict(self.injected),
        }
