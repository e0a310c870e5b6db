"""The catalogue: every trial there is."""

from __future__ import annotations

from moored.faults import random_schedule
from moored.faults.gauntlet.contract import SILENCE, backoff
from moored.faults.gauntlet.trial import Survive, Trial
from moored.faults.gauntlet.trials import connection, http, sse, tcp, websocket

__all__ = ["catalogue"]

RANDOM_TRIALS = 3


def catalogue(seed: int = 0) -> tuple[Trial, ...]:
    """All trials, in the order in which they are run and shown.

    :param seed: decides the faults of the trials that are random.
    """
    return (
        *connection.TRIALS,
        *tcp.TRIALS,
        *http.TRIALS,
        *sse.TRIALS,
        *websocket.TRIALS,
        *(_random(number, seed) for number in range(1, RANDOM_TRIALS + 1)),
    )


def _random(number: int, seed: int) -> Trial:
    schedule = random_schedule(
        seed * 1000 + number, connections=6, cut=0.5, stall=0.2, refuse=0.3, within_messages=4
    )
    return Trial(
        name=f"random-{number}",
        title=f"six connections in turn with random faults (seed {seed}, draw {number})",
        layer="mixed",
        schedule=schedule,
        expect=Survive(ideal=SILENCE + backoff(6)),
        count=30,
        limit=25,
    )
