"""The bytes of a WebSocket, passed both ways as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moored.faults.duplex import Duplex, Ending
from moored.faults.endings import half_close
from moored.faults.frames import CLOSE, PING, FrameSplitter
from moored.faults.scanners import FrameScanner

if TYPE_CHECKING:
    from moored.faults.link import Link

__all__ = ["ClientFrames", "relay_websocket"]


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


async def relay_websocket(link: Link, from_client: bytes, from_upstream: bytes) -> Ending:
    """Pass frames both ways, the handshake being done.

    :param from_client: what the client has sent behind the handshake already.
    :param from_upstream: what the upstream has.
    :returns: with the outcome ``"complete"`` when a close frame has passed, from either side.
    """
    frames = link.client_frames = ClientFrames()
    scanner = FrameScanner()
    wires, duplex = link.wires, Duplex()
    link.answered(101)

    def outcome(otherwise: str) -> str:
        return "complete" if frames.closing or scanner.closing else otherwise

    async def client_side() -> None:
        data = from_client
        while True:
            if data:
                frames.feed(data)
                await wires.to_upstream(data)
            data = await wires.from_client()
            if not data:
                break
            duplex.refresh()
        duplex.half_close(outcome("client left"))
        if not await wires.end_upstream():
            duplex.end("client left")

    async def upstream_side() -> None:
        await link.begin(scanner, framed=True)
        data = from_upstream
        while True:
            if data:
                # Before the client has them: what it does then must find the ping answered.
                await link.pass_on(
                    data, passing=lambda passing: frames.answered(scanner.pongs, passing)
                )
            data = await wires.from_upstream()
            if not data:
                break
            duplex.refresh()
        duplex.half_close(outcome("upstream left"))
        if not await half_close(wires.client):
            duplex.end("upstream left")

    return await duplex.run(client_side, upstream_side)
