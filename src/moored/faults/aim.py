"""Deciding which fault strikes which connection, and where exactly: counting, and no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs

from moored.faults.catalogue.base import Fault, Payload, Towards
from moored.faults.catalogue.http import GzipCut, Refuse
from moored.faults.catalogue.messages import MessageEdit
from moored.faults.catalogue.moments import Moment, Place
from moored.faults.catalogue.tcp import TcpFault
from moored.faults.catalogue.websocket import IgnoreClose, LatePongs, SwallowPings
from moored.faults.chance import happens
from moored.faults.scanners import EventScanner, Scanner
from moored.faults.track import Step, Track

__all__ = ["Aim", "ConnectionAim", "Step"]

_MAX_PATHS = 10_000

_Kind = TypeVar("_Kind", bound=Fault)

_CONTROL: dict[Towards, tuple[type[Fault], ...]] = {
    "to_client": (LatePongs, IgnoreClose),
    "to_server": (SwallowPings, IgnoreClose),
}
"""The faults of control frames, by the direction in which they look at frames."""


class Aim:
    """A schedule at work: hands out the aim for each connection and counts ``times``.

    :param schedule: the faults.
    :param seed: decides, with their place in the schedule and the connection number, on which
        connections the faults with a probability strike.
    """

    def __init__(self, schedule: Sequence[Fault] = (), seed: int = 0) -> None:
        self.schedule: tuple[Fault, ...] = tuple(schedule)
        self._seed = seed
        self._extra: list[tuple[int, Fault]] = []
        self._left = [fault.times for fault in self.schedule]
        self._counts_attempts = any(fault.attempt is not None for fault in self.schedule)
        self._attempts: dict[str, int] = {}

    @property
    def armed(self) -> tuple[Fault, ...]:
        """The faults of :meth:`arm` that may still strike, with ``times`` as often as they may."""
        return tuple(
            attrs.evolve(fault, times=self._left[index])
            for index, fault in self._extra
            if not self.is_spent(index)
        )

    def arm(self, fault: Fault) -> None:
        """Aim ``fault`` too, and before the schedule, at connections that come from now on."""
        self._extra = [each for each in self._extra if not self.is_spent(each[0])]
        self._extra.append((len(self._left), fault))
        self._left.append(fault.times)
        self._counts_attempts |= fault.attempt is not None

    def disarm(self) -> None:
        """Forget the faults of :meth:`arm`."""
        self._extra = []

    def connection(self, number: int) -> ConnectionAim:
        """The aim for connection ``number``."""
        armed = [
            (index, fault)
            for index, fault in (*self._extra, *enumerate(self.schedule))
            if fault.aims_at(number) and happens(fault.probability, self._seed, index, number)
        ]
        return ConnectionAim(self, armed, seed=f"{self._seed}/{number}")

    def take(self, index: int) -> bool:
        """Let fault ``index`` strike once: false when it has done so as often as it may."""
        left = self._left[index]
        if left is None:
            return True
        if left == 0:
            return False
        self._left[index] = left - 1
        return True

    def is_spent(self, index: int) -> bool:
        """Whether fault ``index`` has struck as often as it may."""
        return self._left[index] == 0

    def attempt(self, path: str) -> int:
        """Count a request for ``path``: the how-manyth it is.

        The paths asked for longest ago are forgotten when there are more than 10,000.
        """
        if not self._counts_attempts:
            return 1
        count = self._attempts.pop(path, 0) + 1
        self._attempts[path] = count  # The last in the order of the dict.
        if len(self._attempts) > _MAX_PATHS:
            del self._attempts[next(iter(self._attempts))]
        return count


class ConnectionAim:
    """The faults that are armed on one connection, and how far its payload has come.

    :ivar seed: decides what is random in the faults themselves.
    :ivar to_client: what passes to the client.
    :ivar to_server: what passes to the server, behind the head of the request.
    """

    def __init__(self, aim: Aim, armed: list[tuple[int, Fault]], *, seed: str = "") -> None:
        self.seed: str = seed
        self._aim = aim
        self._armed = armed
        self.to_client: Track = Track("to_client", lambda: self._armed, self.take)
        self.to_server: Track = Track("to_server", lambda: self._armed, self.take)

    @property
    def messages(self) -> int:
        """Messages passed on to the client whole."""
        return self.to_client.messages

    @property
    def counts_messages(self) -> bool:
        """Whether a fault waits for a message, so that the payload must be readable."""
        return self.reads_messages or any(
            isinstance(fault, Moment) and fault.after_messages for _, fault in self._armed
        )

    @property
    def reads_messages(self) -> bool:
        """Whether a fault looks into messages."""
        return any(
            isinstance(fault, MessageEdit | GzipCut)
            or (isinstance(fault, Moment) and fault.in_messages)
            for _, fault in self._armed
        )

    @property
    def resizes(self) -> bool:
        """Whether a body may come out longer or shorter than it came."""
        return any(
            isinstance(fault, MessageEdit) and fault.direction == "to_client"
            for _, fault in self._armed
        )

    def request(self, path: str) -> Refuse | None:
        """The request has come: what it is refused with, if it is.

        From here on, only faults for this path and this attempt count.
        """
        self.aim_at(path)
        return self.first(Refuse)

    def aim_at(self, path: str) -> None:
        """The request has come: from here on, only faults for it count."""
        attempt = self._aim.attempt(path)
        self._armed = [
            (index, fault) for index, fault in self._armed if fault.aims_at_request(path, attempt)
        ]

    def first(
        self, kind: type[_Kind], where: Callable[[_Kind], bool] = lambda fault: True
    ) -> _Kind | None:
        """The first fault of ``kind`` that may still take effect; it does so with this."""
        for index, fault in self._armed:
            if isinstance(fault, kind) and where(fault) and self.take(index):
                return fault
        return None

    def has(self, kind: type[Fault]) -> bool:
        """Whether a fault of ``kind`` may still take effect."""
        return any(
            isinstance(fault, kind) and not self.is_spent(index) for index, fault in self._armed
        )

    def at(self, place: Place) -> Moment | None:
        """The first fault that strikes at ``place``, which is reached now."""
        for index, fault in self._armed:
            if isinstance(fault, Moment) and fault.at == place and self.take(index):
                return fault
        return None

    def of_messages(self, direction: Towards, payload: Payload) -> list[tuple[int, Fault]]:
        """The faults that need whole messages, or frames, of what passes in ``direction``."""
        return [
            (index, fault)
            for index, fault in self._armed
            if payload in fault.payloads and self._needs_messages(fault, direction)
        ]

    @staticmethod
    def _needs_messages(fault: Fault, direction: Towards) -> bool:
        if isinstance(fault, MessageEdit):
            return fault.direction == direction
        if isinstance(fault, Moment):
            return fault.in_messages and fault.direction == direction
        if isinstance(fault, GzipCut):
            return fault.message is not None and direction == "to_client"
        return isinstance(fault, _CONTROL[direction])

    def timed(self, *, with_path: bool) -> list[tuple[int, Moment, float]]:
        """Index, fault and seconds after acceptance of the faults that wait for a time.

        :param with_path: those that aim at a request (ask when it is known), or the others.
        """
        return [
            (index, fault, fault.after_seconds)
            for index, fault in self._armed
            if isinstance(fault, Moment)
            and fault.after_seconds is not None
            and fault.needs_request is with_path
        ]

    def of_tcp(self, *, with_path: bool) -> list[tuple[int, TcpFault]]:
        """The faults of TCP.

        :param with_path: those that aim at a request (ask when it is known), or the others.
        """
        return [
            (index, fault)
            for index, fault in self._armed
            if isinstance(fault, TcpFault) and fault.needs_request is with_path
        ]

    def take(self, index: int) -> bool:
        """Let fault ``index`` strike, if it still may."""
        return self._aim.take(index)

    def is_spent(self, index: int) -> bool:
        """Whether fault ``index`` has struck as often as it may."""
        return self._aim.is_spent(index)

    def begin(self, scanner: Scanner, *, framed: bool = False) -> Moment | None:
        """The head of the answer has passed on: what strikes before any payload.

        :param scanner: finds the messages.
        :param framed: WebSocket.
        """
        events: Payload = "sse" if isinstance(scanner, EventScanner) else "http"
        return self.to_client.begin(scanner, "websocket" if framed else events)

    def hold(self, fault: Moment, *, sending: bool) -> bool:
        """Whether ``fault`` may strike now; otherwise it does at the end of the frame."""
        return self.to_client.hold(fault, sending=sending)

    def release(self) -> Moment | None:
        """The fault that waited for the end of a frame, if that is reached."""
        return self.to_client.release()

    def advance(self, data: bytes) -> Step:
        """The next payload bytes for the client: how many pass, and what strikes then."""
        return self.to_client.advance(data)

    @property
    def bytes(self) -> int:
        """Payload bytes passed on to the client."""
        return self.to_client.bytes
