"""One direction of a connection: a chain of toxics that may change while bytes are on their way."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Hashable, Iterable

import attrs
import trio

from moored.faults.tcp.stages import Data, End, Item, Stage, item_size, stage_for
from moored.faults.tcp.toxics import Toxic

__all__ = ["Pipe"]

_OUT_BYTES = 1024 * 1024


@attrs.define
class _Entry:
    """One toxic of the chain.

    :ivar stage: ``None`` where chance spares this connection.
    """

    toxic: Toxic
    toxicity: float
    seed: str
    on_effect: Callable[[], None] | None = None
    draws: int = 0
    stage: Stage[Toxic] | None = None


class Pipe:
    """Carries items through the chain: one task feeds, another takes, any may change the chain.

    Time is Trio's.  What changes the chain returns at once, with the change done.

    :param on_busy: called when the pipe stops being idle: somebody has to take from it then.
    :param reads_on: whether the sender is read from also where a toxic would leave it unread: for
        one whose end is noticed only by reading.

    :ivar idle: no toxic, and nothing on its way: bytes may as well go around the pipe.
    """

    def __init__(self, on_busy: Callable[[], None], *, reads_on: bool = False) -> None:
        self.idle: bool = True
        self._reads_on = reads_on
        self._abandoned = False
        self._on_busy = on_busy
        self._entries: dict[Hashable, _Entry] = {}
        self._stages: list[Stage[Toxic]] = []
        self._out: deque[Item] = deque()
        self._out_size = 0
        self._ended = False
        self._awaited = math.inf  # when who waits in ready() wakes by itself
        self._arrivals = trio.lowlevel.ParkingLot()
        self._departures = trio.lowlevel.ParkingLot()

    # The chain.

    def add(
        self,
        key: Hashable,
        toxic: Toxic,
        *,
        seed: str,
        toxicity: float = 1.0,
        on_effect: Callable[[], None] | None = None,
    ) -> None:
        """Put ``toxic`` at the end of the chain.

        :param key: names it.
        :param seed: decides all that is random about it, on this connection.
        :param toxicity: the chance that it strikes here.
        :param on_effect: called once, when it has made a difference to what passes.
        :raises KeyError: when there is one with this key.
        """
        if key in self._entries:
            raise KeyError(key)
        self._entries[key] = entry = _Entry(toxic, toxicity, seed, on_effect)
        self._draw(entry)
        self._rebuild()

    def update(self, key: Hashable, toxic: Toxic, *, toxicity: float | None = None) -> None:
        """Change the toxic at ``key``, and draw anew whether it strikes here.

        :param toxicity: ``None``: as it was.
        :raises KeyError: when there is none.
        :raises TypeError: when ``toxic`` is of another kind.
        """
        entry = self._entries[key]
        if type(toxic) is not type(entry.toxic):
            raise TypeError(f"a {entry.toxic.kind} toxic cannot become a {toxic.kind} toxic")
        entry.toxic = toxic
        entry.toxicity = entry.toxicity if toxicity is None else toxicity
        before = entry.stage
        self._draw(entry)
        if before is not None and entry.stage is None:
            self._hand_on(before)
        self._rebuild()

    def remove(self, key: Hashable) -> None:
        """Take the toxic at ``key`` out; what waits in it goes on to the next.

        :raises KeyError: when there is none.
        """
        entry = self._entries.pop(key)
        if entry.stage is not None:
            self._hand_on(entry.stage)
        self._rebuild()

    def _draw(self, entry: _Entry) -> None:
        now = trio.current_time()
        chance = random.Random(f"{entry.seed}/{entry.draws}").random()
        entry.draws += 1
        if chance >= entry.toxicity:
            entry.stage = None
        elif entry.stage is None:
            entry.stage = stage_for(entry.toxic, entry.seed, now, entry.on_effect)
        else:
            entry.stage.update(entry.toxic, now)

    def _hand_on(self, stage: Stage[Toxic]) -> None:
        now = trio.current_time()
        after = self._stages.index(stage) + 1
        for item in stage.remove(now):
            self._pass(item, after, now)

    def _rebuild(self) -> None:
        self._stages = [entry.stage for entry in self._entries.values() if entry.stage is not None]
        if self.idle and self._stages:
            self.idle = False
            self._on_busy()
        self._arrivals.unpark_all()
        self._departures.unpark_all()

    # What passes.

    @property
    def holds(self) -> bool:
        """Whether anything waits here."""
        return bool(self._out) or any(stage.size for stage in self._stages)

    @property
    def moves(self) -> bool:
        """Whether anything that waits here comes out in time by itself."""
        return bool(self._out) or self._due() < math.inf

    @property
    def stuck(self) -> bool:
        """Whether what waits here stays until the chain changes: it is in a black hole."""
        return self.holds and not self.moves

    def read_on(self) -> None:
        """The sender has ended, and cannot tell any more if it is read: so it is."""
        self._reads_on = True
        self._departures.unpark_all()

    def abandon(self) -> None:
        """Either end has gone: who waits in :meth:`room` has to find out."""
        self._abandoned = True
        self._departures.unpark_all()

    def feed(self, item: bytes | End, *, wake: bool = True) -> None:
        """Put in what came from the sender; :meth:`room` says when more may be.

        :param wake: whether who waits in :meth:`ready` is told; otherwise call :meth:`wake`.
        """
        now = trio.current_time()
        if self.idle:
            self.idle = False
            self._on_busy()
        self._pass(Data(item, now) if isinstance(item, bytes) else item, 0, now)
        if wake:
            self.wake()

    @property
    def length(self) -> int:
        """How many toxics strike here."""
        return len(self._stages)

    def take_back(self) -> list[bytes | End]:
        """What has come through and was not taken: for :meth:`feed_again`."""
        items = [item if isinstance(item, End) else item.data for item in self._out]
        self._out.clear()
        self._out_size = 0
        self._ended = False
        return items

    def feed_again(self, items: Iterable[bytes | End], place: int) -> None:
        """Put in what has come through already, for the toxics from ``place`` on alone."""
        now = trio.current_time()
        for item in items:
            self._pass(item if isinstance(item, End) else Data(item, now), place, now)
        self.wake()

    def wake(self) -> None:
        """Tell who waits in :meth:`ready`, if anything is due before what it waits for."""
        if self._out or self._due() < self._awaited:
            self._arrivals.unpark_all()

    async def room(self) -> None:
        """Return when the sender may be read from, or nobody is left to wait for."""
        while not self._has_room():
            await self._departures.park()

    def _has_room(self) -> bool:
        if self._abandoned:
            return True
        reads = self._reads_on or all(stage.reads for stage in self._stages)
        if self._out_size > _OUT_BYTES or not reads:
            return False
        waiting = sum(stage.size for stage in self._stages)
        return waiting <= max((stage.capacity for stage in self._stages), default=math.inf)

    async def take(self) -> Item | None:
        """The next item that has come through, when it has; ``None`` when the pipe is idle."""
        while await self.ready():
            if (item := self.take_nowait()) is not None:
                return item
        return None

    async def ready(self) -> bool:
        """Wait until something has come through; false when the pipe is idle."""
        while True:
            self._advance(trio.current_time())
            if self._out:
                return True
            if not self._stages:
                self.idle = True
                return False
            self._awaited = self._due()
            with trio.move_on_at(self._awaited):
                await self._arrivals.park()

    def take_nowait(self) -> Item | None:
        """The next item, if it has come through."""
        self._advance(trio.current_time())
        if not self._out:
            return None
        item = self._out.popleft()
        self._out_size -= item_size(item)
        self._departures.unpark_all()
        return item

    def _due(self) -> float:
        return min((stage.due for stage in self._stages), default=math.inf)

    def _advance(self, now: float) -> None:
        for place, stage in enumerate(self._stages, 1):
            while (departure := stage.take(now)) is not None:
                time, item = departure
                self._pass(item, place, time)

    def _pass(self, item: Item, place: int, time: float) -> None:
        """Give ``item`` to the stage at ``place``, or out behind the last."""
        if place < len(self._stages):
            self._stages[place].feed(item, time)
        elif not self._ended:
            self._ended = isinstance(item, End)
            self._out.append(item)
            self._out_size += item_size(item)
