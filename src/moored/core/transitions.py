"""States, inputs, actions, and the table of every legal move.

Data only.  Read it top to bottom; :class:`moored.core.machine.Machine` carries it out.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from .causes import Cause

__all__ = [
    "TRANSITIONS",
    "Action",
    "Blocked",
    "CloseRequested",
    "Connect",
    "Connected",
    "Disconnect",
    "Ended",
    "Failed",
    "Finish",
    "Finished",
    "Heard",
    "Input",
    "InvalidTransition",
    "Lost",
    "Probe",
    "Progressed",
    "Quiet",
    "RequestSent",
    "RetryDue",
    "ServerRetry",
    "State",
    "Throttled",
    "Unblocked",
    "Wait",
    "Woken",
]


class State(enum.Enum):
    """Where a stream is."""

    CONNECTING = "connecting"
    """One attempt is under way."""
    OPEN = "open"
    """Connected, and the peer was heard from lately."""
    HEARTBEATING = "heartbeating"
    """Connected but quiet: the peer's liveness is being probed."""
    BACKOFF = "backoff"
    """Between attempts."""
    CLOSED = "closed"
    """Over, for one cause, for good."""


# ---------------------------------------------------------------------------- inputs


@attrs.frozen
class Input:
    """Base of what can happen."""


@attrs.frozen
class RequestSent(Input):
    """The request is on its way, and its answer may take as long as a first message may."""


@attrs.frozen
class Connected(Input):
    """The attempt succeeded."""


@attrs.frozen
class Heard(Input):
    """A sign of life: bytes came that completed no message."""


@attrs.frozen
class Progressed(Input):
    """Application messages came.

    :param advanced: whether they moved the stream's position, which no repetition does.
    :param repeatable: whether another attempt may follow this connection.  Not after the first
        events of a ``POST``, unless the server gave ids or the user chose so: it may act twice.
    """

    advanced: bool = False
    repeatable: bool = True


@attrs.frozen
class Blocked(Input):
    """The inbox is full: we have stopped reading, and the peer's silence says nothing."""


@attrs.frozen
class Unblocked(Input):
    """The consumer made room: we read again."""


@attrs.frozen
class ServerRetry(Input):
    """The server set the reconnection time (SSE ``retry:``).

    :param seconds: that time.
    """

    seconds: float


@attrs.frozen
class Woken(Input):
    """The machine slept, the network changed, or the user says so: look at once."""


@attrs.frozen
class CloseRequested(Input):
    """Our side wants to end the stream.

    :param code: the WebSocket close code to give.
    """

    code: int = 1000


@attrs.frozen
class Ended(Input):
    """The attempt or the connection ended.  Judged into the three that follow.

    :param cause: why.
    """

    cause: Cause


@attrs.frozen
class Lost(Input):
    """It ended, and there will be another attempt.

    :param cause: why it ended.
    :param delay: seconds until the attempt.
    """

    cause: Cause
    delay: float


@attrs.frozen
class Failed(Input):
    """It ended, and there will be no other attempt.

    :param cause: why it ended.
    :param gave_up: which bound on attempts was reached; empty where the cause itself forbids one.
    """

    cause: Cause
    gave_up: str = ""


@attrs.frozen
class Finished(Input):
    """It ended as it should.

    :param cause: how.
    """

    cause: Cause


@attrs.frozen
class Quiet(Input):
    """``heartbeat.interval`` passed without a byte."""


@attrs.frozen
class RetryDue(Input):
    """The delay is over."""


@attrs.frozen
class Throttled(Input):
    """The delay is over, but the shared budget has no token.

    :param delay: seconds until the next look.
    """

    delay: float


# ---------------------------------------------------------------------------- actions


@attrs.frozen
class Action:
    """Base of what there is to do."""


@attrs.frozen
class Connect(Action):
    """Begin an attempt.

    :param attempt: its number since the stream began, from 1.
    :param turn: failures in a row before it, from 0: which of several URLs to use.
    """

    attempt: int
    turn: int


