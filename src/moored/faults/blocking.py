"""The proxy and the mock server for programs that do not run on Trio: in a thread of their own."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from functools import partial
from typing import Generic, Literal, ParamSpec, Protocol, TypeVar

import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from moored.faults.catalogue.base import Fault
from moored.faults.catalogue.moments import Moment
from moored.faults.catalogue.tcp import TcpFault
from moored.faults.duration import duration
from moored.faults.message_log import PassedMessages
from moored.faults.proxy import Proxy, Schedule, open_proxy
from moored.faults.record import ConnectionRecord, Injected
from moored.faults.server import ServedRequest, Server, open_server

__all__ = ["BlockingProxy", "BlockingServer", "open_blocking_proxy", "open_blocking_server"]

DEFAULT_TIMEOUT = 5.0
"""Seconds that ``wait_until`` waits, unless told otherwise."""


class _Listening(Protocol):
    @property
    def port(self) -> int: ...
    @property
    def url(self) -> str: ...
    @property
    def ws_url(self) -> str: ...
    async def wait_until(self, condition: Callable[[], bool]) -> None: ...


L = TypeVar("L", bound=_Listening)
T = TypeVar("T")
P = ParamSpec("P")


class _Blocking(Generic[L]):
    """What runs in a Trio loop of its own, in a thread of its own, called from others."""

    def __init__(self, running: L, portal: BlockingPortal) -> None:
        self._running = running
        self._portal = portal
        self._thread = portal.call(threading.get_ident)
        self._ended = False

    def _end(self) -> None:
        self._ended = True

    def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call it in the loop's thread, where nothing else changes what it reads."""
        # A condition of wait_until() is there already.
        if self._ended or threading.get_ident() == self._thread:
            return function(*args, **kwargs)
        return self._portal.call(partial(function, *args, **kwargs))

    @property
    def port(self) -> int:
        """The TCP port."""
        return self._running.port

    @property
    def url(self) -> str:
        """Its URL."""
        return self._running.url

    @property
    def ws_url(self) -> str:
        """Its URL for WebSocket clients."""
        return self._running.ws_url

    def wait_until(self, condition: Callable[[], bool], timeout: float = DEFAULT_TIMEOUT) -> None:
        """Block until ``condition()`` is true: asked again whenever something happens here.

        The condition is called in the thread of the loop.  In a coroutine, use
        ``await asyncio.to_thread(proxy.wait_until, condition)``, so that the client can go on.

        :param timeout: how long to wait, in seconds; 5 by default.
        :raises TimeoutError: when it has not come true by then.
        :raises RuntimeError: after the block has ended.
        """
        if self._ended:
            raise RuntimeError("its block has ended: nothing more can happen here")
        if not self._portal.call(self._true_within, timeout, condition):
            raise TimeoutError(f"the condition has not come true within {duration(timeout)}")

    async def _true_within(self, timeout: float, condition: Callable[[], bool]) -> bool:
        with trio.move_on_after(timeout) as scope:
            await self._running.wait_until(condition)
        return not scope.cancelled_caught


