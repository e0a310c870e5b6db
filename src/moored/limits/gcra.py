"""A token bucket as GCRA: one number, and what a reservation may still give back.

The generic cell rate algorithm (ITU-T I.371, annex A) keeps, in place of a count of tokens, the
*theoretical arrival time* (TAT): the moment at which the bucket will be full again.  Nothing has to
be refilled, and when a cost will fit is known to the instant.

Giving back is where token buckets go wrong.  Say that 50 of 100 units are reserved, and are settled
as unused a minute later, when the bucket has long been full again and somebody has just emptied it.
Adding the 50 now would let 150 units go at once.  What may be given back is what would be there
had it never been taken, and that is at most the *lowest deficit* since then: once the bucket is
full, the past is forgotten.  So the bucket remembers the lowest deficit since each reservation.  It
can only be the same or higher for a later one, so this is a short, rising list.  What a server says
is left bounds it likewise, for all that was reserved before.
"""

from __future__ import annotations

import bisect
import itertools
import math

import attrs

from .rate import Rate

__all__ = ["Bucket"]

_MOST_LOWS = 1024


@attrs.define(eq=False)
class Bucket:
    """One dimension of a limiter.  Every time is an argument, in seconds on one clock.

    :param rate: how fast it fills, and how much it holds.
    """

    rate: Rate
    _tat: float = attrs.field(init=False, default=-math.inf)
    _last_ticket: int = attrs.field(init=False, default=0)
    # (first ticket, lowest deficit in seconds since), both rising.
    _lows: list[tuple[int, float]] = attrs.field(init=False, factory=list)

    def ready_at(self, cost: float) -> float:
        """When ``cost`` units will be there, if nothing else is taken before."""
        return self._tat + (cost - self.rate.burst) * self.rate.seconds_per_unit

    def available(self, now: float) -> float:
        """Units in the bucket; less than 0 while it is in debt."""
        return self.rate.burst - self._deficit(now) / self.rate.seconds_per_unit

    def take(self, cost: float, now: float) -> int:
        """Take ``cost`` units, whether they are there or not.

        :returns: a ticket, to give back with.
        """
        self.charge(cost, now)
        self._last_ticket += 1
        self._lows.append((self._last_ticket, math.inf))
        if len(self._lows) > _MOST_LOWS:
            self._forget_one()
        return self._last_ticket

    def charge(self, cost: float, now: float) -> None:
        """Take ``cost`` units for good; the bucket may go into debt."""
        self._note_low(now)
        self._tat = max(self._tat, now) + cost * self.rate.seconds_per_unit

    def give_back(self, ticket: int, amount: float, now: float) -> float:
        """Put back ``amount`` of what was taken with ``ticket``, as far as it still matters.

        :returns: the units by which the bucket grew.
        """
        self._note_low(now)
        place = bisect.bisect_right(self._lows, (ticket, math.inf)) - 1
        if place < 0:
            return 0.0
        first, low = self._lows[place]
        returned = min(amount * self.rate.seconds_per_unit, low)
        self._tat -= returned
        later = [(each, value - returned) for each, value in self._lows[place + 1 :]]
        del self._lows[place:]
        self._lower(first, low - returned)
        self._lows += later
        return returned / self.rate.seconds_per_unit

    def lower_to(self, remaining: float, now: float) -> None:
        """The server has ``remaining`` units left: let no more be there, and never add any.

        The server has counted in what was reserved until now, its own way.  So whatever of that is
        given back later, the bucket never has more than it would by the server's count.
        """
        excess = self.available(now) - max(0.0, remaining)
        if excess > 0:
            self.charge(excess, now)
        else:
            self._note_low(now)
        self._lower(None, max(0.0, -excess) * self.rate.seconds_per_unit)

    def mark(self, now: float) -> float:
        """The state at ``now``, for :meth:`taken_since`."""
        return max(self._tat, now)

    def taken_since(self, mark: float, now: float) -> float:
        """The units by which there are fewer for what was taken since: what has not refilled."""
        return max(0.0, self._tat - max(mark, now)) / self.rate.seconds_per_unit

    def _deficit(self, now: float) -> float:
        return max(0.0, self._tat - now)

    def _note_low(self, now: float) -> None:
        self._lower(None, self._deficit(now))

    def _lower(self, first: int | None, deficit: float) -> None:
        """No reservation so far can give back more than ``deficit``."""
        while self._lows and self._lows[-1][1] >= deficit:
            first = self._lows.pop()[0]
        if first is not None and deficit > 0:
            self._lows.append((first, deficit))

    def _forget_one(self) -> None:
        """Bound the memory: the reservations of one entry count as those of the one before."""
        rises = [after[1] - before[1] for before, after in itertools.pairwise(self._lows[:-1])]
        del self._lows[1 + rises.index(min(rises))]
