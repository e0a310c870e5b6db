"""What a limiter asks of its script on Redis, and what it has yet to tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import trio

from .costs import within_debt
from .rate import Rate
from .reservation import Grant

__all__ = ["Unsent", "Waiting", "changes", "request"]


@attrs.define(eq=False)
class Waiting:
    """A caller that waits."""

    costs: dict[str, float]
    woken: trio.Event = attrs.field(factory=trio.Event)  # granted, or the first in line
    grant: Grant | None = None
    gone: bool = False


@attrs.define(eq=False)
class Unsent:
    """What the other processes have not been told yet."""

    paused_until: float = -math.inf
    lower: dict[str, tuple[float, float]] = attrs.field(factory=dict)  # units, and when told
    settle: list[list[Any]] = attrs.field(factory=list)

    def pause(self, until: float) -> None:
        """Grant nothing until then, on Trio's clock."""
        self.paused_until = max(self.paused_until, until)

    def __bool__(self) -> bool:
        return bool(self.lower or self.settle) or self.paused_until > trio.current_time()


def changes(
    rates: Mapping[str, Rate], reserved: Mapping[str, float], used: Mapping[str, float]
) -> list[tuple[str, float]]:
    """The units by which more was used than reserved, or (less than 0) fewer."""
    differences = (
        (name, within_debt(rates[name], reserved[name], units) - reserved[name])
        for name, units in used.items()
    )
    return [(name, difference) for name, difference in differences if difference]


def request(
    rates: Mapping[str, Rate],
    process: str,
    unsent: Unsent,
    take: Sequence[Waiting],
    *,
    leave: bool,
    longest: float,
    now: float,
) -> dict[str, Any]:
    """The request as ``redis.lua`` describes it.

    :param now: the present, on Trio's clock.
    """
    return {
        "rates": [(name, rate.seconds_per_unit, rate.burst) for name, rate in rates.items()],
        "process": process,
        "longest": longest,
        "pause": max(0.0, unsent.paused_until - now),
        # What has come back since it was told.
        "lower": [
            (name, left + (now - at) / rates[name].seconds_per_unit)
            for name, (left, at) in unsent.lower.items()
        ],
        "settle": unsent.settle,
        "take": [[*waiting.costs.items()] for waiting in take],
        "leave": leave,
    }
