"""Where messages end in the payload that passes from server to client, by kind of payload."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from moored.faults.frames import CLOSE, PONG, Frame, FrameSplitter

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

    :ivar found: the frames that end in the bytes scanned last.
    :ivar pongs: offset of the end, and payload, of the pongs in the bytes scanned last.
    :ivar closing: whether a close frame was seen.
    """

    def __init__(self) -> None:
        self._splitter = FrameSplitter()
        self.found: list[Frame] = []
        self.pongs: list[tuple[int, bytes]] = []
        self.closing: bool = False

    @property
    def at_boundary(self) -> bool:
        """Whether the bytes so far end where a frame ends."""
        return self._splitter.at_boundary

    def scan(self, data: bytes) -> Boundaries:
        """Find the ends of frames, and of data messages."""
        frames = self.found = self._splitter.feed(data)
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

    :ivar blocks: where blocks end in the bytes scanned last, and whether each is a message.  A
        comment before a block is one by itself.
    """

    at_boundary = True

    def __init__(self) -> None:
        self._line = b""  # the beginning of the unfinished line
        self._first = True
        self._has_data = False
        self._between = True  # nothing but comments since the last blank line
        self._after_cr = False
        self.blocks: list[tuple[int, bool]] = []

    def scan(self, data: bytes) -> Boundaries:
        """Find the ends of events."""
        blocks = self.blocks = []
        start = 0
        if self._after_cr and data[:1] == b"\n":
            start = 1  # The second half of a CRLF that was cut in two.
            if self._between:
                blocks.append((1, False))
        if data:
            self._after_cr = data.endswith(b"\r")
        for match in _LINE_END.finditer(data, start):
            ended = self._end_line(data[start : min(match.start(), start + _FIELD)])
            if ended is not None:
                blocks.append((match.end(), ended))
            start = match.end()
        if len(self._line) < _FIELD:
            self._line += data[start : start + _FIELD - len(self._line)]
        return Boundaries([end for end, is_message in blocks if is_message], [])

    def _end_line(self, piece: bytes) -> bool | None:
        """Take the (rest of the beginning of the) line that ends.

        :returns: whether an event ends with it; ``None``: no block does.
        """
        line = (self._line + piece)[:_FIELD]
        self._line = b""
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if line.startswith(b":") and self._between:
            return False
        if line:
            self._between = False
            self._has_data |= line == b"data" or line.startswith(b"data:")
            return None
        ended, self._has_data, self._between = self._has_data, False, True
        return ended