class BlockingProxy(_Blocking[Proxy]):
    """A :class:`~moored.faults.Proxy` in a thread of its own, with the same verbs.

    It may be used from any thread.  :func:`open_blocking_proxy` makes one.  After its block has
    ended, what it did can still be read.
    """

    @property
    def http_url(self) -> str:
        """The same URL with ``http:``."""
        return self._running.http_url

    @property
    def schedule(self) -> tuple[Fault, ...]:
        """The faults of the schedule in force."""
        return self._running.schedule

    @property
    def seed(self) -> int:
        """The seed."""
        return self._running.seed

    @property
    def started(self) -> float | None:
        """When it began to listen, by its Trio clock, as all times that it tells."""
        return self._running.started

    @property
    def injected(self) -> tuple[Injected, ...]:
        """The faults that took effect (the last 10,000), oldest first."""
        return self._call(lambda: self._running.injected)

    @property
    def injected_counts(self) -> Mapping[str, int]:
        """How often each kind of fault took effect, such as ``{"cut": 2}``."""
        return self._call(lambda: dict(self._running.injected_counts))

    @property
    def messages(self) -> tuple[PassedMessages, ...]:
        """When messages passed (the last 10,000 entries), oldest first; ``controlled`` proxies."""
        return self._call(lambda: self._running.messages)

    @property
    def message_entries(self) -> int:
        """How many entries :attr:`messages` has had, forgotten ones included."""
        return self._running.message_entries

    @property
    def connections(self) -> tuple[ConnectionRecord, ...]:
        """The connections (the last 10,000), oldest first, open ones included."""
        return self._call(lambda: self._running.connections)

    @property
    def open_connections(self) -> tuple[ConnectionRecord, ...]:
        """Those that are open, oldest first."""
        return self._call(lambda: self._running.open_connections)

    def connection(self, number: int) -> ConnectionRecord | None:
        """One connection, as it is now; ``None`` if there was none, or it is forgotten."""
        return self._call(self._running.connection, number)

    @property
    def connection_count(self) -> int:
        """How many connections have been accepted."""
        return self._running.connection_count

    @property
    def change_count(self) -> int:
        """How often anything above has changed, but for the counts of open connections."""
        return self._running.change_count

    @property
    def armed(self) -> tuple[Fault, ...]:
        """The faults of :meth:`arm` that may still strike, with ``times`` as often as they may."""
        return self._call(lambda: self._running.armed)

    def set_schedule(self, schedule: Schedule) -> None:
        """Replace the schedule, as :meth:`Proxy.set_schedule <moored.faults.Proxy>` does.

        :raises ScheduleError: for a wrong schedule; the one in force stays then.
        """
        self._call(self._running.set_schedule, schedule)

    def cut(self, how: Literal["fin", "rst"] = "fin", *, connection: int | None = None) -> int:
        """Cut connections now; see :class:`~moored.faults.Cut`.

        :param connection: the one to cut; ``None``: all that are open.
        :returns: how many that were.
        """
        return self._call(self._running.cut, how, connection=connection)

    def stall(
        self,
        pings: Literal["answered", "swallowed"] = "answered",
        *,
        connection: int | None = None,
    ) -> int:
        """Stall connections now; see :class:`~moored.faults.Stall`.

        :param connection: the one to stall; ``None``: all that are open.
        :returns: how many that were.
        """
        return self._call(self._running.stall, pings, connection=connection)

    def arm(self, fault: Fault) -> None:
        """Let ``fault`` strike, too, on connections that are accepted from now on.

        It comes before those of the schedule, whose counts go on: ``arm(Refuse(times=3))`` refuses
        the next three requests.
        """
        self._call(self._running.arm, fault)

    def disarm(self) -> None:
        """Forget what was armed, for connections that are accepted from now on."""
        self._call(self._running.disarm)

    def strike(self, fault: Moment | TcpFault) -> int:
        """Let ``fault`` strike now, on the open connections whose number and path it aims at.

        :param fault: its moment does not count: it may be ``after_seconds=0``.  One of TCP needs a
            proxy that is ``controlled``.
        :returns: how many that were.
        """
        return self._call(self._running.strike, fault)


class BlockingServer(_Blocking[Server]):
    """A mock :class:`~moored.faults.Server` in a thread of its own.

    It may be used from any thread.  :func:`open_blocking_server` makes one.
    """

    @property
    def requests(self) -> tuple[ServedRequest, ...]:
        """The requests so far (the last 10,000), oldest first, those being served included."""
        return self._call(lambda: self._running.requests)


B = TypeVar("B", BlockingProxy, BlockingServer)


@contextmanager
def _in_thread(
    opening: AbstractAsyncContextManager[L], make: Callable[[L, BlockingPortal], B]
) -> Iterator[B]:
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal("trio", name="moored.faults"))
        context = portal.wrap_async_context_manager(opening)
        blocking = make(context.__enter__(), portal)
        # Callbacks, since what the block raises has no business in the other thread.
        stack.callback(blocking._end)
        stack.callback(context.__exit__, None, None, None)
        yield blocking


@contextmanager
def open_blocking_proxy(
    upstream: str,
    *,
    schedule: Schedule = (),
    seed: int = 0,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl_context: ssl.SSLContext | None = None,
    controlled: bool = False,
) -> Iterator[BlockingProxy]:
    """Run a fault proxy in a thread for as long as the block runs, for clients of every kind.

    The parameters and errors are those of :func:`~moored.faults.open_proxy`::

        with open_blocking_proxy("http://127.0.0.1:8000", schedule=[Refuse(times=2)]) as proxy:
            requests.get(proxy.url)
    """
    opening = open_proxy(
        upstream,
        schedule=schedule,
        seed=seed,
        host=host,
        port=port,
        ssl_context=ssl_context,
        controlled=controlled,
    )
    with _in_thread(opening, BlockingProxy) as proxy:
        yield proxy


@contextmanager
def open_blocking_server(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    pace: float = 0.0,
    api_key: str | None = None,
    keepalive: float = 15.0,
) -> Iterator[BlockingServer]:
    """Run a mock server in a thread for as long as the block runs.

    The parameters and errors are those of :func:`~moored.faults.open_server`.
    """
    opening = open_server(host, port, pace=pace, api_key=api_key, keepalive=keepalive)
    with _in_thread(opening, BlockingServer) as server:
        yield server
