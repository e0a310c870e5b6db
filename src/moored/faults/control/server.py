"""The control server: Toxiproxy's HTTP API, our own for fault proxies, and the dashboard."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import hypercorn.config
import hypercorn.trio
import trio
from starlette.routing import BaseRoute, Router

from moored.faults.control import dashboard
from moored.faults.control.body_limit import BodyLimit
from moored.faults.control.fault_routes import fault_proxy_routes
from moored.faults.control.guard import Guard, is_loopback
from moored.faults.control.proxies import Proxies
from moored.faults.control.raw_routes import raw_proxy_routes
from moored.faults.control.toxiproxy import not_found, toxiproxy_routes
from moored.faults.listening import authority, background
from moored.faults.proxies import FaultProxies, ProxySettings
from moored.faults.schedule import ScheduleError
from moored.faults.tcp.address import bound

__all__ = ["Control", "open_control"]

_GRACE = 1.0
_log = logging.getLogger("moored.faults.control")


class Control:
    """A control server that runs.

    :ivar proxies: the raw proxies, of Toxiproxy's API.
    :ivar fault_proxies: the fault proxies.
    :ivar host: the address it listens on; ``"0.0.0.0"`` for every one, unless ``"::"`` was asked
        for.
    :ivar port: the port.
    """

    def __init__(self, proxies: Proxies, fault_proxies: FaultProxies, host: str, port: int) -> None:
        self.proxies = proxies
        self.fault_proxies = fault_proxies
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        """``http://host:port``, without a slash at the end."""
        return f"http://{authority(self.host, self.port)}"

    @property
    def dashboard_url(self) -> str:
        """The URL of the dashboard."""
        return self.url + dashboard.PATH


@asynccontextmanager
async def open_control(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    seed: int = 0,
    populate: Sequence[Any] = (),
    metrics: bool = False,
    token: str | None = None,
    allowed_hosts: Collection[str] = (),
    routes: Sequence[BaseRoute] = (),
    fault_proxies: Iterable[ProxySettings] = (),
) -> AsyncIterator[Control]:
    """Serve the APIs and the dashboard, and run the proxies, for as long as the block runs.

    Toxiproxy's API has raw proxies, the one under ``/moored`` fault proxies.

    Requests whose ``Host`` is not this address or localhost are refused, and so are those of web
    pages from elsewhere (``Origin``).

    :param host: the address to listen on; loopback by default.  ``"0.0.0.0"`` and ``""`` are every
        one of this machine, those of IPv6 too, as for Toxiproxy.
    :param port: 0 (default) for one that is free; Toxiproxy's own is 8474.
    :param seed: decides all that is random in the raw proxies; 0 by default.
    :param populate: proxies to begin with, as for ``POST /populate``.
    :param metrics: whether ``/metrics`` counts bytes for Prometheus.
    :param token: what requests have to carry as ``Authorization: Bearer``; required where ``host``
        is not loopback.
    :param allowed_hosts: more names under which the server is reached.
    :param routes: more routes, which come first.
    :param fault_proxies: fault proxies to begin with.
    :raises OSError: when an address cannot be had.
    :raises ProxyExists: when two fault proxies have one name.
    :raises ScheduleError: for an address that is not loopback and no token.
    :raises ApiError: when a proxy of ``populate`` cannot be made.
    """
    if not token and not is_loopback(host):
        raise ScheduleError("token", token, f"given where the host ({host}) is not loopback")
    sock = await bound(host, port)
    with sock:
        async with background() as nursery:
            streams = FaultProxies(nursery, controlled=True)
            proxies = Proxies(nursery, seed=seed, watchers=streams.changes)
            await proxies.populate(list(populate))
            for settings in fault_proxies:
                await streams.open(settings)
            control = Control(proxies, streams, *_address(sock, host))
            every_route = [
                *routes,
                *fault_proxy_routes(streams, proxies),
                *raw_proxy_routes(proxies, streams),
                *dashboard.dashboard_routes(),
                *toxiproxy_routes(proxies, metrics=metrics),
            ]
            guard = Guard(
                BodyLimit(Router(every_route, redirect_slashes=False, default=not_found)),
                host=host,
                token=token or None,
                allowed_hosts=allowed_hosts,
                public=dashboard.PATH,
            )
            stop = trio.Event()
            served = trio.Event()
            await nursery.start(_serve, guard, sock, stop, served)
            yield control
            await proxies.close()
            await streams.close_all()
            stop.set()
            await served.wait()


def _address(sock: socket.socket, asked: str) -> tuple[str, int]:
    """Where the server listens, told as what was asked for: the URL should be of that kind."""
    host, port = sock.getsockname()[:2]
    return ("0.0.0.0" if host == "::" != asked else host), port


async def _serve(
    app: Any,
    sock: socket.socket,
    stop: trio.Event,
    served: trio.Event,
    *,
    task_status: trio.TaskStatus[object],
) -> None:
    config = hypercorn.config.Config()
    config.bind = [f"fd://{sock.dup().detach()}"]  # which the server closes
    config.errorlog = _log
    config.include_server_header = False
    config.graceful_timeout = _GRACE
    config.keep_alive_max_requests = 1 << 62
    serve = partial(hypercorn.trio.serve, app, config, mode="asgi", shutdown_trigger=stop.wait)
    try:
        await serve(task_status=task_status)
    finally:
        served.set()
