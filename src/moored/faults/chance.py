"""Chance from a seed: random schedules, and faults that strike on a share of the connections."""

from __future__ import annotations

import random
from typing import Literal

from moored.faults.catalogue.base import Fault
from moored.faults.catalogue.checks import ScheduleError
from moored.faults.catalogue.http import Refuse
from moored.faults.catalogue.moments import Cut, Stall

__all__ = ["happens", "random_schedule"]

_STATUSES = (429, 503)


def happens(probability: float, seed: int, index: int, connection: int) -> bool:
    """Whether fault ``index`` of a schedule strikes on ``connection``.

    Each pair has its own generator, so the answer does not depend on the order in which concurrent
    connections ask.
    """
    return probability >= 1 or random.Random(f"{seed}/{index}/{connection}").random() < probability


def random_schedule(
    seed: int,
    *,
    connections: int = 20,
    cut: float = 0.3,
    stall: float = 0.1,
    refuse: float = 0.1,
    within_messages: int = 10,
    retry_after: float | None = 1,
) -> tuple[Fault, ...]:
    """A schedule drawn from ``seed``: the same arguments always give the same one.

    Each of the first ``connections`` connections gets at most one fault; the later ones get none,
    so that a client that recovers can come to its end.

    :param connections: how many connections to draw for.
    :param cut: the share of them that are cut, from 0 to 1; FIN and RST with equal chances.
    :param stall: the share that stall; pings answered and swallowed with equal chances.
    :param refuse: the share that are refused; 429 and 503 with equal chances.
    :param within_messages: cuts and stalls come after 0 to so many messages.
    :param retry_after: ``Retry-After`` of the refusals, in seconds; ``None``: without.
    :raises ScheduleError: for a rate outside 0 to 1, rates of together more than 1, or a negative
        number.
    """
    rates = {"cut": cut, "stall": stall, "refuse": refuse}
    for name, rate in rates.items():
        if not 0 <= rate <= 1:
            raise ScheduleError(name, rate, "a number from 0 to 1")
    if sum(rates.values()) > 1 + 1e-9:
        raise ScheduleError("cut + stall + refuse", sum(rates.values()), "at most 1")
    if connections < 0:
        raise ScheduleError("connections", connections, "at least 0")
    if within_messages < 0:
        raise ScheduleError("within_messages", within_messages, "at least 0")
    rng = random.Random(seed)
    drawn: list[Fault] = []
    for connection in range(1, connections + 1):
        # The same draws for each connection, whatever comes of them: changing one rate then leaves
        # the rest of the schedule as it was.
        # Only random() is the same in every version of Python.
        kind, where, coin = rng.random(), rng.random(), rng.random() < 0.5
        messages = int(where * (within_messages + 1))
        if kind < cut:
            how: Literal["fin", "rst"] = "rst" if coin else "fin"
            drawn.append(Cut(after_messages=messages, how=how, connection=connection))
        elif kind < cut + stall:
            pings: Literal["answered", "swallowed"] = "swallowed" if coin else "answered"
            drawn.append(Stall(after_messages=messages, pings=pings, connection=connection))
        elif kind < cut + stall + refuse:
            status = _STATUSES[coin]
            drawn.append(Refuse(status=status, retry_after=retry_after, connection=connection))
    return tuple(drawn)
