"""The fault proxy: between a client and its server, it does what a schedule says."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias

import attrs
import trio

from moored.faults.aim import Aim
from moored.faults.catalogue.base import Fault
from moored.faults.catalogue.moments import Cut, Moment, Stall
from moored.faults.catalogue.tcp import TcpFault
from moored.faults.link import ConnectUpstream, Link
from moored.faults.listening import authority, background, listen
from moored.faults.message_log import PassedMessages
from moored.faults.notation import schedule_from
from moored.faults.record import ConnectionRecord, Injected, Record
from moored.faults.upstream import Upstream

__all__ = ["Proxy", "Schedule", "open_proxy"]

Schedule: TypeAlias = Iterable[Fault | Mapping[str, Any]]


class Proxy:
    """A fault proxy.  :func:`open_proxy` puts one on TCP.

    One that is made by hand listens nowhere: give it connections with :meth:`serve_connection`,
    such as in-memory streams under a virtual clock.  Every time it knows is Trio's, and every
    random choice comes from ``seed``.

    :param upstream: the server's URL: ``http``, ``https``, ``ws`` or ``wss``.
    :param schedule: the faults, as values or as plain mappings.
    :param seed: decides on which connections faults with a ``probability`` strike.
    :param connect_upstream: opens a connection to the upstream; by default TCP, with TLS where the
        URL says so.
    :param ssl_context: for TLS to the upstream; by default one that verifies certificates.
    :param wall_clock: the time of day in seconds since 1970, for HTTP dates in answers that the
        proxy gives itself; by default ``time.time``.
    :param controlled: whether :meth:`strike` may put faults of TCP on open connections, all that
        clients send is counted, and :attr:`messages` are logged, which costs each connection a
        little; by default only as far as the schedule needs it.
    :raises ValueError: for a URL that is not one of a server.
    :raises ScheduleError: for a wrong schedule.
    """

    def __init__(
        self,
        upstream: str,
        *,
        schedule: Schedule = (),
        seed: int = 0,
        connect_upstream: ConnectUpstream | None = None,
        ssl_context: ssl.SSLContext | None = None,
        wall_clock: Callable[[], float] = time.time,
        controlled: bool = False,
    ) -> None:
        self._wall_clock = wall_clock
        self._controlled = controlled
        self._upstream = Upstream.parse(upstream)
        self._seed = seed
        self._aim = Aim(schedule_from(schedule), seed)
        if ssl_context is None and self._upstream.tls and connect_upstream is None:
            ssl_context = ssl.create_default_context()
        self._ssl_context = ssl_context if self._upstream.tls else None
        self._connect = connect_upstream or self._connect_tcp
        self._record = Record(with_messages=controlled)
        self._links: dict[int, Link] = {}
        self._count = 0
        self._started: float | None = None
        self._address: tuple[str, int] | None = None

    # Where it is.

    @property
    def port(self) -> int:
        """The TCP port.

        :raises RuntimeError: when the proxy does not listen.
        """
        return self._listening()[1]

    @property
    def url(self) -> str:
        """The upstream's URL with the proxy in its place: ``ws:`` for WebSocket, else ``http:``.

        Path and query are the upstream's, and requests are forwarded with the path they have.
        """
        return self.ws_url if self._upstream.is_websocket else self.http_url

    @property
    def http_url(self) -> str:
        """:attr:`url` with ``http:``."""
        return f"http://{authority(*self._listening())}{self._upstream.suffix}"

    @property
    def ws_url(self) -> str:
        """:attr:`url` with ``ws:``."""
        return f"ws://{authority(*self._listening())}{self._upstream.suffix}"

    def _listening(self) -> tuple[str, int]:
        if self._address is None:
            raise RuntimeError("this proxy does not listen: use open_proxy()")
        return self._address

    # What it did.

    @property
    def started(self) -> float | None:
        """When it began to listen, or was given its first connection, by Trio's clock.

        ``None`` before that.
        """
        return self._started

    @property
    def seed(self) -> int:
        """The seed."""
        return self._seed

    @property
    def injected(self) -> tuple[Injected, ...]:
        """The faults that took effect (the last 10,000), oldest first."""
        return self._record.injected

    @property
    def injected_counts(self) -> Mapping[str, int]:
        """How often each kind of fault took effect, such as ``{"cut": 2}``."""
        return self._record.counts

    @property
    def messages(self) -> tuple[PassedMessages, ...]:
        """When messages passed (the last 10,000 entries), oldest first; ``controlled`` proxies."""
        log = self._record.messages
        return () if log is None else log.entries()

    @property
    def message_entries(self) -> int:
        """How many entries :attr:`messages` has had, forgotten ones included."""
        log = self._record.messages
        return 0 if log is None else log.total

    @property
    def connections(self) -> tuple[ConnectionRecord, ...]:
        """The connections (the last 10,000), oldest first, open ones included."""
        entries = self._record.connections
        return tuple(self._as_of_now(entry) for entry in entries) if self._links else entries

    @property
    def open_connections(self) -> tuple[ConnectionRecord, ...]:
        """Those that are open, oldest first."""
        found = (self.connection(number) for number in self._links)
        return tuple(entry for entry in found if entry is not None and entry.ended is None)

    def connection(self, number: int) -> ConnectionRecord | None:
        """One connection, as it is now; ``None`` if there was none, or it is forgotten."""
        entry = self._record.connection(number)
        return None if entry is None else self._as_of_now(entry)

    def _as_of_now(self, entry: ConnectionRecord) -> ConnectionRecord:
        link = self._links.get(entry.number)
        return entry if link is None else attrs.evolve(entry, **link.progress())

    @property
    def connection_count(self) -> int:
        """How many connections have been accepted."""
        return self._count

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition()`` is true: asked again whenever anything above changes."""
        await self._record.changes.wait_until(condition)

    @property
    def change_count(self) -> int:
        """How often anything above has changed, but for the counts of open connections."""
        return self._record.changes.count

    # What it is to do.

    @property
    def schedule(self) -> tuple[Fault, ...]:
        """The faults of the schedule in force."""
        return self._aim.schedule

    def set_schedule(self, schedule: Schedule) -> None:
        """Replace the schedule, for connections that are accepted from now on.

        Their numbers go on from where they are; ``times`` and attempts count from the
        beginning, and what was armed by hand is forgotten.

        :raises ScheduleError: for a wrong schedule; the one in force stays then.
        """
        self._aim = Aim(schedule_from(schedule), self._seed)
        self._record.changes.notify()

    @property
    def armed(self) -> tuple[Fault, ...]:
        """The faults of :meth:`arm` that may still strike, with ``times`` as often as they may."""
        return self._aim.armed

    def arm(self, fault: Fault) -> None:
        """Let ``fault`` strike, too, on connections that are accepted from now on.

        It comes before those of the schedule, whose counts go on: ``arm(Refuse(times=3))`` refuses
        the next three requests.

        :param fault: any, with its aim.
        """
        self._aim.arm(fault)
        self._record.changes.notify()

    def disarm(self) -> None:
        """Forget what was armed, for connections that are accepted from now on."""
        self._aim.disarm()
        self._record.changes.notify()

    def cut(self, how: Literal["fin", "rst"] = "fin", *, connection: int | None = None) -> int:
        """Cut connections now, wherever they are, as :class:`~moored.faults.Cut` describes.

        :param connection: the one to cut; ``None``: all that are open.
        :returns: how many that were.
        """
        return self.strike(Cut(after_seconds=0, how=how, connection=connection))

    def stall(
        self,
        pings: Literal["answered", "swallowed"] = "answered",
        *,
        connection: int | None = None,
    ) -> int:
        """Stall connections now, as :class:`~moored.faults.Stall` describes.

        :param connection: the one to stall; ``None``: all that are open.
        :returns: how many that were; those that stall at the end of a frame are counted.
        """
        return self.strike(Stall(after_seconds=0, pings=pings, connection=connection))

    def strike(self, fault: Moment | TcpFault) -> int:
        """Let ``fault`` strike now, on the open connections whose number and path it aims at.

        :param fault: its moment does not count: it may be ``after_seconds=0``.  One of TCP needs a
            proxy that is ``controlled``, and can only strike by connection and path.
        :returns: how many that were; those on which it comes at the end of a frame are counted.
        """
        aimed_at = [link for link in self._links.values() if link.is_aimed_at(fault)]
        if isinstance(fault, TcpFault):
            return sum(link.strike_tcp(fault) for link in aimed_at)
        return sum(link.strike(fault) for link in aimed_at)

    # Serving.

    async def serve_connection(
        self, stream: trio.abc.Stream, *, connect_upstream: ConnectUpstream | None = None
    ) -> None:
        """Serve one client to its end; its number is the next.

        :param stream: the client's side; it is closed at the end.
        :param connect_upstream: opens the connection to the upstream for this client; by default
            the proxy's own.
        """
        await self._serve(self._admit(stream, connect_upstream or self._connect))

    def _admit(self, stream: trio.abc.Stream, connect: ConnectUpstream) -> Link:
        if self._started is None:
            self._started = trio.current_time()
        self._count += 1
        number = self._count
        link = self._links[number] = Link(
            number,
            stream,
            aim=self._aim.connection(number),
            record=self._record,
            authority=self._upstream.authority,
            connect=connect,
            wall_clock=self._wall_clock,
            controlled=self._controlled,
        )
        self._record.accept(number)
        return link

    async def _serve(self, link: Link) -> None:
        try:
            await link.run()
        finally:
            del self._links[link.number]

    async def _connect_tcp(self) -> trio.abc.Stream:
        return await self._upstream.connect(self._ssl_context)


