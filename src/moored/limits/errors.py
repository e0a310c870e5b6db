"""What a limiter refuses, each with its facts as fields."""

from __future__ import annotations

from moored.errors import MooredError

__all__ = ["CostTooLarge", "LimiterUnavailable"]


class CostTooLarge(MooredError):
    """More was asked for at once than the full bucket holds: waiting would never help.

    :ivar dimension: the limit that is too small, such as ``"tokens"``.
    :ivar cost: what was asked for.
    :ivar burst: the most that can be had at once, :class:`~moored.limits.Rate`.
    """

    def __init__(self, dimension: str, cost: float, burst: float) -> None:
        super().__init__(
            f"{dimension}={cost:g} is more than the limiter ever grants at once ({burst:g})"
        )
        self.dimension = dimension
        self.cost = cost
        self.burst = burst


class LimiterUnavailable(MooredError):
    """Redis, which holds the limit, cannot be reached, and the limiter was told to fail closed.

    :ivar name: the limiter's name.
    :ivar reason: what is wrong with Redis.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"limiter {name!r} has lost Redis: {reason}")
        self.name = name
        self.reason = reason
