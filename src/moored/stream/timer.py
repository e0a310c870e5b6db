"""Sleeping until a deadline that others may move, and judging it fairly."""

from __future__ import annotations

import trio

__all__ = ["Timer", "let_readers_go_first"]

HELD_UP = 0.05
"""Seconds that one turn of Trio's loop takes only when somebody held it up."""


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


async def let_readers_go_first() -> None:
    """To call between a deadline's passing and its consequences.

    Our own loop may have been held up, with bytes waiting in the socket: our lateness must not be
    taken for the peer's silence.  One turn of the loop is enough, if it was not held up too.
    """
    for _ in range(3):
        before = trio.current_time()
        await trio.lowlevel.checkpoint()
        if trio.current_time() - before < HELD_UP:
            return
