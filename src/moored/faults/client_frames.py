"""What a WebSocket client sends, as far as a fault has to know it."""

from __future__ import annotations

from moored.faults.frames import CLOSE, PING, FrameSplitter

__all__ = ["ClientFrames"]


class ClientFrames:
    """What the client sends: where its frames end, and which ping of its waits for a pong.

    :ivar ping: the payload of the last ping that has not been answered, or ``None``.
    :ivar closing: whether a close frame has passed.
    """

    def __init__(self) -> None:
        self._splitter = FrameSplitter()
        self.ping: bytes | None = None
        self.closing: bool = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; returns the payloads of the pings in them."""
        pings: list[bytes] = []
        for frame in self._splitter.feed(data):
            if frame.opcode == PING:
                self.ping = frame.payload
                pings.append(frame.payload)
            elif frame.opcode == CLOSE:
                self.closing = True
        return pings

    def answered(self, pongs: list[tuple[int, bytes]], passing: int) -> None:
        """So many bytes pass to the client, with the pongs that end in them."""
        if any(payload == self.ping for end, payload in pongs if end <= passing):
            self.ping = None
