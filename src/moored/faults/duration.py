"""How long something took, for people."""

from __future__ import annotations

__all__ = ["duration"]


def duration(seconds: float) -> str:
    """``seconds`` in words: ``"0 ms"``, ``"250 ms"``, ``"1.25 s"``, ``"90 s"``.

    Whole milliseconds below one second, at most two decimals from there on.
    """
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
