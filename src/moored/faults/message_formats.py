"""Whole messages of either kind, held back until they are complete: SSE events, WebSocket messages.

What is not touched goes out as the very bytes that came.
"""

from __future__ import annotations

import re
from typing import ClassVar, NamedTuple, Protocol

from moored.faults.catalogue.base import Payload
from moored.faults.raw_frames import (
    CONTINUATION,
    KEY,
    TEXT,
    RawFrame,
    frames_of,
    join_frames,
)
from moored.faults.scanners import EventScanner, FrameScanner

__all__ = [
    "MAX_HELD_BYTES",
    "EventFormat",
    "FrameFormat",
    "MessageFormat",
    "PieceFormat",
    "Unit",
    "inside_character",
]

MAX_HELD_BYTES = 16 * 1024 * 1024
"""How much of one message is held back; a larger one passes as it comes."""

_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n)")
_BOM = b"\xef\xbb\xbf"
_FIN = 0x80


class Unit(NamedTuple):
    """What is passed on in one go.

    :ivar parts: the frames, control frames among them; or one block of an event stream.
    :ivar ends_message: whether a message ends with it.
    :ivar whole: whether nothing of it has gone out already.
    """

    parts: tuple[bytes, ...]
    ends_message: bool
    whole: bool = True

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self.parts)


class MessageFormat(Protocol):
    """How messages are told apart, read and made."""

    payload: ClassVar[Payload]

    def hold(self, data: bytes) -> list[Unit]:
        """Take the next bytes, and give what is complete with them."""
        ...

    def rest(self) -> bytes:
        """Give what is still held back, at the end."""
        ...

    def text(self, message: bytes) -> bytes:
        """What a client gets to see of ``message``."""
        ...

    def with_text(self, message: bytes, text: bytes) -> bytes:
        """``message`` with another text."""
        ...

    def make(self, text: bytes, *, event: str = "", id: str | None = None) -> bytes:
        """A message of our own."""
        ...

    def middle(self, message: bytes) -> int:
        """An offset inside ``message``."""
        ...

    def character(self, message: bytes) -> int | None:
        """An offset inside its first character of several bytes, if it has one."""
        ...


class _Holder:
    """Holds parts back until their unit is complete, or too large."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._part = bytearray()
        self._size = 0
        self._passing = False  # the beginning of this unit has gone out

    def part(self, data: bytes) -> None:
        """A part ends with ``data``."""
        self._parts.append(bytes(self._part + data))
        self._part.clear()
        self._size += len(data)

    def complete(self, *, message: bool) -> Unit:
        """The unit ends here."""
        unit = Unit(tuple(self._parts), message, not self._passing)
        self._parts, self._size, self._passing = [], 0, False
        return unit

    def keep(self, data: bytes) -> list[Unit]:
        """Keep the beginning of a part; what is given is too large to be kept."""
        self._part += data
        self._size += len(data)
        if self._size <= MAX_HELD_BYTES and not self._passing:
            return []
        return [Unit((self.rest(),), False, whole=False)] if self._size else []

    def rest(self) -> bytes:
        """All that is kept."""
        held = b"".join([*self._parts, self._part])
        self._parts, self._size, self._passing = [], 0, True
        self._part.clear()
        return held


class EventFormat:
    """Events, each a block of lines that ends with a blank one."""

    payload: ClassVar[Payload] = "sse"

    def __init__(self) -> None:
        self._scanner = EventScanner()
        self._holder = _Holder()

    def hold(self, data: bytes) -> list[Unit]:
        """Give the blocks that end, and the comments before the next."""
        self._scanner.scan(data)
        units, start = [], 0
        for end, is_message in self._scanner.blocks:
            self._holder.part(data[start:end])
            units.append(self._holder.complete(message=is_message))
            start = end
        return units + self._holder.keep(data[start:])

    def rest(self) -> bytes:
        """The block that has not ended."""
        return self._holder.rest()

    def text(self, message: bytes) -> bytes:
        """The lines of its data."""
        values = (value for name, value, _ in _fields(message) if name == b"data")
        return b"\n".join(value.removeprefix(b" ") for value in values)

    def with_text(self, message: bytes, text: bytes) -> bytes:
        """The same fields in their places, with other data."""
        lines, placed = [], False
        for name, _, line in _fields(message):
            if name != b"data":
                lines.append(line)
            elif not placed:
                placed = True
                end = line[len(line.rstrip(b"\r\n")) :]
                lines += [b"data: " + part + end for part in text.split(b"\n")]
        return b"".join(lines)

    def make(self, text: bytes, *, event: str = "", id: str | None = None) -> bytes:
        """An event; more lines of text are more lines of data."""
        lines = [b"event: " + event.encode()] if event else []
        lines += [b"id: " + id.encode()] if id is not None else []
        lines += [b"data: " + part for part in text.split(b"\n")]
        return b"\n".join([*lines, b"", b""])

    def middle(self, message: bytes) -> int:
        """Half of it."""
        return len(message) // 2

    def character(self, message: bytes) -> int | None:
        """Inside a character anywhere in it."""
        start = len(_BOM) if message.startswith(_BOM) else 0
        return inside_character(message, start)


def _fields(block: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Name, value (with its space) and whole line, of each line of a block."""
    fields = []
    for match in _LINE.finditer(block):
        line = match[1].removeprefix(_BOM) if match.start() == 0 else match[1]
        name, _, value = line.partition(b":")
        fields.append((name, value, match[0]))
    return fields