class _Admission(trio.abc.Listener[trio.SocketStream]):
    """Numbers connections as they are accepted.

    The tasks that serve them start in any order, so the numbers cannot wait until then.
    """

    def __init__(self, listener: trio.SocketListener, proxy: Proxy) -> None:
        self._listener = listener
        self._proxy = proxy
        self._links: dict[trio.SocketStream, Link] = {}

    async def accept(self) -> trio.SocketStream:
        stream = await self._listener.accept()
        self._links[stream] = self._proxy._admit(stream, self._proxy._connect)
        return stream

    async def aclose(self) -> None:
        await self._listener.aclose()

    async def serve(self, stream: trio.SocketStream) -> None:
        await self._proxy._serve(self._links.pop(stream))


@asynccontextmanager
async def open_proxy(
    upstream: str,
    *,
    schedule: Schedule = (),
    seed: int = 0,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl_context: ssl.SSLContext | None = None,
    controlled: bool = False,
) -> AsyncIterator[Proxy]:
    """Run a fault proxy on TCP for as long as the block runs.

    It speaks HTTP/1.1, Server-Sent Events and WebSocket, unencrypted, and serves one request on
    each connection (every answer says ``Connection: close``), so the k-th connection is the k-th
    attempt.  What comes is passed on as it comes: WebSocket frames as the very bytes, bodies with
    the framing they had.  ``Host`` is rewritten to the upstream's.  While a fault waits for a
    message, the upstream is asked for a body without compression.  When the upstream cannot be
    reached, the answer is 502.

    :param upstream: the server's URL: ``http``, ``https``, ``ws`` or ``wss``.
    :param schedule: the faults, as values or as plain mappings: kinds of
        :class:`~moored.faults.Fault`, such as :class:`~moored.faults.Cut`.
    :param seed: decides on which connections faults with a ``probability`` strike; 0 by default.
    :param host: the address to listen on; loopback by default.
    :param port: 0 (default) for one that is free.
    :param ssl_context: for TLS to the upstream; by default one that verifies certificates.
    :param controlled: whether :meth:`Proxy.strike` may put faults of TCP on open connections, and
        everything that clients send is counted; see :class:`Proxy`.
    :raises OSError: when the address cannot be had.
    :raises ValueError: for a URL that is not one of a server.
    :raises ScheduleError: for a wrong schedule.
    """
    proxy = Proxy(
        upstream, schedule=schedule, seed=seed, ssl_context=ssl_context, controlled=controlled
    )
    async with background() as nursery:
        listener, bound_port = await listen(host, port)
        proxy._address = (host, bound_port)
        proxy._started = trio.current_time()
        admission = _Admission(listener, proxy)
        nursery.start_soon(trio.serve_listeners, admission.serve, [admission])
        yield proxy
