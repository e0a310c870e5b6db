"""Many fault proxies in one process, each with a name: from a file, or made while others run."""

from moored.faults.proxies.activity import Activity, Sample, WatchedConnection, state_of
from moored.faults.proxies.collection import FaultProxies, NamedProxy, ProxyExists, UnknownProxy
from moored.faults.proxies.settings import ProxySettings, load_proxies, proxy_settings

__all__ = [
    "Activity",
    "FaultProxies",
    "NamedProxy",
    "ProxyExists",
    "ProxySettings",
    "Sample",
    "UnknownProxy",
    "WatchedConnection",
    "load_proxies",
    "proxy_settings",
    "state_of",
]
