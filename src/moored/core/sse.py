"""The wire format of Server-Sent Events: bytes in, events out.

Exactly the algorithm of the HTML standard, section 9.2.6 "Interpreting an event stream", with no
I/O.  The decoder works on whole chunks: one split into lines for each chunk, and never a loop over
characters, so an event costs about a microsecond.

Two things that most clients get wrong follow from the text of the standard:

* Only CR, LF and CRLF end a line.  ``str.splitlines`` also splits at VT, FF, NEL (U+0085) and
  U+2028, which are ordinary characters inside JSON.
* The last event id is committed by the blank line that ends a block, even if the block has no data.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

__all__ = ["DEFAULT_MAX_EVENT_BYTES", "EventDecoder", "EventTooLarge", "ServerSentEvent"]

DEFAULT_MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Default bound on one event, in bytes: 16 MiB.

The largest single events known in practice are images that AI servers send as base64 inside one
JSON object, of up to about 12 MiB of pixels.  A whole 200-page text is under 1 MiB.
"""

_BOM = b"\xef\xbb\xbf"
_MAX_RETRY_DIGITS = 18  # 10**18 ms is 31 million years: more digits say nothing more.


@attrs.frozen
class ServerSentEvent:
    """One event of a stream.

    :param event: the event's type; ``"message"`` where the server named none.
    :param data: the ``data`` lines, joined by LF.
    :param id: the last event id *as of this event*: an event without its own ``id`` line carries
        the one before it (HTML 9.2.6).
    :param retry: the reconnection time that this block set, in milliseconds, or ``None``.
    :param has_id: whether this block had an ``id`` line of its own.  It does not take part in
        comparisons.
    """

    event: str = "message"
    data: str = ""
    id: str = ""
    retry: int | None = None
    has_id: bool = attrs.field(default=False, eq=False, repr=False, kw_only=True)


class EventTooLarge(ValueError):
    """An event, or a single line, is longer than the decoder's limit.

    :ivar limit: the limit, in bytes.
    :ivar events: the events of the same chunk that were complete before it, so nothing is lost.
    """

    def __init__(self, limit: int, events: list[ServerSentEvent]) -> None:
        super().__init__(f"an event is longer than max_event_bytes={limit}")
        self.limit = limit
        self.events = events


