"""Counting numbered messages: what was lost, what came twice, what came out of order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs

__all__ = ["Count", "count_numbers"]


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
