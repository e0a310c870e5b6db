"""One client's connection through the proxy, and the faults that strike it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import trio

from moored.faults.aim import ConnectionAim
from moored.faults.duplex import ClientLeft, Ending, Wires
from moored.faults.endings import finish, reset
from moored.faults.frames import pong_frame
from moored.faults.http_relay import HttpRelay
from moored.faults.record import Injected, Record
from moored.faults.scanners import Scanner
from moored.faults.schedule import Cut, Fault, Refuse, Stall
from moored.faults.websocket_relay import ClientFrames

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
    ) -> None:
        self.number = number
        self.aim = aim
        self.authority = authority
        self.wires: Wires = Wires(client)
        self.client_frames: ClientFrames | None = None
        self._record = record
        self._connect = connect
        self._accepted = trio.current_time()
        self._timers: trio.Nursery | None = None
        self._path = ""
        # What may be struck now, and by what it was.
        self._scope: trio.CancelScope | None = None
        self._struck: Cut | Stall | None = None
        self._stalled = False
        self._sending = False

    async def run(self) -> None:
        """Serve it; both streams are closed afterwards."""
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

    def _note(self, outcome: str, **changes: float) -> None:
        self._record.update(
            self.number,
            outcome=outcome,
            messages=self.aim.messages,
            bytes=self.aim.bytes,
            **changes,
        )

    # What the relays call.

    def requested(self, path: str, *, websocket: bool) -> Refuse | None:
        """The request has come; returns what it is to be refused with."""
        self._path = path
        self._record.update(self.number, path=path, transport="websocket" if websocket else "http")
        refusal = self.aim.request(path)
        if refusal is not None:
            self.answered(refusal.status)
            self._inject(refusal, f"status {refusal.status}")
        else:
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

    async def begin(self, scanner: Scanner, *, framed: bool = False) -> None:
        """The head of the answer has gone to the client; payload follows."""
        await self._meet(self.aim.begin(scanner, framed=framed))

    async def pass_on(
        self,
        data: bytes,
        encode: Callable[[bytes], bytes] = bytes,
        passing: Callable[[int], None] | None = None,
    ) -> None:
        """Pass payload to the client, as far as the faults let it.

        :param encode: makes body bytes into what goes on the wire.
        :param passing: is told how many of the bytes pass, before they do.
        :raises ClientLeft: when the client's connection is broken.
        """
        step = self.aim.advance(data)
        if passing is not None:
            passing(step.forward)
        if step.forward:
            self._sending = True
            await self.wires.to_client(encode(data[: step.forward]))
            self._sending = False
        await self._meet(step.fault or self.aim.release())

    async def _meet(self, fault: Cut | Stall | None) -> None:
        if fault is not None:
            self._hit(fault)
            await trio.sleep_forever()  # The relay is cancelled: nothing more may pass.

    # Faults.

    def strike(self, fault: Cut | Stall) -> bool:
        """Let ``fault`` strike now, or (a stall that answers pings) at the end of the frame.

        :returns: false when there is nothing to strike any more: it has ended, or has stalled.
        """
        if self._scope is None or self._struck is not None:
            return False
        if isinstance(fault, Stall):
            if self._stalled:
                return False
            if not self.aim.hold(fault, sending=self._sending):
                return True
        self._hit(fault)
        return True

    def _hit(self, fault: Cut | Stall) -> None:
        assert self._scope is not None
        self._struck = fault
        self._scope.cancel()

    def _start_timers(self, *, with_path: bool) -> None:
        assert self._timers is not None
        for index, fault, seconds in self.aim.timed(with_path=with_path):
            self._timers.start_soon(self._strike_later, index, fault, seconds, name="timed fault")

    async def _strike_later(self, index: int, fault: Cut | Stall, seconds: float) -> None:
        await trio.sleep_until(self._accepted + seconds)
        if self.aim.take(index):
            self.strike(fault)

    def _inject(self, fault: Fault, detail: str) -> None:
        now = trio.current_time()
        injected = Injected(
            fault=fault,
            connection=self.number,
            time=now,
            detail=detail,
            path=self._path,
            messages=self.aim.messages,
            bytes=self.aim.bytes,
            seconds=now - self._accepted,
        )
        self._record.inject(injected)

    async def _serve(self) -> Ending:
        """Relay until the end, or until a fault; then do what the fault says."""
        ending = await self._until_struck(HttpRelay(self).run)
        while self._struck is not None:
            fault, self._struck = self._struck, None
            self._inject(fault, f"after {self.aim.messages} messages, {self.aim.bytes} bytes")
            if isinstance(fault, Cut):
                return Ending("cut", reset=fault.how == "rst")
            self._stalled = True
            ending = await self._until_struck(partial(self._stay_silent, fault))
        return ending

    async def _until_struck(self, activity: Callable[[], Awaitable[Ending]]) -> Ending:
        ending = Ending("client left")
        with trio.CancelScope() as self._scope, suppress(ClientLeft):
            ending = await activity()
        self._scope = None
        return ending

    async def _stay_silent(self, stall: Stall) -> Ending:
        """Read what the client sends until it leaves, and answer its pings if so told."""
        frames = self.client_frames if stall.pings == "answered" else None
        if frames is not None and frames.ping is not None:
            # Its pong did not make it before the stall.
            await self.wires.to_client(pong_frame(frames.ping))
        while data := await self.wires.from_client():
            for payload in frames.feed(data) if frames is not None else ():
                await self.wires.to_client(pong_frame(payload))
        return Ending("client left")
