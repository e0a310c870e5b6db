"""One client's connection through the proxy, and the faults that strike it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from moored.faults.aftermath import after_strike
from moored.faults.aim import ConnectionAim
from moored.faults.catalogue.base import Fault, Towards
from moored.faults.catalogue.http import GzipCut, Refuse, SlowHead
from moored.faults.catalogue.moments import Moment, Place, Stall
from moored.faults.catalogue.tcp import Down, TcpFault
from moored.faults.client_frames import ClientFrames
from moored.faults.duplex import ClientLeft, Ending, Wires
from moored.faults.duration import duration
from moored.faults.editing import Editing
from moored.faults.endings import finish, reset
from moored.faults.http_relay import HttpRelay
from moored.faults.message_formats import MessageFormat
from moored.faults.passage import Passage
from moored.faults.record import Injected, Record
from moored.faults.shaping import Shaping

__all__ = ["ConnectUpstream", "Link"]

ConnectUpstream = Callable[[], Awaitable[trio.abc.Stream]]


class Link:
    """Serves one connection to its end.

    A relay passes bytes; the link counts what passes (by its aim), and when a fault strikes, it
    cancels the relay and does what the fault says.

    :param number: the number of the connection.
    :param client: its stream, which the link closes.
    :param aim: decides which faults strike.
    :param record: is told what happened.
    :param authority: the upstream's, for ``Host``.
    :param connect: opens a connection to the upstream.
    :param wall_clock: the time of day in seconds since 1970, for HTTP dates.
    :param controlled: whether all is counted that the client sends, and faults of TCP may come by
        hand.

    :ivar to_client: passes payload to the client.
    :ivar to_server: passes payload to the upstream.
    :ivar client_frames: what the client sends, once it is a WebSocket.
    """

    def __init__(
        self,
        number: int,
        client: trio.abc.Stream,
        *,
        aim: ConnectionAim,
        record: Record,
        authority: str,
        connect: ConnectUpstream,
        wall_clock: Callable[[], float] = time.time,
        controlled: bool = False,
    ) -> None:
        self.number = number
        self.aim = aim
        self.authority = authority
        self.wall_clock: Callable[[], float] = wall_clock
        self.wires: Wires = Wires(client)
        self.to_client: Passage = self._passage("to_client")
        self.to_server: Passage = self._passage("to_server")
        self.client_frames: ClientFrames | None = None
        self._record = record
        if record.messages is not None:
            aim.to_client.on_messages = partial(record.messages.note, number, "to_client")
            aim.to_server.on_messages = partial(record.messages.note, number, "to_server")
        self._connect = connect
        self.controlled = controlled
        self._accepted = trio.current_time()
        self._timers: trio.Nursery | None = None
        self._shaping: Shaping | None = None
        self._path = ""
        self._timed = False  # whether the faults of this request that wait for a time do so
        # What may be struck now, and by what it was.
        self._scope: trio.CancelScope | None = None
        self._struck: Moment | GzipCut | None = None
        self._stalled = False

    def _passage(self, direction: Towards) -> Passage:
        to_client = direction == "to_client"
        return Passage(
            self.aim.to_client if to_client else self.aim.to_server,
            self.wires.to_client if to_client else self.wires.to_upstream,
            meet=self.meet,
            inject=self.inject,
            spawn=self._spawn,
        )

    async def run(self) -> None:
        """Serve it; both streams are closed afterwards."""
        if not self.controlled and not self.aim.has(TcpFault):
            await self._run()
            return
        async with trio.open_nursery() as nursery:
            self._shaping = Shaping(self.aim, self.wires.client, nursery, self._injection)
            self.wires.client = self._shaping.stream
            self._shaping.begin()
            await self._run()
            nursery.cancel_scope.cancel()

    async def _run(self) -> None:
        outcome = "proxy closed"
        try:
            async with trio.open_nursery() as self._timers:
                self._start_timers(with_path=False)
                ending = await self._serve()
                self._timers.cancel_scope.cancel()
            outcome = ending.outcome
            self._note(outcome)
            await self.wires.close_upstream()
            await (reset if ending.reset else finish)(self.wires.client)
        finally:
            try:
                await self.wires.close()
            finally:
                self._note(outcome, ended=trio.current_time())

    def progress(self) -> dict[str, Any]:
        """How far it has come, by the names of :class:`~moored.faults.ConnectionRecord`."""
        return {
            "messages": self.aim.messages,
            "bytes": self.aim.bytes,
            "messages_to_server": self.aim.to_server.messages,
            "bytes_to_server": self.aim.to_server.bytes,
            "stalled": self._stalled,
            "unedited": self.to_client.unedited + self.to_server.unedited,
        }

    def _note(self, outcome: str, **changes: float) -> None:
        self._record.update(self.number, outcome=outcome, **self.progress(), **changes)

    # What the relays call.

    def requested(self, path: str, received: bytes, *, websocket: bool) -> bool:
        """The request has come.

        :param received: all that has been read of the client.
        :returns: whether that has to be read once more, since a fault has it now.
        """
        self._path = path
        self._record.update(self.number, path=path, transport="websocket" if websocket else "http")
        self.aim.aim_at(path)
        again = self._shaping is not None and self._shaping.begin_at_request(received)
        if again:
            self._start_timers(with_path=True)
        self._timed = again
        return again

    def refusal(self) -> Refuse | None:
        """What the request, which may pass now, is to be refused with."""
        refusal = self.aim.first(Refuse)
        if refusal is not None:
            self.answered(refusal.status)
            self.inject(refusal, f"status {refusal.status}")
        elif not self._timed:
            self._start_timers(with_path=True)
        return refusal

    def answered(self, status: int, transport: str | None = None) -> None:
        """The client got (or gets) an answer with ``status``."""
        changes = {} if transport is None else {"transport": transport}
        self._record.update(self.number, status=status, **changes)

    async def open_upstream(self) -> None:
        """Connect.

        :raises OSError: when there is no connection.
        :raises trio.BrokenResourceError: when the TLS handshake fails.
        """
        self.wires.upstream = await self._connect()

    async def reach(self, place: Place) -> None:
        """``place`` is reached: what strikes there does so now."""
        await self.meet(self.aim.at(place))

    async def pass_head(self, head: bytes) -> None:
        """Pass the head of the answer, as far and as fast as the faults let it.

        :raises ClientLeft: when the client's connection is broken.
        """
        await self.reach("before_head")
        slow = self.aim.first(SlowHead)
        inside = self.aim.at("inside_head")
        passed = head if inside is None else head[: len(head) // 2]
        if slow is None:
            await self.wires.to_client(passed)
        else:
            self.inject(slow, f"{len(head)} bytes in {duration(slow.seconds)}")
            start = trio.current_time()
            for n in range(len(passed)):
                # By the clock, so that what sending takes adds nothing.
                await trio.sleep_until(start + slow.seconds * (n + 1) / len(head))
                await self.wires.to_client(passed[n : n + 1])
        await self.meet(inside)

    def edits(
        self, direction: Towards, form: MessageFormat, *, chunked: bool = False
    ) -> Editing | None:
        """What edits the messages that pass in ``direction``; ``None``: nothing does.

        :param chunked: whether they pass in chunks.
        """
        faults = [
            (index, fault)
            for index, fault in self.aim.of_messages(direction, form.payload)
            if chunked or not (isinstance(fault, Moment) and fault.at == "inside_chunk")
        ]
        if not faults:
            return None
        return Editing(
            direction,
            form,
            faults,
            take=self.aim.take,
            is_spent=self.aim.is_spent,
            elapsed=lambda: trio.current_time() - self._accepted,
        )

    def inject(self, fault: Fault, detail: str, message: int | None = None) -> None:
        """Note that ``fault`` takes effect now.

        :param detail: where, in words.
        :param message: the number of the message that it edits, as its sender counts.
        """
        self._record.inject(self._injected(fault, detail, message))

    def _injection(self, fault: Fault, detail: str) -> Callable[[], None]:
        """What notes, once, that ``fault``, which begins now, has taken effect."""
        begun = [self._injected(fault, detail)]

        def note() -> None:
            if begun:
                self._record.inject(begun.pop())

        return note

    def _injected(self, fault: Fault, detail: str, message: int | None = None) -> Injected:
        now = trio.current_time()
        return Injected(
            fault=fault,
            connection=self.number,
            time=now,
            detail=detail,
            path=self._path,
            messages=self.aim.messages,
            bytes=self.aim.bytes,
            seconds=now - self._accepted,
            message=message,
        )

    async def meet(self, fault: Moment | GzipCut | None) -> None:
        """Let ``fault``, if there is one, strike now; then this does not return."""
        if fault is not None:
            self._hit(fault)
            await trio.sleep_forever()  # The relay is cancelled: nothing more may pass.

    # Faults.

    def is_aimed_at(self, fault: Fault) -> bool:
        """Whether this is one of the connections, and its path one of those, that it aims at."""
        return fault.aims_at(self.number) and self._path.startswith(fault.path or "")

    def strike(self, fault: Moment) -> bool:
        """Let ``fault`` strike now, or (one that has more to say) at the end of the frame.

        :returns: false when there is nothing to strike any more: it has ended, or has stalled; or
            when what passes (or none does yet) is nothing that it could strike.
        """
        if not self._can_strike(fault):
            return False
        if self.aim.hold(fault, sending=self.to_client.sending):
            self._hit(fault)
        return True

    def strike_tcp(self, fault: TcpFault) -> bool:
        """Let ``fault`` begin now.

        :returns: false when there is nothing to put it on: it has ended, or was not ``controlled``.
        """
        if self._scope is None or self._shaping is None:
            return False
        self._shaping.put(fault)
        return True

    def _can_strike(self, fault: Moment) -> bool:
        if self._scope is None or self._struck is not None:
            return False
        if len(fault.payloads) < 3 and self.aim.to_client.payload not in fault.payloads:
            return False
        return not (self._stalled and isinstance(fault, Stall))

    def _hit(self, fault: Moment | GzipCut) -> None:
        if self._scope is None or self._struck is not None:
            return  # The other direction was struck at the same moment.
        self._struck = fault
        self.to_client.stopped = self.to_server.stopped = True
        self._scope.cancel()

    def _start_timers(self, *, with_path: bool) -> None:
        assert self._timers is not None
        for index, fault, seconds in self.aim.timed(with_path=with_path):
            self._timers.start_soon(self._strike_later, index, fault, seconds, name="timed fault")

    async def _strike_later(self, index: int, fault: Moment, seconds: float) -> None:
        await trio.sleep_until(self._accepted + seconds)
        if self._can_strike(fault) and self.aim.take(index):
            self.strike(fault)

    def _spawn(self, task: Callable[[], Awaitable[None]]) -> None:
        assert self._timers is not None
        self._timers.start_soon(self._until_left, task, name="late frame")

    @staticmethod
    async def _until_left(task: Callable[[], Awaitable[None]]) -> None:
        with suppress(ClientLeft):  # The relay finds out, too.
            await task()

    async def _serve(self) -> Ending:
        """Relay until the end, or until a fault; then do what the fault says."""
        down = self.aim.first(Down)
        if down is not None:
            self.inject(down, "on acceptance")
            return Ending("cut", reset=down.how == "rst")
        ending = await self._until_struck(HttpRelay(self).run)
        while self._struck is not None:
            fault, self._struck = self._struck, None
            self._stalled |= isinstance(fault, Stall)
            self.inject(fault, self._where(fault))
            after = partial(after_strike, fault, self.wires, self.to_client, self.client_frames)
            ending = await self._until_struck(after)
        return ending

    def _where(self, fault: Moment | GzipCut) -> str:
        to_server = isinstance(fault, Moment) and fault.direction == "to_server"
        track = self.aim.to_server if to_server else self.aim.to_client
        place = fault.where() if isinstance(fault, Moment) else ""
        counts = f"after {track.messages} messages, {track.bytes} bytes"
        return place + counts + (" to the server" if to_server else "")

    async def _until_struck(self, activity: Callable[[], Awaitable[Ending]]) -> Ending:
        ending = Ending("client left")
        with trio.CancelScope() as self._scope, suppress(ClientLeft):
            ending = await activity()
        self._scope = None
        return ending
