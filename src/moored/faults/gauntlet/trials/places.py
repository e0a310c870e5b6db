"""Places inside the feed, in bytes of what the proxy passes to the client."""

from __future__ import annotations

from moored.faults.feed import message
from moored.faults.gauntlet.contract import RETRY_MILLISECONDS

__all__ = ["event", "frame_bytes", "sse_bytes"]

_FRAME_HEAD = 2
"""Bytes before the payload of a frame of up to 125 bytes from a server: RFC 6455, section 5.2."""


def event(number: int) -> bytes:
    """Message ``number`` as the SSE feed sends it."""
    return f"id: {number}\ndata: {message(number)}\n\n".encode()


def sse_bytes(messages: int) -> int:
    """The size of so many first messages, as events, with what comes before them."""
    return len(f"retry: {RETRY_MILLISECONDS}\n") + sum(
        len(event(number)) for number in range(1, messages + 1)
    )


def frame_bytes(messages: int) -> int:
    """The size of so many first messages, as WebSocket frames."""
    return sum(_FRAME_HEAD + len(message(number)) for number in range(1, messages + 1))
