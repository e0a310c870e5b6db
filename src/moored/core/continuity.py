"""Where a stream is, what it has seen, and where it cannot vouch for having seen everything."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import attrs

__all__ = ["Continuity", "Gap"]

M = TypeVar("M")


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
    :param identity_of: what tells a message with a position from every other; by default its
        position.
    :param within: whether there are repetitions within one connection too.  Without it, only what
        came on an earlier connection can come a second time.
    :param remembered: how many messages are remembered to recognise them.
    """

    def __init__(
        self,
        cursor_of: Callable[[M], Any],
        position: Any = None,
        *,
        identity_of: Callable[[M], Any] | None = None,
        within: bool = True,
        remembered: int = 4096,
    ) -> None:
        self._cursor_of = cursor_of
        self._identity_of = identity_of
        self._within = within
        self._remembered = remembered
        self.position: Any = position
        self.duplicates: int = 0
        self._connection = 0
        self._order: deque[Any] = deque()
        self._seen: dict[Any, int] = {}  # and on which connection first

    def next_connection(self) -> None:
        """What comes now may repeat what came before."""
        self._connection += 1

    def admit(self, messages: Iterable[M], new: list[tuple[M, Any]]) -> bool:
        """Add the messages that are no repetitions to ``new``, each with the position after it;
        say whether the position moved.

        What came before a message on which a callable raises is in ``new`` all the same.
        """
        advanced = False
        for message in messages:
            cursor = self._cursor_of(message)
            identity = cursor if self._identity_of is None else self._identity_of(message)
            if identity is not None and self._repeats(_mark(identity)):
                self.duplicates += 1
                continue
            if cursor is not None:
                self.position = cursor
                advanced = advanced or cursor != ""  # which takes an id back (HTML 9.2.6)
            new.append((message, self.position))
        return advanced

    def _repeats(self, mark: Any) -> bool:
        """Whether ``mark`` was seen before; remembers it if not."""
        before = self._seen.get(mark)
        if before is not None:
            return self._within or before != self._connection
        if len(self._order) == self._remembered:
            del self._seen[self._order.popleft()]
        self._order.append(mark)
        self._seen[mark] = self._connection
        return False


def _mark(identity: Any) -> Any:
    """What stands for ``identity`` among those remembered: itself, or the hash of a large one."""
    if isinstance(identity, int) or (isinstance(identity, str) and len(identity) <= 64):
        return identity
    return ("hash", hash(identity))
