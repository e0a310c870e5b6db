"""What callers hold: a reservation, granted by a limiter in this process or on Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Protocol

from .costs import settled_amounts
from .rate import Rate

__all__ = ["Grant", "Reservation"]


class Grant(Protocol):
    """What a limiter grants: units that are taken, until the block of the reservation ends."""

    waited: float
    """Seconds until it was granted."""

    def settle(self, amounts: Mapping[str, float]) -> None:
        """Let ``amounts`` count as used, in place of what was reserved."""
        ...

    async def end(self, *, succeeded: bool) -> None:
        """The block is over."""
        ...


class Reservation:
    """What :meth:`~moored.limits.Limiter.reserve` gives: an async context manager, for one use.

    Entering it waits until the cost is granted.  An exception or a cancellation before that takes
    nothing.  After that the cost counts as used, whatever happens in the block, unless
    :meth:`settle` says otherwise.
    """

    def __init__(
        self,
        rates: Mapping[str, Rate],
        take: Callable[[], Awaitable[Grant]],
        take_now: Callable[[], Awaitable[Grant | None]],
    ) -> None:
        self._rates = rates
        self._take = take
        self._take_now = take_now
        self._entered = False
        self._grant: Grant | None = None
        self._waited = 0.0

    @property
    def waited(self) -> float:
        """Seconds until it was granted; 0 before."""
        return self._waited

    def settle(self, used: float | None = None, /, **amounts: float) -> None:
        """Say what was really used.

        What was reserved and not used is there again for others.  What was used beyond it is
        charged, and later callers wait for it; that is at most 10 bursts more than was reserved,
        so that one wrong figure does not stop everybody for years.  It may be called again, with
        better figures.

        :param used: the same as ``tokens=used``.
        :param amounts: what was used of each dimension; the others stay as they were.
        :raises ValueError: for an amount that is negative or not finite.
        :raises RuntimeError: outside of the block.
        :raises TypeError: for a dimension that the limiter does not know.
        """
        if self._grant is None:
            raise RuntimeError("a reservation can be settled only inside of its block")
        self._grant.settle(settled_amounts(self._rates, used, amounts))

    async def enter_now(self) -> bool:
        """Enter it if the cost is granted at once, without waiting for anybody.

        :returns: whether it was; what it then holds ends with ``__aexit__``.
        """
        self._enter()
        self._grant = await self._take_now()
        return self._grant is not None

    def _enter(self) -> None:
        if self._entered:
            raise RuntimeError("a reservation can be entered only once")
        self._entered = True

    async def __aenter__(self) -> Reservation:
        self._enter()
        self._grant = await self._take()
        self._waited = self._grant.waited
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        grant, self._grant = self._grant, None
        if grant is not None:
            await grant.end(succeeded=error is None)
