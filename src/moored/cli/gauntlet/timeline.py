"""The timeline of one trial, as the places of what is drawn.  Values in, values out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import attrs

from moored.faults.gauntlet import Score
from moored.faults.gauntlet.measure import printed
from moored.faults.gauntlet.record import TrialRecord
from moored.faults.record import ConnectionRecord

__all__ = ["Bar", "Mark", "Timeline", "timeline"]

LEFT, WIDTH, RIGHT = 150, 760, 20
LANE = 18
MAX_LANES = 24
"""A client that makes more connections is shown with the first ones only."""

_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)
_MOST_TICKS = 12

Kind: TypeAlias = Literal["good", "bad", "refused", "open"]


@attrs.frozen
class Bar:
    """One connection: from where to where, on which line, and what it was."""

    x: float
    width: float
    y: float
    kind: Kind
    label: str
    title: str


@attrs.frozen
class Mark:
    """One thing that happened at one moment."""

    x: float
    y: float
    title: str
    kind: Literal["fault", "message", "repeated"]


@attrs.frozen
class Timeline:
    """Everything to draw.

    :ivar ticks: of the axis: where, and how many seconds.
    :ivar omitted: connections that there was no room for.
    """

    width: float
    height: float
    bars: tuple[Bar, ...]
    faults: tuple[Mark, ...]
    messages: tuple[Mark, ...]
    messages_y: float
    ticks: tuple[tuple[float, str], ...]
    end_x: float
    omitted: int


def timeline(score: Score) -> Timeline:
    """Lay out one trial."""
    record = score.record
    start, end = record.run.started, record.run.ended
    scale = WIDTH / max(end - start, 0.1)

    def x(time: float) -> float:
        return round(LEFT + (min(max(time, start), end) - start) * scale, 1)

    shown = record.connections[:MAX_LANES]
    lanes = {connection.number: lane for lane, connection in enumerate(shown)}
    messages_y = len(shown) * LANE + 12
    return Timeline(
        width=LEFT + WIDTH + RIGHT,
        height=messages_y + 34,
        bars=tuple(
            Bar(
                x=x(each.accepted),
                width=max(2.0, x(each.ended or end) - x(each.accepted)),
                y=lanes[each.number] * LANE + 6,
                kind=_kind(each),
                label=_label(each),
                title=f"connection {each.number}: {_label(each)}, {each.messages} messages",
            )
            for each in shown
        ),
        faults=tuple(
            Mark(
                x(each.time),
                lanes[each.connection] * LANE + 6,
                f"{each.time - start:.2f} s: {each.fault!r} {each.detail}",
                "fault",
            )
            for each in record.injected
            if each.connection in lanes
        ),
        messages=tuple(_messages(record, x, messages_y)),
        messages_y=messages_y,
        ticks=tuple((x(start + seconds), f"{seconds:g} s") for seconds in _ticks(end - start)),
        end_x=x(end),
        omitted=len(record.connections) - len(shown),
    )


def _messages(record: TrialRecord, x: Callable[[float], float], y: float) -> list[Mark]:
    known: set[int] = set()
    marks = []
    for time, number in printed(record).ids:
        title = f"{time - record.run.started:.2f} s: message {number}"
        marks.append(Mark(x(time), y, title, "repeated" if number in known else "message"))
        known.add(number)
    return marks


def _kind(connection: ConnectionRecord) -> Kind:
    if connection.outcome == "complete":
        return "good"
    if connection.outcome == "refused":
        return "refused"
    return "open" if connection.outcome in ("", "proxy closed") else "bad"


def _label(connection: ConnectionRecord) -> str:
    words = connection.outcome or "open"
    return f"{words} {connection.status}" if words == "refused" else words


def _ticks(seconds: float) -> list[float]:
    step = next((tick for tick in _TICKS if seconds / tick <= _MOST_TICKS), _TICKS[-1])
    return [round(n * step, 3) for n in range(math.floor(seconds / step) + 1)]
