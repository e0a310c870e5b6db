"""Noticing that a peer has ended its side, while nobody reads from it.

A FIN or a RST is usually learnt by reading.  A toxic that leaves the sender unread for as long as
it lasts would keep the sockets of each client that has given up.  Linux tells of both without
reading (``EPOLLRDHUP`` and ``EPOLLERR``, see epoll_ctl(2)).
"""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from typing import Literal, TypeAlias

import trio

__all__ = ["Departure", "departure", "is_watchable"]

Departure: TypeAlias = Literal["fin", "rst"]
"""How a peer has ended its side: in order, so that it may still read, or by a reset."""

_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""What Linux is to ask, in seconds and counts.

A peer whose FIN is stuck behind bytes that nobody reads gives up without a word; asked, its kernel
answers with a reset.
"""


def is_watchable(stream: trio.abc.Stream) -> bool:
    """Whether :func:`departure` can be asked about ``stream``."""
    return hasattr(select, "epoll") and isinstance(stream, trio.SocketStream)


async def departure(stream: trio.SocketStream, *, after_fin: bool = False) -> Departure:
    """Return how the peer has ended its side, when it has.  Nothing is read.

    Only one task may wait for one stream, and it has to be cancelled before that is closed.

    :param after_fin: whether to wait for what may follow its end in order: a reset; ``"fin"`` then
        means that both sides have ended, in order or by a reset that another task was told of.
    """
    await trio.lowlevel.checkpoint_if_cancelled()  # by who closes it
    _ask_when_idle(stream.socket)
    try:
        watch = _watch.get()
    except LookupError:
        watch = _Watch()
        _watch.set(watch)
        trio.lowlevel.spawn_system_task(watch.run, name="departures of peers")
    # Whatever is asked for, Linux tells of EPOLLERR and EPOLLHUP, too.
    events = await watch.wait(stream.socket.fileno(), 0 if after_fin else select.EPOLLRDHUP)
    return "rst" if events & select.EPOLLERR else "fin"


def _ask_when_idle(sock: trio.socket.SocketType) -> None:
    with suppress(OSError):  # It has broken already, which is told soon enough.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class _Watch:
    """One epoll for all the sockets of a Trio run: one for each would double their descriptors."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._waiting: dict[int, trio.lowlevel.Task] = {}
        self._found: dict[int, int] = {}

    async def run(self) -> None:
        """Wake those whose peer has left, for as long as the run lasts."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._poll.fileno())
                for fd, events in self._poll.poll(0):
                    self._poll.unregister(fd)
                    self._found[fd] = events
                    trio.lowlevel.reschedule(self._waiting.pop(fd))
        finally:
            self._poll.close()

    async def wait(self, fd: int, events: int) -> int:
        """The events that came, among them those asked for."""
        self._poll.register(fd, events)
        self._waiting[fd] = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            del self._waiting[fd]
            self._poll.unregister(fd)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        return self._found.pop(fd)


_watch: trio.lowlevel.RunVar[_Watch] = trio.lowlevel.RunVar("departures")
