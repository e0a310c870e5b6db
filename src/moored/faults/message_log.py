"""When messages passed through a proxy: a bounded log, for those who watch it."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import trio

from moored.faults.catalogue.base import Towards

__all__ = ["MessageLog", "PassedMessages"]

LIMIT = 10_000
"""How many entries are kept."""


class PassedMessages(NamedTuple):
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
        self._entries: deque[PassedMessages] = deque(maxlen=LIMIT)

    def note(self, connection: int, direction: Towards, messages: int) -> None:
        """So many messages pass now."""
        self.total += 1
        self._entries.append(PassedMessages(trio.current_time(), connection, direction, messages))

    def entries(self) -> tuple[PassedMessages, ...]:
        """All that is kept, oldest first."""
        return tuple(self._entries)
