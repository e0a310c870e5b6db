"""One client's connection through the raw TCP proxy, with its two directions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import TypeAlias

import attrs
import trio

from moored.faults.duplex import HALF_CLOSED_GRACE
from moored.faults.endings import finish, half_close, reset
from moored.faults.tcp.departure import departure, is_watchable
from moored.faults.tcp.pipe import Pipe
from moored.faults.tcp.sockets import SinkBroken, Tally, relay, send, sockets_of
from moored.faults.tcp.stages import End, Item
from moored.faults.tcp.toxics import Direction, HalfOpen, Toxic

__all__ = ["Connect", "Connection", "PlacedToxic"]

Connect: TypeAlias = Callable[[], Awaitable[trio.abc.Stream]]
"""Opens a connection to the upstream."""

_RECEIVE_BYTES = 32 * 1024
_CHUNKS_IN_A_ROW = 8
_OPPOSITE: dict[Direction, Direction] = {"upstream": "downstream", "downstream": "upstream"}


@attrs.frozen(kw_only=True)
class PlacedToxic:
    """A toxic on a proxy.

    :ivar name: unlike that of any other toxic of the proxy.
    :ivar direction: ``"downstream"`` (default) or ``"upstream"``.
    :ivar toxicity: the share of the connections that it strikes; 1 by default.
    """

    name: str
    toxic: Toxic
    direction: Direction = "downstream"
    toxicity: float = 1.0


class _Flow:
    """One direction: from ``source`` to ``sink``.

    :ivar ended: whether the end of the source has been read.
    """

    def __init__(
        self,
        connection: Connection,
        direction: Direction,
        source: trio.abc.Stream,
        sink: trio.abc.Stream,
        pipe: Pipe,
    ) -> None:
        self._connection = connection
        self._direction: Direction = direction
        self._sink = sink
        self._sockets = sockets_of(source, sink)
        self._lock = trio.Lock()
        self.source = source
        self.pipe = pipe
        self.tally = connection.tallies[direction]
        self.ended = False

    @property
    def moves(self) -> bool:
        """Whether anything is on its way, and comes to the sink in time."""
        return self.tally.sending or self.pipe.moves

    async def read(self) -> None:
        """Read from the source to its end."""
        pipe = self.pipe
        chunks = 0
        try:
            while data := await self._receive():
                chunks += 1
                if chunks % _CHUNKS_IN_A_ROW == 0:  # Nothing else here has to be a checkpoint.
                    await trio.lowlevel.checkpoint()
                if pipe.idle:
                    await self._send(data)
                else:
                    pipe.feed(data, wake=False)
                    await self._send_due()
                    await pipe.room()
        except SinkBroken:
            self._connection.let_go(_OPPOSITE[self._direction])
            return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            end = End(reset=True)
        else:
            end = End()
        self.ended = True
        pipe.feed(end)
        if end.reset:
            self._connection.let_go(self._direction)
        else:
            self._connection.half_ended(self._direction)

    async def _receive(self) -> bytes:
        if self._sockets is not None:
            return await relay(*self._sockets, self.pipe, self.tally, self._connection.buffer)
        data = bytes(await self.source.receive_some(_RECEIVE_BYTES))
        self.tally.received += len(data)
        return data

    async def _send(self, data: bytes) -> None:
        if self._sockets is not None:
            await send(self._sockets[1], data, self.tally)
            return
        self.tally.sending = True
        try:
            await self._sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise SinkBroken from None
        finally:
            self.tally.sending = False
        self.tally.sent += len(data)

    async def _send_due(self) -> None:
        """Send what is through already: to wake the other task for it would cost more."""
        if not self._lock.locked():
            self._lock.acquire_nowait()  # The other way is a checkpoint.
            try:
                while (item := self.pipe.take_nowait()) is not None:
                    await self._pass(item)
            finally:
                self._lock.release()
        self.pipe.wake()

    async def write(self) -> None:
        """Send what comes out of the pipe, until it is idle or ended."""
        try:
            while await self.pipe.ready():
                async with self._lock:  # before an item is taken, or it could be overtaken
                    if (item := self.pipe.take_nowait()) is not None:
                        await self._pass(item)
        except SinkBroken:
            self._connection.let_go(_OPPOSITE[self._direction])

    async def _pass(self, item: Item) -> None:
        if isinstance(item, End):
            await self._end(item)
        else:
            await self._send(item.data)

    async def _end(self, end: End) -> None:
        if end.reset or end.whole or not await half_close(self._sink):
            self._connection.end(reset=end.reset)
        else:
            self._connection.half_closed()


class Connection:
    """Moves the bytes of one connection, through the toxics, until it ends.

    Each side's end in order is passed on as that, and the other direction lives on until it ends
    too, or until nothing has come for ten seconds.  A reset, an end that a toxic makes, and
    :meth:`end` close both sides.

    A side that has gone for good is let go of: after a reset at once, and the client ten seconds
    after its end in order, if nothing has gone to it any more.  What a toxic holds back then does
    not come to the other side before that toxic lets go of it.

    :param number: from 1, in the order of acceptance.
    :param client: its stream, which is closed at the end.
    :param seed: decides all that is random on this connection.
    :param buffer: for :func:`~moored.faults.tcp.sockets.relay`.
    :param on_abandoned: is told when the client has gone, and the upstream is not to know.

    :ivar tallies: how much has passed, for each direction.
    :ivar outcome: how it ended: ``"complete"``, ``"reset"`` or ``"upstream unreachable"``; ``""``
        while it is open.
    :ivar stalled: whether :meth:`stall` was called.
    """

    def __init__(
        self,
        number: int,
        client: trio.abc.Stream,
        *,
        seed: str,
        buffer: memoryview,
        on_abandoned: Callable[[Connection], None],
    ) -> None:
        self.number = number
        self.client = client
        self.buffer = buffer
        self.accepted: float = trio.current_time()
        self.tallies: dict[Direction, Tally] = {"upstream": Tally(), "downstream": Tally()}
        self.outcome: str = ""
        self.stalled: bool = False
        self._seed = seed
        self._on_abandoned = on_abandoned
        self._flows: dict[Direction, _Flow] = {}
        self._noticing: dict[Direction, trio.CancelScope] = {}
        self._half_ended: set[Direction] = set()
        self._gone: set[Direction] = set()
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope()
        self._reset = False
        self._open_halves = 2
        self._ended = trio.Event()

    async def run(self, connect: Connect, toxics: Callable[[], Iterable[PlacedToxic]]) -> None:
        """Serve it to its end.

        :param connect: opens the connection to the upstream.
        :param toxics: those of the proxy, asked when the upstream is connected.
        """
        upstream: trio.abc.Stream | None = None
        try:
            with self._scope:
                try:
                    upstream = await connect()
                except OSError:
                    self.outcome = "upstream unreachable"
                else:
                    await self._relay(upstream, toxics())
            self.outcome = self.outcome or ("reset" if self._reset else "complete")
            here = {"upstream": self.client, "downstream": upstream}
            await self._close([s for way, s in here.items() if s and way not in self._gone])
        finally:
            self.outcome = self.outcome or "complete"
            self._ended.set()
            try:
                await trio.aclose_forcefully(self.client)
            finally:
                if upstream is not None:
                    await trio.aclose_forcefully(upstream)

    async def _relay(self, upstream: trio.abc.Stream, toxics: Iterable[PlacedToxic]) -> None:
        try:
            async with trio.open_nursery() as self._nursery:
                self._flows = {
                    "upstream": self._flow("upstream", self.client, upstream),
                    "downstream": self._flow("downstream", upstream, self.client),
                }
                for toxic in toxics:
                    self.add(toxic)
                self._nursery.start_soon(self._flows["upstream"].read, name="client to upstream")
                await self._flows["downstream"].read()
        finally:
            self._flows = {}  # also when it is ended: toxics may still come while it closes

    def _flow(self, direction: Direction, source: trio.abc.Stream, sink: trio.abc.Stream) -> _Flow:
        def start_writing() -> None:
            assert self._nursery is not None
            self._nursery.start_soon(flow.write, name=f"toxics {direction}")

        pipe = Pipe(start_writing, reads_on=not is_watchable(source))
        flow = _Flow(self, direction, source, sink, pipe)
        return flow

    async def _close(self, streams: list[trio.abc.Stream]) -> None:
        if not self._reset:
            for stream in streams:
                await half_close(stream)
            self._ended.set()
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(reset if self._reset else finish, stream)

    # What ends it.

    def end(self, *, reset: bool = False) -> None:
        """End both sides now, in order or by a reset."""
        if not self._scope.cancel_called:
            self._reset = reset
            self._scope.cancel()

    async def wait_ended(self) -> None:
        """Return when both sides have been told of the end."""
        await self._ended.wait()

    def half_closed(self) -> None:
        """One direction has ended and its receiver has been told."""
        self._open_halves -= 1
        if self._gone or not self._open_halves:
            self.end()

    def half_ended(self, direction: Direction) -> None:
        """The sender of ``direction`` has ended it, in order."""
        if direction not in self._half_ended:
            self._half_ended.add(direction)
            assert self._nursery is not None
            self._nursery.start_soon(self._watch, direction, name="grace of a half-closed one")

    async def _watch(self, direction: Direction) -> None:
        """Give up when one side has ended, and nothing moves any more."""
        while True:
            before = self._moved()
            await trio.sleep(HALF_CLOSED_GRACE)
            if self._moved() != before or any(flow.moves for flow in self._flows.values()):
                continue
            ended = self._half_ended | self._gone
            if len(ended) == 2 or not self._flows[direction].pipe.stuck:
                self.end()
            elif direction == "upstream":
                self.let_go(direction)
            # Else the client is still there, and is not to hear that the server has ended.

    def let_go(self, direction: Direction) -> None:
        """The sender of ``direction`` has gone for good: it is closed."""
        if direction in self._gone or not self._flows:
            return
        self._gone.add(direction)
        flow = self._flows[direction]
        if len(self._gone) == 2 or (flow.ended and not flow.pipe.holds):
            self.end(reset=True)
            return
        if direction in self._noticing:
            self._noticing[direction].cancel()
        assert self._nursery is not None
        self._nursery.start_soon(trio.aclose_forcefully, flow.source, name="close who has gone")
        flow.pipe.abandon()  # Whoever reads finds out, and feeds the end.
        self.half_ended(direction)
        if direction == "upstream":
            self._on_abandoned(self)

    @property
    def stuck(self) -> bool:
        """Whether the client's end stays in a toxic until that is changed."""
        return bool(self._flows) and self._flows["upstream"].pipe.stuck

    def _start_noticing(self) -> None:
        assert self._nursery is not None
        for direction, flow in self._flows.items():
            if is_watchable(flow.source) and direction not in self._noticing:
                self._noticing[direction] = trio.CancelScope()
                self._nursery.start_soon(self._notice, direction, name=f"departure {direction}")

    async def _notice(self, direction: Direction) -> None:
        """Notice that the sender of ``direction`` ends it, read or not."""
        flow = self._flows[direction]
        assert isinstance(flow.source, trio.SocketStream)
        with self._noticing[direction]:
            left = await departure(flow.source)
            if left == "fin":
                flow.pipe.read_on()
                self.half_ended(direction)
                left = await departure(flow.source, after_fin=True)
            if left == "rst":
                self.let_go(direction)

    def _moved(self) -> int:
        return sum(tally.sent for tally in self.tallies.values())

    # What changes it.  Before and after the bytes flow there is nothing to change.

    def add(self, placed: PlacedToxic) -> None:
        """Put a toxic at the end of its direction's chain."""
        if self._flows:
            self._flows[placed.direction].pipe.add(
                placed.name,
                placed.toxic,
                seed=f"{self._seed}/{placed.direction}/{placed.name}",
                toxicity=placed.toxicity,
            )
            self._start_noticing()

    def update(self, placed: PlacedToxic) -> None:
        """Change a toxic."""
        if self._flows:
            pipe = self._flows[placed.direction].pipe
            pipe.update(placed.name, placed.toxic, toxicity=placed.toxicity)

    def stall(self) -> bool:
        """Let nothing pass any more, whatever toxics come and go; false when there is nothing."""
        if self._flows and not self.stalled:
            self.stalled = True
            for direction, flow in self._flows.items():
                flow.pipe.add(self, HalfOpen(), seed=f"{self._seed}/{direction}/stall")
            self._start_noticing()
            return True
        return False

    def remove(self, name: Hashable, direction: Direction) -> None:
        """Take a toxic out."""
        if self._flows:
            self._flows[direction].pipe.remove(name)
