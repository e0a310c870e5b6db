"""What a limiter on Redis tells about its server."""

from __future__ import annotations

from typing import TypeAlias

import attrs

__all__ = ["RedisEvent", "RedisLost", "RedisRecovered"]


@attrs.frozen
class RedisLost:
    """Redis cannot be used, and the limiter falls back to what ``fail`` says.

    :param limiter: the limiter's name.
    :param reason: what is wrong.
    :param fail: what it does now: ``"local"``, ``"open"`` or ``"closed"``.
    """

    limiter: str
    reason: str
    fail: str


@attrs.frozen
class RedisRecovered:
    """Redis answers again, and the limit is shared again.

    :param limiter: the limiter's name.
    :param lost_for: seconds since it was lost.
    """

    limiter: str
    lost_for: float


RedisEvent: TypeAlias = RedisLost | RedisRecovered
"""What is passed to ``on_event``."""
