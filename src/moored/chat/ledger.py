"""What a budget has spent and reserved: whole nanodollars, in a rolling window."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any, Protocol

import attrs

from .decimals import own_context

__all__ = [
    "MAXIMUM_USD",
    "WINDOW_BUCKETS",
    "BudgetStore",
    "Decision",
    "Figures",
    "Ledger",
    "Terms",
    "dollars",
    "nanodollars",
]

MAXIMUM_USD: int = 1_000_000
"""The most for a limit and for one request.  In nanodollars it leaves room below 2**53 for sums,
where Redis' Lua, which counts in doubles, is exact."""

WINDOW_BUCKETS: int = 60
"""Into how many parts a window is divided."""

_NANO = Decimal(1_000_000_000)


def nanodollars(usd: Any, name: str, *, at_most: int | None = MAXIMUM_USD) -> int:
    """``usd`` in whole nanodollars, rounded up.

    :param usd: ``int``, ``float``, ``str`` or ``Decimal``; a float stands for the decimal that it
        prints as.
    :param name: what an error calls it.
    :param at_most: refuse more than so many dollars; ``None`` to take more, even infinity, as
        :data:`MAXIMUM_USD`.
    :raises TypeError: for what is not a number.
    :raises ValueError: for a negative one, for NaN, and for more than ``at_most``.
    """
    if isinstance(usd, bool) or not isinstance(usd, int | float | str | Decimal):
        raise TypeError(f"{name} must be a number, not {usd!r}")
    with own_context() as context:
        context.rounding = ROUND_CEILING
        try:
            exact = Decimal(usd if isinstance(usd, int) else str(usd))
        except InvalidOperation:
            raise TypeError(f"{name} must be a number, not {usd!r}") from None
        if exact.is_nan() or exact < 0 or (at_most is not None and exact > at_most):
            bounds = "at least 0" if at_most is None else f"from 0 to {at_most}"
            raise ValueError(f"{name} must be {bounds}, not {exact:.12g}")
        return int((min(exact, Decimal(MAXIMUM_USD)) * _NANO).to_integral_value())


def dollars(nanos: int) -> Decimal:
    """Nanodollars as US dollars, without zeros at the end."""
    with own_context():
        exact = Decimal(nanos) / _NANO
        whole = exact.to_integral_value()
        return whole if exact == whole else exact.normalize()


@attrs.frozen
class Terms:
    """What a budget allows.

    :param limit: in nanodollars.
    :param window: in microseconds; 0 for a budget without one.
    :param scope: what it is for.
    """

    limit: int
    window: int
    scope: str

    @property
    def width(self) -> int:
        """Of one bucket of the window, in microseconds; at least 1."""
        return max(1, -(-self.window // WINDOW_BUCKETS))


@attrs.frozen
class Figures:
    """Nanodollars that are spent, and that are reserved by requests under way."""

    spent: int
    reserved: int


@attrs.frozen
class Decision:
    """Whether a request may be sent.

    :param ticket: what to settle with; ``None`` where it was refused.
    :param figures: after the decision.
    :param retry_after: microseconds until there is room, where the window alone makes it.
    """

    ticket: Any
    figures: Figures
    retry_after: int | None = None


class BudgetStore(Protocol):
    """Where budgets are kept that several processes share.  A store serves any number of them."""

    async def reserve(self, terms: Terms, amount: int) -> Decision:
        """Reserve ``amount`` nanodollars, if there is room.

        Cancelled, it leaves nothing reserved.
        """
        ...

    async def settle(self, terms: Terms, ticket: Any, amount: int) -> Figures | None:
        """Replace what was reserved by what it came to; ``None`` where that is not yet known.

        Does not raise because the store is lost: the request has been answered by then.
        """
        ...

    async def figures(self, terms: Terms) -> Figures:
        """What is spent and reserved."""
        ...


class Ledger:
    """A budget within one process.

    The window is divided into :data:`WINDOW_BUCKETS` buckets by the clock.  What was spent counts
    until its whole bucket is older than the window: a sixtieth of the window longer than it must,
    and never shorter.  So the memory is bounded, however many requests there are.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._buckets: dict[int, int] = {}
        self._reserved = 0

    def figures(self, now: int) -> Figures:
        """At ``now``, in microseconds."""
        if self._terms.window:
            oldest = (now - self._terms.window) // self._terms.width
            for bucket in [each for each in self._buckets if each < oldest]:
                del self._buckets[bucket]
        return Figures(sum(self._buckets.values()), self._reserved)

    def reserve(self, amount: int, now: int) -> Decision:
        """Reserve ``amount`` if it fits; a request that costs nothing always does."""
        figures = self.figures(now)
        lacking = figures.spent + figures.reserved + amount - self._terms.limit
        if amount and lacking > 0:
            return Decision(None, figures, self._room_in(lacking, now))
        self._reserved += amount
        return Decision(amount, Figures(figures.spent, self._reserved))

    def _room_in(self, lacking: int, now: int) -> int | None:
        if self._terms.window:
            for bucket, spent in sorted(self._buckets.items()):
                lacking -= spent
                if lacking <= 0:
                    return (bucket + 1) * self._terms.width + self._terms.window - now
        return None  # it takes other requests to settle for less, or never fits

    def settle(self, ticket: int, amount: int, now: int) -> Figures:
        """Replace what was reserved under ``ticket`` by ``amount``, spent at ``now``."""
        self._reserved -= ticket
        bucket = now // self._terms.width if self._terms.window else 0
        self._buckets[bucket] = self._buckets.get(bucket, 0) + amount
        return self.figures(now)
