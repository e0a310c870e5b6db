"""Chance from a seed: random schedules, and faults that strike on a share of the connections."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import attrs

from moored.faults.schedule import KINDS, Fault, ScheduleError

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
    rates: Mapping[str | Fault, float] | None = None,
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
    :param rates: the share of each kind of fault, instead of the three above: by its name in plain
        schedules, such as ``"cut"``, or by a fault, which is used as it is but for ``connection``.
    :param within_messages: cuts and stalls come after 0 to so many messages.
    :param retry_after: ``Retry-After`` of the refusals, in seconds; ``None``: without.
    :raises ScheduleError: for a rate outside 0 to 1, rates of together more than 1, a kind that is
        not known, or a negative number.
    """
    if rates is None:
        rates = {"cut": cut, "stall": stall, "refuse": refuse}
    _check_rates(rates)
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
        which, where, coin = rng.random(), rng.random(), rng.random() < 0.5
        chosen = _choose(rates, which)
        if isinstance(chosen, Fault):
            drawn.append(attrs.evolve(chosen, connection=connection))
        elif chosen is not None:
            messages = int(where * (within_messages + 1))
            fields = _drawn_fields(chosen, messages, coin, retry_after)
            drawn.append(KINDS[chosen](connection=connection, **fields))
    return tuple(drawn)


def _check_rates(rates: Mapping[str | Fault, float]) -> None:
    for which, rate in rates.items():
        if not isinstance(which, Fault) and which not in KINDS:
            known = ", ".join(repr(name) for name in KINDS)
            raise ScheduleError("rates", which, f"by fault, or by one of {known}")
        if not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise ScheduleError(str(which), rate, "a number from 0 to 1")
    if sum(rates.values()) > 1 + 1e-9:
        names = " + ".join(map(str, rates))
        raise ScheduleError(names, sum(rates.values()), "at most 1")


def _choose(rates: Mapping[str | Fault, float], which: float) -> str | Fault | None:
    bound = 0.0
    for each, rate in rates.items():
        bound += rate
        if which < bound:
            return each
    return None


def _drawn_fields(
    kind: str, messages: int, coin: bool, retry_after: float | None
) -> dict[str, Any]:
    match kind:
        case "cut":
            return {"after_messages": messages, "how": "rst" if coin else "fin"}
        case "stall":
            return {"after_messages": messages, "pings": "swallowed" if coin else "answered"}
        case "refuse":
            return {"status": _STATUSES[coin], "retry_after": retry_after}
        case _:
            known = attrs.fields_dict(KINDS[kind])
            return {"after_messages": messages} if "after_messages" in known else {}
