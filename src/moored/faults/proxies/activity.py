"""What goes on in a fault proxy, looked at several times a second: for those who watch it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, TypeAlias

import attrs
import trio

from moored.faults.record import Changes, ConnectionRecord

__all__ = ["Activity", "Sample", "State", "WatchedConnection", "state_of"]

INTERVAL = 0.25
"""Seconds between two looks."""

CONNECTIONS = 500
"""How many connections are watched; the oldest are forgotten, those that have ended first."""

SAMPLES = 240
"""How many samples are kept of each."""

_RATE_SECONDS = 2.0

State: TypeAlias = Literal["accepted", "requested", "open", "stalled", "closing", "ended"]
"""What a connection is doing.

* ``accepted``: no request has come yet.
* ``requested``: there is no answer yet.
* ``open``: the answer has begun, and whatever comes passes.
* ``stalled``: nothing passes any more.
* ``closing``: the client has been told of the end, and has not closed its side yet.
* ``ended``: it is over.
"""


def state_of(connection: ConnectionRecord) -> State:
    """What a connection is doing."""
    if connection.ended is not None:
        return "ended"
    if connection.outcome:
        return "closing"
    if connection.stalled:
        return "stalled"
    if connection.status is not None or connection.transport == "tcp":
        return "open"
    return "requested" if connection.transport else "accepted"


class Sample(NamedTuple):
    """The counts of a connection at one time, where they had changed since the sample before.

    :ivar time: by Trio's clock, in seconds.
    """

    time: float
    messages: int
    bytes: int
    messages_to_server: int
    bytes_to_server: int
    revision: int


@attrs.define
class WatchedConnection:
    """One connection.

    :ivar record: it, as it was when last looked at.
    :ivar revision: the look that last found a change.
    :ivar samples: its counts, oldest first.
    """

    record: ConnectionRecord
    revision: int
    samples: deque[Sample] = attrs.field(factory=lambda: deque(maxlen=SAMPLES))

    def rate(self, count: Literal["messages", "bytes", "bytes_to_server"], now: float) -> float:
        """How much has passed each second, lately."""
        if self.record.ended is not None:
            return 0.0
        since = max(self.record.accepted, now - _RATE_SECONDS)
        before = 0
        for sample in self.samples:
            if sample.time > since:
                break
            before = getattr(sample, count)
        passed: int = getattr(self.record, count) - before
        # A connection of a moment ago has no rate worth the name: the divisor is bounded.
        return passed / max(now - since, INTERVAL)


class Watchable(Protocol):
    """What there is to see of a proxy; a :class:`~moored.faults.Proxy` has it."""

    @property
    def connection_count(self) -> int: ...
    @property
    def change_count(self) -> int: ...
    def connection(self, number: int) -> ConnectionRecord | None: ...
    async def wait_until(self, condition: Callable[[], bool]) -> None: ...


class Activity:
    """Watches one proxy.

    :param changes: is told of what was found.

    :ivar connections: the last of them, by number.
    :ivar revision: how many looks have found a change.
    """

    def __init__(self, proxy: Watchable, changes: Changes) -> None:
        self.connections: dict[int, WatchedConnection] = {}
        self.revision: int = 0
        self._proxy = proxy
        self._changes = changes
        self._seen = 0
        self._highest = 0
        self._open: set[int] = set()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await self._proxy.wait_until(self._is_due)
            self.look()
            await trio.sleep(INTERVAL)

    def _is_due(self) -> bool:
        return bool(self._open) or self._proxy.change_count != self._seen

    def look(self) -> None:
        """Look now."""
        changed = self._proxy.change_count != self._seen
        self._seen = self._proxy.change_count
        revision = self.revision + 1
        newest = self._proxy.connection_count
        first_new = max(self._highest, newest - CONNECTIONS) + 1
        self._highest = newest
        for number in sorted(self._open.union(range(first_new, newest + 1))):
            changed |= self._look_at(number, revision)
        self._forget()
        if changed:
            self.revision = revision
            self._changes.notify()

    def _look_at(self, number: int, revision: int) -> bool:
        record = self._proxy.connection(number)
        if record is None:
            self._open.discard(number)
            return False
        watched = self.connections.get(number)
        if watched is not None and watched.record == record:
            return False
        if watched is None:
            watched = self.connections[number] = WatchedConnection(record, revision)
        watched.record, watched.revision = record, revision
        (self._open.add if record.ended is None else self._open.discard)(number)
        counts = (record.messages, record.bytes, record.messages_to_server, record.bytes_to_server)
        if any(counts) and (not watched.samples or watched.samples[-1][1:-1] != counts):
            watched.samples.append(Sample(trio.current_time(), *counts, revision))
        return True

    def _forget(self) -> None:
        surplus = len(self.connections) - CONNECTIONS
        if surplus <= 0:
            return
        # The sort is stable: among equals the oldest comes first.
        order = sorted(self.connections, key=lambda number: number in self._open)
        for number in order[:surplus]:
            del self.connections[number]
            self._open.discard(number)
