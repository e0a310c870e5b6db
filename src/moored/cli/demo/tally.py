"""Counting: what was lost, what came twice, and how long recovery took.  Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from moored.faults.counting import Count

__all__ = ["count_pieces", "recovery_times"]


def count_pieces(expected: Sequence[str], seen: Sequence[str]) -> Count:
    """Count the pieces of a text, which may well repeat: only their sequence tells them apart.

    What is missing from the expected sequence is lost; what is too much is duplicated where the
    text has such a piece, and unexpected elsewhere.
    """
    lost = duplicated = unexpected = 0
    known = set(expected)
    matcher = SequenceMatcher(a=list(expected), b=list(seen), autojunk=False)
    for operation, start, end, seen_start, seen_end in matcher.get_opcodes():
        if operation != "equal":
            lost += end - start
            extra = seen[seen_start:seen_end]
            duplicated += sum(piece in known for piece in extra)
            unexpected += sum(piece not in known for piece in extra)
    return Count(len(expected), len(seen), lost, duplicated, unexpected)


def recovery_times(
    faults: Sequence[float], opened: Sequence[float], arrivals: Sequence[float]
) -> tuple[float | None, ...]:
    """For each fault the seconds until the first message on a later connection, else ``None``.

    A message that was on its way when the fault struck may arrive after it, and shows nothing: so
    what counts is the first one after the stream was open again.

    :param faults: when each fault took effect.
    :param opened: when a connection was open, in order.
    :param arrivals: when a message was received, in order.
    """
    times: list[float | None] = []
    for fault in faults:
        again = next((time for time in opened if time > fault), None)
        first = None if again is None else next((t for t in arrivals if t >= again), None)
        times.append(None if first is None else first - fault)
    return tuple(times)
