"""The result as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from moored.cli.load.result import TIMES, Result
from moored.cli.printable import printable
from moored.faults.duration import duration

__all__ = ["print_result"]


def print_result(console: Console, result: Result) -> None:
    """Print the counts, the times, the limits, the failures, and the verdict in one line."""
    counts = Table.grid(padding=(0, 2, 0, 0))
    for name, words in _counts(result):
        counts.add_row(Text(name, style="dim"), words)
    console.print()
    console.print(counts)
    console.print(_times(result))
    console.print(_limits(result))
    for kind, count in result.tally.failed.most_common():
        example = " ".join(printable(result.tally.examples[kind]).split())
        console.print(Text(f"{count} x {kind}: {example}", style="red"), soft_wrap=True)
    style = "bold green" if result.ok else "bold red"
    console.print(Text(result.verdict, style=style), soft_wrap=True)


def _counts(result: Result) -> Iterator[tuple[str, str]]:
    plan, tally = result.plan, result.tally
    endpoint = plan.base_url or "the mock server in this process"
    yield "endpoint", f"{endpoint}, over {plan.transport}"
    failed = tally.failed.total()
    yield "requests", f"{plan.requests}: {tally.completed} completed, {failed} failed"
    restarted = f", {tally.restarted} answers begun anew" if tally.restarted else ""
    yield "retried", f"{tally.retried}, {tally.attempts} attempts in all{restarted}"
    yield "status 429", f"{result.rate_limited}"
    if plan.faults:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(result.injected.items()))
        yield "faults", kinds or "none took effect"
    yield "at once", f"{tally.most_active} of {plan.concurrency} slots at the most"
    note = " (partly estimated)" if tally.estimated else ""
    yield "tokens", f"{tally.input_tokens:,} in, {tally.output_tokens:,} out{note}"
    if tally.cost is not None:
        rest = f", and {tally.unpriced} requests of unknown cost" if tally.unpriced else ""
        yield "cost", f"{tally.cost}{rest}"


def _times(result: Result) -> Table:
    table = _table("")
    for name in ("mean", "p50", "p95", "p99", "longest"):
        table.add_column(name, justify="right")
    for name, found in result.times.items():
        if found is None:
            cells = ["-"] * 5
        else:
            seconds = (found.mean, found.p50, found.p95, found.p99, found.longest)
            cells = [duration(each) for each in seconds]
        table.add_row(TIMES[name], *cells)
    return table


def _limits(result: Result) -> Table:
    table = _table("")
    columns = ("limit/min", "burst", "allowed", "used", "used/min", "busiest minute")
    for name in columns:
        table.add_column(name, justify="right")
    for name, use in result.limits.items():
        bounds = (use.limit_per_minute, use.rate and use.rate.burst, use.allowed)
        table.add_row(
            name,
            *("-" if bound is None else f"{bound:,.0f}" for bound in bounds),
            f"{use.used:,.0f}",
            f"{use.per_minute:,.0f}",
            f"{use.busiest_minute:,.0f}",
        )
    return table


def _table(first: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True)
    return table
