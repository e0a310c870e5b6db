"""A stream with toxics: wraps another one, so that faults of TCP lie under any protocol."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import trio

from moored.faults.endings import LINGER, half_close, reset
from moored.faults.tcp.departure import is_watchable
from moored.faults.tcp.peer_watch import PeerWatch
from moored.faults.tcp.pipe import Pipe
from moored.faults.tcp.stages import End
from moored.faults.tcp.toxics import Direction, Toxic

__all__ = ["ShapedStream", "ToxicHandle"]

_RECEIVE_BYTES = 32 * 1024
_READY_BYTES = 64 * 1024


class ToxicHandle:
    """Stands for one toxic on one :class:`ShapedStream`.

    :ivar direction: the one that it is on.
    """

    def __init__(self, direction: Direction) -> None:
        self.direction: Direction = direction


class ShapedStream(trio.abc.HalfCloseableStream):
    """The server's side of a connection, with toxics between it and its client.

    What is sent goes through the downstream chain, what is received through the upstream one.
    Without toxics every call goes straight to the wrapped stream.  When a toxic ends the
    connection, the client sees that end, receiving gives ``b""`` (after a reset it raises), and
    sending raises :class:`trio.BrokenResourceError`.

    While it has toxics, a client that has gone for good is noticed, whatever they hold back: its
    reset at once, its end in order when nothing has gone to it for ten seconds any more.  Receiving
    and sending then raise :class:`trio.BrokenResourceError`, so that whoever serves it lets go.

    One task may send while another receives, as on any Trio stream.

    :param stream: the one to wrap; this closes it.
    :param nursery: for the tasks that wait out the delays; they end when the stream is closed.
    :param seed: decides all that is random.

    :ivar transport_stream: the wrapped stream.
    """

    def __init__(
        self, stream: trio.abc.Stream, nursery: trio.Nursery, *, seed: int | str = 0
    ) -> None:
        self.transport_stream = stream
        self._nursery = nursery
        self._seed = seed
        self._added = 0
        self._pipes: dict[Direction, Pipe] = {
            "downstream": (down := Pipe(self._start_writing)),
            "upstream": (up := Pipe(self._start_receiving, reads_on=not is_watchable(stream))),
        }
        self._down = down
        self._up = up
        self._tasks: set[trio.CancelScope] = set()
        # Whether a call is inside the wrapped stream.  It is not cancelled when a toxic comes: a
        # cancel scope for every call would cost more than all else here.
        self._sending = self._writing = False
        self._receiving = False
        self._reading = self._taking = False
        self._ready = bytearray()
        self._ready_end: End | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self._over: End | None = None
        self._eof_sent = False
        self._down_ended = self._closed = False
        self._sent = 0  # how often the client got something
        self._watch = PeerWatch(
            stream,
            self._spawn,
            activity=self._activity,
            ended=up.read_on,
            gone=self._client_gone,
            silent=self._client_silent,
            read=self._start_reading,
        )

    # The toxics.

    def add(
        self,
        toxic: Toxic,
        direction: Direction = "downstream",
        *,
        toxicity: float = 1.0,
        on_effect: Callable[[], None] | None = None,
    ) -> ToxicHandle:
        """Put ``toxic`` at the end of the chain of ``direction``; it strikes from now on.

        :param toxicity: the chance that it strikes on this stream at all; 1 by default.
        :param on_effect: called once, when it has made a difference to what passes.
        """
        handle = ToxicHandle(direction)
        self._added += 1
        seed = f"{self._seed}/{direction}/{self._added}"
        if not self._closed:
            self._pipes[direction].add(
                handle, toxic, seed=seed, toxicity=toxicity, on_effect=on_effect
            )
            self._watch.start(receiving=self._receiving)
        return handle

    @contextmanager
    def receive_again(self, data: bytes) -> Iterator[None]:
        """Let ``data``, received last, come once more: through the toxics added in the block.

        :meth:`add` has to be called there, for ``"upstream"``, and nobody may be receiving.
        """
        place, ended = self._up.length, self._ready_end
        items = [data + self._ready, *self._up.take_back()]
        yield
        if self._over is not None or self._closed:
            return
        self._ready.clear()
        self._ready_end = None
        self._up.feed_again(items if ended is None else [*items, ended], place)
        if ended is not None:  # and so has the task that delivers
            self._spawn(self._deliver)

    def update(self, handle: ToxicHandle, toxic: Toxic) -> None:
        """Change a toxic.

        :raises KeyError: when it has been removed.
        :raises TypeError: when ``toxic`` is of another kind.
        """
        if not self._closed:
            self._pipes[handle.direction].update(handle, toxic)

    def remove(self, handle: ToxicHandle) -> None:
        """Take a toxic out; what waits in it goes on.

        :raises KeyError: when it has been removed.
        """
        if not self._closed:
            self._pipes[handle.direction].remove(handle)

    # Sending.

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send; returns when it is sent, or waits in the chain.

        :raises trio.BrokenResourceError: when the connection is broken, or a toxic has ended it.
        """
        self._check_open()
        if self._eof_sent:
            raise trio.ClosedResourceError("send_eof was called")
        if not self._down.idle:
            await trio.lowlevel.checkpoint()
            self._down.feed(bytes(data))
            await self._down.room()
            self._check_open()
            return
        self._sending = True
        try:
            await self.transport_stream.send_all(data)
            self._sent += 1
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._check_open()
            self._client_gone()
            raise
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        """Return when sending may be worth a try."""
        self._check_open()
        if self._down.idle:
            await self.transport_stream.wait_send_all_might_not_block()
        else:
            await trio.lowlevel.checkpoint()
            await self._down.room()
            self._check_open()

    async def send_eof(self) -> None:
        """Send our end of file behind all that was sent; returns when it has gone.

        :raises trio.BrokenResourceError: when the connection is broken.
        """
        self._check_open()
        if not self._eof_sent:
            self._eof_sent = True
            self._down.feed(End())
        await self._until(lambda: self._down_ended)
        self._check_open()

    async def send_reset(self) -> None:
        """Break the connection behind all that was sent; returns when that is done."""
        if not self._closed and self._over is None:
            self._down.feed(End(reset=True))
            await self._until(lambda: self._down_ended)
            await self._reset()

    def _start_writing(self) -> None:
        self._spawn(self._write)

    async def _write(self) -> None:
        try:
            while (item := await self._down.take()) is not None:
                if not isinstance(item, End):
                    self._writing = True
                    await self.transport_stream.send_all(item.data)
                    self._writing = False
                    self._sent += 1
                elif item.whole or item.reset:
                    await self._end(item)
                    return
                else:
                    await half_close(self.transport_stream)
                    self._down_ended = True
                    self._changed.unpark_all()
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._client_gone(at_once=True)

    # Receiving.

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """What has come through, or ``b""`` at the end.

        :raises trio.BrokenResourceError: when the connection is broken, or a toxic has reset it.
        """
        if self._closed:
            raise trio.ClosedResourceError
        if self._reading or not self._up.idle or self._over is not None:
            return await self._take_ready(max_bytes)
        self._receiving = True
        try:
            data = await self.transport_stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if self._closed or self._over is None:
                self._client_gone()
                raise
            return await self._take_ready(max_bytes)
        finally:
            self._receiving = False
            if not self._up.idle or self._watch.reads_on:  # A toxic came: now a task reads.
                self._start_reading()
        if not data:
            self._watch.half_ended()
        if self._up.idle and self._over is None:
            return data
        self._up.feed(bytes(data) if data else End())
        return await self._take_ready(max_bytes)

    async def _take_ready(self, max_bytes: int | None) -> bytes:
        size = _READY_BYTES if max_bytes is None else operator.index(max_bytes)
        if size < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._taking:
            raise trio.BusyResourceError("another task is receiving")
        self._taking = True
        try:
            await self._until(lambda: bool(self._ready) or self._ready_end is not None)
        finally:
            self._taking = False
        if self._ready:
            data = bytes(self._ready[:size])
            del self._ready[:size]
            self._changed.unpark_all()
            return data
        if self._ready_end is not None and self._ready_end.reset:
            raise trio.BrokenResourceError("the connection was reset")
        return b""

    def _start_receiving(self) -> None:
        self._spawn(self._deliver)
        if not self._receiving:
            self._start_reading()

    def _start_reading(self) -> None:
        if not self._reading and not self._closed:
            self._reading = True
            self._spawn(self._read)

    async def _read(self) -> None:
        """Feed what comes; once begun it goes on to the end, toxics or none."""
        try:
            while data := await self.transport_stream.receive_some(_RECEIVE_BYTES):
                self._up.feed(bytes(data))
                await self._up.room()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._up.feed(End(reset=True))
            self._client_gone()
        else:
            self._up.feed(End())
            self._watch.half_ended()

    async def _deliver(self) -> None:
        while (item := await self._up.take()) is not None:
            if isinstance(item, End):
                if item.whole:
                    await self._end(item)
                self._ready_end = item
                self._changed.unpark_all()
                return
            self._ready += item.data
            self._changed.unpark_all()
            await self._until(lambda: self._closed or len(self._ready) < _READY_BYTES)

    # A client that leaves, read or not.

    def _activity(self) -> tuple[int, bool]:
        sending = self._sending or self._writing
        return self._sent, sending or self._down.moves or self._up.moves

    def _client_silent(self) -> None:
        self._client_gone()
        self._spawn(partial(half_close, self.transport_stream))

    def _client_gone(self, *, at_once: bool = False) -> None:
        """Nothing reaches it any more, and what it said is heard only if no toxic keeps it."""
        self._over = self._over or End(reset=True, whole=True)
        if at_once or not self._up.moves:
            self._ready_end = self._ready_end or self._over
        self._down_ended = True
        self._down.abandon()
        self._up.abandon()
        self._changed.unpark_all()

    # The end.

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        if self._over is not None:
            raise trio.BrokenResourceError("a fault has ended the connection")

    async def _until(self, condition: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while not condition():
            if self._closed:
                raise trio.ClosedResourceError
            await self._changed.park()

    async def _end(self, end: End) -> None:
        """End the connection: the client is told, and whoever uses this stream."""
        self._over = self._over or end
        self._ready_end = self._ready_end or self._over
        self._down_ended = True
        self._changed.unpark_all()
        if end.reset:
            await self._reset()
            return
        if not self._sending:
            await half_close(self.transport_stream)
        elif isinstance(self.transport_stream, trio.SocketStream):
            # Its send_eof would refuse, with another task inside send_all.
            with suppress(OSError):
                self.transport_stream.socket.shutdown(trio.socket.SHUT_WR)
        else:
            await trio.aclose_forcefully(self.transport_stream)
        if self._receiving:
            await trio.sleep(LINGER)  # for the client to close its side too
        if self._receiving:
            self._watch.stop()
            await trio.aclose_forcefully(self.transport_stream)

    async def _reset(self) -> None:
        self._watch.stop()
        await reset(self.transport_stream)

    async def aclose(self) -> None:
        """Close: what was sent still arrives, as late as the toxics have it, unless cancelled."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        try:
            if not self._down.idle and self._over is None:
                await half_close(self)
        finally:
            self._closed = True
            for scope in self._tasks:
                scope.cancel()
            self._changed.unpark_all()
            await self.transport_stream.aclose()

    def _spawn(self, task: Callable[[], Awaitable[Any]]) -> None:
        async def run() -> None:
            with trio.CancelScope() as scope:
                self._tasks.add(scope)
                if not self._closed:
                    await task()
            self._tasks.discard(scope)

        self._nursery.start_soon(run, name="toxics")