def inside_character(data: bytes, start: int = 0) -> int | None:
    """An offset inside the first character of several bytes of UTF-8."""
    for offset in range(start, len(data)):
        if data[offset] >= 0xC2:
            return offset + 1 if offset + 1 < len(data) else None
    return None


class FrameFormat:
    """WebSocket messages, of one frame or of several.

    :param masked: whether the frames are a client's.
    """

    payload: ClassVar[Payload] = "websocket"

    def __init__(self, *, masked: bool = False) -> None:
        self._scanner = FrameScanner()
        self._holder = _Holder()
        self._key = KEY if masked else b""
        self._inside = False

    def hold(self, data: bytes) -> list[Unit]:
        """Give the messages that end, and the control frames between them."""
        self._scanner.scan(data)
        units, start = [], 0
        for frame in self._scanner.found:
            self._holder.part(data[start : frame.end])
            start = frame.end
            if not frame.is_control:
                self._inside = not frame.fin
            if not self._inside:
                units.append(self._holder.complete(message=frame.ends_message))
        return units + self._holder.keep(data[start:])

    def rest(self) -> bytes:
        """The message that has not ended."""
        return self._holder.rest()

    def text(self, message: bytes) -> bytes:
        """The payload of all its frames."""
        return b"".join(frame.payload for frame in frames_of(message) if not frame.is_control)

    def with_text(self, message: bytes, text: bytes) -> bytes:
        """One frame with another payload, behind the control frames that were inside."""
        frames = frames_of(message)
        data = next(frame for frame in frames if not frame.is_control)
        control = [frame for frame in frames if frame.is_control]
        return join_frames([*control, RawFrame(data.first | _FIN, text, data.key)])

    def make(self, text: bytes, *, event: str = "", id: str | None = None) -> bytes:
        """A text message; it has no type and no id."""
        return RawFrame(_FIN | TEXT, text, self._key).to_bytes()

    def middle(self, message: bytes) -> int:
        """Half of the payload of its first frame has passed."""
        first = frames_of(message)[0]
        return first.header_size + len(first.payload) // 2 if first.payload else 1

    def character(self, message: bytes) -> int | None:
        """Inside a character of the payload of a frame."""
        start = 0
        for frame in frames_of(message):
            found = None if frame.is_control else inside_character(frame.payload)
            if found is not None:
                return start + frame.header_size + found
            start += frame.header_size + len(frame.payload)
        return None

    @staticmethod
    def first_fragment(data: bytes) -> int | None:
        """The end of the first frame in ``data`` if it is a fragment, and not the last.

        A last fragment alone is behind one that was a piece of its own, and has none.
        """
        start = 0
        for frame in frames_of(data):
            start += frame.header_size + len(frame.payload)
            if not frame.is_control:
                return None if frame.fin else start
        return None

    @staticmethod
    def fragments(message: bytes, count: int) -> list[bytes]:
        """The message in ``count`` fragments, of sizes as equal as can be."""
        frames = frames_of(message)
        data = [frame for frame in frames if not frame.is_control]
        control = join_frames(frame for frame in frames if frame.is_control)
        payload = b"".join(frame.payload for frame in data)
        edges = [len(payload) * n // count for n in range(count + 1)]
        parts = []
        for n in range(count):
            first = data[0].first if n == 0 else CONTINUATION
            part = RawFrame(first, payload[edges[n] : edges[n + 1]], data[0].key)
            parts.append(part.ending(fin=n == count - 1).to_bytes())
        return [control + parts[0], *parts[1:]]


class PieceFormat:
    """A body without messages: each piece, as it comes, stands for one."""

    payload: ClassVar[Payload] = "http"

    def hold(self, data: bytes) -> list[Unit]:
        """Nothing is held."""
        return [Unit((data,), ends_message=True)] if data else []

    def rest(self) -> bytes:
        """Nothing."""
        return b""

    def text(self, message: bytes) -> bytes:
        """All of it."""
        return message

    def with_text(self, message: bytes, text: bytes) -> bytes:
        """The other text."""
        return text

    def make(self, text: bytes, *, event: str = "", id: str | None = None) -> bytes:
        """The text."""
        return text

    def middle(self, message: bytes) -> int:
        """Half of it."""
        return len(message) // 2

    def character(self, message: bytes) -> int | None:
        """Inside a character anywhere in it."""
        return inside_character(message)
