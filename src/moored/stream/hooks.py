"""The callables that a user may pass, and how they are called: what they raise is theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, TypeVar

import attrs

from moored.core.continuity import Gap
from moored.transports.target import call_hook

__all__ = ["Hooks"]

M = TypeVar("M")


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
        if isinstance(first, str | bytes) or not isinstance(first, Iterable):
            return [first]  # type: ignore[list-item]
        return list(first)

    async def report(self, gap: Gap) -> None:
        """Tell the ``on_gap`` hook."""
        if self.on_gap is not None:
            await call_hook("on_gap", self.on_gap, gap)
