"""A priority queue whose items can be taken out of the middle, each step in logarithmic time."""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

import attrs

__all__ = ["Entry", "PriorityQueue"]

Item = TypeVar("Item")

_FEW = 16


@attrs.define(order=True)
class Entry(Generic[Item]):
    """An item in a queue, by which it can be discarded."""

    rank: float
    arrival: int
    item: Item = attrs.field(eq=False)
    discarded: bool = attrs.field(default=False, init=False, eq=False)


class PriorityQueue(Generic[Item]):
    """The lowest rank comes first, and among equals the one that came first.

    What is discarded stays in the heap until it comes up, or until half of the heap is such: so
    the memory is bounded, and to discard all of many costs little each.
    """

    def __init__(self) -> None:
        self._heap: list[Entry[Item]] = []
        self._arrivals = itertools.count()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, item: Item, rank: float) -> Entry[Item]:
        """Put ``item`` in its place."""
        entry = Entry(rank, next(self._arrivals), item)
        heapq.heappush(self._heap, entry)
        self._length += 1
        return entry

    def pop(self) -> Item:
        """Take the first out.

        :raises IndexError: when there is none.
        """
        while True:
            entry = heapq.heappop(self._heap)
            if not entry.discarded:
                entry.discarded = True
                self._length -= 1
                return entry.item

    def discard(self, entry: Entry[Item]) -> None:
        """Take one out, if it is still there."""
        if entry.discarded:
            return
        entry.discarded = True
        self._length -= 1
        if len(self._heap) > 2 * self._length + _FEW:
            self._heap = [each for each in self._heap if not each.discarded]
            heapq.heapify(self._heap)
