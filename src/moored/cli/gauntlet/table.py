"""The gauntlet's results, and its catalogue, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from moored.faults.gauntlet import Score, Trial
from moored.faults.gauntlet.report import Report
from moored.faults.gauntlet.trial import BOTH

__all__ = ["manners", "print_catalogue", "print_report", "result_line", "sentence"]


def result_line(score: Score) -> Text:
    """One trial on one line."""
    record = score.record
    return Text.assemble(
        ("ok    " if score.ok else "FAILED", "green" if score.ok else "bold red"),
        f"  {score.points:3.0f}  {record.transport:<9}  {record.trial.name:<30}  ",
        (score.verdict, "" if score.ok else "red"),
        no_wrap=True,
        overflow="ellipsis",
    )


def manners(score: Score) -> str:
    """What the client did that a server would not like, in words; ``""`` if nothing."""
    words = []
    if score.too_eager:
        words.append(f"too eager: {score.busiest_second} in 1 s")
    if score.retry_after_ignored:
        words.append("Retry-After ignored")
    return ", ".join(words)


def print_report(console: Console, report: Report) -> None:
    """Print the table, the first thing that a failed client said, and the verdict in one line."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0, header_style="dim")
    table.add_column("trial", no_wrap=True)
    both = len({score.record.transport for score in report.scores}) > 1
    if both:
        table.add_column("over", no_wrap=True)
    table.add_column("result", min_width=16)
    for name in ("lost", "dup", "order", "took", "ideal", "conn", "points"):
        table.add_column(name, justify="right", no_wrap=True)
    for score in report.scores:
        over = [score.record.transport] if both else []
        table.add_row(score.record.trial.name, *over, *_row(score))
    console.print(table)
    console.print(
        "took: seconds from a fault to the next new message, the longest in the trial; "
        "ideal: with the settings that the contract advises",
        style="dim",
    )
    hint = _hint(report)
    if hint:
        console.print(Text(hint, style="yellow"), soft_wrap=True)
    style = "bold green" if report.total.ok else "bold red"
    console.print(Text(sentence(report), style=style), soft_wrap=True)


def _row(score: Score) -> Sequence[Text | str]:
    words = ", ".join(word for word in (score.verdict, manners(score)) if word)
    style = "bold red" if not score.ok else "yellow" if manners(score) else "green"
    count = score.count
    return (
        Text(words, style=style),
        *(_bad(number) for number in (count.lost, count.duplicated, count.disordered)),
        _seconds(score.recovery),
        _seconds(score.ideal if score.record.trial.survivable else None),
        str(score.connections),
        f"{score.points:.0f}",
    )


def _bad(number: int) -> Text:
    return Text(str(number), style="red") if number else Text("-", style="dim")


def _seconds(value: float | None) -> Text:
    return Text("-", style="dim") if value is None else Text(f"{value:.2f}")


def _hint(report: Report) -> str:
    """Where even the trial without faults failed, what the client said on standard error."""
    for score in report.scores:
        if not score.record.trial.schedule and not score.ok:
            *_, said = ("nothing", *score.record.run.errors.splitlines())
            return (
                f"Even without faults the client failed: {score.verdict}.  "
                f"Its last words on standard error: {said}"
            )
    return ""


def sentence(report: Report) -> str:
    """The verdict in one line."""
    total = report.total
    facts = [f"survived {total.survived} of {total.survivable}"]
    if total.final:
        facts.append(f"gave up as it should in {total.gave_up} of {total.final}")
    facts += [f"{total.lost} lost", f"{total.duplicated} duplicated"]
    if total.disordered:
        facts.append(f"{total.disordered} out of order")
    if total.too_eager:
        facts.append(f"too eager in {total.too_eager}")
    if total.retry_after_ignored:
        facts.append(f"Retry-After ignored {total.retry_after_ignored} times")
    word = "PASSED" if total.ok else "FAILED"
    return f"{word}, {total.points:.1f} points of 100: {', '.join(facts)} ({report.seconds:.0f} s)"


def print_catalogue(console: Console, trials: Sequence[Trial]) -> None:
    """Print what the trials are."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0, header_style="dim")
    table.add_column("name", no_wrap=True)
    table.add_column("over", no_wrap=True)
    table.add_column("layer", no_wrap=True)
    table.add_column("expected", no_wrap=True)
    table.add_column("what happens")
    for trial in trials:
        table.add_row(
            trial.name,
            "both" if trial.transports == BOTH else "".join(trial.transports),
            trial.layer,
            "survive" if trial.survivable else "give up",
            trial.title,
        )
    console.print(table)
    console.print(f"{len(trials)} trials", style="dim")
