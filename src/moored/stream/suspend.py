"""Noticing that the machine slept: Trio's clock stood still, and the peer did not."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import trio

from moored.core.transitions import State

from .stream import Stream

__all__ = ["wake_after_suspend"]

LEAST_SLEEP = 1.0
"""Seconds that the two clocks must have come apart: less is a slow step of NTP, or nothing."""


async def wake_after_suspend(
    *streams: Stream[Any], every: float = 5.0, clock: Callable[[], float] | None = None
) -> None:
    """Call :meth:`Stream.wake` on ``streams`` whenever the machine has been asleep.

    Trio's clock stands still while a laptop sleeps (trio#1586), so by the stream's own clocks
    nothing has happened.  This compares it, as a hint only, with a clock that goes on.  Start it in
    a nursery of yours; one task does for any number of streams.  It ends when all are CLOSED.

    :param every: seconds between two comparisons, 5 by default: what a dead connection may go
        unnoticed after waking, instead of the whole heartbeat.
    :param clock: seconds on a clock that goes on during sleep; by default ``CLOCK_BOOTTIME`` on
        Linux, ``CLOCK_MONOTONIC`` on macOS, and the wall clock elsewhere.
    :raises ValueError: when ``every`` is not above 0.
    """
    if not every > 0:
        raise ValueError(f"every must be above 0, not {every!r}")
    clock = clock or _sleepless_clock()
    ahead = clock() - trio.current_time()
    await trio.lowlevel.checkpoint()
    while any(stream.state is not State.CLOSED for stream in streams):
        await trio.sleep(every)
        before, ahead = ahead, clock() - trio.current_time()
        if ahead - before >= LEAST_SLEEP:
            for stream in streams:
                stream.wake()


def _sleepless_clock() -> Callable[[], float]:
    name = {"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC"}.get(sys.platform)
    number: int | None = getattr(time, name, None) if name else None
    return time.time if number is None else lambda: time.clock_gettime(number)
