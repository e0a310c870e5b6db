"""The verdict of the demo: what was injected, recovered, lost and duplicated."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import attrs

from moored.cli.demo.scenario import Part
from moored.cli.demo.track import Track
from moored.faults import Fault, Injected, fault_to_dict
from moored.faults.counting import Count

__all__ = ["FaultVerdict", "StreamVerdict", "Verdict", "judge"]


@attrs.frozen
class FaultVerdict:
    """One fault that took effect.

    :ivar at: when, in seconds since the demo began.
    :ivar recovered_after: seconds until the first message after it, or ``None``.
    """

    fault: Fault
    at: float
    detail: str
    recovered_after: float | None


@attrs.frozen
class StreamVerdict:
    """What became of one stream.

    :ivar missing: faults of the schedule that never took effect.
    :ivar finished: whether it came to its own end.
    """

    part: Part
    count: Count
    faults: tuple[FaultVerdict, ...]
    missing: int
    attempts: int
    repetitions_dropped: int
    finished: bool
    error: str

    @property
    def recovered(self) -> int:
        """How many faults the stream recovered from."""
        return len(self.recovery)

    @property
    def recovery(self) -> list[float]:
        """The times to recover, in seconds."""
        return [f.recovered_after for f in self.faults if f.recovered_after is not None]

    @property
    def ok(self) -> bool:
        """Whether everything came, once, in order, through every fault."""
        sound = self.count.exact and self.finished and not self.missing
        return sound and self.recovered == len(self.faults)


@attrs.frozen
class Verdict:
    """What became of all of them.

    :ivar seconds: how long it took.
    """

    streams: tuple[StreamVerdict, ...]
    seed: int
    recovery_enabled: bool
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether all is well with every stream."""
        return bool(self.streams) and all(stream.ok for stream in self.streams)

    @property
    def count(self) -> Count:
        """All messages together."""
        return sum((stream.count for stream in self.streams), Count(0, 0))

    @property
    def injected(self) -> int:
        """Faults that took effect."""
        return sum(len(stream.faults) for stream in self.streams)

    @property
    def missing(self) -> int:
        """Faults that should have, and did not."""
        return sum(stream.missing for stream in self.streams)

    @property
    def recovered(self) -> int:
        """Faults that were recovered from."""
        return sum(stream.recovered for stream in self.streams)

    @property
    def recovery(self) -> list[float]:
        """All times to recover, in seconds."""
        return [time for stream in self.streams for time in stream.recovery]

    @property
    def sentence(self) -> str:
        """The verdict in one line."""
        count = self.count
        if self.ok:
            return (
                f"PASSED: {count.expected} messages on {len(self.streams)} streams, "
                f"{self.injected} faults, nothing lost, nothing duplicated"
            )
        facts = [
            (count.lost, f"{count.lost} of {count.expected} messages lost"),
            (count.duplicated, f"{count.duplicated} duplicated"),
            (count.disordered, f"{count.disordered} out of order"),
            (count.unexpected, f"{count.unexpected} unexpected"),
            (
                self.injected - self.recovered,
                f"{self.injected - self.recovered} of {self.injected} faults not recovered from",
            ),
            (self.missing, f"{self.missing} faults never came about"),
        ]
        told = [words for number, words in facts if number]
        return "FAILED: " + (", ".join(told) or "a stream did not come to its end")

    def to_data(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            "ok": self.ok,
            "verdict": self.sentence,
            "seed": self.seed,
            "recovery": self.recovery_enabled,
            "seconds": round(self.seconds, 3),
            "totals": {
                **attrs.asdict(self.count),
                **_faults_data(self.injected, self.missing, self.recovery),
            },
            "streams": [_stream_data(stream) for stream in self.streams],
        }


def _stream_data(stream: StreamVerdict) -> dict[str, Any]:
    return {
        "name": stream.part.name,
        "transport": stream.part.kind,
        "ok": stream.ok,
        **attrs.asdict(stream.count),
        **_faults_data(len(stream.faults), stream.missing, stream.recovery),
        "attempts": stream.attempts,
        "repetitions_dropped": stream.repetitions_dropped,
        "finished": stream.finished,
        "error": stream.error or None,
        "faults": [
            {
                **fault_to_dict(fault.fault),
                "at": round(fault.at, 3),
                "detail": fault.detail,
                "recovered_after": _rounded(fault.recovered_after),
            }
            for fault in stream.faults
        ],
    }


def _faults_data(injected: int, missing: int, recovery: Sequence[float]) -> dict[str, Any]:
    return {
        "injected": injected,
        "not_injected": missing,
        "recovered": len(recovery),
        "recovery_seconds": {
            "median": _rounded(statistics.median(recovery) if recovery else None),
            "worst": _rounded(max(recovery, default=None)),
        },
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def judge(track: Track, count: Count, started: float) -> StreamVerdict:
    """The verdict on one stream.

    :param track: what was seen of it.
    :param count: what came, compared with what should have.
    :param started: when the demo began, by Trio's clock.
    """
    faults = tuple(
        FaultVerdict(injected.fault, injected.time - started, injected.detail, recovered_after)
        for injected, recovered_after in zip(track.injected, track.recoveries(), strict=True)
    )
    return StreamVerdict(
        part=track.part,
        count=count,
        faults=faults,
        missing=missing_faults(track.part.schedule, track.injected),
        attempts=track.attempt,
        repetitions_dropped=track.dropped,
        finished=track.finished,
        error=track.error,
    )


def missing_faults(schedule: Sequence[Fault], injected: Sequence[Injected]) -> int:
    """How many faults of ``schedule`` never took effect."""
    happened = [each.fault for each in injected]
    return sum(max(0, (fault.times or 0) - happened.count(fault)) for fault in schedule)
