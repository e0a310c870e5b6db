"""What waits: received messages for the consumer, sent ones for a connection.  All bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, Literal, TypeVar

import trio

from moored.errors import OutboxFull

__all__ = ["Inbox", "Outbox", "Received"]

M = TypeVar("M")

OVERHEAD = 64
"""Bytes that a waiting message takes beside its own."""


class Inbox(Generic[M]):
    """Received messages, in order, each with the position after it.

    One read's messages always go in together, so that none can be lost between the socket and here.
    When it becomes full, one more read is made, to see whether the connection still stands; then
    reading stops.  So it overshoots its bounds by two reads, but for what a connection that cannot
    be written to any more leaves behind: see :attr:`has_space_left`.

    :param size_of: the size of a message.
    :param position: the position before the first message.
    :param on_room: called when the inbox was :attr:`blocked` and has room again.
    """

    def __init__(
        self,
        *,
        messages: int,
        size: int,
        size_of: Callable[[M], int],
        position: Any = None,
        on_room: Callable[[], object],
    ) -> None:
        self._max_messages = messages
        self._max_size = size
        self._size_of = size_of
        self._on_room = on_room
        self._items: deque[tuple[M, int, Any]] = deque()
        self._size = 0
        self._consumers = trio.lowlevel.ParkingLot()
        self._room: trio.Event | None = None  # there only while somebody waits
        #: Whether the consumer is what holds things up; set by the reader.
        self.blocked: bool = False
        #: The position after the message that was taken last.
        self.position: Any = position
        #: Whether messages were forgotten that had come after that position.
        self.forgetful: bool = False

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def full(self) -> bool:
        """Whether reading has to stop."""
        return len(self._items) >= self._max_messages or self._size >= self._max_size

    @property
    def has_space_left(self) -> bool:
        """Whether what a dead connection leaves in our own kernel may still be read.

        Twice the bound in bytes, with something for each message: the kernel holds 6 MiB (Linux).
        """
        return self._size + OVERHEAD * len(self._items) < 2 * self._max_size

    def extend(self, messages: Iterable[tuple[M, Any]]) -> None:
        """Add messages with their positions, and wake the consumers."""
        size_of, items = self._size_of, self._items
        for message, position in messages:
            size = size_of(message)
            self._size += size
            items.append((message, size, position))
        if self._consumers:
            self._consumers.unpark(count=len(items))

    def add_note(self, note: M, position: Any) -> None:
        """Add something that is no message of the transport's: it has no size."""
        self._items.append((note, 0, position))
        self._consumers.unpark()

    def pop(self) -> M:
        """Take the oldest message."""
        message, size, self.position = self._items.popleft()
        self._size -= size
        if self.blocked and not self.full:
            self.release()
        return message

    def clear(self) -> None:
        """Forget what is there: our side closed."""
        self.forgetful = self.forgetful or bool(self._items)
        self._items.clear()
        self._size = 0
        self.release()

    def release(self) -> None:
        """Let the reader go on."""
        self.blocked = False
        if self._room is not None:
            self._room.set()
            self._room = None
        self._on_room()

    async def wait_for_message(self) -> None:
        """Wait to be woken; look again afterwards."""
        await self._consumers.park()

    async def wait_for_room(self) -> None:
        """Wait until the inbox is not blocked."""
        while self.blocked:
            self._room = self._room or trio.Event()
            await self._room.wait()

    def wake(self) -> None:
        """Wake every consumer: the stream has ended."""
        self._consumers.unpark_all()


