"""The verdict as a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from moored.cli.demo.verdict import StreamVerdict, Verdict
from moored.faults import Cut, Fault, Refuse

__all__ = ["print_verdict"]


def print_verdict(console: Console, verdict: Verdict) -> None:
    """Print the table, what went wrong, and the verdict in one line."""
    table = Table(box=SIMPLE_HEAD, show_footer=True, pad_edge=False, padding=0, header_style="dim")
    count = verdict.count
    table.add_column("stream", footer="total")
    table.add_column("injected", footer=f"{verdict.injected} faults", no_wrap=True)
    table.add_column("recovered", footer=_share(verdict.recovered, verdict.injected))
    table.add_column("received", footer=f"{count.received}/{count.expected}", justify="right")
    table.add_column("lost", footer=_number(count.lost), justify="right")
    table.add_column("duplicated", footer=_number(count.duplicated), justify="right")
    table.add_column("median", footer=_median(verdict.recovery), justify="right")
    table.add_column("worst", footer=_worst(verdict.recovery), justify="right")
    for stream in verdict.streams:
        table.add_row(*_row(stream))
    console.print(table)
    note = "median and worst: from a fault to the first message after it"
    console.print(note, style="dim")
    for stream in verdict.streams:
        if stream.error:
            console.print(f"{stream.part.name}: {stream.error}", style="red", highlight=False)
    style = "bold green" if verdict.ok else "bold red"
    console.print(Text(verdict.sentence, style=style), soft_wrap=True)


def _row(stream: StreamVerdict) -> Sequence[Text | str]:
    return (
        stream.part.name,
        ", ".join(_short(fault.fault) for fault in stream.faults),
        _share(stream.recovered, len(stream.faults)),
        f"{stream.count.received}/{stream.count.expected}",
        _number(stream.count.lost),
        _number(stream.count.duplicated),
        _median(stream.recovery),
        _worst(stream.recovery),
    )


def _short(fault: Fault) -> str:
    if isinstance(fault, Refuse):
        return str(fault.status)
    return f"{fault.how} cut" if isinstance(fault, Cut) else fault.kind


def _share(part: int, whole: int) -> Text:
    return Text(f"{part} of {whole}", style="green" if part == whole else "bold red")


def _number(bad: int) -> Text:
    return Text(str(bad), style="bold red" if bad else "green")


def _median(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.2f} s" if times else "-"


def _worst(times: Sequence[float]) -> str:
    return f"{max(times):.2f} s" if times else "-"