@attrs.frozen
class Probe(Action):
    """Ask the peer for a sign of life, if the transport can."""


@attrs.frozen
class Disconnect(Action):
    """Abandon the attempt or the connection.

    :param cause: why.
    """

    cause: Cause


@attrs.frozen
class Wait(Action):
    """Wait for ``delay`` seconds."""

    delay: float


@attrs.frozen
class Finish(Action):
    """Tell the consumer that the stream is over.

    :param cause: the one cause of CLOSED.
    :param failed: whether it is an error to the consumer.
    :param gave_up: see :class:`Failed`.
    """

    cause: Cause
    failed: bool
    gave_up: str = ""


class InvalidTransition(RuntimeError):
    """An input came in a state that has no row for it.  Always a bug in the driver."""

    def __init__(self, state: State, event: Input) -> None:
        super().__init__(f"{type(event).__name__} has no row in state {state.name}")
        self.state = state
        self.event = event


# ---------------------------------------------------------------------------- the table

_CONNECTING, _OPEN, _HEARTBEATING = State.CONNECTING, State.OPEN, State.HEARTBEATING
_BACKOFF, _CLOSED = State.BACKOFF, State.CLOSED

TRANSITIONS: Mapping[tuple[State, type[Input]], tuple[State, tuple[type[Action], ...]]] = {
    (_CONNECTING, RequestSent): (_CONNECTING, ()),
    (_CONNECTING, Connected): (_OPEN, ()),
    (_CONNECTING, Woken): (_CONNECTING, ()),
    (_CONNECTING, Lost): (_BACKOFF, (Disconnect, Wait)),
    (_CONNECTING, Failed): (_CLOSED, (Disconnect, Finish)),
    (_CONNECTING, Finished): (_CLOSED, (Disconnect, Finish)),
    (_CONNECTING, CloseRequested): (_CLOSED, (Disconnect, Finish)),
    #
    (_OPEN, Heard): (_OPEN, ()),
    (_OPEN, Progressed): (_OPEN, ()),
    (_OPEN, Blocked): (_OPEN, ()),
    (_OPEN, Unblocked): (_OPEN, ()),
    (_OPEN, ServerRetry): (_OPEN, ()),
    (_OPEN, Quiet): (_HEARTBEATING, (Probe,)),
    (_OPEN, Woken): (_HEARTBEATING, (Probe,)),
    (_OPEN, Lost): (_BACKOFF, (Disconnect, Wait)),
    (_OPEN, Failed): (_CLOSED, (Disconnect, Finish)),
    (_OPEN, Finished): (_CLOSED, (Disconnect, Finish)),
    (_OPEN, CloseRequested): (_CLOSED, (Disconnect, Finish)),
    #
    (_HEARTBEATING, Heard): (_OPEN, ()),
    (_HEARTBEATING, Progressed): (_OPEN, ()),
    (_HEARTBEATING, Blocked): (_HEARTBEATING, ()),
    (_HEARTBEATING, Unblocked): (_HEARTBEATING, ()),
    (_HEARTBEATING, ServerRetry): (_OPEN, ()),
    (_HEARTBEATING, Woken): (_HEARTBEATING, (Probe,)),
    (_HEARTBEATING, Lost): (_BACKOFF, (Disconnect, Wait)),
    (_HEARTBEATING, Failed): (_CLOSED, (Disconnect, Finish)),
    (_HEARTBEATING, Finished): (_CLOSED, (Disconnect, Finish)),
    (_HEARTBEATING, CloseRequested): (_CLOSED, (Disconnect, Finish)),
    #
    (_BACKOFF, RetryDue): (_CONNECTING, (Connect,)),
    (_BACKOFF, Throttled): (_BACKOFF, (Wait,)),
    (_BACKOFF, Woken): (_CONNECTING, (Connect,)),
    (_BACKOFF, Failed): (_CLOSED, (Finish,)),
    (_BACKOFF, CloseRequested): (_CLOSED, (Finish,)),
    # CLOSED has no rows: it is final.
}
"""Every legal move: (state, input) to (state, actions).  A pair without a row raises."""
