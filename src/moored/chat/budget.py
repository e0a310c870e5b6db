"""Budgets: what may be spent is checked before a request is sent, and settled after."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, TypeAlias

import attrs
import trio

from moored.core.checks import number

from .errors import BudgetExceeded
from .ledger import MAXIMUM_USD, BudgetStore, Figures, Ledger, Terms, dollars, nanodollars

__all__ = ["Budget", "Reservation", "Usd"]

logger: logging.Logger = logging.getLogger("moored.chat")

Usd: TypeAlias = int | float | str | Decimal
"""US dollars.  A float stands for the decimal that it prints as: 0.1 is a tenth."""


_MOST = nanodollars(MAXIMUM_USD, "")


class Reservation:
    """What one request may cost, until it is known what it did."""

    def __init__(self, estimated: int) -> None:
        self._estimated = estimated
        self._amount = estimated
        self._over = False

    @property
    def estimated_usd(self) -> Decimal:
        """What was reserved."""
        return dollars(self._estimated)

    def settle(self, actual_usd: Usd) -> None:
        """Say what the request cost, more or less than was reserved.

        It counts when the block is left; the last call counts.  More than a million dollars, which
        only a mistaken report can come to, is taken as a million, and logged.

        :raises TypeError: for what is not a number.
        :raises ValueError: for a negative amount, and for NaN.
        :raises RuntimeError: after the block was left.
        """
        if self._over:
            raise RuntimeError("the reservation is over: its block was left")
        self._amount = nanodollars(actual_usd, "actual_usd", at_most=None)
        if self._amount == _MOST and self._amount > self._estimated:
            logger.warning(
                "a request is said to have cost at least $%s, where $%s was reserved: is the usage "
                "that was reported, or the price, a mistake?",
                MAXIMUM_USD,
                self.estimated_usd,
            )

    def release(self) -> None:
        """Say that nothing was sent, so that nothing was spent.

        :raises RuntimeError: after the block was left.
        """
        self.settle(0)


def _limit(value: Any) -> Decimal:
    return dollars(nanodollars(value, "Budget.limit_usd"))


@attrs.define(eq=False)
class Budget:
    """A limit on what requests may cost together.

    Requests under way count with their estimates, so that a hundred that start at once cannot
    overshoot by these.  What they turn out to cost can overshoot, by as far as the estimates were
    too low; then nothing more is let through until there is room.  Amounts are counted in whole
    nanodollars, rounded up.

    :param limit_usd: the limit, in US dollars; at most a million.  A request that costs nothing
        is always let through.
    :param window: over how many seconds it holds, as a rolling window of 60 buckets: what was spent
        counts for this long, and up to a sixtieth of it longer.  ``None`` (default): for the life
        of the object, or as long as ``store`` keeps it.
    :param scope: what it is for, such as the name of a team; errors name it.  In a store, budgets
        of the same scope and window are one.
    :param store: where it is kept, such as a
        :class:`~moored.chat.budget_redis.RedisBudgetStore`; by default in this object.
    :param wall_clock: seconds since the epoch.  A store has its own clock.
    :raises ValueError: for a limit or window out of bounds.
    """

    limit_usd: Decimal = attrs.field(converter=_limit)
    window: float | None = attrs.field(
        default=None, validator=number(minimum=0.001, maximum=1e9, optional=True)
    )
    scope: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    store: BudgetStore | None = attrs.field(default=None, kw_only=True, repr=False)
    wall_clock: Callable[[], float] = attrs.field(default=time.time, kw_only=True, repr=False)
    _terms: Terms = attrs.field(init=False, repr=False)
    _ledger: Ledger | None = attrs.field(init=False, repr=False)
    _known: Figures = attrs.field(init=False, repr=False, default=Figures(0, 0))

    def __attrs_post_init__(self) -> None:
        self._terms = Terms(
            nanodollars(self.limit_usd, "Budget.limit_usd"),
            0 if self.window is None else round(self.window * 1e6),
            self.scope,
        )
        self._ledger = Ledger(self._terms) if self.store is None else None

    @asynccontextmanager
    async def reserve(self, estimated_usd: Usd) -> AsyncIterator[Reservation]:
        """Reserve what a request is expected to cost, for as long as the block lasts.

        Call :meth:`Reservation.settle` in it.  A block that is left without, also by an error or
        cancellation, keeps the estimate as spent, since nobody knows what happened; where nothing
        was sent, call :meth:`Reservation.release`.

        :param estimated_usd: the estimate, in US dollars.
        :raises BudgetExceeded: where it does not fit.  Nothing waits: how long it would take is
            known, if at all, to the error.
        :raises BudgetUnavailable: where the store is lost, unless that lets everything through.
        :raises ValueError: for a negative estimate, and for more than a million dollars.
        """
        amount = nanodollars(estimated_usd, "estimated_usd")
        ticket = await self._take(amount)
        reservation = Reservation(amount)
        try:
            yield reservation
        finally:
            reservation._over = True
            with trio.CancelScope(shield=True):  # a store bounds its own time
                await self._settle(ticket, reservation._amount)

    async def _take(self, amount: int) -> Any:
        await trio.lowlevel.checkpoint()
        if self.store is None:
            assert self._ledger is not None
            decision = self._ledger.reserve(amount, self._now())
        else:
            decision = await self.store.reserve(self._terms, amount)
            self._known = decision.figures
        if decision.ticket is not None:
            return decision.ticket
        retry_after = decision.retry_after
        raise BudgetExceeded(
            limit_usd=self.limit_usd,
            spent_usd=dollars(decision.figures.spent),
            reserved_usd=dollars(decision.figures.reserved),
            requested_usd=dollars(amount),
            window=self.window,
            scope=self.scope,
            retry_after=None if retry_after is None else retry_after / 1e6,
        )

    async def _settle(self, ticket: Any, amount: int) -> None:
        if self.store is None:
            assert self._ledger is not None
            self._ledger.settle(ticket, amount, self._now())
            await trio.lowlevel.checkpoint()
        elif (figures := await self.store.settle(self._terms, ticket, amount)) is not None:
            self._known = figures

    async def refresh(self) -> None:
        """Ask the store for its figures; without one there is nothing to ask.

        :raises BudgetUnavailable: where it is lost.
        """
        await trio.lowlevel.checkpoint()
        if self.store is not None:
            self._known = await self.store.figures(self._terms)

    @property
    def spent_usd(self) -> Decimal:
        """Spent within the window; with a store, as it last said (see :meth:`refresh`)."""
        return dollars(self._figures().spent)

    @property
    def reserved_usd(self) -> Decimal:
        """Reserved by requests under way; with a store, as it last said."""
        return dollars(self._figures().reserved)

    @property
    def remaining_usd(self) -> Decimal:
        """Neither spent nor reserved; 0 where more was spent than allowed."""
        figures = self._figures()
        return dollars(max(0, self._terms.limit - figures.spent - figures.reserved))

    def _figures(self) -> Figures:
        return self._known if self._ledger is None else self._ledger.figures(self._now())

    def _now(self) -> int:
        return round(self.wall_clock() * 1e6)
