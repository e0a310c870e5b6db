"""Where a stream is, what it has seen, and where it cannot vouch for having seen everything."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import attrs

__all__ = ["Continuity", "Gap"]

M = TypeVar("M")

REMEMBERED = 1024
"""How many cursors are remembered to recognise repetitions.  A server that replays repeats what
it sent lately; at 8 bytes of hash each, with its set, this costs 80 KiB where it is used at all."""


@attrs.frozen
class Gap:
    """Something may have been lost here: nothing shows that the stream goes on where it stopped.

    :param after: the last known position before the gap, or ``None``.
    :param attempt: the number of the attempt whose connection follows the gap.
    :param reason: why continuity cannot be shown.
    """

    after: Any
    attempt: int
    reason: str


class Continuity(Generic[M]):
    """The position, and the repetitions.

    :param cursor_of: the position that a message carries, or ``None``.  Positions are only compared
        for equality: nothing is assumed about their order.
    :param position: the position to begin with.
    """

    def __init__(self, cursor_of: Callable[[M], Any], position: Any = None) -> None:
        self._cursor_of = cursor_of
        self.position: Any = position
        self.duplicates: int = 0
        self._order: deque[Any] = deque()
        self._seen: set[Any] = set()

    def admit(self, messages: Iterable[M]) -> tuple[list[M], bool]:
        """Leave out the repetitions; say whether the position moved."""
        new: list[M] = []
        advanced = False
        for message in messages:
            cursor = self._cursor_of(message)
            if cursor is not None:
                mark = _mark(cursor)
                if mark in self._seen:
                    self.duplicates += 1
                    continue
                self._remember(mark)
                self.position = cursor
                advanced = True
            new.append(message)
        return new, advanced

    def _remember(self, mark: Any) -> None:
        if len(self._order) == REMEMBERED:
            self._seen.discard(self._order.popleft())
        self._order.append(mark)
        self._seen.add(mark)


def _mark(cursor: Any) -> Any:
    """What stands for ``cursor`` among those remembered: itself, or the hash of a large one."""
    if isinstance(cursor, int) or (isinstance(cursor, str) and len(cursor) <= 64):
        return cursor
    return ("hash", hash(cursor))
