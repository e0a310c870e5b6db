"""Faults that end what a connection does, each at one moment of it."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias, get_args

import attrs

from moored.faults.catalogue.base import Fault, Payload, Towards
from moored.faults.catalogue.checks import ScheduleError, check_choice
from moored.faults.catalogue.validators import (
    COUNT,
    LINE,
    NUMBER,
    SECONDS,
    Integer,
    Number,
    Schema,
    Text,
    given,
    one_of,
)

__all__ = ["MESSAGE_PLACES", "CloseFrame", "CommentsOnly", "Cut", "Moment", "Place", "Stall"]

Place: TypeAlias = Literal[
    "after_request",
    "before_head",
    "inside_head",
    "after_head",
    "inside_chunk",
    "inside_message",
    "inside_character",
    "between_fragments",
    "before_done",
    "after_done",
]
"""A place in an exchange, by its name.

* ``after_request``: the head of the request was read, and the server never sees it: accepted, and
  never answered.
* ``before_head``: the server has answered, and the client gets nothing of it.
* ``inside_head``: the client gets the first half of the head.
* ``after_head``: right after the head, or the handshake.
* ``inside_chunk``: inside message n, with a chunk begun that says how long all of it is.  In a body
  without messages: inside the n-th piece that comes.  Only in a body that has chunks.
* ``inside_message``: half of message n has passed (an event with its blank line, a message with its
  frame headers).
* ``inside_character``: inside the first character of more than one byte of UTF-8, at or after
  message n.
* ``between_fragments``: behind the first fragment of WebSocket message n; one that came in one
  frame is split in two.
