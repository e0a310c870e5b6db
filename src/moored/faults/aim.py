"""Deciding which fault strikes which connection, and where exactly: counting, and no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from moored.faults.chance import happens
from moored.faults.scanners import Boundaries, PlainScanner, Scanner
from moored.faults.schedule import Cut, Fault, Refuse, Stall

__all__ = ["Aim", "ConnectionAim", "Step"]


class Step(NamedTuple):
    """What to do with payload bytes: pass the first ``forward`` of them on, then let it strike."""

    forward: int
    fault: Cut | Stall | None


class Aim:
    """A schedule at work: hands out the aim for each connection and counts ``times``.

    :param schedule: the faults.
    :param seed: decides, with their place in the schedule and the connection number, on which
        connections the faults with a probability strike.
    """

    def __init__(self, schedule: Sequence[Fault] = (), seed: int = 0) -> None:
        self.schedule: tuple[Fault, ...] = tuple(schedule)
        self._seed = seed
        self._left = [fault.times for fault in self.schedule]

    def connection(self, number: int) -> ConnectionAim:
        """The aim for connection ``number``."""
        armed = [
            (index, fault)
            for index, fault in enumerate(self.schedule)
            if fault.aims_at(number) and happens(fault.probability, self._seed, index, number)
        ]
        return ConnectionAim(self, armed)

    def take(self, index: int) -> bool:
        """Let fault ``index`` strike once: false when it has done so as often as it may."""
        left = self._left[index]
        if left is None:
            return True
        if left == 0:
            return False
        self._left[index] = left - 1
        return True


class ConnectionAim:
    """The faults that are armed on one connection, and how far its payload has come.

    :ivar messages: messages passed on to the client whole.
    :ivar bytes: payload bytes passed on to the client.
    """

    def __init__(self, aim: Aim, armed: list[tuple[int, Fault]]) -> None:
        self._aim = aim
        self._armed = armed
        self._path: str | None = None
        self._scanner: Scanner = PlainScanner()
        self._framed = False
        self._held: Stall | None = None
        self.messages: int = 0
        self.bytes: int = 0

    @property
    def counts_messages(self) -> bool:
        """Whether a fault waits for a message, so that the payload must be readable."""
        return any(fault.after_messages for _, fault in self._triggered())

    def request(self, path: str) -> Refuse | None:
        """The request has come: what it is refused with, if it is.

        From here on, only faults for this path count.
        """
        self._path = path
        self._armed = [
            (index, fault)
            for index, fault in self._armed
            if fault.path is None or path.startswith(fault.path)
        ]
        for index, fault in self._armed:
            if isinstance(fault, Refuse) and self._aim.take(index):
                return fault
        return None

    def timed(self, *, with_path: bool) -> list[tuple[int, Cut | Stall, float]]:
        """Index, fault and seconds after acceptance of the faults that wait for a time.

        :param with_path: those that aim at a path (ask when the request is known), or the others.
        """
        return [
            (index, fault, fault.after_seconds)
            for index, fault in self._triggered()
            if fault.after_seconds is not None and (fault.path is not None) is with_path
        ]

    def take(self, index: int) -> bool:
        """Let timed fault ``index`` strike, if it still may."""
        return self._aim.take(index)

    def begin(self, scanner: Scanner, *, framed: bool = False) -> Cut | Stall | None:
        """The head of the answer has passed on: what strikes before any payload.

        :param scanner: finds the messages.
        :param framed: WebSocket.
        """
        self._scanner = scanner
        self._framed = framed
        for index, fault in self._triggered():
            at_once = fault.after_messages == 0 or fault.after_bytes == 0
            if at_once and self._aim.take(index):
                return fault
        return None

    def advance(self, data: bytes) -> Step:
        """The next payload bytes: how many of them pass, and what strikes then."""
        found = self._scanner.scan(data)
        size = len(data)
        candidates = [
            (offset, index, fault)
            for index, fault in self._triggered()
            if (offset := self._offset(fault, found, size)) is not None
        ]
        if self._held is not None and found.frames:
            candidates.append((found.frames[0], -1, self._held))
        for offset, index, fault in sorted(candidates, key=lambda candidate: candidate[:2]):
            if index >= 0 and not self._aim.take(index):
                continue
            if offset > size:
                assert isinstance(fault, Stall)
                self._held = fault
                continue
            self._count(found, offset)
            return Step(offset, fault)
        self._count(found, size)
        return Step(size, None)

    def hold(self, fault: Stall, *, sending: bool) -> bool:
        """Whether ``fault`` may strike now; otherwise it does at the end of the frame.

        :param sending: whether bytes that were let pass are still on their way.
        """
        at_boundary = self._scanner.at_boundary and not sending
        if not self._framed or fault.pings == "swallowed" or at_boundary:
            return True
        self._held = fault
        return False

    def release(self) -> Stall | None:
        """The fault that waited for the end of a frame, if that is reached."""
        return self._held if self._scanner.at_boundary else None

    def _triggered(self) -> Iterator[tuple[int, Cut | Stall]]:
        for index, fault in self._armed:
            if isinstance(fault, Cut | Stall):
                yield index, fault

    def _offset(self, fault: Cut | Stall, found: Boundaries, size: int) -> int | None:
        """Where in these bytes ``fault`` strikes; an offset behind them: it waits from here on."""
        if fault.after_messages is not None:
            nth = fault.after_messages - self.messages
            return found.messages[nth - 1] if 0 < nth <= len(found.messages) else None
        if fault.after_bytes is None or not 0 < fault.after_bytes - self.bytes <= size:
            return None
        offset = fault.after_bytes - self.bytes
        if self._framed and isinstance(fault, Stall) and fault.pings == "answered":
            return next((end for end in found.frames if end >= offset), size + 1)
        return offset

    def _count(self, found: Boundaries, forwarded: int) -> None:
        self.bytes += forwarded
        self.messages += sum(1 for end in found.messages if end <= forwarded)
