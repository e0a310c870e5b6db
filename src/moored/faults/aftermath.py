"""What is done once a fault has struck: nothing of what the server sends passes any more."""

from __future__ import annotations

import trio

from moored.faults.catalogue.http import GzipCut
from moored.faults.catalogue.moments import CloseFrame, CommentsOnly, Cut, Moment, Stall
from moored.faults.client_frames import ClientFrames
from moored.faults.duplex import ClientLeft, Ending, Wires
from moored.faults.endings import LINGER
from moored.faults.frames import CLOSE, pong_frame
from moored.faults.passage import Passage
from moored.faults.raw_frames import RawFrame

__all__ = ["after_strike"]

_CLOSE_FRAME = 0x80 | CLOSE


async def after_strike(
    fault: Moment | GzipCut, wires: Wires, passage: Passage, frames: ClientFrames | None
) -> Ending:
    """Do what ``fault`` says, until the connection is to end.

    :param passage: what passed to the client.
    :param frames: what the client sends, if it is a WebSocket.
    :raises ClientLeft: when the client's connection is broken.
    """
    match fault:
        case Cut(how=how):
            return Ending("cut", reset=how == "rst")
        case GzipCut():
            await wires.to_client(passage.framing.cut())
            return Ending("cut")
        case CloseFrame():
            return await _close(fault, wires, frames)
        case CommentsOnly():
            return await _comment(fault, wires, passage)
        case Stall():
            return await _stay_silent(fault, wires, frames)
        case _:
            raise AssertionError(f"{fault!r} has no moment")


async def _stay_silent(stall: Stall, wires: Wires, frames: ClientFrames | None) -> Ending:
    """Read what the client sends until it leaves, and answer its pings if so told."""
    answering = frames if stall.answers_pings else None
    if answering is not None and answering.ping is not None:
        # Its pong did not make it before the stall.
        await wires.to_client(pong_frame(answering.ping))
    while data := await wires.from_client():
        for payload in answering.feed(data) if answering is not None else ():
            await wires.to_client(pong_frame(payload))
    return Ending("client left")


async def _comment(fault: CommentsOnly, wires: Wires, passage: Passage) -> Ending:
    """Send comments until the client leaves, whatever it sends."""
    left = False

    async def until_left() -> None:
        nonlocal left
        try:
            while await wires.from_client():
                pass
        except ClientLeft:
            pass
        left = True
        nursery.cancel_scope.cancel()

    line = b": " + fault.comment.encode() + b"\n"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_left)
        try:
            await wires.to_client(
                passage.framing.wrap(b"\n" + line if passage.inside_line else line)
            )
            while True:
                await trio.sleep(fault.interval)
                await wires.to_client(passage.framing.wrap(line))
        except ClientLeft:
            nursery.cancel_scope.cancel()
    return Ending("client left")


async def _close(fault: CloseFrame, wires: Wires, frames: ClientFrames | None) -> Ending:
    """Send a close frame, and wait for the client's own, or for its end."""
    await wires.to_client(RawFrame(_CLOSE_FRAME, fault.payload).to_bytes())
    with trio.move_on_after(LINGER):
        while not (frames is not None and frames.closing) and (data := await wires.from_client()):
            if frames is not None:
                frames.feed(data)
    return Ending("closed")
