"""Counting: what was lost, what came twice, and how long recovery took.  Values in, values out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

import attrs

__all__ = ["Count", "count_numbers", "count_pieces", "recovery_times"]


@attrs.frozen
class Count:
    """What became of the messages that should have come.

    :ivar expected: how many should have.
    :ivar received: how many did, whatever they were.
    :ivar lost: expected and never received.
    :ivar duplicated: received again.
    :ivar unexpected: received, and not among those expected.
    :ivar disordered: received after one that should come later; repetitions do not count here.
    """

    expected: int
    received: int
    lost: int = 0
    duplicated: int = 0
    unexpected: int = 0
    disordered: int = 0

    @property
    def exact(self) -> bool:
        """Whether everything came once, in order, and nothing else."""
        return not (self.lost or self.duplicated or self.unexpected or self.disordered)

    def __add__(self, other: Count) -> Count:
        return Count(
            *(mine + its for mine, its in zip(*map(attrs.astuple, (self, other)), strict=True))
        )


def count_numbers(expected: Sequence[int], seen: Sequence[int]) -> Count:
    """Count numbered messages, which are different from each other."""
    wanted = set(expected)
    times = Counter(seen)
    highest: int | None = None
    disordered = 0
    met: set[int] = set()
    for number in seen:
        if number in wanted and number not in met:
            met.add(number)
            disordered += highest is not None and number < highest
            highest = number if highest is None else max(highest, number)
    return Count(
        expected=len(wanted),
        received=len(seen),
        lost=len(wanted - times.keys()),
        duplicated=sum(times[number] - 1 for number in times if number in wanted),
        unexpected=sum(times[number] for number in times if number not in wanted),
        disordered=disordered,
    )


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
