"""What only a WebSocket can suffer."""

from __future__ import annotations

from moored.faults import Cut, Fault, Stall
from moored.faults.gauntlet.contract import SILENCE, backoff
from moored.faults.gauntlet.trial import Survive, Trial
from moored.faults.gauntlet.trials.places import frame_bytes

__all__ = ["TRIALS"]

CUT = Survive(ideal=backoff(1))
STALL = Survive(ideal=SILENCE + backoff(1))

_NEXT = frame_bytes(11)


def _trial(name: str, title: str, *schedule: Fault, expect: Survive = CUT) -> Trial:
    return Trial(
        name=name,
        title=title,
        layer="websocket",
        transports=("websocket",),
        schedule=schedule,
        expect=expect,
    )


TRIALS = (
    _trial(
        "cut-inside-frame-head",
        "closed between the two bytes of a frame's head",
        Cut(after_bytes=_NEXT + 1, times=1),
    ),
    _trial(
        "cut-inside-frame",
        "closed inside the payload of a frame",
        Cut(after_bytes=_NEXT + 10, times=1),
    ),
    _trial(
        "reset-inside-frame",
        "reset inside the payload of a frame",
        Cut(after_bytes=_NEXT + 10, how="rst", times=1),
    ),
    _trial(
        "stall-inside-frame",
        "silent inside the payload of a frame",
        Stall(after_bytes=_NEXT + 10, pings="swallowed", times=1),
        expect=STALL,
    ),
    _trial(
        "stall-pings-answered",
        "no more messages after 5, and pings are still answered",
        Stall(after_messages=5, times=1),
        expect=STALL,
    ),
    _trial(
        "stall-at-start-pings-answered",
        "no messages at all, and pings are answered",
        Stall(after_messages=0, times=1),
        expect=STALL,
    ),
)
