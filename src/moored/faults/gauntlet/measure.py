"""Measuring one trial: from what was recorded to figures.  Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import attrs

from moored.faults import IgnoreClose, LatePongs, Refuse, SwallowPings
from moored.faults.counting import Count, count_numbers
from moored.faults.gauntlet.contract import RETRY_AFTER_MAXIMUM
from moored.faults.gauntlet.record import TrialRecord
from moored.faults.record import Injected

__all__ = [
    "Printed",
    "busiest_second",
    "never_sent",
    "printed",
    "recovery_time",
    "retry_after_ignored",
    "times_told",
    "unstruck",
]

_UP_TO_THE_CLIENT = (IgnoreClose, LatePongs, SwallowPings)
"""These faults strike only a client that pings, or that waits for the end of its closing."""

_ID = re.compile(r"(0|[1-9][0-9]*)\Z")
"""An id as the feed has it: ``01`` is another text than ``1``."""

_TOLERANCE = 0.1
"""A retry may come so much before its time, in seconds: clocks are read at both ends of a wire."""


@attrs.frozen
class Printed:
    """What a client printed.

    :ivar ids: the numbers, with the time of each; the end message's own is left out.
    :ivar junk: the first line that is no id, or ``None``.
    """

    ids: tuple[tuple[float, int], ...]
    junk: str | None = None


def printed(record: TrialRecord) -> Printed:
    """Read a client's output.  Empty lines say nothing."""
    ids: list[tuple[float, int]] = []
    junk: str | None = None
    for line in record.run.lines:
        text = line.text
        if _ID.match(text):
            ids.append((line.time, int(text)))
        elif text and junk is None:
            junk = text
    # A client may well print the end message's id: once, as the last.
    if ids and ids[-1][1] == _end_id(record):
        ids.pop()
    return Printed(tuple(ids), junk)


def _end_id(record: TrialRecord) -> int | None:
    """The id of the end message, if it has one and the origin came to it.  Only on SSE it has."""
    count, sent = record.trial.count, record.sent_up_to
    came_to_it = record.transport == "sse" and (sent is None or sent >= count)
    return count + 1 if came_to_it else None


def count(record: TrialRecord, numbers: Sequence[int]) -> Count:
    """Compare what came with what should have; after giving up, with what could have."""
    expected = record.trial.count if record.trial.survivable else max(numbers, default=0)
    return count_numbers(range(1, expected + 1), numbers)


def never_sent(record: TrialRecord, numbers: Sequence[int]) -> int:
    """How many numbers were printed that the origin had not sent to anybody: inventions."""
    count, sent = record.trial.count, record.sent_up_to
    last = _end_id(record) or (count if sent is None else min(sent, count))
    return sum(not 1 <= number <= last for number in numbers)


def unstruck(record: TrialRecord) -> int:
    """How many faults of the schedule never took effect.

    A client that does not connect, or only once where it should have met a fault later, has passed
    no trial.
    """
    struck = [each.fault for each in record.injected]
    return sum(
        max(0, (fault.times or 1) - struck.count(fault))
        for fault in record.trial.schedule
        if fault.probability >= 1 and not isinstance(fault, _UP_TO_THE_CLIENT)
    )


def recovery_time(record: TrialRecord) -> float | None:
    """The longest of the times from a fault to the next new message, in seconds.

    Where there was another connection after the fault, only what came since then counts: a message
    that was on its way shows nothing.  Where no message was left, the end of the client stands for
    the end message.

    :returns: ``None`` where there was no fault, or one was never recovered from.
    """
    times = [_recovered(record, injected) for injected in record.injected]
    known = [time for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None


def _recovered(record: TrialRecord, injected: Injected) -> float | None:
    later = [c.accepted for c in record.connections if c.number > injected.connection]
    since = max(injected.time, min(later, default=injected.time))
    known: set[int] = set()
    for time, number in printed(record).ids:
        if number not in known and time >= since:
            return time - injected.time
        known.add(number)
    if record.run.end == "exit" and record.run.status == 0:
        return record.run.ended - injected.time
    return None


def busiest_second(record: TrialRecord) -> int:
    """The most connections that were begun within one second; following a redirect is none."""
    times: list[float] = []
    sent_on = False
    for connection in record.connections:
        if not sent_on:
            times.append(connection.accepted)
        sent_on = connection.status is not None and 300 <= connection.status < 400
    return max((sum(first <= time < first + 1 for time in times) for first in times), default=0)


def retry_after_ignored(record: TrialRecord) -> int:
    """How often the next attempt came before the time that Retry-After had set.

    Times over what the contract asks for, and texts that are no time, do not count.
    """
    ignored = 0
    for injected in record.injected:
        seconds = _retry_after(record, injected)
        later = [c.accepted for c in record.connections if c.number > injected.connection]
        if seconds is not None and later:
            ignored += min(later) < injected.time + seconds - _TOLERANCE
    return ignored


def _retry_after(record: TrialRecord, injected: Injected) -> float | None:
    if not isinstance(injected.fault, Refuse) or injected.fault.retry_after is None:
        return None
    try:
        seconds = float(injected.fault.retry_after)
    except ValueError:
        try:
            moment = parsedate_to_datetime(str(injected.fault.retry_after))
        except ValueError:
            return None
        seconds = moment.timestamp() - (injected.time + record.clock)
    return seconds if seconds <= RETRY_AFTER_MAXIMUM else None


def times_told(record: TrialRecord) -> int:
    """How often the last fault of the schedule, the final one, took effect."""
    return sum(each.fault == record.trial.schedule[-1] for each in record.injected)
