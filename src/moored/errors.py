"""The errors that users see: a small tree, each with its facts as fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .core.causes import Cause

__all__ = [
    "EndOfStream",
    "HookFailed",
    "InternalError",
    "MooredError",
    "OutboxFull",
    "ReceiveOnly",
    "ResumeLost",
    "StreamClosed",
    "StreamError",
    "StreamInterrupted",
]


class MooredError(Exception):
    """Base of all errors that Moored raises for what happens to a stream.

    Settings out of bounds are :class:`ValueError` and :class:`TypeError`, as everywhere in Python.
    """


class StreamError(MooredError):
    """The stream ended, and not as it should.

    :ivar cause: why it ended.
    :ivar causes: every cause on the way, oldest first (at most the last 32); the last is ``cause``.
    :ivar gave_up: the bound on attempts that was reached; empty where the cause itself forbids
        another attempt.
    """

    def __init__(self, causes: Sequence[Cause], gave_up: str = "") -> None:
        self.causes: tuple[Cause, ...] = tuple(causes)
        self.cause: Cause = self.causes[-1]
        self.gave_up = gave_up
        super().__init__(f"{gave_up}: {self.cause}" if gave_up else str(self.cause))


class StreamInterrupted(StreamError):
    """A one-shot answer (SSE by ``POST``) was cut after it had begun, and was not asked for again.

    :ivar received: the events that had come, oldest first.
    :ivar received_all: ``False`` where the oldest had to be let go, to keep to
        ``Policy.inbox_bytes``.
    """

    def __init__(
        self,
        causes: Sequence[Cause],
        gave_up: str = "",
        *,
        received: Sequence[Any] = (),
        received_all: bool = True,
    ) -> None:
        super().__init__(causes, gave_up)
        self.received: tuple[Any, ...] = tuple(received)
        self.received_all = received_all


class ResumeLost(StreamError):
    """The server no longer has the position that the stream would resume from (status 410).

    :ivar cursor: that position.
    """

    def __init__(self, causes: Sequence[Cause], gave_up: str = "", *, cursor: Any = None) -> None:
        super().__init__(causes, gave_up)
        self.cursor = cursor


class EndOfStream(MooredError):
    """``receive()`` was called, and the stream is complete: there is nothing more to come."""


class StreamClosed(MooredError):
    """The stream was used after it had been closed."""


class OutboxFull(MooredError):
    """``send()`` found no room in the outbox.

    :ivar bound: the setting that was reached, ``"outbox_messages"`` or ``"outbox_bytes"``.
    :ivar limit: its value.
    """

    def __init__(self, bound: str, limit: int) -> None:
        super().__init__(f"the outbox is full: Policy.{bound}={limit}")
        self.bound = bound
        self.limit = limit


class ReceiveOnly(MooredError):
    """``send()`` was called on a stream that only receives, such as SSE."""


class HookFailed(MooredError):
    """A callable that the user passed raised.  What it raised is the ``__cause__``.

    :ivar hook: the name of the parameter that the callable was passed as.
    """

    def __init__(self, hook: str) -> None:
        super().__init__(f"the callable passed as {hook} raised")
        self.hook = hook


class InternalError(MooredError):
    """One of Moored's own tasks crashed: a bug in Moored.  Please report it."""
