"""The ways a connection ends: in order, with a reset, or at once."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Protocol, runtime_checkable

import trio

__all__ = ["LINGER", "Delaying", "Resettable", "finish", "half_close", "reset"]

LINGER = 2.0
"""How long a finished connection waits for the other side to close too, in seconds."""

_FLUSH = 1.0
_FLUSH_STEP = 0.001
_DRAIN_BYTES = 64 * 1024
_SIOCOUTQ = 0x5411  # Linux: bytes in the send queue that the peer's kernel has not acknowledged


@runtime_checkable
class Resettable(Protocol):
    """A stream that is not a TCP socket, and knows how to be reset.

    In-memory streams that want to show their peer the difference between a cut by FIN and one by
    RST have this method; :func:`reset` calls it.
    """

    def reset(self) -> None:
        """Break the connection so that the peer's next receive raises ``BrokenResourceError``."""
        ...


@runtime_checkable
class Delaying(Protocol):
    """A stream on which what was sent may still be on its way, and the end has to queue behind it.

    :func:`finish` gives such a stream all the time that its ``send_eof`` takes, and :func:`reset`
    calls :meth:`send_reset`.
    """

    async def send_reset(self) -> None:
        """Break the connection behind all that was sent, and return when that is done."""
        ...


async def finish(stream: trio.abc.Stream) -> None:
    """End ``stream`` in order, so that all that was sent arrives, then close it.

    Closing a socket that has unread data makes the kernel send a reset, which destroys what the
    peer has not read yet.  So: our end of file first, then read (and throw away) until theirs, for
    at most :data:`LINGER` seconds.
    """
    try:
        if isinstance(stream, Delaying):
            await half_close(stream)
        with trio.move_on_after(LINGER):
            if await half_close(stream):
                while await stream.receive_some(_DRAIN_BYTES):
                    pass
    except trio.BrokenResourceError:
        pass  # They were faster: there is nothing left to wait for.
    finally:
        await trio.aclose_forcefully(stream)


async def half_close(stream: trio.abc.Stream) -> bool:
    """Send our end of file; ``False`` where the stream cannot do that alone, as with TLS."""
    if not isinstance(stream, trio.abc.HalfCloseableStream):
        return False
    try:
        await stream.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
        return False
    except trio.BusyResourceError:
        return False  # Somebody else is ending it at this moment, or still sending.
    return True


async def reset(stream: trio.abc.Stream) -> None:
    """Break ``stream``: for TCP a RST, whatever is still unread on either side.

    What was sent before is first given a moment to reach the peer's kernel, where the platform can
    tell (Linux): the reset would destroy it in our own send queue.
    """
    try:
        if isinstance(stream, Delaying):
            await stream.send_reset()
        elif isinstance(stream, trio.SocketStream):
            await _flush(stream.socket)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif isinstance(stream, Resettable):
            stream.reset()
    except OSError:
        pass  # Already broken by the peer, which is what was wanted.
    finally:
        await trio.aclose_forcefully(stream)


async def _flush(sock: trio.socket.SocketType) -> None:
    with trio.move_on_after(_FLUSH):
        while _unacknowledged(sock):  # noqa: ASYNC110 - the kernel has no event for this
            await trio.sleep(_FLUSH_STEP)


def _unacknowledged(sock: trio.socket.SocketType) -> int:
    """How many bytes the peer's kernel has not taken yet; 0 where that cannot be told."""
    if not sys.platform.startswith("linux") or sock.fileno() < 0:  # closed by another task
        return 0
    import fcntl  # which Windows does not have

    answer = fcntl.ioctl(sock.fileno(), _SIOCOUTQ, bytes(4))
    return int.from_bytes(answer, sys.byteorder)
