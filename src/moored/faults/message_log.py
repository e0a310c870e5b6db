"""When messages passed through a proxy: a bounded log, for those who watch it."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import NamedTuple

import trio

from moored.faults.catalogue.base import Towards

__all__ = ["MessageLog", "Passed"]

LIMIT = 10_000
"""How many entries are kept."""


class Passed(NamedTuple):
    """Messages that passed at one moment: one, or those that ended in the same bytes.

    :ivar time: when, by Trio's clock, in seconds.
    :ivar connection: the number of the connection.
    :ivar direction: ``"to_client"`` or ``"to_server"``.
    :ivar messages: how many.
    """

    time: float
    connection: int
    direction: Towards
    messages: int


class MessageLog:
    """The last messages.

    :ivar total: how many entries there have been, forgotten ones included.
    """

    def __init__(self) -> None:
        self.total: int = 0
        self._entries: deque[Passed] = deque(maxlen=LIMIT)

    def note(self, connection: int, direction: Towards, messages: int) -> None:
        """So many messages pass now."""
        self.total += 1
        self._entries.append(Passed(trio.current_time(), connection, direction, messages))

    def since(self, total: int = 0) -> tuple[Passed, ...]:
        """The entries after the first ``total``, as far as they are kept; the oldest first."""
        due = min(self.total - total, len(self._entries))
        return tuple(islice(self._entries, len(self._entries) - due, None))