class Outbox(Generic[M]):
    """Messages to send, in order.

    :param full: what :meth:`put` does without room: see ``Policy.outbox_full``.
    :param keep: whether what was sent is kept until it is acknowledged.  It counts in the bounds.
    """

    def __init__(
        self,
        *,
        messages: int,
        size: int,
        full: Literal["block", "raise", "drop_oldest"],
        size_of: Callable[[M], int],
        keep: bool,
    ) -> None:
        self._max_messages = messages
        self._max_size = size
        self._full = full
        self._size_of = size_of
        self._keep = keep
        self._waiting: deque[M] = deque()
        self._unacknowledged: deque[M] = deque()
        self._size = 0
        self._in_flight = False
        self._turn = trio.StrictFIFOLock()  # senders that wait for room keep their order
        self._room = trio.Event()
        self._work = trio.Event()
        self._flushed = trio.Event()
        self._flushed.set()
        self._closed = False
        #: Messages that were dropped to make room.
        self.dropped: int = 0
        #: Messages that were being written when a connection died, and are not sent again.
        self.uncertain: int = 0
        #: Messages that were handed to the network whole.
        self.sent: int = 0

    def __len__(self) -> int:
        return len(self._waiting)

    async def put(self, message: M) -> bool:
        """Add a message; ``False`` when the stream ended before there was room.

        :raises OutboxFull: see ``Policy.outbox_full``; always for one larger than the outbox.
        """
        size = self._size_of(message)
        if size > self._max_size:
            raise OutboxFull("outbox_bytes", self._max_size)
        async with self._turn:
            while not self._closed and not self._fits(size):
                if self._full == "raise":
                    raise self._error(size)
                if self._full == "drop_oldest" and self._waiting:
                    self._size -= self._size_of(self._waiting.popleft())
                    self.dropped += 1
                    continue
                self._room = trio.Event()
                await self._room.wait()
            if self._closed:
                return False
            self._waiting.append(message)
            self._size += size
            self._note()
            return True

    def _fits(self, size: int) -> bool:
        held = len(self._waiting) + len(self._unacknowledged)
        return held < self._max_messages and self._size + size <= self._max_size

    def _error(self, size: int) -> OutboxFull:
        if self._size + size > self._max_size:
            return OutboxFull("outbox_bytes", self._max_size)
        return OutboxFull("outbox_messages", self._max_messages)

    async def next(self) -> M:
        """Wait for a message to send, and take it in flight."""
        while not self._waiting:
            self._work = trio.Event()
            await self._work.wait()
        message = self._waiting.popleft()
        self._in_flight = True
        if self._keep:
            self._unacknowledged.append(message)
        else:
            self._size -= self._size_of(message)
        self._note()
        return message

    def landed(self) -> None:
        """What is in flight was handed over whole."""
        self._in_flight = False
        self.sent += 1
        self._note()

    def connection_died(self) -> None:
        """What is in flight may or may not have reached the peer."""
        if self._in_flight:
            self._in_flight = False
            if not self._keep:
                self.uncertain += 1
        self._note()

    def acknowledge(self, count: int) -> None:
        """The peer has the ``count`` oldest messages that it had not acknowledged."""
        for _ in range(min(count, len(self._unacknowledged))):
            self._size -= self._size_of(self._unacknowledged.popleft())
        self._note()

    def send_again(self) -> None:
        """On a new connection: what was not acknowledged goes first."""
        self._waiting.extendleft(reversed(self._unacknowledged))
        self._unacknowledged.clear()
        self._note()

    async def wait_flushed(self) -> None:
        """Wait until nothing waits and nothing is in flight."""
        await self._flushed.wait()

    def close(self) -> None:
        """Nothing more is taken; senders that wait are let go."""
        self._closed = True
        self._note()

    def _note(self) -> None:
        """Wake whoever waits for what has come true."""
        if self._waiting:
            self._work.set()
        if self._closed or (not self._waiting and not self._in_flight):
            self._flushed.set()
        elif self._flushed.is_set():
            self._flushed = trio.Event()
        self._room.set()


class Received(Generic[M]):
    """What a one-shot answer has brought so far, for the error that may end it: the newest."""

    def __init__(self, *, size: int, size_of: Callable[[M], int]) -> None:
        self._max_size = size
        self._size_of = size_of
        self._size = 0
        #: The messages, oldest first.
        self.messages: deque[M] = deque()
        #: Whether none had to be let go.
        self.complete: bool = True

    def keep(self, messages: Iterable[M]) -> None:
        """Add messages; let the oldest go where there is no room."""
        for message in messages:
            self.messages.append(message)
            self._size += self._size_of(message)
        while self._size > self._max_size and len(self.messages) > 1:
            self._size -= self._size_of(self.messages.popleft())
            self.complete = False
