"""What each toxic does to the bytes of one direction of one connection: no I/O, and no clock.

A stage takes items, with the time at which they come, and decides when they leave.  So everything
about time is decided when an item comes, and whoever runs the stage only has to look at the head of
its queue.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from moored.faults.duplex import HALF_CLOSED_GRACE
from moored.faults.tcp import toxics

__all__ = ["Data", "End", "Item", "Stage", "item_size", "stage_for"]

_ITEM_BYTES = 256  # what an item costs beside its bytes, so that many small ones stay bounded too
_WAITING_BYTES = 1024 * 1024
_DELAYED_BYTES = 32 * 1024 * 1024
_PIECE_SECONDS = 0.1


class Data(NamedTuple):
    """Bytes on their way.

    :ivar arrived: when they came to the proxy, in seconds; each latency moves it on.
    """

    data: bytes
    arrived: float


class End(NamedTuple):
    """Nothing more comes.

    :ivar reset: whether by a reset.
    :ivar whole: whether the whole connection ends, not only this direction.
    """

    reset: bool = False
    whole: bool = False


Item: TypeAlias = Data | End
Effect: TypeAlias = Callable[[], None]
T = TypeVar("T", bound=toxics.Toxic)


def item_size(item: Item) -> int:
    """What ``item`` counts against the bound on memory, in bytes."""
    return _ITEM_BYTES + (len(item.data) if isinstance(item, Data) else 0)


class Stage(Generic[T]):
    """Lets everything pass at once; the kinds differ.

    :ivar size: what waits here, in bytes.
    :ivar capacity: how much may wait here before the sender has to, in bytes.
    :ivar reads: whether the sender is read from at all.
    """

    capacity = _WAITING_BYTES
    reads = True

    def __init__(self, toxic: T, seed: str, now: float, on_effect: Effect | None = None) -> None:
        self.toxic: T = toxic
        self._on_effect = on_effect
        self.size: int = 0
        self._seed = seed
        self._rng = random.Random(seed)
        self._queue: deque[tuple[float, Item]] = deque()
        self._last = now  # when the last item in the queue leaves
        self._start(now)

    def _start(self, now: float) -> None:
        """Begin."""

    def _take_effect(self) -> None:
        """Something is not as it would be without the toxic."""
        if self._on_effect is not None:
            self._on_effect()
            self._on_effect = None

    @property
    def due(self) -> float:
        """When the next item leaves, as far as is known; ``inf`` for never."""
        return self._queue[0][0] if self._queue else math.inf

    def feed(self, item: Item, now: float) -> None:
        """Take the next item."""
        if isinstance(item, End):
            self._feed_end(item, now)
        else:
            self._feed_data(item, now)

    def take(self, now: float) -> tuple[float, Item] | None:
        """The next item and the time at which it leaves, if that has come."""
        if not self._queue or self._queue[0][0] > now:
            return None
        time, item = self._queue.popleft()
        self.size -= item_size(item)
        return time, item

    def update(self, toxic: T, now: float) -> None:
        """Go on with changed settings."""
        self.toxic = toxic
        self._release(now)

    def remove(self, now: float) -> Iterable[Item]:
        """Stop: what waits, for whoever comes next."""
        return self._drain()

    def _feed_data(self, item: Data, now: float) -> None:
        self._leave(now, item)

    def _feed_end(self, item: End, now: float) -> None:
        self._leave(now, item)

    def _leave(self, time: float, item: Item) -> None:
        """Let ``item`` leave at ``time``, or behind what is before it."""
        self._last = max(self._last, time)
        self._queue.append((self._last, item))
        self.size += item_size(item)

    def _drain(self) -> list[Item]:
        items = [item for _, item in self._queue]
        self._queue.clear()
        self.size = 0
        return items

    def _release(self, now: float) -> None:
        """Let all that waits leave now."""
        self._last = now
        for item in self._drain():
            self._leave(now, item)

    def _again(self, now: float) -> None:
        """Take all that waits once more, as if it came now."""
        self._last = now
        for item in self._drain():
            self.feed(item, now)


class _Latency(Stage[toxics.Latency]):
    capacity = _DELAYED_BYTES

    def _feed_data(self, item: Data, now: float) -> None:
        swing = self._rng.random() * 2 - 1 if self.toxic.jitter else 0
        delay = max(0.0, self.toxic.latency + swing * self.toxic.jitter)
        leaves = max(self._last, now, item.arrived + delay)
        if leaves > now:
            self._take_effect()
        self._leave(leaves, Data(item.data, leaves))


class _Bandwidth(Stage[toxics.Bandwidth]):
    def _feed_data(self, item: Data, now: float) -> None:
        rate = self.toxic.rate
        self._take_effect()
        if not rate:
            self._leave(math.inf, item)
            return
        size = max(1, int(rate * _PIECE_SECONDS))
        time = max(self._last, now)
        for start in range(0, len(item.data), size):
            piece = item.data[start : start + size]
            time += len(piece) / rate
            self._leave(time, Data(piece, item.arrived))

    def update(self, toxic: toxics.Bandwidth, now: float) -> None:
        self.toxic = toxic
        self._again(now)


class _Slicer(Stage[toxics.Slicer]):
    def _start(self, now: float) -> None:
        self._free = now

    def _feed_data(self, item: Data, now: float) -> None:
        time = max(self._free, now)
        for start, end in self._cuts(len(item.data)):
            self._leave(time, Data(item.data[start:end], item.arrived))
            time += self.toxic.delay
            if time > now or end < len(item.data):
                self._take_effect()
        self._free = time

    def _feed_end(self, item: End, now: float) -> None:
        self._leave(max(self._free, now), item)

    def _cuts(self, size: int) -> Iterator[tuple[int, int]]:
        variation = self.toxic.size_variation
        largest = max(1, self.toxic.average_size + variation)
        waiting = [(0, size)]
        while waiting:
            start, end = waiting.pop()
            if end - start <= largest:
                yield start, end
                continue
            middle = start + (end - start) // 2
            if variation:
                middle += int((self._rng.random() * 2 - 1) * variation)
            middle = min(max(middle, start + 1), end - 1)
            waiting += [(middle, end), (start, middle)]

    def update(self, toxic: toxics.Slicer, now: float) -> None:
        self._free = now
        super().update(toxic, now)


class _LimitData(Stage[toxics.LimitData]):
    def _start(self, now: float) -> None:
        self._passed = 0

    def _feed_data(self, item: Data, now: float) -> None:
        data = item.data[: max(0, self.toxic.bytes - self._passed)]
        if data:
            self._passed += len(data)
            self._leave(now, Data(data, item.arrived))
        if self._passed >= self.toxic.bytes:
            self._take_effect()
            self._leave(now, End(whole=True))


class _SlowClose(Stage[toxics.SlowClose]):
    def _feed_end(self, item: End, now: float) -> None:
        self._take_effect()
        self._leave(now + self.toxic.delay, item)

    def update(self, toxic: toxics.SlowClose, now: float) -> None:
        self.toxic = toxic
        self._again(now)


class _ResetPeer(Stage[toxics.ResetPeer]):
    def _start(self, now: float) -> None:
        self._began: float | None = None

    def feed(self, item: Item, now: float) -> None:
        if self._began is None:
            self._take_effect()
            self._began = now
            self._leave(now + self.toxic.timeout, End(reset=True, whole=True))

    def update(self, toxic: toxics.ResetPeer, now: float) -> None:
        self.toxic = toxic
        waits = self._drain()
        if waits and self._began is not None:
            self._last = now
            self._leave(self._began + toxic.timeout, waits[0])


class _Timeout(Stage[toxics.Timeout]):
    def _start(self, now: float) -> None:
        self._drain()
        if self.toxic.timeout:
            self._take_effect()
            self._last = now
            self._leave(now + self.toxic.timeout, End(whole=True))

    def _feed_data(self, item: Data, now: float) -> None:
        self._take_effect()
        self._start(now)

    def _feed_end(self, item: End, now: float) -> None:
        self._take_effect()
        self._drain()
        self._last = now
        self._leave(now, End(item.reset, whole=True))

    def update(self, toxic: toxics.Timeout, now: float) -> None:
        self.toxic = toxic
        self._start(now)

    def remove(self, now: float) -> Iterable[Item]:
        return [End(whole=True)]


class _Corrupt(Stage[toxics.Corrupt]):
    def _start(self, now: float) -> None:
        self._rng = random.Random(f"{self._seed}/{self.toxic.seed}")
        self._place = 0
        self._next = self._after(0)

    def _after(self, place: int) -> float:
        """The first byte from ``place`` on that chance hits.

        Drawing the gap to it, not a number for each byte, costs nothing where nothing is hit.
        """
        share = self.toxic.share
        if not share:
            return math.inf
        if share >= 1:
            return place
        return place + int(math.log(1 - self._rng.random()) / math.log1p(-share))

    def _feed_data(self, item: Data, now: float) -> None:
        start, end = self._place, self._place + len(item.data)
        data = bytearray(item.data)
        while self._next < end:
            at = int(self._next)
            self._take_effect()
            data[at - start] ^= 1 << int(self._rng.random() * 8)
            self._next = self._after(at + 1)
        for offset in self.toxic.offsets:
            if start <= offset < end:
                self._take_effect()
                draw = random.Random(f"{self._seed}/{self.toxic.seed}/{offset}").random()
                data[offset - start] = item.data[offset - start] ^ (1 << int(draw * 8))
        self._place = end
        self._leave(now, Data(bytes(data), item.arrived))

    def update(self, toxic: toxics.Corrupt, now: float) -> None:
        super().update(toxic, now)
        self._next = self._after(self._place)


class _HalfOpen(Stage[toxics.HalfOpen]):
    reads = False

    def _start(self, now: float) -> None:
        self._take_effect()

    def feed(self, item: Item, now: float) -> None:
        self._leave(math.inf, item)

    def update(self, toxic: toxics.HalfOpen, now: float) -> None:
        self.toxic = toxic


class _NeverAnswer(Stage[toxics.NeverAnswer]):
    def feed(self, item: Item, now: float) -> None:
        self._take_effect()
        if isinstance(item, End):
            at_once = item.reset or item.whole
            self._leave(now if at_once else now + HALF_CLOSED_GRACE, item._replace(whole=True))


_STAGES: dict[type, Callable[[Any, str, float, Effect | None], Stage[Any]]] = {
    toxics.Latency: _Latency,
    toxics.Bandwidth: _Bandwidth,
    toxics.Slicer: _Slicer,
    toxics.LimitData: _LimitData,
    toxics.SlowClose: _SlowClose,
    toxics.ResetPeer: _ResetPeer,
    toxics.Timeout: _Timeout,
    toxics.Noop: Stage,
    toxics.Corrupt: _Corrupt,
    toxics.HalfOpen: _HalfOpen,
    toxics.NeverAnswer: _NeverAnswer,
}


def stage_for(
    toxic: toxics.Toxic, seed: str, now: float, on_effect: Effect | None = None
) -> Stage[toxics.Toxic]:
    """A stage that does what ``toxic`` says.

    :param seed: decides all that is random.
    :param now: the time, in seconds, on the clock whose times the stage is then given.
    :param on_effect: called once, when it has made a difference.
    """
    return _STAGES[type(toxic)](toxic, seed, now, on_effect)
