"""The callables that a user may pass, and how they are called: what they raise is theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import attrs

from moored.core.continuity import Continuity, Gap
from moored.transports.base import Transport
from moored.transports.target import call_hook, call_sync_hook

__all__ = ["Hooks"]

M = TypeVar("M")

_ONE_MESSAGE = (str, bytes, bytearray, memoryview, Mapping)  # which can be iterated over


@attrs.frozen
class Hooks(Generic[M]):
    """See :func:`moored.open_websocket` for what each is.

    :param gaps: whether a :class:`~moored.core.continuity.Gap` also appears among the messages.
    """

    resume: Callable[[Any], Any] | None = None
    cursor: Callable[[M], Any] | None = None
    acknowledged: Callable[[M], int] | None = None
    on_gap: Callable[[Gap], object | Awaitable[object]] | None = None
    gaps: bool = False
    identity: Callable[[M], Any] | None = None

    def have_cursors(self, transport: Transport[M]) -> bool:
        """Whether messages are looked at for positions, or for repetitions."""
        own_cursors = type(transport).cursor_of is not Transport.cursor_of
        return own_cursors or self.cursor is not None or self.identity is not None

    def continuity(
        self, transport: Transport[M], position: Any, *, remembered: int
    ) -> Continuity[M]:
        """What follows the positions.

        A user who says what a message's cursor or identity is means it everywhere; what the
        transport takes for it counts only from one connection to the next.
        """
        own = self.cursor is None and self.identity is None
        return Continuity(
            self.cursor or transport.cursor_of,
            position,
            identity_of=self.identity or (transport.identity_of if own else None),
            within=not own,
            remembered=remembered,
        )

    async def messages_to_resume(self, position: Any) -> list[M]:
        """What the ``resume`` hook wants sent first: none, one, or several messages."""
        assert self.resume is not None
        first = await call_hook("resume", self.resume, position)
        if first is None:
            return []
        if isinstance(first, _ONE_MESSAGE) or not isinstance(first, Iterable):
            return [first]  # type: ignore[list-item]
        return call_sync_hook("resume", list, first)  # type: ignore[no-any-return]

    def count_acknowledged(self, message: M) -> int:
        """How many sent messages ``message`` acknowledges."""
        assert self.acknowledged is not None
        return call_sync_hook("acknowledged", self._count, message)  # type: ignore[no-any-return]

    def _count(self, message: M) -> int:
        assert self.acknowledged is not None
        count = self.acknowledged(message)
        if not isinstance(count, int):
            raise TypeError(f"acknowledged must return a number of messages, not {count!r}")
        return count

    async def report(self, gap: Gap) -> None:
        """Tell the ``on_gap`` hook."""
        if self.on_gap is not None:
            await call_hook("on_gap", self.on_gap, gap)
