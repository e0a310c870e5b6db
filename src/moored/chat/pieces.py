"""The pieces in which the texts of an answer come, and characters that were cut in half.  No I/O.

JSON can hold one half of a UTF-16 surrogate pair.  A server that counts in UTF-16 may end one piece
with ``\\ud83d`` and begin the next one of the same text with ``\\ude00``.  Alone neither can be
encoded; together they are one character (RFC 8259, 8.2).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from .answer import Answer
from .events import ChatEvent, Reasoning, Refusal, Text, ToolCallDelta

__all__ = ["Kind", "Pieces", "repaired"]

Kind: TypeAlias = Literal["text", "reasoning", "refusal", "arguments"]

_REPLACEMENT = "\ufffd"


class Pieces:
    """Puts pieces into an answer, and makes events of them.

    :param answer: the answer.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        #: The first halves of characters: held back until the next piece of the same text.
        self.held: dict[tuple[Kind, int, int], str] = {}

    def add(
        self, kind: Kind, piece: str, events: list[ChatEvent], number: int = 0, place: int = 0
    ) -> None:
        """The next piece of a text came.

        :param number: of which choice.
        :param place: of which of its tool calls, or other texts of one kind.
        """
        if self.held or not piece.isascii():
            piece = self.join(kind, piece, number, place)
        if piece:
            self.put(kind, piece, events, number, place)

    def join(self, kind: Kind, piece: str, number: int = 0, place: int = 0) -> str:
        """What of a piece can be given now, with what was held back before it; maybe ``""``."""
        if not self.held and piece.isascii():
            return piece
        key = (kind, number, place)
        piece = self.held.pop(key, "") + piece
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            self.held[key] = piece[-1]
            piece = piece[:-1]
        return repaired(piece)

    def end(self, events: list[ChatEvent], number: int | None = None) -> None:
        """Nothing more comes, of one choice or of all: half a character stays half of one."""
        for key in [*self.held]:
            kind, of, place = key
            if number is None or of == number:
                del self.held[key]
                self.put(kind, _REPLACEMENT, events, of, place)

    def forget(self, kind: Kind, place: int | None = None) -> None:
        """The whole of a text came, or of all of a kind, in which no character is cut."""
        for key in [*self.held]:
            if key[0] == kind and place in (None, key[2]):
                del self.held[key]

    def put(
        self, kind: Kind, piece: str, events: list[ChatEvent], number: int = 0, place: int = 0
    ) -> None:
        """A piece in which no character is cut came."""
        choice = self._answer.choice(number)
        if kind == "text":
            choice.add_text(piece)
            events.append(Text(piece, number))
        elif kind == "reasoning":
            choice.add_reasoning(piece)
            events.append(Reasoning(piece, number))
        elif kind == "refusal":
            choice.add_refusal(piece)
            events.append(Refusal(piece, number))
        else:
            choice.add_arguments(place, piece)
            events.append(ToolCallDelta(place, piece, choice=number))


def repaired(text: str) -> str:
    """``text`` with its pairs joined, and U+FFFD for each half that is alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