class EventDecoder:
    """Incremental decoder: feed it the chunks of a response body, in any cut.

    :param last_event_id: the id to begin with.  A client that reconnects passes the last one here,
        so that events without an id keep it, as browsers do.
    :param max_event_bytes: bound on one event and on one line, in bytes.
    :param on_comment: called with the text of each comment line, without its colon.  Comments are
        signs of life, not events.
    :raises ValueError: when ``max_event_bytes`` is not a positive integer.
    """

    __slots__ = (
        "_data",
        "_event",
        "_failed",
        "_has_id",
        "_id",
        "_on_comment",
        "_open",
        "_retry",
        "_size",
        "_start",
        "_swallow_lf",
        "_tail",
        "_tail_size",
        "comments",
        "last_event_id",
        "max_event_bytes",
        "retry",
    )

    def __init__(
        self,
        last_event_id: str = "",
        *,
        max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES,
        on_comment: Callable[[str], object] | None = None,
    ) -> None:
        if max_event_bytes < 1:
            raise ValueError(f"max_event_bytes must be at least 1, not {max_event_bytes!r}")
        self.max_event_bytes: int = max_event_bytes
        #: The id committed by the last complete block: what a reconnection sends.
        self.last_event_id: str = last_event_id
        #: The reconnection time last set by a ``retry`` line, in milliseconds, or ``None``.
        self.retry: int | None = None
        #: How many comment lines have been seen.
        self.comments: int = 0
        self._on_comment = on_comment
        self._failed = False
        # The stream so far, until it is known whether it begins with a byte order mark.
        self._start: bytes | None = b""
        self._swallow_lf = False  # the last chunk ended in CR: an LF that comes now belongs to it
        self._tail: list[bytes] = []  # the unfinished line, in the pieces it came in
        self._tail_size = 0
        # The block so far.
        self._data: list[str] = []
        self._event = ""
        self._id = last_event_id
        self._has_id = False
        self._retry: int | None = None
        self._size = 0
        self._open = False

    @property
    def incomplete(self) -> bool:
        """Whether bytes of a block that has not ended are held, other than a comment.

        At the end of a body they are discarded, as the standard says; that they were there shows
        that the body was cut.
        """
        comment = bool(self._tail) and self._tail[0].startswith(b":")
        return self._open or (bool(self._tail) and not comment) or bool(self._start)

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Decode ``chunk`` and return the events that it completes, in order.

        :raises EventTooLarge: when an event or a line passes ``max_event_bytes``.  The decoder
            holds nothing then, and raises again if it is fed again.
        """
        if self._failed:
            raise EventTooLarge(self.max_event_bytes, [])
        if self._start is not None:
            chunk = self._strip_bom(chunk)
        if self._swallow_lf and chunk:
            self._swallow_lf = False
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
        if b"\r" in chunk:
            # A CR at the end of a chunk ends its line at once: no event waits for the next chunk.
            self._swallow_lf = chunk[-1] == 0x0D
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        rest = lines.pop()
        events: list[ServerSentEvent] = []
        if lines:
            if self._tail:
                self._tail.append(lines[0])
                lines[0] = b"".join(self._tail)
                self._tail.clear()
                self._tail_size = 0
            for line in lines:
                if not line:
                    self._dispatch(events)
                    continue
                if line.startswith(b"data: "):
                    self._open = True
                    self._size += len(line)
                    self._data.append(line[6:].decode("utf-8", "replace"))
                else:
                    self._field(line)
                # Only data lines add up, but a single line of any kind is bounded too.
                if self._size > self.max_event_bytes or len(line) > self.max_event_bytes:
                    self._fail(events)
        if rest:
            self._tail.append(rest)
            self._tail_size += len(rest)
            # Without the data lines before it: whether this line will add to them is not known yet,
            # and what is an error must not depend on the cut.
            if self._tail_size > self.max_event_bytes:
                self._fail(events)
        return events

    def _strip_bom(self, chunk: bytes) -> bytes:
        """Remove one byte order mark from the start of the stream, however it is split."""
        start = (self._start or b"") + chunk
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._start = start
            return b""
        self._start = None
        return start.removeprefix(_BOM)

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        """End the block: HTML 9.2.6, "dispatch the event"."""
        # The id counts even where there is no data.
        self.last_event_id = self._id
        if self._data:
            events.append(
                ServerSentEvent(
                    self._event or "message",
                    "\n".join(self._data) if len(self._data) > 1 else self._data[0],
                    self._id,
                    self._retry,
                    has_id=self._has_id,
                )
            )
            self._data = []
            self._size = 0
        self._event = ""
        self._has_id = False
        self._retry = None
        self._open = False

    def _field(self, line: bytes) -> None:
        """Process one line that is neither blank nor a plain ``data: `` line."""
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not name:  # the line begins with a colon
            self.comments += 1
            if self._on_comment is not None:
                self._on_comment(line[1:].decode("utf-8", "replace"))
            return
        self._open = True
        if name == b"data":
            self._size += len(line)
            self._data.append(value.decode("utf-8", "replace"))
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
                self._has_id = True
        elif name == b"retry" and value.isdigit():  # of bytes: ASCII digits only, at least one
            digits = value.lstrip(b"0")[: _MAX_RETRY_DIGITS + 1]
            self._retry = min(int(digits or b"0"), 10**_MAX_RETRY_DIGITS)
            self.retry = self._retry

    def _fail(self, events: list[ServerSentEvent]) -> None:
        self._failed = True
        self._tail.clear()
        self._data.clear()
        self._open = False
        raise EventTooLarge(self.max_event_bytes, events)
