"""The bytes of a WebSocket, passed both ways as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from moored.faults.client_frames import ClientFrames
from moored.faults.duplex import Duplex, Ending, UpstreamReset
from moored.faults.message_formats import FrameFormat
from moored.faults.scanners import FrameScanner

if TYPE_CHECKING:
    from moored.faults.link import Link

__all__ = ["relay_websocket"]


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
    to_server = link.edits("to_server", FrameFormat(masked=True))
    to_client = link.edits("to_client", FrameFormat())
    if to_server is not None and to_client is not None:
        to_server.peer, to_client.peer = to_client, to_server
    link.to_server.begin(editing=to_server)
    # Before the client has them: what it does then must find the ping answered.
    link.to_client.begin(
        editing=to_client, passing=lambda passing: frames.answered(scanner.pongs, passing)
    )
    watched = link.controlled or to_server is not None or link.aim.to_server.has_faults

    def outcome(otherwise: str) -> str:
        return "complete" if frames.closing or scanner.closing else otherwise

    async def client_side() -> None:
        if watched:
            await link.meet(link.aim.to_server.begin(FrameScanner(), "websocket"))
        data = from_client
        while True:
            if data:
                frames.feed(data)
                await (link.to_server.pass_on if watched else wires.to_upstream)(data)
            data = await wires.from_client()
            if not data:
                break
            duplex.refresh()
        duplex.half_close(outcome("client left"))
        await link.to_server.flush()
        # Who ignores that the client closed does not hear that it ends, either.
        if not link.to_server.deaf and not await wires.end_upstream():
            duplex.end("client left")

    async def upstream_side() -> None:
        await link.meet(link.aim.begin(scanner, framed=True))
        data = from_upstream
        try:
            while True:
                if data:
                    await link.to_client.pass_on(data)
                data = await wires.from_upstream()
                if not data:
                    break
                duplex.refresh()
        except UpstreamReset:
            await link.to_client.flush()
            if not link.to_server.deaf:
                raise
        await link.to_client.flush()
        if link.to_server.deaf:
            await trio.sleep_forever()  # Whose close is ignored hears of no other end, either.
        duplex.half_close(outcome("upstream left"))
        if not await wires.end_client():
            duplex.end("upstream left")

    return await duplex.run(client_side, upstream_side)
