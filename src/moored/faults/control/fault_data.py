"""Fault proxies as our own routes tell of them: plain data, with times since the server began."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import trio

from moored.faults.control.proxies import ControlledProxy
from moored.faults.message_log import PassedMessages
from moored.faults.notation import fault_to_dict, schedule_to_data
from moored.faults.proxies import FaultProxies, NamedProxy, WatchedConnection
from moored.faults.proxies.activity import state_of
from moored.faults.record import Injected

__all__ = [
    "connection_data",
    "injected_data",
    "messages_data",
    "now_of",
    "proxy_data",
    "raw_proxy_data",
    "samples_data",
]


def now_of(proxies: FaultProxies) -> float:
    """Seconds since the server began."""
    return _since(proxies, trio.current_time())


def _since(proxies: FaultProxies, time: float) -> float:
    return round(time - proxies.started, 4)


def proxy_data(named: NamedProxy) -> dict[str, Any]:
    """One proxy; ``scheduled`` is the number of faults in its schedule."""
    proxy = named.proxy
    return {
        "name": named.name,
        "url": proxy.url,
        "listen": named.listen,
        "upstream": named.settings.upstream,
        "seed": proxy.seed,
        "connections": {"open": len(proxy.open_connections), "accepted": proxy.connection_count},
        "injected": dict(proxy.injected_counts),
        "scheduled": len(proxy.schedule),
        "armed": schedule_to_data(proxy.armed),
    }


def raw_proxy_data(raw: ControlledProxy) -> dict[str, Any]:
    """One raw proxy, as Toxiproxy's API tells of it, and its connections."""
    tcp = raw.tcp
    counts = {"open": tcp.open_connections, "accepted": tcp.connection_count}
    return {**raw.as_data(), "connections": counts}


def connection_data(proxies: FaultProxies, watched: WatchedConnection) -> dict[str, Any]:
    """One connection, with its state and its rates."""
    record, now = watched.record, trio.current_time()
    return {
        **attrs.asdict(record),
        "accepted": _since(proxies, record.accepted),
        "ended": None if record.ended is None else _since(proxies, record.ended),
        "state": state_of(record),
        "messages_per_second": round(watched.rate("messages", now), 2),
        "bytes_per_second": round(watched.rate("bytes", now), 1),
        "bytes_to_server_per_second": round(watched.rate("bytes_to_server", now), 1),
    }


def samples_data(
    proxies: FaultProxies, watched: WatchedConnection, after: int = 0
) -> list[tuple[float, ...]]:
    """Its samples of after a look: time, then messages and bytes to the client, and to the server.

    :param after: the number of the look.
    """
    return [
        (_since(proxies, sample.time), *sample[1:-1])
        for sample in watched.samples
        if sample.revision > after
    ]


def messages_data(
    proxies: FaultProxies, passed: Iterable[PassedMessages]
) -> list[tuple[float, int, str, int]]:
    """Messages: time, connection, direction, and how many."""
    return [(_since(proxies, each.time), *each[1:]) for each in passed]


def injected_data(proxies: FaultProxies, injected: Injected) -> dict[str, Any]:
    """One fault that took effect."""
    plain = attrs.asdict(injected, recurse=False)
    return {
        **plain,
        "time": _since(proxies, injected.time),
        "seconds": round(injected.seconds, 4),
        "fault": fault_to_dict(injected.fault),
    }
