"""What has passed through the proxies, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable

from moored.faults.control.proxies import Proxies
from moored.faults.tcp.proxy import TcpProxy
from moored.faults.tcp.toxics import Direction

__all__ = ["CONTENT_TYPE", "metrics_text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of :func:`metrics_text`."""

_HELP = "The total number of bytes {} on a given proxy link in a given direction"
_COUNTERS: dict[str, Callable[[TcpProxy], dict[Direction, int]]] = {
    "received": lambda proxy: proxy.received,
    "sent": lambda proxy: proxy.sent,
}


def metrics_text(proxies: Proxies) -> str:
    """The counters of all proxies, in the text format of version 0.0.4."""
    lines = []
    for what, count in _COUNTERS.items():
        name = f"toxiproxy_proxy_{what}_bytes_total"
        lines += [f"# HELP {name} {_HELP.format(what)}", f"# TYPE {name} counter"]
        for proxy in proxies:
            for direction, value in count(proxy.tcp).items():
                labels = {
                    "direction": direction,
                    "listener": proxy.tcp.listen,
                    "proxy": proxy.tcp.name,
                    "upstream": proxy.tcp.upstream,
                }
                words = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
                lines.append(f"{name}{{{words}}} {value}")
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
