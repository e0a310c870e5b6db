"""How faults are told on one line."""

from __future__ import annotations

from moored.faults import Cut, Injected, Refuse, Stall
from moored.faults.duration import duration

__all__ = ["injected_words"]


def injected_words(injected: Injected, *, pings: bool) -> str:
    """What was injected and where, such as ``cut (RST) after 3 messages, 120 bytes``.

    :param pings: whether the connection is one that has pings.
    """
    match injected.fault:
        case Refuse(status=status, retry_after=None):
            return f"status {status}"
        case Refuse(status=status, retry_after=float() | int() as seconds, retry_after_as="date"):
            return f"status {status}, Retry-After: the date in {duration(seconds)}"
        case Refuse(status=status, retry_after=seconds):
            return f"status {status}, Retry-After: {seconds}"
        case Cut(how=how):
            words = f"cut ({how.upper()})"
        case Stall(pings=how_pings) if pings:
            words = f"stall (pings {how_pings})"
        case fault:
            words = fault.kind
    return f"{words} {injected.detail}"
