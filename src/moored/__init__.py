"""Streaming connections that stay alive, on Trio.

:func:`open_websocket` and :func:`open_sse` give a :class:`Stream` that reconnects, resumes, and
tells the truth about what it lost.
"""

from .core.backoff import RetryBudget
from .core.causes import (
    AbnormalClosure,
    Cause,
    ClosedByUs,
    Completed,
    ConnectFailed,
    HandshakeRejected,
    HeartbeatLost,
    Incomplete,
    PeerClosed,
    ProtocolViolation,
    RateLimited,
    Stalled,
    Verdict,
)
from .core.continuity import Gap
from .core.policy import Heartbeat, Policy, Reconnect
from .core.sse import EventDecoder, ServerSentEvent
from .core.transitions import State
from .errors import (
    EndOfStream,
    HookFailed,
    InternalError,
    MooredError,
    OutboxFull,
    ReceiveOnly,
    ResumeLost,
    StreamClosed,
    StreamError,
    StreamInterrupted,
)
from .stream.history import Stats, Transition
from .stream.openers import open_sse, open_stream, open_websocket
from .stream.stream import Stream
from .stream.suspend import wake_after_suspend

__version__ = "0.1.0"

__all__ = [
    "AbnormalClosure",
    "Cause",
    "ClosedByUs",
    "Completed",
    "ConnectFailed",
    "EndOfStream",
    "EventDecoder",
    "Gap",
    "HandshakeRejected",
    "Heartbeat",
    "HeartbeatLost",
    "HookFailed",
    "Incomplete",
    "InternalError",
    "MooredError",
    "OutboxFull",
    "PeerClosed",
    "Policy",
    "ProtocolViolation",
    "RateLimited",
    "ReceiveOnly",
    "Reconnect",
    "ResumeLost",
    "RetryBudget",
    "ServerSentEvent",
    "Stalled",
    "State",
    "Stats",
    "Stream",
    "StreamClosed",
    "StreamError",
    "StreamInterrupted",
    "Transition",
    "Verdict",
    "open_sse",
    "open_stream",
    "open_websocket",
    "wake_after_suspend",
]
