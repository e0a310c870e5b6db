"""WebSocket frames taken apart and put together again, right ones and wrong ones.

wsproto builds right frames only, and what breaks a client is the other kind (RFC 6455, 5.2).
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from moored.faults.frames import FrameSplitter

__all__ = ["CONTINUATION", "KEY", "TEXT", "RawFrame", "frame_header", "frames_of", "join_frames"]

CONTINUATION, TEXT = 0x0, 0x1
KEY = b"\x1d\x8c\x05\xe7"
"""The masking key of frames that are made here: any will do, and one makes runs repeatable."""

_FIN = 0x80
_MASKED = 0x80
_CONTROL_BIT = 0x08


@attrs.frozen
class RawFrame:
    """One frame.

    :ivar first: the first byte: FIN, reserved bits, opcode.
    :ivar key: the masking key, or ``b""`` where the frame is not masked.
    :ivar payload: without its mask.
    :ivar came_with: how many bytes of header it came with, where that is known: a length may be
        written in more bytes than it needs.
    """

    first: int
    payload: bytes
    key: bytes = b""
    came_with: int | None = attrs.field(default=None, eq=False)

    @classmethod
    def parse(cls, raw: bytes) -> RawFrame:
        """Take a whole frame apart."""
        short = raw[1] & 0x7F
        start = 2 + {126: 2, 127: 8}.get(short, 0)
        key = raw[start : start + 4] if raw[1] & _MASKED else b""
        start += len(key)
        return cls(raw[0], _mask(raw[start:], key), key, start)

    @property
    def is_control(self) -> bool:
        """Whether it is a ping, a pong, a close, or reserved to be such."""
        return bool(self.first & _CONTROL_BIT)

    @property
    def fin(self) -> bool:
        """Whether its message ends with it."""
        return bool(self.first & _FIN)

    @property
    def header(self) -> bytes:
        """The bytes before the payload."""
        return frame_header(self.first, len(self.payload), self.key)

    @property
    def header_size(self) -> int:
        """How many bytes come before the payload."""
        return len(self.header) if self.came_with is None else self.came_with

    def to_bytes(self) -> bytes:
        """The frame as it goes on the wire, with its length in the fewest bytes."""
        return self.header + _mask(self.payload, self.key)

    def ending(self, *, fin: bool) -> RawFrame:
        """The same with FIN set, or not."""
        return attrs.evolve(self, first=self.first | _FIN if fin else self.first & ~_FIN)


def frame_header(first: int, length: int, key: bytes = b"") -> bytes:
    """A header that declares ``length`` bytes, whether or not they follow."""
    masked = _MASKED if key else 0
    if length < 126:
        size = bytes([masked | length])
    elif length < 1 << 16:
        size = bytes([masked | 126]) + length.to_bytes(2, "big")
    else:
        size = bytes([masked | 127]) + length.to_bytes(8, "big")
    return bytes([first]) + size + key


def frames_of(raw: bytes) -> list[RawFrame]:
    """The frames in ``raw``, which holds whole ones only."""
    start, frames = 0, []
    for frame in FrameSplitter().feed(raw):
        frames.append(RawFrame.parse(raw[start : frame.end]))
        start = frame.end
    return frames


def join_frames(frames: Iterable[RawFrame]) -> bytes:
    """The frames, as bytes."""
    return b"".join(frame.to_bytes() for frame in frames)


def _mask(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    if not key or not size:
        return payload
    stretched = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return masked.to_bytes(size, "big")
