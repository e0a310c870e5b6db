"""Carrying out the faults that need whole messages: edits, places in messages, control frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import attrs

from moored.faults.catalogue.base import Fault, Towards
from moored.faults.catalogue.http import GzipCut
from moored.faults.catalogue.messages import MessageEdit, Piece, Swap
from moored.faults.catalogue.moments import Moment
from moored.faults.catalogue.websocket import IgnoreClose, LatePongs, SwallowPings
from moored.faults.duration import duration
from moored.faults.frames import CLOSE, PING, PONG
from moored.faults.message_formats import FrameFormat, MessageFormat, Unit

__all__ = ["Editing", "Effect", "Output"]

MAX_PIECES = 100_000
"""No more edits of a message that has become so many pieces: copies of copies of copies."""

_DONE = b"[DONE]"
_CONTROL_BIT = 0x08


class Effect(NamedTuple):
    """A fault that took effect.

    :ivar detail: where, in words.
    :ivar message: the number of the message that it edited, as its sender counts, or ``None``.
    """

    fault: Fault
    detail: str
    message: int | None = None


class Output(NamedTuple):
    """What comes out: bytes to pass on, and what happens with them.

    :ivar size: how many bytes a chunk that holds them says that it has, if not as many as they are.
    :ivar injected: faults that took effect with these bytes.
    :ivar strike: what strikes behind them.
    :ivar pause: seconds to wait before them.
    :ivar delay: seconds after which they pass, while others do; ``None``: in their turn.
    """

    data: bytes
    size: int | None = None
    injected: tuple[Effect, ...] = ()
    strike: Moment | GzipCut | None = None
    pause: float = 0.0
    delay: float | None = None


@attrs.define
class _Message:
    """A message on its way: the pieces it comes out as, and what was done to it."""

    number: int
    pieces: list[Piece]
    injected: list[Effect] = attrs.Factory(list)


class _Hit(NamedTuple):
    """A fault that strikes inside the pieces of a message."""

    piece: int
    offset: int
    fault: Moment | GzipCut


class Editing:
    """One direction of one connection, message by message.

    Messages are held back until they are whole, as long as a fault may still want one.

    :param form: how messages are told apart.
    :param faults: those that need messages, with their places in the schedule.
    :param take: lets one of them take effect once, if it still may.
    :param is_spent: tells whether it may not any more.
    :param elapsed: seconds since the connection was accepted.

    :ivar peer: the other direction, if it is edited too.
    :ivar deaf: the client's close frame was ignored, and so is all that comes behind it.
    :ivar unedited: messages that a fault aimed at, and that were too large.
    """

    def __init__(
        self,
        direction: Towards,
        form: MessageFormat,
        faults: Iterable[tuple[int, Fault]],
        *,
        take: Callable[[int], bool],
        is_spent: Callable[[int], bool],
        elapsed: Callable[[], float],
    ) -> None:
        self._direction = direction
        self._form = form
        self._faults = list(faults)
        self._take = take
        self._is_spent = is_spent
        self._elapsed = elapsed
        self._number = 0
        self._position = 0  # of the bytes that came
        self._swapping: tuple[int, Swap, _Message] | None = None
        self.peer: Editing | None = None
        self.deaf: bool = False
        self.unedited: int = 0

    @property
    def is_over(self) -> bool:
        """Whether no fault can want a message any more, so that bytes may pass as they come."""
        if self._swapping is not None or self.deaf or (self.peer is not None and self.peer.deaf):
            return False
        return all(self._is_spent(index) or self._is_behind(fault) for index, fault in self._faults)

    def _is_behind(self, fault: Fault) -> bool:
        if isinstance(fault, MessageEdit):
            return fault.is_over(self._number)
        if isinstance(fault, GzipCut):
            return self._number >= (fault.message or 0)
        exact = ("inside_chunk", "inside_message", "between_fragments")
        return isinstance(fault, Moment) and fault.at in exact and self._number >= fault.number

    def feed(self, data: bytes) -> Iterator[Output]:
        """Take the next bytes; gives what passes now."""
        for unit in self._form.hold(data):
            yield from self._unit(unit)

    def flush(self) -> Iterator[Output]:
        """Nothing more comes, or nothing more is wanted: gives what was held back."""
        yield from self._unswapped()
        if (rest := self._form.rest()) and not self.deaf:
            yield Output(rest)

    def _unswapped(self) -> Iterator[Output]:
        """The message that waits for the one to change places with, which will not come."""
        if self._swapping is not None:
            message, self._swapping = self._swapping[2], None
            yield from self._emit(message)

    def _unit(self, unit: Unit) -> Iterator[Output]:
        parts = []
        for part in unit.parts:
            kept, late = self._control(part) if unit.whole else (not self.deaf, None)
            if kept:
                parts.append(part)
            if late is not None:
                yield late
        data = b"".join(parts)
        if isinstance(self._form, FrameFormat) and _is_close(data):
            yield from self._unswapped()
        if unit.ends_message:
            yield from self._message(data, whole=unit.whole)
        elif data:
            yield Output(data)
        self._position += len(unit.data)

    # Control frames.

    def _control(self, part: bytes) -> tuple[bool, Output | None]:
        """Whether ``part`` passes in its turn, and what passes otherwise."""
        if self.deaf:
            return False, None
        if not isinstance(self._form, FrameFormat) or not part[0] & _CONTROL_BIT:
            return True, None
        opcode = part[0] & 0x0F
        for index, fault in self._faults:
            match fault:
                case SwallowPings() if opcode == PING:
                    if self._elapsed() >= (fault.after_seconds or 0) and self._take(index):
                        return False, Output(b"", injected=(Effect(fault, "a ping"),))
                case LatePongs() if opcode == PONG and self._take(index):
                    injected = (Effect(fault, f"a pong, {duration(fault.seconds)} later"),)
                    return False, Output(part, injected=injected, delay=fault.seconds)
                case IgnoreClose() if opcode == CLOSE:
                    if self._direction == "to_client":
                        return not (self.peer and self.peer.deaf), None
                    if self._take(index):
                        self.deaf = True
                        return False, Output(b"", injected=(Effect(fault, "the client's close"),))
        return True, None

    # Messages.

    def _message(self, data: bytes, *, whole: bool) -> Iterator[Output]:
        self._number += 1
        if not whole:
            self.unedited += any(self._wants(fault) for _, fault in self._faults)
            if data:
                yield Output(data)
            return
        if not data:
            return
        message = _Message(self._number, [Piece(data)])
        swap = self._edit(message)
        if self._swapping is not None:
            swap = None  # A pair is swapped, and the next may be.
        if swap is not None:
            self._swapping = (*swap, message)
            return
        hit = self._find(message, data)
        if self._swapping is None:
            yield from self._emit(message, hit)
            return
        index, fault, held = self._swapping
        self._swapping = None
        if self._take(index):
            words = f"messages {held.number} and {self._number}"
            message.injected.append(Effect(fault, words, held.number))
            yield from self._emit(message, hit)
            if hit is None:
                yield from self._emit(held)
        else:
            yield from self._emit(held)
            yield from self._emit(message, hit)

    def _wants(self, fault: Fault) -> bool:
        if isinstance(fault, MessageEdit):
            return fault.selects(self._number, position=self._position, seconds=self._elapsed())
        if isinstance(fault, GzipCut):
            return fault.message == self._number
        return isinstance(fault, Moment)

    def _edit(self, message: _Message) -> tuple[int, Swap] | None:
        """Let every edit that aims at ``message`` do what it says; gives the swap that does."""
        swap = None
        for index, fault in self._faults:
            if not isinstance(fault, MessageEdit) or not self._wants(fault):
                continue
            if isinstance(fault, Swap):
                if swap is None and not self._is_spent(index):
                    swap = index, fault
                continue
            if len(message.pieces) > MAX_PIECES:
                self.unedited += 1
                break
            edited = [
                fault.edit(piece.data, self._form) if piece.original else [piece]
                for piece in message.pieces
            ]
            if None in edited or not any(p.original for p in message.pieces):
                continue
            if self._take(index):
                effect = Effect(fault, f"message {message.number}", message.number)
                message.injected.append(effect)
                message.pieces = [piece for pieces in edited for piece in pieces or ()]
        return swap

    def _find(self, message: _Message, came: bytes) -> _Hit | None:
        """The first fault that strikes at a place in ``message``."""
        found: list[tuple[int, int, int, Moment | GzipCut]] = []
        for index, fault in self._faults:
            if isinstance(fault, Moment | GzipCut) and not self._is_spent(index):
                spot = self._spot(fault, message, came)
                if spot is not None:
                    found.append((*spot, index, fault))
        for piece, offset, index, fault in sorted(found, key=lambda each: each[:3]):
            if self._take(index):
                return _Hit(piece, offset, fault)
        return None

    def _spot(
        self, fault: Moment | GzipCut, message: _Message, came: bytes
    ) -> tuple[int, int] | None:
        """Where ``fault`` strikes: the piece, and the offset in it."""
        place = "inside_message" if isinstance(fault, GzipCut) else fault.at
        number = (fault.message if isinstance(fault, GzipCut) else fault.number) or 1
        originals = [n for n, piece in enumerate(message.pieces) if piece.original]
        if place in ("before_done", "after_done"):
            if self._form.text(came) != _DONE:
                return None
            last = len(message.pieces) - 1
            if place == "before_done" or last < 0:
                return 0, 0
            return last, len(message.pieces[last].data)
        if not originals or message.number < number:
            return None
        if place == "inside_character":
            for n in originals:
                offset = self._form.character(message.pieces[n].data)
                if offset is not None:
                    return n, offset
            return None
        if message.number > number:
            return None
        first = originals[0]
        if place == "between_fragments":
            return self._fragment(message, first)
        return first, self._form.middle(message.pieces[first].data)

    def _fragment(self, message: _Message, first: int) -> tuple[int, int] | None:
        """Behind the first fragment; a message of one is split in two."""
        if not isinstance(self._form, FrameFormat):
            return None
        data = message.pieces[first].data
        end = FrameFormat.first_fragment(data)
        if end is None:
            parts = FrameFormat.fragments(data, 2)
            message.pieces[first] = message.pieces[first]._replace(data=b"".join(parts))
            end = len(parts[0])
        return first, end

    def _emit(self, message: _Message, hit: _Hit | None = None) -> Iterator[Output]:
        injected = tuple(message.injected)
        if not message.pieces and (injected or hit):
            yield Output(b"", injected=injected, strike=hit.fault if hit else None)
        for n, piece in enumerate(message.pieces):
            if hit is not None and n == hit.piece:
                data = piece.data[: hit.offset]
                in_chunk = isinstance(hit.fault, Moment) and hit.fault.at == "inside_chunk"
                size = len(piece.data) if in_chunk else None
                yield Output(data, size, injected, hit.fault, piece.pause)
                return
            yield Output(piece.data, injected=injected, pause=piece.pause)
            injected = ()


def _is_close(frame: bytes) -> bool:
    return frame[:1] != b"" and frame[0] & 0x0F == CLOSE
