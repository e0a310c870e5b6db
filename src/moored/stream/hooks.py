"""The callables that a user may pass, and how they are called: what they raise is theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import attrs

from moored.core.continuity import Gap
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
