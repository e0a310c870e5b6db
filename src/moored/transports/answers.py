"""What an HTTP answer that is not the stream means."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from moored.core.backoff import retry_after_of
from moored.core.causes import HandshakeRejected, RateLimited

__all__ = ["MAX_BODY_BYTES", "body_timeout", "header_pairs", "rejection"]

MAX_BODY_BYTES = 64 * 1024
"""How much of a rejection's body is kept."""

REJECTION_BODY_TIMEOUT = 2.0
"""Seconds to wait for a rejection's body: the status is what counts, and some never end."""


def body_timeout() -> float:
    """The same within what is left of the attempt: the status must not be lost over its body."""
    left = trio.current_effective_deadline() - trio.current_time()
    return max(0.0, min(REJECTION_BODY_TIMEOUT, left / 2))


def header_pairs(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """Headers as text, names in lower case."""
    return tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers
    )


def rejection(
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes | bytearray,
    *,
    wall_time: float,
    detail: str = "",
) -> HandshakeRejected:
    """The cause that an answer amounts to.

    :param wall_time: the present, in seconds since the epoch, for ``Retry-After`` dates.
    """
    pairs = header_pairs(headers)
    after = retry_after_of(pairs, wall_time=wall_time)
    body = bytes(body[:MAX_BODY_BYTES])
    kind = RateLimited if status == 429 else HandshakeRejected
    return kind(status=status, headers=pairs, body=body, retry_after=after, detail=detail)
