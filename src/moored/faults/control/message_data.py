"""Messages as the feed tells of them: one by one, or together where they are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from moored.faults.message_log import PassedMessages

__all__ = ["MAX_RATE", "TOGETHER", "gathered"]

MAX_RATE = 200.0
"""Messages a second of one proxy, up to which each is told of."""

TOGETHER = 0.05
"""Seconds whose messages are told of together above that, for each connection and direction."""


def gathered(
    passed: Sequence[PassedMessages], seconds: float
) -> tuple[Sequence[PassedMessages], bool]:
    """What is to be told of ``passed``, and whether messages of several times are one there.

    :param seconds: how long they took to come.
    """
    if sum(each.messages for each in passed) <= MAX_RATE * seconds:
        return passed, False
    counts: Counter[tuple[int, int, str]] = Counter()
    first: dict[tuple[int, int, str], PassedMessages] = {}
    for each in passed:
        key = (int(each.time / TOGETHER), each.connection, each.direction)
        first.setdefault(key, each)
        counts[key] += each.messages
    found = [each._replace(messages=counts[key]) for key, each in first.items()]
    return found, len(found) < len(passed)
