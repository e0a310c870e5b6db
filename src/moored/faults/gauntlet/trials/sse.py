"""What only an event stream can suffer."""

from __future__ import annotations

from moored.faults import Cut, Fault, Stall
from moored.faults.gauntlet.contract import SILENCE, backoff
from moored.faults.gauntlet.trial import Survive, Trial
from moored.faults.gauntlet.trials.places import event, sse_bytes

__all__ = ["TRIALS"]

CUT = Survive(ideal=backoff(1))
STALL = Survive(ideal=SILENCE + backoff(1))

_NEXT = sse_bytes(11)  # where message 12 begins: its id has two digits


def _trial(name: str, title: str, *schedule: Fault, expect: Survive = CUT) -> Trial:
    return Trial(
        name=name,
        title=title,
        layer="sse",
        transports=("sse",),
        schedule=schedule,
        expect=expect,
    )


TRIALS = (
    _trial(
        "cut-inside-id",
        "closed between the two digits of an id",
        Cut(after_bytes=_NEXT + len("id: 1"), times=1),
    ),
    _trial(
        "cut-after-id",
        "closed after the line of an id, before its data",
        Cut(after_bytes=_NEXT + len("id: 12\n"), times=1),
    ),
    _trial(
        "cut-inside-data",
        "closed inside the data of an event",
        Cut(after_bytes=_NEXT + len(event(12)) // 2, times=1),
    ),
    _trial(
        "cut-before-blank-line",
        "closed before the blank line that ends an event",
        Cut(after_bytes=_NEXT + len(event(12)) - 1, times=1),
    ),
    _trial(
        "reset-inside-data",
        "reset inside the data of an event",
        Cut(after_bytes=_NEXT + len(event(12)) // 2, how="rst", times=1),
    ),
    _trial(
        "stall-inside-event",
        "silent inside the data of an event",
        Stall(after_bytes=_NEXT + len(event(12)) // 2, times=1),
        expect=STALL,
    ),
    _trial(
        "cut-before-body-end",
        "closed after the end message, before the end of the body",
        Cut(after_messages=21, times=1),
        expect=Survive(),
    ),
)
