"""The contract between the gauntlet and a client, in figures.

docs/gauntlet.md tells it in words.
"""

from __future__ import annotations

__all__ = [
    "BACKOFF_INITIAL",
    "BACKOFF_MAXIMUM",
    "CONNECT_TIMEOUT",
    "GRACE",
    "KEEPALIVE",
    "MAX_CONNECTIONS_PER_SECOND",
    "MAX_LINE_BYTES",
    "MAX_OUTPUT_BYTES",
    "RETRY_AFTER_MAXIMUM",
    "RETRY_MILLISECONDS",
    "SILENCE",
    "backoff",
]

SILENCE = 1.0
"""Seconds without a message after which a client should take its connection for dead.

The feed has one every 0.05 s, and no trial lets a sound connection be quiet for longer than half of
this."""

CONNECT_TIMEOUT = 1.0
"""Seconds that a client should wait for an answer to its request or handshake."""

BACKOFF_INITIAL = 0.2
"""Seconds of the first delay before another attempt; they double from one failure to the next."""

BACKOFF_MAXIMUM = 1.0
"""Seconds of the longest delay of the client's own."""

RETRY_AFTER_MAXIMUM = 3.0
"""Seconds of Retry-After that a client should obey; what asks for more, it should cut to this."""

MAX_CONNECTIONS_PER_SECOND = 8
"""A client that begins more connections than this within a second retries too eagerly.

With the delays above, it takes much luck with the jitter to come near it."""

KEEPALIVE = 0.4
"""Seconds of quiet after which the SSE feed sends a comment."""

RETRY_MILLISECONDS = 200
"""What the SSE feed sends as ``retry:``, for clients that leave their backoff to the server."""

GRACE = 0.6
"""Seconds that the WebSocket feed waits for a resume message before it begins at the start."""

MAX_LINE_BYTES = 200
"""A longer line of output is no id, and ends the trial."""

MAX_OUTPUT_BYTES = 64 * 1024
"""More output than this is a flood, and ends the trial."""


def backoff(failures: int) -> float:
    """Seconds that a client with these settings waits on average over ``failures`` in a row.

    With full jitter, each delay is half its bound on average.
    """
    bounds = (min(BACKOFF_MAXIMUM, BACKOFF_INITIAL * 2.0**n) for n in range(failures))
    return sum(bounds) / 2