* ``before_done``: before the message ``[DONE]``.
* ``after_done``: behind ``[DONE]``, and before the end of the body, or the close frame.
"""

MESSAGE_PLACES = ("inside_chunk", "inside_message", "inside_character", "between_fragments")
"""The places that are in message n."""

_MOMENTS = ("after_messages", "after_bytes", "after_seconds", "at")
_SERVER_PLACES = ("inside_message", "inside_character", "between_fragments")
_DONE_PLACES = ("before_done", "after_done")
_CLOSE_PLACES = ("after_head", "between_fragments", *_DONE_PLACES)
_INSIDE_A_FRAME = ("inside_message", "inside_character")
_MAX_REASON_BYTES = 123


@attrs.frozen(kw_only=True, repr=False)
class Moment(Fault):
    """A fault that comes at one moment of a connection: one of the first four fields, exactly."""

    rules: ClassVar[tuple[Schema, ...]] = (
        {"oneOf": [given(field) for field in _MOMENTS]},
        {"if": given("message"), "then": one_of("at", MESSAGE_PLACES)},
        {
            "if": one_of("direction", ["to_server"]),
            "then": {
                "not": given("after_seconds"),
                "properties": {"at": {"enum": [None, *_SERVER_PLACES]}},
            },
        },
    )

    after_messages: int | None = attrs.field(default=None, validator=COUNT)
    after_bytes: int | None = attrs.field(default=None, validator=COUNT)
    after_seconds: float | None = attrs.field(default=None, validator=SECONDS)
    at: Place | None = None
    message: int | None = attrs.field(default=None, validator=NUMBER)
    direction: Towards = "to_client"

    def _check(self) -> None:
        named = [name for name in _MOMENTS if getattr(self, name) is not None]
        if len(named) != 1:
            raise ScheduleError(
                "/".join(named or _MOMENTS),
                tuple(getattr(self, name) for name in named) or None,
                "given, one of the four exactly",
            )
        check_choice("direction", self.direction, get_args(Towards))
        self._check_place()

    def _check_place(self) -> None:
        if self.at is not None:
            check_choice("at", self.at, get_args(Place))
        if self.message is not None and self.at not in MESSAGE_PLACES:
            raise ScheduleError("message", self.message, f"left out with at={self.at!r}")
        if self.direction == "to_server" and (
            self.after_seconds is not None or self.at not in (None, *_SERVER_PLACES)
        ):
            raise ScheduleError(
                "direction",
                self.direction,
                "'to_client' for a time, and for a place that only an answer has",
            )

    @property
    def in_messages(self) -> bool:
        """Whether the place can be found only by looking into messages."""
        return self.at in MESSAGE_PLACES or self.at in _DONE_PLACES

    @property
    def number(self) -> int:
        """The number of the message that the place is in."""
        return self.message or 1

    def waits(self, payload: Payload) -> bool:
        """Whether it has to come between frames, or between writes, so that it can say more."""
        return False

    def where(self) -> str:
        """The place in words, for the record; ``""`` for the other moments."""
        if self.at is None:
            return ""
        return self.at.replace("_", " ") + (
            f" {self.number}, " if self.at in MESSAGE_PLACES else ", "
        )


@attrs.frozen(kw_only=True, repr=False)
class Cut(Moment):
    """The connection is cut: no WebSocket close frame, no end of the HTTP body.

    What the client sees: everything before the cut, then the end of TCP.  With ``how="fin"`` that
    is an orderly end of file; with ``"rst"`` a reset, so that reading and writing fail with
    ``ECONNRESET``.  A WebSocket client reports close code 1006.  The proxy lets what it passed on
    reach the client's kernel first (for at most a second), so that a reset destroys no message
    that was counted, except with a client that does not read.

    Exactly one of:

    :ivar after_messages: after so many messages from server to client: WebSocket data messages
        (whole ones, fragments are one message, control frames none) or SSE events that have data,
        with their blank line.  0: right after the handshake, or the head of the HTTP answer.
    :ivar after_bytes: after so many bytes from server to client, counted after the head: of the
        body without its chunk framing, or of WebSocket frames, headers included.
    :ivar after_seconds: so many seconds after the connection was accepted.
    :ivar at: at a place that has a name: ``"after_request"``, ``"before_head"``,
        ``"inside_head"``, ``"after_head"``, ``"inside_chunk"``, ``"inside_message"``,
        ``"inside_character"``, ``"between_fragments"``, ``"before_done"`` or ``"after_done"``.
        The how-to guide about faults says where each is.

    And:

    :ivar message: for a place in a message, its number as the server sent them; 1 by default.
    :ivar direction: ``"to_client"`` (default), or ``"to_server"``: messages, bytes and places are
        those of what the client sends behind the head of its request.
    :ivar how: ``"fin"`` (default) or ``"rst"``.
    """

    kind: ClassVar[str] = "cut"

    how: Literal["fin", "rst"] = "fin"

    def _check(self) -> None:
        check_choice("how", self.how, ("fin", "rst"))
        super()._check()


@attrs.frozen(kw_only=True, repr=False)
class Stall(Moment):
    """The socket stays up and nothing flows any more, in either direction, until the client leaves.

    What the client sees: everything before, and then silence, or nothing but pongs.  What it sends
    is read and thrown away.  The upstream is left connected and unread.
    ``Stall(at="after_request")`` accepts and never answers.

    :ivar after_messages: as for :class:`Cut`.
    :ivar after_bytes: as for :class:`Cut`.
    :ivar after_seconds: as for :class:`Cut`.
    :ivar at: as for :class:`Cut`.
    :ivar message: as for :class:`Cut`.
    :ivar direction: as for :class:`Cut`.
    :ivar pings: WebSocket only.  ``"answered"`` (default): the proxy itself answers the client's
        pings, so the peer seems alive, and makes no progress.  A frame that the client has part of
        is finished first, since a pong can only stand between frames; a place inside a frame is
        kept, and no ping is answered there.  ``"swallowed"``: no pongs, and the stall comes at
        once, if need be inside a frame.
    """

    kind: ClassVar[str] = "stall"

    pings: Literal["answered", "swallowed"] = "answered"

    def _check(self) -> None:
        check_choice("pings", self.pings, ("answered", "swallowed"))
        super()._check()

    @property
    def answers_pings(self) -> bool:
        """Whether pongs can come after it."""
        return self.pings == "answered" and self.at not in _INSIDE_A_FRAME

    def waits(self, payload: Payload) -> bool:
        """For the end of the frame, if a pong is to come behind it."""
        return payload == "websocket" and self.answers_pings


@attrs.frozen(kw_only=True, repr=False)
class CommentsOnly(Moment):
    """SSE only: from one moment on nothing comes but comments, until the client leaves.

    What the client sees: the events before, then the line ``: comment`` every ``interval``
    seconds, for ever: bytes that show a live connection, and no event.

    :ivar after_messages: as for :class:`Cut`.
    :ivar after_bytes: as for :class:`Cut`.
    :ivar after_seconds: as for :class:`Cut`; before the head has passed, it does nothing.
    :ivar at: ``"after_head"``, ``"before_done"`` or ``"after_done"``.
    :ivar interval: seconds between comments, more than 0; 1 by default.  The first comes at once.
    :ivar comment: the text of each.
    """

    kind: ClassVar[str] = "comments_only"
    payloads: ClassVar[tuple[Payload, ...]] = ("sse",)
    rules: ClassVar[tuple[Schema, ...]] = (
        {
            "properties": {
                "at": {"enum": [None, "after_head", *_DONE_PLACES]},
                "direction": {"const": "to_client"},
            }
        },
    )

    interval: float = attrs.field(default=1.0, validator=Number(positive=True))
    comment: str = attrs.field(default="comment", validator=LINE)

    def _check(self) -> None:
        if self.at not in (None, "after_head", *_DONE_PLACES):
            raise ScheduleError("at", self.at, "'after_head' or 'before_done' or 'after_done'")
        if self.direction != "to_client":
            raise ScheduleError("direction", self.direction, "'to_client'")
        super()._check()

    def waits(self, payload: Payload) -> bool:
        """For what is being sent: a comment cannot stand inside a chunk that was begun."""
        return True


@attrs.frozen(kw_only=True, repr=False)
class CloseFrame(Moment):
    """WebSocket only: the server seems to close, with any code and reason, or without a code.

    What the client sees: everything before, then a close frame, which is no reflection of what the
    server did.  Its answer is waited for (for at most two seconds); then comes the end of TCP.

    :ivar after_messages: as for :class:`Cut`.
    :ivar after_bytes: as for :class:`Cut`, at the end of the frame that those bytes end in.
    :ivar after_seconds: as for :class:`Cut`, at the end of a frame.
    :ivar at: ``"after_head"``, ``"between_fragments"``, ``"before_done"`` or ``"after_done"``.
    :ivar code: 0 to 65535, also those that may not be sent (such as 1005, 1006 or 0); ``None``: a
        close frame without a code.  1000 by default.
    :ivar reason: at most 123 bytes of UTF-8; empty by default.
    """

    kind: ClassVar[str] = "close_frame"
    payloads: ClassVar[tuple[Payload, ...]] = ("websocket",)
    rules: ClassVar[tuple[Schema, ...]] = (
        {
            "properties": {
                "at": {"enum": [None, *_CLOSE_PLACES]},
                "direction": {"const": "to_client"},
                # Of bytes, which JSON Schema does not count: they are no fewer than characters.
                "reason": {"maxLength": _MAX_REASON_BYTES},
            }
        },
        {
            "if": one_of("code", [None]),
            "then": {"properties": {"reason": {"const": ""}}},
        },
    )

    code: int | None = attrs.field(default=1000, validator=Integer(0, 65535, nullable=True))
    reason: str = attrs.field(default="", validator=Text())

    def _check(self) -> None:
        if len(self.reason.encode()) > _MAX_REASON_BYTES:
            raise ScheduleError("reason", self.reason, f"at most {_MAX_REASON_BYTES} bytes")
        if self.reason and self.code is None:
            raise ScheduleError("reason", self.reason, "empty without a code")
        if self.at not in (None, *_CLOSE_PLACES):
            raise ScheduleError("at", self.at, " or ".join(map(repr, _CLOSE_PLACES)))
        if self.direction != "to_client":
            raise ScheduleError("direction", self.direction, "'to_client'")
        super()._check()

    @property
    def payload(self) -> bytes:
        """The payload of the frame."""
        if self.code is None:
            return b""
        return self.code.to_bytes(2, "big") + self.reason.encode()

    def waits(self, payload: Payload) -> bool:
        """For the end of the frame."""
        return True
