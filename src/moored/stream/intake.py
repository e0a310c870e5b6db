"""From what a read brings to what the consumer gets: pongs and repetitions out, positions kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from moored.core.continuity import Continuity
from moored.core.policy import Heartbeat, Policy
from moored.core.transitions import Heard, Progressed
from moored.errors import HookFailed
from moored.transports.base import Connection, Transport
from moored.transports.target import call_sync_hook

from .buffers import Inbox, Outbox, Received
from .hooks import Hooks

__all__ = ["Intake"]

M = TypeVar("M")


class Intake(Generic[M]):
    """Takes in what the connections of one stream bring.

    :param transport: knows the messages.
    :param policy: bounds the inbox, and knows the application's own pong.
    :param hooks: the user's callables.
    :param outbox: is told what was acknowledged.
    :param received: keeps what a one-shot answer has brought; ``None`` for a channel.
    :param position: where to begin.
    :param on_room: called when the consumer has made room in an inbox that was full.
    """

    def __init__(
        self,
        transport: Transport[M],
        policy: Policy,
        *,
        hooks: Hooks[M],
        outbox: Outbox[M],
        received: Received[M] | None,
        position: Any,
        on_room: Callable[[], object],
    ) -> None:
        heartbeat = policy.heartbeat
        self._is_pong = heartbeat.is_pong if isinstance(heartbeat, Heartbeat) else None
        self._hooks = hooks
        self._outbox = outbox
        self._received = received
        self._has_cursors = hooks.have_cursors(transport)
        self.continuity: Continuity[M] = hooks.continuity(
            transport, position, remembered=policy.remembered_cursors
        )
        self.inbox: Inbox[Any] = Inbox(
            messages=policy.inbox_messages,
            size=policy.inbox_bytes,
            size_of=transport.size_of,
            position=position,
            on_room=on_room,
        )
        self.messages_received: int = 0

    def take_in(self, connection: Connection[M], batch: Sequence[M]) -> Heard | Progressed:
        """Put one read's messages into the inbox; say what that was.

        There is no checkpoint between the socket and here, so nothing can get lost; and a callable
        of the user's that raises over one message takes none of those before it along.

        :raises HookFailed: when one does.
        """
        failure: HookFailed | None = None
        if self._is_pong is not None or self._hooks.acknowledged is not None:
            batch, failure = self._without_pongs(batch)
        if not batch and failure is None:
            self.keep_position(connection)
            return Heard()
        new: list[tuple[M, Any]] = []
        advanced = False
        if self._has_cursors and (connection.has_cursors or self._hooks.identity is not None):
            try:
                advanced = call_sync_hook("cursor", self.continuity.admit, batch, new)
            except HookFailed as exc:
                failure = exc
        else:  # a server that gives no ids, or a user who says nothing about cursors
            position = self.continuity.position
            new = [(message, position) for message in batch]
        self.keep_position(connection)
        self.messages_received += len(new)
        if self._received is not None:
            self._received.keep(message for message, _ in new)
        self.inbox.extend(new)
        if failure is not None:
            raise failure
        return Progressed(bool(advanced), connection.repeatable)

    def _without_pongs(self, batch: Sequence[M]) -> tuple[list[M], HookFailed | None]:
        """The messages that are the consumer's, up to one on which a callable raised."""
        kept: list[M] = []
        try:
            for message in batch:
                if self._hooks.acknowledged is not None:
                    self._outbox.acknowledge(self._hooks.count_acknowledged(message))
                if self._is_pong is None or not call_sync_hook(
                    "heartbeat.is_pong", self._is_pong, message
                ):
                    kept.append(message)
        except HookFailed as exc:
            return kept, exc
        return kept, None

    def keep_position(self, connection: Connection[M]) -> None:
        """Take over the position of a connection that knows it: on SSE it moves without a message
        too, by the id of a block without data."""
        if connection.cursor is not None:
            self.continuity.position = connection.cursor
