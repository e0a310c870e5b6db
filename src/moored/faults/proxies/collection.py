"""The fault proxies of one process, by name."""

from __future__ import annotations

from collections.abc import Iterator

import trio

from moored.faults.proxies.activity import Activity
from moored.faults.proxies.settings import ProxySettings
from moored.faults.proxy import Proxy, open_proxy
from moored.faults.record import Changes
from moored.faults.tcp.address import join

__all__ = ["FaultProxies", "NamedProxy", "ProxyExists", "UnknownProxy"]


class ProxyExists(Exception):
    """There is a proxy with this name already."""


class UnknownProxy(Exception):
    """There is no proxy with this name."""


class NamedProxy:
    """One of them.

    :ivar settings: as it was made.
    :ivar proxy: the proxy itself.
    :ivar activity: what goes on in it.
    """

    def __init__(self, settings: ProxySettings, proxy: Proxy, activity: Activity) -> None:
        self.settings = settings
        self.proxy = proxy
        self.activity = activity
        self._scope = trio.CancelScope()
        self._closed = trio.Event()

    @property
    def name(self) -> str:
        """Its name."""
        return self.settings.name

    @property
    def listen(self) -> str:
        """Where it listens: ``host:port``."""
        return join(self.settings.host, self.proxy.port)

    async def wait_closed(self) -> None:
        """Return when it has been closed."""
        await self._closed.wait()

    async def _watch(self) -> None:
        with self._scope:
            await self.activity.run()

    async def _close(self) -> None:
        self._scope.cancel()
        await self._closed.wait()


class FaultProxies:
    """The proxies.

    :param nursery: for their tasks.
    :param controlled: whether everything about them is counted, and can be struck by hand; see
        :class:`~moored.faults.Proxy`.

    :ivar changes: tells when anything about any of them has changed.
    :ivar started: when this was made, by Trio's clock.
    :ivar closing: whether all are being closed.
    """

    def __init__(self, nursery: trio.Nursery, *, controlled: bool = False) -> None:
        self.changes: Changes = Changes()
        self.started: float = trio.current_time()
        self.closing: bool = False
        self._nursery = nursery
        self._controlled = controlled
        self._proxies: dict[str, NamedProxy] = {}
        self._lock = trio.Lock()

    def __iter__(self) -> Iterator[NamedProxy]:
        return iter(list(self._proxies.values()))

    def __len__(self) -> int:
        return len(self._proxies)

    def get(self, name: str) -> NamedProxy:
        """The proxy with that name.

        :raises UnknownProxy: when there is none.
        """
        if name not in self._proxies:
            raise UnknownProxy(name)
        return self._proxies[name]

    async def open(self, settings: ProxySettings) -> NamedProxy:
        """Make one, which listens when this returns.

        :raises ProxyExists: when there is one with its name.
        :raises OSError: when the address cannot be had.
        """
        async with self._lock:
            if settings.name in self._proxies:
                raise ProxyExists(settings.name)
            named: NamedProxy = await self._nursery.start(self._run, settings)
            self._proxies[settings.name] = named
        self.changes.notify()
        return named

    async def close(self, name: str) -> None:
        """Close one, with its connections, and forget it.

        :raises UnknownProxy: when there is none.
        """
        async with self._lock:
            await self.get(name)._close()
            del self._proxies[name]
        self.changes.notify()

    async def close_all(self) -> None:
        """Close all; they can still be read."""
        self.closing = True
        self.changes.notify()
        async with self._lock:
            for named in self._proxies.values():
                await named._close()

    async def _run(
        self, settings: ProxySettings, *, task_status: trio.TaskStatus[NamedProxy]
    ) -> None:
        opening = open_proxy(
            settings.upstream,
            schedule=settings.schedule,
            seed=settings.seed,
            host=settings.host,
            port=settings.port,
            controlled=self._controlled,
        )
        named: NamedProxy | None = None
        try:
            async with opening as proxy:
                named = NamedProxy(settings, proxy, Activity(proxy, self.changes))
                task_status.started(named)
                await named._watch()
        finally:
            if named is not None:
                named.activity.look()  # How its connections have ended.
                named._closed.set()
