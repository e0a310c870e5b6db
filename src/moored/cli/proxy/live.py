"""Fault proxies on a terminal: who is connected, how much passes, and the latest faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text

from moored.cli.proxy.report import words_of_injected
from moored.faults import Injected
from moored.faults.proxies import FaultProxies, NamedProxy, WatchedConnection, state_of

__all__ = ["LiveDisplay"]

REDRAWS_PER_SECOND = 4
FAULT_LINES = 8
_STATE_STYLES = {
    "accepted": "yellow",
    "requested": "yellow",
    "open": "green",
    "stalled": "bold red",
    "closing": "dim",
}


class LiveDisplay:
    """Draws proxies.

    :param note: stands beside the title, such as the URL of the dashboard.
    """

    def __init__(self, console: Console, proxies: FaultProxies, note: str = "") -> None:
        self._console = console
        self._proxies = proxies
        self._note = note

    @asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        """Draw for as long as the block runs."""
        live = Live(self._draw(), console=self._console, auto_refresh=False, transient=True)
        with live:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._redraw, live)
                yield
                nursery.cancel_scope.cancel()

    async def _redraw(self, live: Live) -> None:
        while True:
            live.update(self._draw(), refresh=True)
            await trio.sleep(1 / REDRAWS_PER_SECOND)

    def _draw(self) -> RenderableType:
        proxies = list(self._proxies)
        room = max(4, self._console.height - len(proxies) - 7)
        lines = min(FAULT_LINES, room // 2)
        faults = [_fault_line(*each) for each in self._latest(lines)]
        title = Text.assemble(("moored proxy", "bold"), ("  Ctrl-C stops it  ", "dim"), self._note)
        return Group(
            title,
            _proxy_table(proxies),
            "",
            self._connection_table(room - lines),
            "",
            *faults,
        )

    def _latest(self, count: int) -> list[tuple[NamedProxy, Injected]]:
        found = [
            (named, injected)
            for named in self._proxies
            for injected in named.proxy.injected[-count:]
        ]
        return sorted(found, key=lambda each: each[1].time)[-count:]

    def _connection_table(self, room: int) -> RenderableType:
        live = [
            (named, watched)
            for named in self._proxies
            for watched in named.activity.connections.values()
            if watched.record.ended is None
        ]
        if not live:
            return Text("no open connection", "dim")
        table = _table("connection", "path", "transport", "state")
        for name in ("age", "messages", "/s", "bytes", "/s"):
            table.add_column(name, justify="right")
        for named, watched in live[-room:]:
            table.add_row(*_connection_row(named, watched))
        more = len(live) - room
        return Group(table, Text(f"and {more} more", "dim")) if more > 0 else table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    return table


def _proxy_table(proxies: list[NamedProxy]) -> Table:
    table = _table("proxy", "URL", "upstream")
    for name in ("open", "accepted", "faults"):
        table.add_column(name, justify="right")
    for named in proxies:
        proxy = named.proxy
        table.add_row(
            named.name,
            proxy.url,
            named.settings.upstream,
            str(len(proxy.open_connections)),
            str(proxy.connection_count),
            str(sum(proxy.injected_counts.values())),
        )
    return table


def _connection_row(named: NamedProxy, watched: WatchedConnection) -> list[RenderableType]:
    record, state, now = watched.record, state_of(watched.record), trio.current_time()
    return [
        f"{named.name} {record.number}",
        record.path or "-",
        record.transport or "-",
        Text(state, _STATE_STYLES.get(state, "")),
        f"{now - record.accepted:.0f} s",
        str(record.messages),
        f"{watched.rate('messages', now):.1f}",
        decimal(record.bytes),
        decimal(round(watched.rate("bytes", now))),
    ]


def _fault_line(named: NamedProxy, injected: Injected) -> Text:
    started = named.proxy.started or 0.0
    return Text.assemble(
        (f"{injected.time - started:8.2f} s  ", "dim"),
        f"{named.name} {injected.connection} {injected.path}  ",
        (words_of_injected(named.proxy, injected), "red"),
        no_wrap=True,
        overflow="ellipsis",
    )
