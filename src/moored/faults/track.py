"""Counting what passes in one direction of a connection, and which fault's moment has come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from moored.faults.catalogue.base import Payload, Towards
from moored.faults.catalogue.moments import Moment
from moored.faults.scanners import Boundaries, PlainScanner, Scanner

__all__ = ["Step", "Track"]


class Step(NamedTuple):
    """What to do with payload bytes: pass the first ``forward`` of them on, then let it strike."""

    forward: int
    fault: Moment | None


class Track:
    """One direction of one connection.

    :param armed: gives the faults of the connection, with their places in the schedule.
    :param take: lets one of them strike once, if it still may.

    :ivar payload: what passes; ``None`` until that is known.
    :ivar scanner: finds the messages in it.
    :ivar messages: messages passed on whole.
    :ivar bytes: payload bytes passed on.
    :ivar on_messages: is told how many messages pass at once, if anybody wants to know.
    """

    def __init__(
        self,
        direction: Towards,
        armed: Callable[[], Iterable[tuple[int, object]]],
        take: Callable[[int], bool],
    ) -> None:
        self._direction = direction
        self._armed = armed
        self._take = take
        self._held: Moment | None = None
        self.payload: Payload | None = None
        self.scanner: Scanner = PlainScanner()
        self.messages: int = 0
        self.bytes: int = 0
        self.on_messages: Callable[[int], object] | None = None

    @property
    def has_faults(self) -> bool:
        """Whether there is any that waits for what passes here."""
        return any(True for _ in self._moments())

    def begin(self, scanner: Scanner, payload: Payload) -> Moment | None:
        """Payload follows: what strikes before any of it."""
        self.scanner = scanner
        self.payload = payload
        for index, fault in self._moments():
            at_once = fault.after_messages == 0 or fault.after_bytes == 0
            if (at_once or fault.at == "after_head") and self._take(index):
                return fault
        return None

    def advance(self, data: bytes) -> Step:
        """The next payload bytes: how many of them pass, and what strikes then."""
        found = self.scanner.scan(data)
        size = len(data)
        candidates = [
            (offset, index, fault)
            for index, fault in self._moments()
            if (offset := self._offset(fault, found, size)) is not None
        ]
        if self._held is not None and found.frames:
            candidates.append((found.frames[0], -1, self._held))
        for offset, index, fault in sorted(candidates, key=lambda candidate: candidate[:2]):
            if index >= 0 and not self._take(index):
                continue
            if offset > size:
                self._held = fault
                continue
            self._count(found, offset)
            return Step(offset, fault)
        self._count(found, size)
        return Step(size, None)

    def hold(self, fault: Moment, *, sending: bool) -> bool:
        """Whether ``fault`` may strike now; otherwise it does at the end of the frame.

        :param sending: whether bytes that were let pass are still on their way.
        """
        at_boundary = self.scanner.at_boundary and not sending
        if at_boundary or self.payload is None or not fault.waits(self.payload):
            return True
        self._held = fault
        return False

    def release(self) -> Moment | None:
        """The fault that waited for the end of a frame, if that is reached."""
        return self._held if self.scanner.at_boundary else None

    def _moments(self) -> Iterator[tuple[int, Moment]]:
        for index, fault in self._armed():
            if (
                isinstance(fault, Moment)
                and fault.direction == self._direction
                and (self.payload is None or self.payload in fault.payloads)
            ):
                yield index, fault

    def _offset(self, fault: Moment, found: Boundaries, size: int) -> int | None:
        """Where in these bytes ``fault`` strikes; an offset behind them: it waits from here on."""
        if fault.after_messages is not None:
            nth = fault.after_messages - self.messages
            return found.messages[nth - 1] if 0 < nth <= len(found.messages) else None
        if fault.after_bytes is None or not 0 < fault.after_bytes - self.bytes <= size:
            return None
        offset = fault.after_bytes - self.bytes
        if self.payload == "websocket" and fault.waits("websocket"):
            return next((end for end in found.frames if end >= offset), size + 1)
        return offset

    def _count(self, found: Boundaries, forwarded: int) -> None:
        self.bytes += forwarded
        passed = sum(1 for end in found.messages if end <= forwarded)
        self.messages += passed
        if passed and self.on_messages is not None:
            self.on_messages(passed)
