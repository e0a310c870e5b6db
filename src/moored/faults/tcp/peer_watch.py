"""Noticing that the peer of a shaped stream has gone for good, whatever its toxics hide."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from moored.faults.duplex import HALF_CLOSED_GRACE
from moored.faults.tcp.departure import departure, is_watchable

__all__ = ["PeerWatch"]


class PeerWatch:
    """Watches from when it is started: by its socket, or where that tells nothing by reading on.

    :param stream: the stream to the peer.
    :param spawn: runs a task until the stream is closed.
    :param activity: how often something has gone to the peer, and whether anything is on its way.
    :param ended: is told that the peer has ended its side, read or not.
    :param gone: is told that the peer has broken the connection.
    :param silent: is told that it has ended its side, and nothing has gone to it for ten seconds.
    :param read: starts to read.

    :ivar reads_on: whether only reading tells.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        spawn: Callable[[Callable[[], Awaitable[Any]]], None],
        *,
        activity: Callable[[], tuple[int, bool]],
        ended: Callable[[], None],
        gone: Callable[[], None],
        silent: Callable[[], None],
        read: Callable[[], None],
    ) -> None:
        self.reads_on: bool = False
        self._stream = stream
        self._spawn = spawn
        self._activity = activity
        self._ended = ended
        self._gone = gone
        self._silent = silent
        self._read = read
        self._scope = trio.CancelScope()
        self._started = False
        self._half_ended = False
        self._graced = False

    def start(self, *, receiving: bool) -> None:
        """Begin, if that has not been done.

        :param receiving: whether a call is reading right now.
        """
        if self._started:
            return
        self._started = True
        self.reads_on = not is_watchable(self._stream)
        if not self.reads_on:
            self._spawn(self._watch)
        elif not receiving:
            self._read()
        self._start_grace()

    def stop(self) -> None:
        """The stream is about to be closed."""
        self._scope.cancel()

    def half_ended(self) -> None:
        """The peer has ended its side."""
        self._half_ended = True
        self._start_grace()

    async def _watch(self) -> None:
        assert isinstance(self._stream, trio.SocketStream)
        with self._scope:
            left = await departure(self._stream)
            if left == "fin":
                self._ended()
                self.half_ended()
                left = await departure(self._stream, after_fin=True)
            if left == "rst":
                self._gone()

    def _start_grace(self) -> None:
        if self._half_ended and self._started and not self._graced:
            self._graced = True
            self._spawn(self._give_grace)

    async def _give_grace(self) -> None:
        while True:
            before, _ = self._activity()
            await trio.sleep(HALF_CLOSED_GRACE)
            now, moves = self._activity()
            if now == before and not moves:
                break
        self._silent()
