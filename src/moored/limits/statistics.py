"""What a limiter tells about itself."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["LimiterStatistics", "Tally"]


@attrs.frozen
class LimiterStatistics:
    """A limiter at one moment.

    :param waiting: callers that wait now.
    :param granted: reservations granted so far.
    :param available: units left, by dimension; less than 0 where more was used than reserved.
    :param paused_for: seconds until anybody is granted anything again; 0 while not paused.
    :param waited_total: seconds that all granted reservations waited, together.
    :param waited_longest: the longest that one of them waited, in seconds.
    """

    waiting: int
    granted: int
    available: Mapping[str, float]
    paused_for: float
    waited_total: float
    waited_longest: float


@attrs.define(eq=False)
class Tally:
    """Counts grants and how long they waited."""

    granted: int = 0
    total: float = 0.0
    longest: float = 0.0

    def add(self, waited: float) -> None:
        """One more, which waited so many seconds."""
        self.granted += 1
        self.total += waited
        self.longest = max(self.longest, waited)
