"""What a run of the gauntlet tells, as plain data."""

from __future__ import annotations

from typing import Any

import attrs

from moored.faults.gauntlet.measure import printed
from moored.faults.gauntlet.score import Score, Total, total
from moored.faults.gauntlet.trial import Survive, Trial
from moored.faults.notation import fault_to_dict

__all__ = ["Report", "trial_data"]


@attrs.frozen(kw_only=True)
class Report:
    """One run of the gauntlet.

    :ivar command: the client program and its arguments, with their placeholders.
    :ivar scores: one for each trial.
    :ivar seed: what decided all that was random.
    :ivar seconds: how long the run took.
    :ivar moored_version: of the catalogue.
    """

    command: tuple[str, ...]
    scores: tuple[Score, ...]
    seed: int
    seconds: float
    moored_version: str

    @property
    def total(self) -> Total:
        """All trials together."""
        return total(self.scores)

    def to_data(self) -> dict[str, Any]:
        """All of it, as JSON can hold it.  Times are in seconds, from the start of the client."""
        total = attrs.asdict(self.total)
        return {
            "ok": total.pop("ok"),
            "points": round(total.pop("points"), 1),
            "command": list(self.command),
            "moored": self.moored_version,
            "seed": self.seed,
            "seconds": round(self.seconds, 3),
            "total": {name: _rounded(value) for name, value in total.items()},
            "trials": [_score_data(score) for score in self.scores],
        }


def trial_data(trial: Trial) -> dict[str, Any]:
    """One trial as plain data: what is done, and what is expected."""
    expect = attrs.asdict(trial.expect)
    expect["outcome"] = "survive" if isinstance(trial.expect, Survive) else "give up"
    return {
        "name": trial.name,
        "title": trial.title,
        "layer": trial.layer,
        "transports": list(trial.transports),
        "expect": {name: _rounded(value) for name, value in expect.items()},
        "count": trial.count,
        "pace": trial.pace,
        "limit": trial.limit,
        "faults": [fault_to_dict(fault) for fault in trial.schedule],
    }


def _score_data(score: Score) -> dict[str, Any]:
    record = score.record
    run, start = record.run, record.run.started
    return {
        "name": record.trial.name,
        "title": record.trial.title,
        "layer": record.trial.layer,
        "transport": record.transport,
        "ok": score.ok,
        "verdict": score.verdict,
        "points": round(score.points, 1),
        **attrs.asdict(score.count),
        "recovery": _rounded(score.recovery),
        "ideal": _rounded(score.ideal),
        "connections": score.connections,
        "retries": max(0, score.connections - 1),
        "busiest_second": score.busiest_second,
        "too_eager": score.too_eager,
        "retry_after_ignored": score.retry_after_ignored,
        "gave_up": score.gave_up,
        "end": run.end,
        "status": run.status,
        "seconds": _rounded(run.ended - start),
        "errors": run.errors,
        "timeline": {
            "messages": [[_rounded(time - start), id_] for time, id_ in printed(record).ids],
            "connections": [
                {
                    "number": each.number,
                    "accepted": _rounded(each.accepted - start),
                    "ended": None if each.ended is None else _rounded(each.ended - start),
                    "status": each.status,
                    "messages": each.messages,
                    "outcome": each.outcome,
                }
                for each in record.connections
            ],
            "faults": [
                {
                    **fault_to_dict(each.fault),
                    "at": _rounded(each.time - start),
                    "on_connection": each.connection,
                    "detail": each.detail,
                }
                for each in record.injected
            ],
        },
    }


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
