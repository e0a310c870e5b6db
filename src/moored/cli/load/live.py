"""A load while it runs: drawn on a terminal, elsewhere told in a line now and then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click
import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from moored.cli.load.burst import Burst
from moored.faults.duration import duration

__all__ = ["drawn", "told"]

REDRAWS_PER_SECOND = 8
SECONDS_PER_LINE = 1.0


@asynccontextmanager
async def told(burst: Burst) -> AsyncIterator[None]:
    """Tell of ``burst`` on standard error, a line each second, for as long as the block runs."""

    async def tell() -> None:
        while True:
            await trio.sleep(SECONDS_PER_LINE)
            click.echo(f"moored: {_line(burst)}", err=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def drawn(burst: Burst, console: Console) -> AsyncIterator[None]:
    """Draw ``burst`` for as long as the block runs."""

    async def redraw() -> None:
        while True:
            live.update(_draw(burst), refresh=True)
            await trio.sleep(1 / REDRAWS_PER_SECOND)

    with Live(_draw(burst), console=console, auto_refresh=False, transient=True) as live:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(redraw)
            yield
            nursery.cancel_scope.cancel()


def _line(burst: Burst) -> str:
    tally, pool = burst.tally, burst.pool.statistics()
    return (
        f"{burst.seconds:.1f} s: {pool.active} active ({burst.limiter.waiting} wait for the "
        f"limiter), {pool.queued} queued, {tally.completed} of {burst.plan.requests} done, "
        f"{tally.failed.total()} failed, {tally.input_tokens + tally.output_tokens} tokens, "
        f"{burst.limiter.rate_limited} x 429"
    )


def _draw(burst: Burst) -> RenderableType:
    plan, tally, limiter = burst.plan, burst.tally, burst.limiter
    pool = burst.pool.statistics()
    words = "draining, Ctrl-C again stops at once" if burst.draining else "Ctrl-C drains and stops"
    title = Text.assemble(
        ("moored load", "bold"), f"  {burst.seconds:5.1f} s  ", (words, "dim"), no_wrap=True
    )
    bar = ProgressBar(total=plan.requests, completed=tally.ended, width=40)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", width=12)
    table.add_column(width=10, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis")
    longest = f"the longest wait {duration(pool.waited_longest)}"
    failed = ", ".join(f"{count} x {kind}" for kind, count in tally.failed.most_common(3))
    minutes = burst.seconds / 60
    per_minute = (tally.input_tokens + tally.output_tokens) / minutes if minutes else 0
    rows = [
        ("done", f"{tally.completed}", f"of {plan.requests}"),
        ("failed", f"{tally.failed.total()}", failed),
        ("active", f"{pool.active}", f"of {plan.concurrency}"),
        ("queued", f"{pool.queued}", longest if pool.waited_count else ""),
        ("limited", f"{limiter.waiting}", f"wait for the limiter{_paused(burst)}"),
        ("status 429", f"{limiter.rate_limited}", f"{tally.retried} requests were retried"),
        ("requests", f"{limiter.used.total:,.0f}", _limit(burst, "requests").strip()),
        (
            "tokens",
            f"{tally.input_tokens + tally.output_tokens:,}",
            f"{per_minute:,.0f} a minute{_limit(burst, 'tokens')}",
        ),
    ]
    for name, value, note in rows:
        style = "bold red" if name == "failed" and tally.failed else ""
        table.add_row(name, Text(value, style=style), Text(note, style="dim"))
    return Group(title, "", bar, "", table)


def _paused(burst: Burst) -> str:
    paused = burst.limiter.paused_for
    return f", which is paused for {duration(paused)}" if paused else ""


def _limit(burst: Burst, name: str) -> str:
    rate = burst.plan.rates.get(name)
    return "" if rate is None else f" (limit {rate.amount:,.0f} a minute)"
