"""How a stream ended, and what its consumer is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from moored.core.causes import Cause, ClosedByUs, HandshakeRejected
from moored.core.transitions import Finish
from moored.errors import (
    EndOfStream,
    MooredError,
    ResumeLost,
    StreamClosed,
    StreamError,
    StreamInterrupted,
)

from .buffers import Received

__all__ = ["Outcome", "leaves"]

M = TypeVar("M")

CAUSES_KEPT = 32
GONE = 410


class Outcome(Generic[M]):
    """The causes on the way, and the one end.

    :param received: keeps what a one-shot answer has brought; ``None`` for a channel.
    """

    def __init__(self, received: Received[M] | None) -> None:
        self.received: Received[M] | None = received
        #: How the machine ended the stream; ``None`` while it goes on.
        self.finish: Finish | None = None
        self._causes: deque[Cause] = deque(maxlen=CAUSES_KEPT)
        self._failure: MooredError | None = None

    def note(self, cause: Cause) -> None:
        """An attempt or a connection ended for ``cause``."""
        self._causes.append(cause)

    def fail(self, failure: MooredError) -> None:
        """A callable of the user's raised: that is what there is to tell.  The first one counts."""
        self._failure = self._failure or failure

    def error(self, position: Any) -> MooredError:
        """What to raise once the stream is over and everything was delivered.

        :param position: where it would have resumed.
        """
        finish = self.finish
        if self._failure is not None:
            return self._failure
        if finish is None:  # its nursery was cancelled from outside
            return StreamClosed("the stream is closed")
        if finish.failed:
            error = self._stream_error(finish, position)
            error.__cause__ = getattr(finish.cause, "exception", None)
            return error
        if isinstance(finish.cause, ClosedByUs):
            return StreamClosed("the stream was closed")
        return EndOfStream(str(finish.cause))

    def _stream_error(self, finish: Finish, position: Any) -> StreamError:
        causes = tuple(self._causes) or (finish.cause,)
        cause, gave_up, received = finish.cause, finish.gave_up, self.received
        if isinstance(cause, HandshakeRejected) and cause.status == GONE and position:
            return ResumeLost(causes, gave_up, cursor=position)
        if received is not None and received.messages:
            return StreamInterrupted(
                causes,
                gave_up,
                received=tuple(received.messages),
                received_all=received.complete,
            )
        return StreamError(causes, gave_up)


def leaves(error: BaseException | None) -> Iterator[BaseException]:
    """The exceptions in a group, however deep; or the one that is none."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    elif error is not None:
        yield error
