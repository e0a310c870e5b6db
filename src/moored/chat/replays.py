"""Resuming by event ids: what a server sends again, and whether it resumed at all."""

from __future__ import annotations

from collections.abc import Iterable

from moored.core.sse import ServerSentEvent

from .answer import Answer
from .chunks import DONE, not_resumed

__all__ = ["Replays"]

REMEMBERED = 4096
"""Events that are remembered, as ``Policy.remembered_cursors`` has it."""


class Replays:
    """Knows the events of one reply's earlier connections by their id and content."""

    def __init__(self) -> None:
        self._earlier: dict[int, None] = {}
        self._present: list[int] = []
        self._unproved = False

    def resuming(self) -> None:
        """Another connection begins, which is asked to go on from the last id."""
        for each in self._present:
            self._earlier[each] = None
        self._present.clear()
        while len(self._earlier) > REMEMBERED:
            del self._earlier[next(iter(self._earlier))]
        self._unproved = True

    def without(self, batch: Iterable[ServerSentEvent], answer: Answer) -> list[ServerSentEvent]:
        """What of a read is new.

        :raises NotResumed: when the server shows that it began anew instead of resuming.
        """
        new = []
        for event in batch:
            if not event.has_id:
                if self._unproved and event.data != DONE:
                    # It may well have begun at the start: to append that would be a lie.
                    raise not_resumed(answer, "its events have no ids")
                new.append(event)
                continue
            identity = hash((event.id, event.data))
            if identity in self._earlier:
                continue
            self._unproved = False
            self._present.append(identity)
            if len(self._present) > REMEMBERED:
                del self._present[0]
            new.append(event)
        return new
