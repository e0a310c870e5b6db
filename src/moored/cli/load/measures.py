"""Measures whose memory is bounded: percentiles of durations, and the busiest minute."""

from __future__ import annotations

import math
from array import array
from collections import deque
from typing import Any

import attrs

__all__ = ["BusiestMinute", "Durations", "Percentiles"]

MINUTE = 60


@attrs.frozen
class Percentiles:
    """Of some durations, in seconds; each is one of them, by the nearest rank."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    longest: float

    def to_data(self) -> dict[str, Any]:
        """As JSON can hold it, in milliseconds' precision."""
        return {
            name: value if isinstance(value, int) else round(value, 4)
            for name, value in attrs.asdict(self).items()
        }


class Durations:
    """Durations in seconds: eight bytes for each."""

    def __init__(self) -> None:
        self._values = array("d")

    def add(self, seconds: float) -> None:
        """One more."""
        self._values.append(seconds)

    def percentiles(self) -> Percentiles | None:
        """Of all so far; ``None`` where there are none."""
        if not self._values:
            return None
        ordered = sorted(self._values)
        count = len(ordered)

        def rank(percent: float) -> float:
            return ordered[max(1, math.ceil(count * percent / 100)) - 1]

        mean = math.fsum(ordered) / count
        return Percentiles(count, mean, rank(50), rank(95), rank(99), ordered[-1])


class BusiestMinute:
    """How much was used in all, and the most in any minute, which is known to the second."""

    def __init__(self) -> None:
        self.total: float = 0
        self.most: float = 0
        self._seconds: deque[list[float]] = deque()  # when, and how much; at most a minute of them
        self._sum: float = 0

    def add(self, amount: float, now: float) -> None:
        """``amount`` was used ``now``; times never go back."""
        second = math.floor(now)
        while self._seconds and self._seconds[0][0] <= second - MINUTE:
            self._sum -= self._seconds.popleft()[1]
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0])
        self._seconds[-1][1] += amount
        self._sum += amount
        self.total += amount
        self.most = max(self.most, self._sum)
