"""Scoring: what a client did with one trial, and with all of them, in points of 100.

A trial to be survived: 60 for the messages, 20 for recovering as fast as one can (with a second's
allowance), 20 for manners.  A trial to be given up: 60 for exiting with an error, 20 for doing so
in time, 20 for not asking again.  Where a message was lost, repeated or out of order, 30 at most,
and less the more there were.  Nothing for a client that did not come to the end that it should have
come to, or that printed what nobody had sent.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from moored.faults.counting import Count
from moored.faults.duration import duration
from moored.faults.gauntlet import measure
from moored.faults.gauntlet.contract import MAX_CONNECTIONS_PER_SECOND
from moored.faults.gauntlet.record import TrialRecord
from moored.faults.gauntlet.trial import GiveUp, Survive

__all__ = ["Score", "Total", "score", "total"]

ALLOWANCE = 1.0
"""Recovery may take so many seconds more than the ideal without losing points."""


@attrs.frozen(kw_only=True)
class Score:
    """What a client did with one trial.

    :ivar record: the facts.
    :ivar ok: whether it did what it should have: survived, or given up.
    :ivar verdict: in a few words.
    :ivar count: what became of the messages.
    :ivar recovery: seconds from the fault to the next new message, the longest; or ``None``.
    :ivar ideal: what it could have been; ``None`` where there is nothing to recover from.
    :ivar connections: how many it made.
    :ivar busiest_second: the most that it began within one second.
    :ivar too_eager: whether those were too many.
    :ivar retry_after_ignored: how often it came back before it was asked to.
    :ivar gave_up: whether it gave up, where it should have; else ``None``.
    :ivar points: 0 to 100.
    """

    record: TrialRecord
    ok: bool
    verdict: str
    count: Count
    recovery: float | None
    ideal: float | None
    connections: int
    busiest_second: int
    too_eager: bool
    retry_after_ignored: int
    gave_up: bool | None
    points: float


def score(record: TrialRecord) -> Score:
    """Score one trial."""
    output = measure.printed(record)
    numbers = [number for _, number in output.ids]
    count = measure.count(record, numbers)
    busiest = measure.busiest_second(record)
    expect = record.trial.expect
    survive = isinstance(expect, Survive)
    judged = Score(
        record=record,
        ok=False,
        verdict=_failure(record, output.junk, numbers, count) or "",
        count=count,
        recovery=measure.recovery_time(record) if survive else None,
        ideal=expect.ideal if isinstance(expect, Survive) and record.trial.schedule else None,
        connections=len(record.connections),
        busiest_second=busiest,
        too_eager=busiest > MAX_CONNECTIONS_PER_SECOND,
        retry_after_ignored=measure.retry_after_ignored(record),
        gave_up=None if survive else False,
        points=0.0,
    )
    if judged.verdict:
        return judged
    if isinstance(expect, GiveUp):
        return _given_up(judged, expect)
    return _survived(judged)


def _failure(
    record: TrialRecord, junk: str | None, numbers: Sequence[int], count: Count
) -> str | None:
    """Why the trial counts for nothing, if it does."""
    run = record.run
    if run.end != "exit":
        words = {
            "time limit": f"still running after {duration(record.trial.limit)}",
            "flood": "flooded its output",
            "long line": "printed an endless line",
            "not started": "could not be started",
        }
        return words[run.end]
    if run.status is not None and run.status < 0:
        return f"died of signal {-run.status}"
    if junk is not None:
        return f"printed what is no id: {junk[:40]!r}"
    if not record.connections:
        return "never connected"
    if record.transport == "websocket":
        asked = {each.transport for each in record.connections} - {""}
        if asked and "websocket" not in asked:
            return "never asked for a WebSocket"
    invented = measure.never_sent(record, numbers)
    if invented:
        return f"printed {invented} {'id' if invented == 1 else 'ids'} that nobody had sent"
    if record.trial.survivable and run.status != 0:
        return f"gave up (status {run.status})"
    if not record.trial.survivable and run.status == 0:
        return "exited with 0, as if it had seen the end"
    if measure.unstruck(record):
        if not record.trial.survivable:
            return "gave up before it had to"
        if count.exact:  # else it says more what is lost
            return "came through without meeting the fault"
    return None


def _survived(judged: Score) -> Score:
    count = judged.count
    told = [
        (count.lost, f"{count.lost} lost"),
        (count.duplicated, f"{count.duplicated} duplicated"),
        (count.disordered, f"{count.disordered} out of order"),
        (count.unexpected, f"{count.unexpected} past the end"),
    ]
    verdict = ", ".join(words for number, words in told if number)
    if verdict:
        return attrs.evolve(judged, verdict=verdict, points=_spoilt(count))
    points = 60.0 + _manners(judged)
    if judged.ideal is None or not judged.record.injected:
        points += 20
    elif judged.recovery is not None:
        points += 20 * min(1.0, (judged.ideal + ALLOWANCE) / max(judged.recovery, 1e-9))
    return attrs.evolve(judged, ok=True, verdict="survived", points=points)


def _spoilt(count: Count) -> float:
    wrong = count.lost + count.duplicated + count.disordered + count.unexpected
    return 30 * max(0.0, 1 - wrong / max(count.expected, 1))


def _given_up(judged: Score, expect: GiveUp) -> Score:
    record, count = judged.record, judged.count
    told = measure.times_told(record)
    first = min(each.time for each in record.injected if each.fault == record.trial.schedule[-1])
    in_time = record.run.ended - first <= expect.within
    at_once = told <= expect.attempts
    verdict = "gave up"
    if not at_once:
        verdict = f"gave up after {told} attempts"
    elif not in_time:
        verdict = f"gave up after {record.run.ended - first:.1f} s"
    if not count.exact:
        verdict += ", messages wrong"
    points = 60.0 + 20 * in_time + (_manners(judged) if at_once else 0)
    return attrs.evolve(
        judged,
        ok=in_time and at_once and count.exact,
        verdict=verdict,
        gave_up=True,
        points=points if count.exact else _spoilt(count),
    )


def _manners(judged: Score) -> float:
    return max(0.0, 20.0 - 10 * judged.too_eager - 10 * judged.retry_after_ignored)


@attrs.frozen(kw_only=True)
class Total:
    """What a client did with all trials.

    :ivar ok: whether it did in each what it should have.
    :ivar points: the mean of the trials' points.
    :ivar survived: how many of those to be survived it survived.
    :ivar survivable: how many those are.
    :ivar gave_up: of those to be given up, how many it gave up as it should.
    :ivar final: how many those are.
    :ivar median_excess: seconds that recovery took over the ideal, the median, or ``None``.
    """

    ok: bool
    points: float
    survived: int
    survivable: int
    gave_up: int
    final: int
    lost: int
    duplicated: int
    disordered: int
    too_eager: int
    retry_after_ignored: int
    median_excess: float | None


def total(scores: Sequence[Score]) -> Total:
    """Add up."""
    excess = sorted(
        max(0.0, s.recovery - s.ideal)
        for s in scores
        if s.ok and s.recovery is not None and s.ideal is not None
    )
    survivable = [s for s in scores if s.record.trial.survivable]
    final = [s for s in scores if not s.record.trial.survivable]
    return Total(
        ok=bool(scores) and all(s.ok for s in scores),
        points=sum(s.points for s in scores) / len(scores) if scores else 0.0,
        survived=sum(s.ok for s in survivable),
        survivable=len(survivable),
        gave_up=sum(s.ok for s in final),
        final=len(final),
        lost=sum(s.count.lost for s in scores),
        duplicated=sum(s.count.duplicated for s in scores),
        disordered=sum(s.count.disordered for s in scores),
        too_eager=sum(s.too_eager for s in scores),
        retry_after_ignored=sum(s.retry_after_ignored for s in scores),
        median_excess=excess[len(excess) // 2] if excess else None,
    )
