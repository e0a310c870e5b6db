"""What happened, kept as values: the faults injected, and the connections."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

import attrs
import trio

from moored.faults.catalogue.base import Fault
from moored.faults.message_log import MessageLog

__all__ = ["DEFAULT_LIMIT", "Changes", "ConnectionRecord", "Injected", "Log", "Record"]

DEFAULT_LIMIT = 10_000
"""How many entries a log keeps by default; older ones are forgotten, their counts are not."""


class _Numbered(Protocol):
    @property
    def number(self) -> int: ...


Entry = TypeVar("Entry", bound=_Numbered)


@attrs.frozen
class Injected:
    """One fault that took effect.

    :ivar fault: the fault, as the schedule or the live call had it.
    :ivar connection: the number of the connection it struck, from 1 in the order of acceptance.
    :ivar time: when, by Trio's clock (:func:`trio.current_time`), in seconds.
    :ivar detail: where it struck, in words, such as ``"after 3 messages, 120 bytes"``.
    :ivar path: the path of the request, without its query; ``""`` before there was one.
    :ivar messages: messages that had passed to the client whole.
    :ivar bytes: payload bytes that had passed to the client.
    :ivar seconds: how long ago the connection had been accepted.
    :ivar message: the number of the message that it edited, as its sender counts, or ``None``.
    """

    fault: Fault
    connection: int
    time: float
    detail: str
    path: str = ""
    messages: int = 0
    bytes: int = 0
    seconds: float = 0.0
    message: int | None = None


@attrs.frozen
class ConnectionRecord:
    """One connection that the proxy accepted.

    :ivar number: from 1, in the order of acceptance.
    :ivar accepted: when, by Trio's clock, in seconds.
    :ivar path: the path of its request, without the query; ``""`` until the request has come.
    :ivar transport: ``"http"``, ``"sse"`` or ``"websocket"``; ``""`` until it is known; ``"tcp"``
        where a raw proxy's connection is told of in the same form.
    :ivar status: the status of the answer, or ``None`` if there was none (yet).
    :ivar messages: messages passed to the client whole, so far.
    :ivar bytes: payload bytes passed to the client, so far.
    :ivar messages_to_server: messages passed to the server whole, so far.  Counted where a fault
        looks at them, or the proxy is ``controlled``.
    :ivar bytes_to_server: payload bytes passed to the server behind the head, so far; counted as
        ``messages_to_server`` is.
    :ivar stalled: whether a :class:`~moored.faults.Stall` has struck.
    :ivar unedited: messages that a fault aimed at, and that passed as they were: they had more than
        the 16 MiB that are held back.
    :ivar ended: when, or ``None`` while it is open.
    :ivar outcome: why it ended: ``"complete"``, ``"cut"``, ``"closed"`` (a
        :class:`~moored.faults.CloseFrame`), ``"refused"``, ``"client left"``,
        ``"upstream left"``, ``"upstream unreachable"``, ``"bad request"``, ``"bad upstream"`` or
        ``"proxy closed"``; ``""`` while it is open.  An end that a fault of TCP made reads as
        ``"client left"``.
    """

    number: int
    accepted: float
    path: str = ""
    transport: str = ""
    status: int | None = None
    messages: int = 0
    bytes: int = 0
    messages_to_server: int = 0
    bytes_to_server: int = 0
    stalled: bool = False
    unedited: int = 0
    ended: float | None = None
    outcome: str = ""


class Changes:
    """Lets tasks wait until something that is being recorded has come true.

    :ivar count: how many there were.
    """

    def __init__(self) -> None:
        self.count: int = 0
        self._waiting = trio.lowlevel.ParkingLot()

    def notify(self) -> None:
        """Something changed: every waiter looks again."""
        self.count += 1
        self._waiting.unpark_all()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition()`` is true; it is asked now and after each change."""
        await trio.lowlevel.checkpoint()
        while not condition():
            await self._waiting.park()


class Log(Generic[Entry]):
    """Numbered frozen entries, ``limit`` at most; one may be replaced by its later state."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._entries: dict[int, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Keep ``entry``; the oldest makes room for it."""
        self._entries[entry.number] = entry
        if len(self._entries) > self._limit:
            del self._entries[next(iter(self._entries))]

    def update(self, number: int, **changes: Any) -> None:
        """Replace entry ``number`` by a copy with ``changes``, unless it was forgotten."""
        entry = self._entries.get(number)
        if entry is not None:
            self._entries[number] = attrs.evolve(entry, **changes)  # type: ignore[misc]

    def get(self, number: int) -> Entry | None:
        """Entry ``number``, unless it was forgotten."""
        return self._entries.get(number)

    def entries(self) -> tuple[Entry, ...]:
        """All that is kept, oldest first."""
        return tuple(self._entries.values())


class Record:
    """What one proxy did.

    :param limit: how many injections, and how many connections, are kept.
    :param with_messages: whether there is a log of messages.

    :ivar messages: when messages passed, or ``None``.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT, *, with_messages: bool = False) -> None:
        self.changes: Changes = Changes()
        self.messages: MessageLog | None = MessageLog() if with_messages else None
        self._injected: deque[Injected] = deque(maxlen=limit)
        self._counts: Counter[str] = Counter()
        self._connections: Log[ConnectionRecord] = Log(limit)

    @property
    def injected(self) -> tuple[Injected, ...]:
        """The faults that took effect, oldest first."""
        return tuple(self._injected)

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each kind of fault took effect, by name, forgotten ones included."""
        return MappingProxyType(self._counts)

    @property
    def connections(self) -> tuple[ConnectionRecord, ...]:
        """The connections, oldest first, open ones included."""
        return self._connections.entries()

    def connection(self, number: int) -> ConnectionRecord | None:
        """Connection ``number``, unless it was forgotten."""
        return self._connections.get(number)

    def inject(self, injected: Injected) -> None:
        """Note a fault that takes effect now."""
        self._injected.append(injected)
        self._counts[injected.fault.kind] += 1
        self.changes.notify()

    def accept(self, number: int) -> None:
        """Note connection ``number``, accepted now."""
        self._connections.add(ConnectionRecord(number, trio.current_time()))
        self.changes.notify()

    def update(self, number: int, **changes: Any) -> None:
        """Note more about connection ``number``; see :class:`ConnectionRecord` for the names."""
        self._connections.update(number, **changes)
        self.changes.notify()
