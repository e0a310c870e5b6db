"""The seam between a stream and what carries it.

A :class:`Transport` makes one :class:`Connection` for each attempt; the stream does the rest.  A
third transport is these two small classes: ``docs/howto/own-transport.md`` shows one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

from moored.core.causes import Cause

__all__ = ["Attempt", "Connection", "ConnectionEnded", "Transport"]

M = TypeVar("M")

ResponseHeaders: TypeAlias = tuple[tuple[str, str], ...]


class ConnectionEnded(Exception):
    """How a transport says that an attempt or a connection is over.  Users never see it.

    :ivar cause: why.
    """

    def __init__(self, cause: Cause) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _ignore(*_: object) -> None:
    """What an attempt that nobody listens to does with what it hears."""


@attrs.frozen
class Attempt:
    """One attempt to connect, as the transport sees it.

    :param number: counts from 1 over the life of the stream.
    :param turn: failures in a row before it, from 0: which of several URLs is due.
    :param cursor: the position to resume from; ``None`` or ``""`` where there is none.
    :param request_sent: to call when the request is out and its answer may take as long as a first
        message may (``Policy.first_message_timeout``).
    :param server_retry: to call with the seconds when the server sets the reconnection time.
    """

    number: int = 1
    turn: int = 0
    cursor: Any = None
    request_sent: Callable[[], object] = _ignore
    server_retry: Callable[[float], object] = _ignore


class Connection(Generic[M]):
    """One live connection.  Subclass it, and override what the transport can do."""

    sends = False
    """Whether :meth:`send` works."""
    pings = False
    """Whether :meth:`ping` works.  Where it does not, a quiet peer is simply waited for."""
    subprotocol: str | None = None
    """What the two sides agreed to speak, where the transport has such a thing."""
    response_headers: ResponseHeaders = ()
    """The headers with which the server answered, where there are any: pairs, names in lower
    case."""

    @property
    def cursor(self) -> Any:
        """The position after the messages received so far, where the transport itself knows it.

        ``None`` where it does not; the stream's own ``cursor`` callable then decides.
        """
        return None

    @property
    def has_cursors(self) -> bool:
        """Whether messages may carry positions; where not, none is looked at."""
        return True

    @property
    def resumed(self) -> bool:
        """Whether the server was asked to continue from the attempt's cursor."""
        return False

    @property
    def repeatable(self) -> bool:
        """Whether, after what was received so far, another attempt may follow this one."""
        return True

    @property
    def end_cause(self) -> Cause | None:
        """Why the connection is over, where :meth:`receive` has returned the last messages and
        already knows.  Otherwise the next call raises it."""
        return None

    @property
    def reply_due(self) -> bool:
        """Whether what was received asks for an answer of the protocol's own, such as a pong."""
        return False

    async def receive(self) -> Sequence[M]:
        """Wait for one read's worth of bytes; return the messages in it, in order.

        No message is a sign of life.  Must be safe to cancel, and must not write: a peer that does
        not read could block it.

        :raises ConnectionEnded: when the connection is over.
        """
        raise NotImplementedError

    async def send(self, message: M) -> None:
        """Send one message, whole.

        :raises ConnectionEnded: when the connection is over.
        """
        raise NotImplementedError

    async def ping(self) -> None:
        """Ask the peer for a sign of life, without waiting for it.

        :raises ConnectionEnded: when the connection is over.
        """
        raise NotImplementedError

    async def reply(self) -> None:
        """Send what is due.

        :raises ConnectionEnded: when the connection is over.
        """
        raise NotImplementedError

    async def aclose(self, code: int | None) -> None:
        """Close.  The caller bounds the time; however it ends, nothing may be left open.

        :param code: the close code to give in good order, or ``None`` to hang up at once.
        """
        raise NotImplementedError


class Transport(Generic[M]):
    """Makes connections.  Subclass it."""

    sends = False
    """Whether its connections send."""
    one_shot = False
    """Whether the stream is one answer to one request, which reconnecting asks for again whole."""

    async def connect(self, attempt: Attempt) -> Connection[M]:
        """Make a connection.  The caller bounds the time.

        :raises ConnectionEnded: when there is none to be had.
        """
        raise NotImplementedError

    def size_of(self, message: M) -> int:
        """The size of a message in bytes (or characters), for the bounds on inbox and outbox.

        :raises TypeError: when ``message`` is nothing that this transport sends.
        """
        return len(message)  # type: ignore[arg-type]

    def cursor_of(self, message: M) -> Any:
        """The position that ``message`` itself carries, or ``None``."""
        return None

    def identity_of(self, message: M) -> Any:
        """What tells a message that came on an earlier connection from all others; by default its
        position."""
        return self.cursor_of(message)
