"""Faults that only WebSockets know: of the handshake, of frames, and of control frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from moored.faults.catalogue.base import Fault, Payload
from moored.faults.catalogue.messages import MessageEdit, Piece
from moored.faults.catalogue.validators import PRINTABLE, SECONDS, Integer
from moored.faults.message_formats import FrameFormat, MessageFormat
from moored.faults.raw_frames import KEY, frames_of, join_frames

__all__ = [
    "Fragment",
    "IgnoreClose",
    "LatePongs",
    "Masked",
    "ReservedBits",
    "SwallowPings",
    "WrongAccept",
]

_RESERVED = 0x10


@attrs.frozen(kw_only=True, repr=False)
class WrongAccept(Fault):
    """The handshake is answered with another ``Sec-WebSocket-Accept`` than the key calls for.

    What the client sees: 101 with everything right but that, and then what the server sends.

    :ivar accept: what it is; empty: the header is missing.
    """

    kind: ClassVar[str] = "wrong_accept"
    payloads: ClassVar[tuple[Payload, ...]] = ("websocket",)

    accept: str = attrs.field(default="AAAAAAAAAAAAAAAAAAAAAAAAAAA=", validator=PRINTABLE)


class _FrameEdit(MessageEdit):
    payloads: ClassVar[tuple[Payload, ...]] = ("websocket",)


@attrs.frozen(kw_only=True, repr=False)
class Masked(_FrameEdit):
    """The frames of a message are masked where they must not be, or not masked where they must.

    What the client sees: a server's frame with the mask bit, a key, and the payload masked with
    it, which it has to answer by failing the connection with 1002.  With
    ``direction="to_server"`` it is the server that sees a client's frame without a mask.
    """

    kind: ClassVar[str] = "masked"

    def edit(self, message: bytes, form: MessageFormat) -> Sequence[Piece]:
        """The message with its frames' masks put on or off."""
        key = KEY if self.direction == "to_client" else b""
        frames = (attrs.evolve(frame, key=key) for frame in frames_of(message))
        return [Piece(join_frames(frames))]


@attrs.frozen(kw_only=True, repr=False)
class ReservedBits(_FrameEdit):
    """Reserved bits are set in the first frame of a message.

    What the client sees: a frame with RSV1, RSV2 or RSV3 set for which no extension was agreed on,
    which it has to answer by failing the connection with 1002.

    :ivar bits: their sum: 4 for RSV1, 2 for RSV2 (default), 1 for RSV3.
    """

    kind: ClassVar[str] = "reserved_bits"

    bits: int = attrs.field(default=2, validator=Integer(1, 7))

    def edit(self, message: bytes, form: MessageFormat) -> Sequence[Piece]:
        """The message, its very first byte changed."""
        return [Piece(bytes([message[0] | self.bits * _RESERVED]) + message[1:])]


@attrs.frozen(kw_only=True, repr=False)
class Fragment(_FrameEdit):
    """A message comes in fragments, with time between them if so told.

    What the client sees: the same payload in ``parts`` frames of equal size, which may end inside
    a character of UTF-8.  To stall or cut there, use ``at="between_fragments"`` of those faults.

    :ivar parts: how many; 2 by default.
    :ivar pause: seconds before each but the first; 0 by default.
    """

    kind: ClassVar[str] = "fragment"

    parts: int = attrs.field(default=2, validator=Integer(2, 1000))
    pause: float = attrs.field(default=0.0, validator=SECONDS)

    def edit(self, message: bytes, form: MessageFormat) -> Sequence[Piece] | None:
        """The fragments."""
        parts = FrameFormat.fragments(message, self.parts)
        return [Piece(part, pause=self.pause if n else 0) for n, part in enumerate(parts)]


@attrs.frozen(kw_only=True, repr=False)
class SwallowPings(Fault):
    """The client's pings are swallowed while data flows.

    What the client sees: its messages arrive and are answered, and none of its pings ever gets a
    pong.  The server does not see the pings.

    :ivar after_seconds: only pings so many seconds after the connection was accepted, or later.
    """

    kind: ClassVar[str] = "swallow_pings"
    payloads: ClassVar[tuple[Payload, ...]] = ("websocket",)

    after_seconds: float | None = attrs.field(default=None, validator=SECONDS)


@attrs.frozen(kw_only=True, repr=False)
class LatePongs(Fault):
    """Pongs come late; everything else comes in time, and may overtake them.

    What the client sees: each pong of the server ``seconds`` later, between whole messages.

    :ivar seconds: how late; 1 by default.
    """

    kind: ClassVar[str] = "late_pongs"
    payloads: ClassVar[tuple[Payload, ...]] = ("websocket",)

    seconds: float = attrs.field(default=1.0, validator=SECONDS)


@attrs.frozen(kw_only=True, repr=False)
class IgnoreClose(Fault):
    """The client's close frame is never answered.

    What the client sees: it closes, and neither a close frame nor the end of TCP comes; what the
    server sends goes on flowing.  Nothing of what the client sends from its close frame on reaches
    the server.
    """

    kind: ClassVar[str] = "ignore_close"
    payloads: ClassVar[tuple[Payload, ...]] = ("websocket",)
