"""Moving bytes from one socket to another as fast as Python can, as long as no toxic wants them.

A stream's ``receive_some`` and ``send_all`` cost two passes through Trio's scheduler and a copy for
each chunk.  Here the socket is tried first, and the scheduler is met only when there is nothing to
do, or after a while of having been busy.
"""

from __future__ import annotations

import os

import trio

from moored.faults.tcp.pipe import Pipe

__all__ = ["BUFFER_BYTES", "SinkBroken", "Tally", "can_relay", "relay"]

BUFFER_BYTES = 256 * 1024
"""How large a buffer :func:`relay` wants."""

_CHUNKS_IN_A_ROW = 8


class SinkBroken(Exception):
    """The receiver's connection is broken."""


class Tally:
    """How much has passed in one direction.

    :ivar received: bytes that came from the sender.
    :ivar sent: bytes that went to the receiver.
    :ivar sending: whether the receiver holds things up right now.
    """

    __slots__ = ("received", "sending", "sent")

    def __init__(self) -> None:
        self.received: int = 0
        self.sent: int = 0
        self.sending: bool = False


def can_relay(source: trio.abc.Stream, sink: trio.abc.Stream) -> bool:
    """Whether :func:`relay` can serve these."""
    return (
        hasattr(os, "readv")
        and isinstance(source, trio.SocketStream)
        and isinstance(sink, trio.SocketStream)
    )


async def relay(
    source: trio.SocketStream,
    sink: trio.SocketStream,
    pipe: Pipe,
    tally: Tally,
    buffer: memoryview,
) -> bytes:
    """Move bytes until the sender's end, or until ``pipe`` is no longer idle.

    :param buffer: may be shared with others in the same thread: nothing stays in it during a wait.
    :returns: ``b""`` at the end, else what was received and has still to go through the pipe.
    :raises trio.BrokenResourceError: when the source is broken.
    :raises SinkBroken: when the sink is.
    """
    reading, writing = source.socket.fileno(), sink.socket.fileno()
    busy = 0
    while True:
        try:
            size = os.readv(reading, [buffer])
        except BlockingIOError:
            busy = 0
            await trio.lowlevel.wait_readable(reading)
            continue
        except OSError as exc:
            raise trio.BrokenResourceError from exc
        tally.received += size
        if not size or not pipe.idle:
            return bytes(buffer[:size])
        try:
            sent = os.write(writing, buffer[:size])
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise SinkBroken from exc
        if sent < size:
            tally.sending = True
            await _send_rest(writing, bytes(buffer[sent:size]))
            tally.sending = False
        tally.sent += size
        busy += 1
        if size < len(buffer):
            # Less than there was room for: most likely there is no more now, and asking costs.
            busy = 0
            await trio.lowlevel.wait_readable(reading)
        elif busy == _CHUNKS_IN_A_ROW:
            busy = 0
            await trio.lowlevel.checkpoint()


async def _send_rest(writing: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        await trio.lowlevel.wait_writable(writing)
        try:
            rest = rest[os.write(writing, rest) :]
        except BlockingIOError:
            continue
        except OSError as exc:
            raise SinkBroken from exc
