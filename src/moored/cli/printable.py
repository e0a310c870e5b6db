"""What others wrote, made safe for a terminal."""

from __future__ import annotations

__all__ = ["printable"]

# A model, or whoever wrote what it repeats, could otherwise move the cursor, change the window's
# title or write to the clipboard.  Control characters have pictures of their own in Unicode.
_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20)},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    ord("\n"): "\n",
    ord("\t"): "\t",
    ord("\r"): None,
}


def printable(text: str) -> str:
    """``text`` with pictures in place of its control characters; line ends and tabs stay."""
    return text.translate(_PICTURES)
