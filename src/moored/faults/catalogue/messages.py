"""Faults that edit messages, SSE events and WebSocket messages alike, one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple, get_args

import attrs

from moored.faults.catalogue.base import Fault, Payload, Towards
from moored.faults.catalogue.checks import (
    Numbers,
    ScheduleError,
    check_choice,
    check_integer,
    contains,
    last_of,
    messages,
)
from moored.faults.catalogue.validators import (
    COUNT,
    LINE,
    NUMBERS,
    SECONDS,
    Integer,
    NumberOr,
    Schema,
    Text,
    one_of,
)
from moored.faults.message_formats import FrameFormat, MessageFormat
from moored.faults.raw_frames import KEY, TEXT, frame_header

__all__ = [
    "Drop",
    "Duplicate",
    "ErrorEvent",
    "Insert",
    "MessageEdit",
    "Oversized",
    "Piece",
    "RetryField",
    "Spoil",
    "Swap",
]

_FILLER_BYTES = 64 * 1024
_MAX_SENT_BYTES = 1024 * 1024 * 1024
_FIN = 0x80


class Piece(NamedTuple):
    """Bytes that come out of an edit.

    :ivar original: whether they are the message, which further faults may edit, or an addition.
    :ivar pause: seconds to wait before them.
    """

    data: bytes
    original: bool = True
    pause: float = 0.0


@attrs.frozen(kw_only=True, repr=False)
class MessageEdit(Fault):
    """What every fault that edits messages has: its aim.  Use one of its kinds.

    :ivar message: which messages, counted from 1 as they come from their sender: a number,
        several, a range, or ``None`` (default) for every one.  Messages are what
        :class:`~moored.faults.Cut` counts.
    :ivar after_bytes: only messages that begin after so many bytes of payload.
    :ivar after_seconds: only messages that are complete so many seconds after the connection was
        accepted, or later.
    :ivar direction: ``"to_client"`` (default), or ``"to_server"`` for WebSocket messages of the
        client.
    """

    payloads: ClassVar[tuple[Payload, ...]] = ("websocket", "sse")

    message: Numbers = attrs.field(default=None, converter=messages, metadata={"schema": NUMBERS})
    after_bytes: int | None = attrs.field(default=None, validator=COUNT)
    after_seconds: float | None = attrs.field(default=None, validator=SECONDS)
    direction: Towards = "to_client"

    def _check(self) -> None:
        check_choice("direction", self.direction, get_args(Towards))
        if self.direction == "to_server" and "websocket" not in self.payloads:
            raise ScheduleError("direction", self.direction, "'to_client' for events")

    def selects(self, number: int, *, position: int, seconds: float) -> bool:
        """Whether it aims at message ``number``, which begins at byte ``position``."""
        return (
            contains(self.message, number)
            and position >= (self.after_bytes or 0)
            and seconds >= (self.after_seconds or 0)
        )

    def is_over(self, number: int) -> bool:
        """Whether no message behind ``number`` is aimed at."""
        return last_of(self.message) <= number

    def edit(self, message: bytes, form: MessageFormat) -> Sequence[Piece] | None:
        """What passes in the place of ``message``; ``None`` where it makes no sense."""
        raise NotImplementedError


@attrs.frozen(kw_only=True, repr=False)
class Duplicate(MessageEdit):
    """A message comes more than once, with the same id.

    What the client sees: the very same bytes again, right behind the first.

    :ivar copies: how many there are in addition; 1 by default.
    """

    kind: ClassVar[str] = "duplicate"

    copies: int = attrs.field(default=1, validator=Integer(1, 1000))

    def edit(self, message: bytes, form: MessageFormat) -> Sequence[Piece]:
        """The message and its copies."""
        return [Piece(message)] * (1 + self.copies)


@attrs.frozen(kw_only=True, repr=False)
class Drop(MessageEdit):
    """A message never comes.

    What the client sees: the messages before and behind it, and nothing that tells of a gap.
    """

    kind: ClassVar[str] = "drop"

    def edit(self, message: bytes, form: MessageFormat) -> Sequence[Piece]:
        """Nothing."""
        return []


@attrs.frozen(kw_only=True, repr=False)
class Swap(MessageEdit):
    """A message and the next change places, ids and all.

    What the client sees: message n + 1, then message n.  Message n is held back until the next has
    come; if none does, it comes at the end, and nothing was swapped.
    """

    kind: ClassVar[str] = "swap"

    def edit(self, message: bytes, form: MessageFormat) -> Sequence[Piece] | None:
        """The message; who edits holds it back."""
        return [Piece(message)]


@attrs.frozen(kw_only=True, repr=False)
class Spoil(MessageEdit):
    """The text of a message is spoilt; its framing, type and id are whole.

    What the client sees: a message whose text cannot be read.  A WebSocket message that came in
    fragments comes in one frame.

    :ivar how: ``"cut"`` (default): the first half of the text, so that of JSON the end is missing;
        ``"garbled"``: all of it and one ``}`` too many, which no JSON can end with; ``"utf8"``: all
        of it and a byte 0xFF, which is not UTF-8, so that a WebSocket client has to fail the
        connection with 1007.
    """

    kind: ClassVar[str] = "spoil"

    how: Literal["cut", "garbled", "utf8"] = "cut"

    def _check(self) -> None:
        check_choice("how", self.how, ("cut", "garbled", "utf8"))
        super()._check()

    def edit(self, message: bytes, form: MessageFormat) -> Sequence[Piece]:
        """The message with the text spoilt."""
        text = form.text(message)
        if self.how == "cut":
            text = _first_half(text)
        else:
            text += b"}" if self.how == "garbled" else b"\xff"
        return [Piece(form.with_text(message, text))]


def _first_half(text: bytes) -> bytes:
    try:
        characters = text.decode()
    except UnicodeDecodeError:
        return text[: len(text) // 2]
    return characters[: len(characters) // 2].encode()


@attrs.frozen(kw_only=True, repr=False)
class Insert(MessageEdit):
    """A message that the server did not send comes before message n.

    What the client sees: one more event, or one more text message.

    :ivar data: its text; ``"inserted"`` by default.
    :ivar event: SSE only: its type; the default type if empty.
    :ivar id: SSE only: its id; ``None`` (default): without.
    """

    kind: ClassVar[str] = "insert"

    data: str = attrs.field(default="inserted", validator=Text(returns=False))
    event: str = attrs.field(default="", validator=LINE)
    id: str | None = attrs.field(default=None, validator=LINE)

    def edit(self, message: bytes, form: MessageFormat) -> Sequence[Piece]:
        """The new message, and the old one."""
        made = form.make(self.data.encode(), event=self.event, id=self.id)
        return [Piece(made, original=False), Piece(message)]


@attrs.frozen(kw_only=True, repr=False)
class ErrorEvent(MessageEdit):
    """An error in band, as AI servers send it once they have answered 200, before message n.

    What the client sees: an event, or a WebSocket text message, that holds an error.  The stream
    goes on behind it: add a :class:`~moored.faults.Cut` for one that does not.

    :ivar shape: ``"named"`` (default): ``event: error`` with ``{"type": "error", "error":
        {"type": ..., "message": ...}}``; ``"unnamed"``: an event of the default type with
        ``{"error": {"message": ..., "type": ..., "param": null, "code": null}}``.
    :ivar type: of the error; ``"server_error"`` by default.
    :ivar text: its message.
    """

    kind: ClassVar[str] = "error_event"

    shape: Literal["named", "unnamed"] = "named"
    type: str = attrs.field(default="server_error", validator=Text())
    text: str = attrs.field(
        default="The server had an error while processing your request", validator=Text()
    )

    def _check(self) -> None:
        check_choice("shape", self.shape, ("named", "unnamed"))
        super()._check()

    def edit(self, message: bytes, form: MessageFormat) -> Sequence[Piece]:
        """The error, and the message."""
        if self.shape == "named":
            data: dict[str, object] = {
                "type": "error",
                "error": {"type": self.type, "message": self.text},
            }
        else:
            data = {"error": {"message": self.text, "type": self.type, "param": None, "code": None}}
        event = "error" if self.shape == "named" else ""
        made = form.make(json.dumps(data, separators=(",", ":")).encode(), event=event)
        return [Piece(made, original=False), Piece(message)]


@attrs.frozen(kw_only=True, repr=False)
class RetryField(MessageEdit):
    """SSE only: a ``retry:`` that the server did not send, before message n.

    What the client sees: the field in a block of its own, which is no event and sets its time to
    reconnect.

    :ivar retry: milliseconds, or any text of one line, such as ``"soon"``; 0 by default.
    """

    kind: ClassVar[str] = "retry_field"
    payloads: ClassVar[tuple[Payload, ...]] = ("sse",)
    rules: ClassVar[tuple[Schema, ...]] = ({"properties": {"direction": {"const": "to_client"}}},)

    retry: int | str = attrs.field(default=0, validator=NumberOr(LINE, COUNT))

    def edit(self, message: bytes, form: MessageFormat) -> Sequence[Piece]:
        """The field, and the message."""
        return [Piece(b"retry: %b\n\n" % str(self.retry).encode(), False), Piece(message)]


@attrs.frozen(kw_only=True, repr=False)
class Oversized(MessageEdit):
    """A message of ``size`` bytes comes before message n, or its header alone.

    What the client sees: one message whose text is ``size`` times ``x``, or a frame that claims
    to have so many bytes.

    :ivar size: in bytes; 16 MiB by default.  At most 1 GiB is sent; at most 2**63 - 1 declared.
    :ivar payload: ``"sent"`` (default); or ``"missing"`` (WebSocket only): a frame header alone, so
        that whatever comes behind it reads as its payload.
    """

    kind: ClassVar[str] = "oversized"
    rules: ClassVar[tuple[Schema, ...]] = (
        {
            "if": {"not": one_of("payload", ["missing"])},
            "then": {"properties": {"size": {"maximum": _MAX_SENT_BYTES}}},
        },
    )

    size: int = attrs.field(default=16 * 1024 * 1024, validator=Integer(1, 2**63 - 1))
    payload: Literal["sent", "missing"] = "sent"

    def _check(self) -> None:
        check_choice("payload", self.payload, ("sent", "missing"))
        if self.payload == "sent":
            check_integer("size", self.size, minimum=1, maximum=_MAX_SENT_BYTES)
        super()._check()

    def edit(self, message: bytes, form: MessageFormat) -> Sequence[Piece] | None:
        """The message of that size, and the other."""
        if isinstance(form, FrameFormat):
            key = KEY if self.direction == "to_server" else b""
            before, behind = frame_header(_FIN | TEXT, self.size, key), b""
        elif self.payload == "missing":
            return None
        else:
            before, behind = b"data: ", b"\n\n"
        # The same filler again and again: what is sent is large, what is kept is not.
        full, rest = divmod(self.size if self.payload == "sent" else 0, _FILLER_BYTES)
        filler = b"x" * _FILLER_BYTES
        parts = [before, *[filler] * full, b"x" * rest, behind]
        pieces = [Piece(part, original=False) for part in parts if part]
        return [*pieces, Piece(message)]
