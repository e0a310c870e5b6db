"""Where messages end in the payload that passes from server to client, by kind of payload."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from moored.faults.frames import CLOSE, PONG, FrameSplitter

__all__ = ["Boundaries", "EventScanner", "FrameScanner", "PlainScanner", "Scanner"]

_LINE_END = re.compile(rb"\r\n?|\n")
_BOM = b"\xef\xbb\xbf"
_FIELD = 8  # BOM, "data" and one more: what is needed to know a line's field


class Boundaries(NamedTuple):
    """Offsets in the bytes scanned last, each just after what it ends.

    :ivar messages: ends of messages.
    :ivar frames: ends of anything between which other bytes may be put; only WebSocket has such.
    """

    messages: list[int]
    frames: list[int]


class Scanner(Protocol):
    """Looks at passing bytes, in any cut, and keeps none of them."""

    @property
    def at_boundary(self) -> bool:
        """Whether other bytes may be put behind those seen so far."""
        ...

    def scan(self, data: bytes) -> Boundaries:
        """Look at the next bytes."""
        ...


class PlainScanner:
    """For a body that has no messages in it."""

    at_boundary = True

    def scan(self, data: bytes) -> Boundaries:
        """Find nothing."""
        return Boundaries([], [])


class FrameScanner:
    """For WebSocket frames.

    :ivar pongs: offset of the end, and payload, of the pongs in the bytes scanned last.
    :ivar closing: whether a close frame was seen.
    """

    def __init__(self) -> None:
        self._splitter = FrameSplitter()
        self.pongs: list[tuple[int, bytes]] = []
        self.closing: bool = False

    @property
    def at_boundary(self) -> bool:
        """Whether the bytes so far end where a frame ends."""
        return self._splitter.at_boundary

    def scan(self, data: bytes) -> Boundaries:
        """Find the ends of frames, and of data messages."""
        frames = self._splitter.feed(data)
        self.pongs = [(frame.end, frame.payload) for frame in frames if frame.opcode == PONG]
        self.closing |= any(frame.opcode == CLOSE for frame in frames)
        return Boundaries(
            [frame.end for frame in frames if frame.ends_message],
            [frame.end for frame in frames],
        )


class EventScanner:
    """For an event stream: finds the blank line of each event that has data.

    A block of comments alone, or of an ``id`` or ``retry`` alone, is no message: no client shows
    it.  Lines end as the HTML standard says: CR, LF or CRLF.
    """

    at_boundary = True

    def __init__(self) -> None:
        self._line = b""  # the beginning of the unfinished line
        self._first = True
        self._has_data = False
        self._after_cr = False

    def scan(self, data: bytes) -> Boundaries:
        """Find the ends of events."""
        ends: list[int] = []
        start = 0
        if self._after_cr and data[:1] == b"\n":
            start = 1  # The second half of a CRLF that was cut in two.
        if data:
            self._after_cr = data.endswith(b"\r")
        for match in _LINE_END.finditer(data, start):
            if self._end_line(data[start : min(match.start(), start + _FIELD)]):
                ends.append(match.end())
            start = match.end()
        if len(self._line) < _FIELD:
            self._line += data[start : start + _FIELD - len(self._line)]
        return Boundaries(ends, [])

    def _end_line(self, piece: bytes) -> bool:
        """Take the (rest of the beginning of the) line that ends; true if an event ends with it."""
        line = (self._line + piece)[:_FIELD]
        self._line = b""
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if line:
            self._has_data |= line == b"data" or line.startswith(b"data:")
            return False
        ended, self._has_data = self._has_data, False
        return ended
