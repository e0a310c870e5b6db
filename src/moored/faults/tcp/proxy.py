"""A raw TCP proxy with toxics: what Toxiproxy calls a proxy."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
import trio

from moored.faults.catalogue.checks import Numbers, contains
from moored.faults.listening import background
from moored.faults.record import Changes, Log
from moored.faults.tcp.address import dial, listen_on, resolve, split
from moored.faults.tcp.connection import Connect, Connection, PlacedToxic
from moored.faults.tcp.sockets import BUFFER_BYTES
from moored.faults.tcp.toxics import Direction, Toxic

__all__ = ["TcpConnection", "TcpProxy", "ToxicExists", "open_tcp_proxy"]

MAX_ABANDONED = 64
"""How many connections are kept, for the server alone, whose clients have gone."""

_DIRECTIONS: tuple[Direction, ...] = ("upstream", "downstream")


class ToxicExists(Exception):
    """The proxy has a toxic with this name already."""


@attrs.frozen
class TcpConnection:
    """One connection that the proxy accepted.

    :ivar number: from 1, in the order of acceptance.
    :ivar accepted: when, by Trio's clock, in seconds.
    :ivar bytes_up: passed from client to server.
    :ivar bytes_down: passed from server to client.
    :ivar ended: when, or ``None`` while it is open.
    :ivar outcome: how it ended: ``"complete"``, ``"reset"`` or ``"upstream unreachable"``; ``""``
        as long as bytes may pass.
    :ivar stalled: whether :meth:`TcpProxy.stall` has struck it.
    """

    number: int
    accepted: float
    bytes_up: int = 0
    bytes_down: int = 0
    ended: float | None = None
    outcome: str = ""
    stalled: bool = False


class TcpProxy:
    """A raw TCP proxy.  :func:`open_tcp_proxy` runs one for as long as a block runs.

    The upstream is dialled when a client connects.  Each side's end in order is passed on as that,
    and the other direction lives on until it ends too, or until nothing has come for ten seconds.
    A reset is passed on as a reset.  When a client has gone while a toxic keeps its end from the
    server, its socket is closed and the server's stays, as silent as before, until the toxic lets
    go; of more than 64 such connections the oldest are closed.  Every method that changes something
    has done so when it returns, on live connections too.

    :param name: names it.
    :param upstream: ``"host:port"`` of the server; looked at when a client connects.
    :param nursery: for its tasks.
    :param listen: ``"host:port"``; port 0 (default) for one that is free.
    :param seed: decides all that is random, together with the name of the toxic, the direction, and
        the number of the connection.
    :param connect_upstream: opens a connection to the server; by default TCP.
    :param changes: to share with other proxies; by default its own.

    :ivar listen: where it listens; while disabled, where it is to.
    :ivar toxics: by name, in the order in which they were added.
    :ivar connection_count: how many connections have been accepted.
    :ivar changes: tells when a connection comes or ends, or a setting changes.
    """

    def __init__(
        self,
        name: str,
        upstream: str,
        nursery: trio.Nursery,
        *,
        listen: str = "127.0.0.1:0",
        seed: int | str = 0,
        connect_upstream: Connect | None = None,
        changes: Changes | None = None,
    ) -> None:
        self.name: str = name
        self.upstream: str = upstream
        self.listen: str = listen
        self.toxics: dict[str, PlacedToxic] = {}
        self.connection_count: int = 0
        self._received: Counter[Direction] = Counter()
        self._sent: Counter[Direction] = Counter()
        self.changes: Changes = Changes() if changes is None else changes
        self._nursery = nursery
        self._seed = seed
        self._connect = connect_upstream or self._dial
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._connections: dict[int, Connection] = {}
        self._abandoned: dict[int, Connection] = {}
        self._log: Log[TcpConnection] = Log()
        self._accepting: _Accepting | None = None

    @property
    def enabled(self) -> bool:
        """Whether it listens."""
        return self._accepting is not None

    @property
    def connections(self) -> tuple[TcpConnection, ...]:
        """The connections (the last 10,000), oldest first, open ones included."""
        return tuple(map(self._as_of_now, self._log.entries()))

    def connection(self, number: int) -> TcpConnection | None:
        """One connection, as it is now; ``None`` if there was none, or it is forgotten."""
        entry = self._log.get(number)
        return None if entry is None else self._as_of_now(entry)

    def _as_of_now(self, entry: TcpConnection) -> TcpConnection:
        live = self._connections.get(entry.number)
        return entry if live is None else attrs.evolve(entry, **_progress(live))

    @property
    def open_connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def received(self) -> dict[Direction, int]:
        """How many bytes have come from the senders of each direction."""
        live = [each.tallies for each in self._connections.values()]
        return {
            direction: self._received[direction] + sum(each[direction].received for each in live)
            for direction in _DIRECTIONS
        }

    @property
    def sent(self) -> dict[Direction, int]:
        """How many bytes have gone to the receivers of each direction."""
        live = [each.tallies for each in self._connections.values()]
        return {
            direction: self._sent[direction] + sum(each[direction].sent for each in live)
            for direction in _DIRECTIONS
        }

    # Settings.

    async def enable(self) -> None:
        """Listen, if it does not; ``listen`` says where then.

        :raises ValueError: for an address that is none.
        :raises OSError: when the address cannot be had.
        """
        if self._accepting is None:
            listener, self.listen = await listen_on(self.listen)
            self._accepting = _Accepting(listener, self)
            self._nursery.start_soon(self._accepting.run)
            self.changes.notify()

    async def disable(self) -> None:
        """Stop listening and close all connections, in order."""
        self.refuse()
        await self.close_connections()

    def refuse(self) -> None:
        """Stop listening: those who come are refused until :meth:`enable`; the others go on."""
        if self._accepting is not None:
            self._accepting.stop()
            self._accepting = None
        self.changes.notify()

    async def move(self, *, listen: str, upstream: str) -> None:
        """Change the addresses: if one is another than now, all connections are closed.

        :raises ValueError: for an address to listen on that is none; nothing is changed then.
        :raises OSError: when it cannot be had; the proxy is disabled then, with the new settings.
        """
        if not await self.is_elsewhere(listen, upstream):
            return
        was_enabled = self.enabled
        split(listen)
        await self.disable()
        self.listen, self.upstream = listen, upstream
        if was_enabled:
            await self.enable()

    async def is_elsewhere(self, listen: str, upstream: str) -> bool:
        """Whether these addresses are others than those it has; port 0 always is."""
        if upstream != self.upstream:
            return True
        return listen != self.listen and (await resolve(listen)) != (await resolve(self.listen))

    async def close_connections(self, *, reset: bool = False) -> None:
        """Close all connections, in order or by a reset."""
        ended = list(self._connections.values())
        for connection in ended:
            connection.end(reset=reset)
        for connection in ended:
            await connection.wait_ended()

    def cut(self, how: Literal["fin", "rst"] = "rst", *, connection: Numbers = None) -> int:
        """Cut connections now, on both sides.

        :param connection: the number, or numbers, of those to cut; ``None``: all that are open.
        :returns: how many that were.
        """
        for each in (struck := self._open(connection)):
            each.end(reset=how == "rst")
        return len(struck)

    def stall(self, *, connection: Numbers = None) -> int:
        """Let nothing pass on connections any more, not even an end, until they are cut.

        :param connection: the number, or numbers, of those to stall; ``None``: all that are open.
        :returns: how many that were.
        """
        struck = sum(each.stall() for each in self._open(connection))
        self.changes.notify()
        return struck

    def _open(self, selection: Numbers) -> list[Connection]:
        live = self._connections.values()
        return [each for each in live if not each.outcome and contains(selection, each.number)]

    # Toxics.

    def add_toxic(
        self,
        toxic: Toxic,
        direction: Direction = "downstream",
        *,
        name: str | None = None,
        toxicity: float = 1.0,
    ) -> PlacedToxic:
        """Add a toxic behind those that are there, to all connections.

        :param name: by default its kind and direction, such as ``"latency_downstream"``.
        :param toxicity: the share of the connections that it strikes; 1 by default.
        :raises ToxicExists: when there is one with this name.
        """
        name = f"{toxic.kind}_{direction}" if name is None else name
        if name in self.toxics:
            raise ToxicExists(name)
        placed = PlacedToxic(name=name, toxic=toxic, direction=direction, toxicity=toxicity)
        self.toxics[name] = placed
        for connection in self._connections.values():
            connection.add(placed)
        self.changes.notify()
        return placed

    def update_toxic(
        self, name: str, toxic: Toxic, *, toxicity: float | None = None
    ) -> PlacedToxic:
        """Change a toxic on all connections; whom it strikes is drawn anew.

        :param toxicity: ``None``: as it was.
        :raises KeyError: when there is none with this name.
        :raises TypeError: when ``toxic`` is of another kind.
        """
        before = self.toxics[name]
        if type(toxic) is not type(before.toxic):
            raise TypeError(f"a {before.toxic.kind} toxic cannot become a {toxic.kind} toxic")
        toxicity = before.toxicity if toxicity is None else toxicity
        self.toxics[name] = placed = attrs.evolve(before, toxic=toxic, toxicity=toxicity)
        for connection in self._connections.values():
            connection.update(placed)
        self.changes.notify()
        return placed

    def remove_toxic(self, name: str) -> None:
        """Remove a toxic from all connections.

        :raises KeyError: when there is none with this name.
        """
        placed = self.toxics.pop(name)
        for connection in self._connections.values():
            connection.remove(name, placed.direction)
        self.changes.notify()

    # Serving.

    async def serve_connection(self, stream: trio.abc.Stream) -> None:
        """Serve one client to its end; its number is the next.

        :param stream: the client's side; it is closed at the end.
        """
        await self._serve(self._admit(stream))

    def _admit(self, stream: trio.abc.Stream) -> Connection:
        self.connection_count += 1
        number = self.connection_count
        self._connections[number] = connection = Connection(
            number,
            stream,
            seed=f"{self._seed}/{number}",
            buffer=self._buffer,
            on_abandoned=self._abandon,
        )
        self._log.add(TcpConnection(number, connection.accepted))
        self.changes.notify()
        return connection

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run(self._connect, self._toxics_in_order)
        finally:
            del self._connections[connection.number]
            self._abandoned.pop(connection.number, None)
            for direction, tally in connection.tallies.items():
                self._received[direction] += tally.received
                self._sent[direction] += tally.sent
            progress = _progress(connection)
            self._log.update(connection.number, **progress, ended=trio.current_time())
            self.changes.notify()

    def _abandon(self, connection: Connection) -> None:
        self._abandoned[connection.number] = connection
        if len(self._abandoned) > MAX_ABANDONED:
            # The others end by themselves, in time.
            oldest = next((each for each in self._abandoned.values() if each.stuck), None)
            if oldest is not None:
                del self._abandoned[oldest.number]
                oldest.end(reset=True)

    def _toxics_in_order(self) -> Iterable[PlacedToxic]:
        return self.toxics.values()

    async def _dial(self) -> trio.abc.Stream:
        return await dial(self.upstream)


def _progress(connection: Connection) -> dict[str, Any]:
    return {
        "bytes_up": connection.tallies["upstream"].sent,
        "bytes_down": connection.tallies["downstream"].sent,
        "outcome": connection.outcome,
        "stalled": connection.stalled,
    }


class _Accepting(trio.abc.Listener[trio.SocketStream]):
    """Accepts connections for a proxy until it is told to stop.

    Numbers are given as connections are accepted: the tasks that serve them start in any order.
    """

    def __init__(self, listener: trio.SocketListener, proxy: TcpProxy) -> None:
        self._listener = listener
        self._proxy = proxy
        self._admitted: dict[trio.SocketStream, Connection] = {}
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        with self._scope:
            nursery = self._proxy._nursery
            await trio.serve_listeners(self._serve, [self], handler_nursery=nursery)

    def stop(self) -> None:
        """Stop at once: when this returns, the address is free."""
        self._scope.cancel()
        self._listener.socket.close()

    async def accept(self) -> trio.SocketStream:
        stream = await self._listener.accept()
        self._admitted[stream] = self._proxy._admit(stream)
        return stream

    async def aclose(self) -> None:
        await self._listener.aclose()

    async def _serve(self, stream: trio.SocketStream) -> None:
        await self._proxy._serve(self._admitted.pop(stream))


@asynccontextmanager
async def open_tcp_proxy(
    upstream: str, *, listen: str = "127.0.0.1:0", name: str = "", seed: int = 0
) -> AsyncIterator[TcpProxy]:
    """Run a raw TCP proxy for as long as the block runs.

    :param upstream: ``"host:port"`` of the server.
    :param listen: ``"host:port"``; by default a free port on loopback.
    :param name: by default ``upstream``.
    :param seed: decides all that is random; 0 by default.
    :raises ValueError: for an address to listen on that is none.
    :raises OSError: when it cannot be had.
    """
    async with background() as nursery:
        proxy = TcpProxy(name or upstream, upstream, nursery, listen=listen, seed=seed)
        await proxy.enable()
        try:
            yield proxy
        finally:
            if proxy._accepting is not None:
                proxy._accepting.stop()
