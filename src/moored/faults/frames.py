"""Finding where WebSocket frames end in passing bytes, without keeping or changing them.

A proxy that decoded frames and encoded them again could not show a client the bytes that its server
really sent, and would hold whole frames in memory.  So only the header of each frame is read here
(RFC 6455, 5.2), and the payload is counted.  Nothing is checked: what is wrong passes as it is.
"""

from __future__ import annotations

from typing import NamedTuple

from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import Pong
from wsproto.frame_protocol import Opcode

__all__ = ["CLOSE", "PING", "PONG", "Frame", "FrameSplitter", "pong_frame"]

CLOSE, PING, PONG = int(Opcode.CLOSE), int(Opcode.PING), int(Opcode.PONG)

_CONTROL_BIT = 0x08
_MAX_CONTROL_PAYLOAD = 125
_EXTENDED_LENGTH = {126: 2, 127: 8}


class Frame(NamedTuple):
    """A frame that has passed whole.

    :ivar end: the offset just after it, in the bytes that were fed last.
    :ivar opcode: 0 continuation, 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    :ivar fin: whether it is the last of its message.
    :ivar length: of its payload, in bytes.
    :ivar payload: of a control frame, unmasked; empty for data frames, whose payload is not kept.
    """

    end: int
    opcode: int
    fin: bool
    length: int
    payload: bytes = b""

    @property
    def is_control(self) -> bool:
        """Whether it is a ping, a pong, a close, or reserved to be such."""
        return bool(self.opcode & _CONTROL_BIT)

    @property
    def ends_message(self) -> bool:
        """Whether a data message ends here."""
        return self.fin and not self.is_control


class FrameSplitter:
    """Feed it the bytes of one direction, in any cut; it tells which frames end in them."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._header_size = 2
        self._in_payload = False
        self._left = 0  # of the payload
        self._length = 0
        self._payload = bytearray()  # of a control frame

    @property
    def at_boundary(self) -> bool:
        """Whether the bytes so far end where a frame ends."""
        return not self._header

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes and return the frames that end in them, in order."""
        frames: list[Frame] = []
        position, size = 0, len(data)
        while position < size:
            if not self._in_payload:
                position = self._read_header(data, position)
                if not self._in_payload:
                    break
            taken = min(self._left, size - position)
            if self._header[0] & _CONTROL_BIT:
                room = _MAX_CONTROL_PAYLOAD - len(self._payload)
                self._payload += data[position : position + min(taken, room)]
            position += taken
            self._left -= taken
            if not self._left:
                frames.append(self._finish(position))
        return frames

    def _read_header(self, data: bytes, position: int) -> int:
        """Read on in the header, and return where it (or ``data``) ends."""
        header = self._header
        while len(header) < self._header_size:
            missing = self._header_size - len(header)
            header += data[position : position + missing]
            position += missing
            if len(header) < self._header_size:
                return len(data)
            if self._header_size == 2:
                masked = 4 if header[1] & 0x80 else 0
                self._header_size += _EXTENDED_LENGTH.get(header[1] & 0x7F, 0) + masked
        short = header[1] & 0x7F
        extended = _EXTENDED_LENGTH.get(short)
        length = short if extended is None else int.from_bytes(header[2 : 2 + extended], "big")
        self._length = self._left = length
        self._in_payload = True
        return position

    def _finish(self, end: int) -> Frame:
        first, masked = self._header[0], self._header[1] & 0x80
        payload = bytes(self._payload)
        if masked and payload:
            key = self._header[-4:]
            payload = bytes(byte ^ key[i & 3] for i, byte in enumerate(payload))
        frame = Frame(end, first & 0x0F, bool(first & 0x80), self._length, payload)
        self._header.clear()
        self._payload.clear()
        self._header_size = 2
        self._in_payload = False
        return frame


def pong_frame(payload: bytes) -> bytes:
    """A server's pong, as bytes."""
    return Connection(ConnectionType.SERVER).send(Pong(payload=payload))
