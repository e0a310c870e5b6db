"""Moving bytes from one socket to another as fast as Python can, as long as no toxic wants them.

A stream's ``receive_some`` and ``send_all`` cost two passes through Trio's scheduler and a copy for
each chunk.  Here the socket is tried first, and the scheduler is met only when there is nothing to
do, or after a while of having been busy.
"""

from __future__ import annotations

import os

import trio

from moored.faults.tcp.pipe import Pipe

__all__ = ["BUFFER_BYTES", "SinkBroken", "Tally", "relay", "send", "sockets_of"]

BUFFER_BYTES = 256 * 1024
"""How large a buffer :func:`relay` wants."""

_CHUNKS_IN_A_ROW = 8
_CHUNK_BYTES = 32 * 1024


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


def sockets_of(
    source: trio.abc.Stream, sink: trio.abc.Stream
) -> tuple[trio.SocketStream, trio.SocketStream] | None:
    """The two as :func:`relay` can serve them, or ``None`` where it cannot."""
    if not hasattr(os, "readv"):  # Windows
        return None
    if isinstance(source, trio.SocketStream) and isinstance(sink, trio.SocketStream):
        return source, sink
    return None


async def relay(
    source: trio.SocketStream,
    sink: trio.SocketStream,
    pipe: Pipe,
    tally: Tally,
    buffer: memoryview,
) -> bytes:
    """Move bytes until the sender's end, or as long as ``pipe`` is idle.

    :param buffer: may be shared with others in the same thread: nothing stays in it during a wait.
    :returns: ``b""`` at the end, else what was received and has still to go through the pipe.
    :raises trio.BrokenResourceError: when the source is broken, or closed.
    :raises SinkBroken: when the sink is.
    """
    sock = source.socket  # Asked for its number each time: it may be closed during a wait.
    busy = 0
    while True:
        try:
            size = os.readv(sock.fileno(), [buffer if pipe.idle else buffer[:_CHUNK_BYTES]])
        except BlockingIOError:
            busy = 0
            await _readable(sock)
            continue
        except OSError as exc:
            raise trio.BrokenResourceError from exc
        tally.received += size
        if not size or not pipe.idle:
            return bytes(buffer[:size])
        await send(sink, buffer[:size], tally)
        busy += 1
        if size < len(buffer):
            # Less than there was room for: most likely there is no more now, and asking costs.
            busy = 0
            await _readable(sock)
        elif busy == _CHUNKS_IN_A_ROW:
            busy = 0
            await trio.lowlevel.checkpoint()


async def send(sink: trio.SocketStream, data: memoryview | bytes, tally: Tally) -> None:
    """Send all of ``data``; what does not go at once is copied.

    :raises SinkBroken: when the sink is broken, or closed.
    """
    sock = sink.socket
    rest = memoryview(data)[_write(sock, data) :]
    if rest:
        tally.sending = True
        rest = memoryview(bytes(rest))
        try:
            while rest:
                await trio.lowlevel.wait_writable(sock)
                rest = rest[_write(sock, rest) :]
        except trio.ClosedResourceError:
            raise SinkBroken from None
        finally:
            tally.sending = False
    tally.sent += len(data)


async def _readable(sock: trio.socket.SocketType) -> None:
    if sock.fileno() < 0:  # closed while its bytes were being sent
        raise trio.BrokenResourceError
    try:
        await trio.lowlevel.wait_readable(sock)
    except trio.ClosedResourceError:
        raise trio.BrokenResourceError from None


def _write(sock: trio.socket.SocketType, data: memoryview | bytes) -> int:
    try:
        return os.write(sock.fileno(), data)
    except BlockingIOError:
        return 0
    except OSError as exc:
        raise SinkBroken from exc
