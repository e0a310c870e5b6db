"""Sleeping until a deadline that others may bring forward."""

from __future__ import annotations

import trio

__all__ = ["Timer"]


class Timer:
    """One task sleeps on it; any task may hasten it.  A deadline that moves *away* costs nothing:
    the sleeper wakes at the old one, looks, and sleeps again."""

    def __init__(self) -> None:
        self._scope: trio.CancelScope | None = None

    async def sleep_until(self, deadline: float) -> None:
        """Sleep until ``deadline``, on Trio's clock, or until hastened."""
        with trio.CancelScope(deadline=deadline) as self._scope:
            await trio.sleep_forever()
        self._scope = None

    def hasten(self, deadline: float) -> None:
        """Bring the deadline forward, if somebody sleeps beyond it."""
        if self._scope is not None and deadline < self._scope.deadline:
            self._scope.deadline = deadline
