"""What is told of a fault proxy when a test has failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs

if TYPE_CHECKING:
    from moored.faults import BlockingProxy, ConnectionRecord, Injected, Proxy

__all__ = ["TITLE", "Opened", "section"]

TITLE = "Moored: faults injected"

SHOWN = 30
"""So many entries of each kind are told, the last ones."""

T = TypeVar("T")


@attrs.frozen
class Opened:
    """A proxy that a test was given."""

    proxy: Proxy | BlockingProxy
    url: str
    upstream: str


def section(opened: Iterable[Opened], seed: str) -> str:
    """The text of the report's section.

    :param seed: what to say of the seed.
    """
    lines = [seed]
    for each in opened:
        lines += _of_proxy(each)
    return "\n".join(lines)


def _of_proxy(opened: Opened) -> list[str]:
    proxy = opened.proxy
    start = proxy.started or 0.0
    lines = [f"proxy {opened.url}, before {opened.upstream}", "schedule:"]
    lines += _listed(proxy.schedule, repr)
    lines.append("injected:")
    lines += _listed(proxy.injected, lambda each: _injected_words(each, start))
    lines.append("connections:")
    lines += _listed(proxy.connections, lambda each: _connection_words(each, start))
    return lines


def _listed(entries: Sequence[T], words: Callable[[T], str]) -> list[str]:
    lines = [f"  {words(entry)}" for entry in entries[-SHOWN:]]
    if len(entries) > SHOWN:
        lines.insert(0, f"  ({len(entries) - SHOWN} before these)")
    return lines or ["  none"]


def _injected_words(injected: Injected, start: float) -> str:
    return (
        f"{injected.time - start:8.3f} s  connection {injected.connection} {injected.path}: "
        f"{injected.fault!r}, {injected.detail}"
    )


def _connection_words(connection: ConnectionRecord, start: float) -> str:
    what = connection.transport or "no request"
    status = "" if connection.status is None else f", status {connection.status}"
    return (
        f"{connection.accepted - start:8.3f} s  connection {connection.number} {connection.path} "
        f"({what}{status}): {connection.messages} messages, {connection.bytes} bytes, "
        f"{connection.outcome or 'open'}"
    )
