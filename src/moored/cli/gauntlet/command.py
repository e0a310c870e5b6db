"""``moored gauntlet``."""

from __future__ import annotations

import fnmatch
import json
import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path

import click
import trio
from rich.console import Console

from moored.cli.gauntlet.html import render
from moored.cli.gauntlet.live import LiveDisplay
from moored.cli.gauntlet.table import print_catalogue, print_report, result_line
from moored.cli.running import CommandFailed, Stop, run
from moored.faults.gauntlet import Score, Trial, catalogue, run_gauntlet
from moored.faults.gauntlet.report import Report, trial_data
from moored.faults.gauntlet.trial import BOTH, Transport, for_transport

__all__ = ["gauntlet"]

_SETTINGS = {"allow_interspersed_args": False}  # What follows COMMAND's first word is COMMAND's.
_TRANSPORTS: dict[str, tuple[Transport, ...]] = {
    "sse": ("sse",),
    "websocket": ("websocket",),
    "both": BOTH,
}


@click.command(
    short_help="Score any client program against faults.",
    context_settings=_SETTINGS,
    options_metavar="[OPTIONS] --",
)
@click.option(
    "--transport",
    type=click.Choice(list(_TRANSPORTS)),
    default="sse",
    show_default=True,
    help="What the client speaks.",
)
@click.option(
    "--only", "names", multiple=True, metavar="NAME", help="This trial; may have *.  Repeatable."
)
@click.option("--list", "as_list", is_flag=True, help="List the trials, and run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, nothing else.")
@click.option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a report with a timeline for each trial.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Trials at a time."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides all that is random.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND {url}")
def gauntlet(
    *,
    transport: str,
    names: Sequence[str],
    as_list: bool,
    as_json: bool,
    html_file: Path | None,
    jobs: int,
    seed: int,
    command: Sequence[str],
) -> int:
    """Put any client program, in any language, through a catalogue of faults, and score it.

    \b
    moored gauntlet -- python client.py {url}
    moored gauntlet --transport websocket --html report.html -- node client.mjs {url}
    moored gauntlet --transport both --only 'cut-*' -- env FEED={url} ./client {transport}

    COMMAND is run once for each trial, with {url} (and {transport}) filled in.  It has to

    \b
    - connect to the URL, which is a feed of numbered messages;
    - print the id of each message as it receives it, one each line, and nothing else;
    - exit with 0 when it sees the end message (SSE: "event: end"; WebSocket: {"end":true}),
      and with another status when it gives up.

    After a drop it goes on where it was: SSE by Last-Event-ID, WebSocket by sending {"resume": ID}
    first.  Its timeouts should fit trials of seconds, such as 1 s without a message.

    The exit status is 0 only if the client survived every trial that can be survived, with no
    message lost, repeated or out of order, and gave up at once where the server's answer is final.
    """
    console = Console(highlight=False)
    chosen = _choose(catalogue(seed), _TRANSPORTS[transport], names)
    if as_list:
        _list(console, chosen, as_json)
        return 0
    _check(command, html_file)

    async def play(stop: Stop) -> int:
        began = trio.current_time()
        scores = await _play(console, stop, chosen, command, jobs, seed, quiet=as_json)
        if stop.signal is not None:
            return stop.status()
        report = Report(
            command=tuple(command),
            scores=scores,
            seed=seed,
            seconds=trio.current_time() - began,
            moored_version=version("moored"),
        )
        if as_json:
            click.echo(json.dumps(report.to_data(), indent=2))
        else:
            print_report(console, report)
        if html_file is not None:
            _write(html_file, render(report))
        return 0 if report.total.ok else 1

    return run(play)


def _choose(
    trials: Sequence[Trial], transports: Sequence[Transport], names: Sequence[str]
) -> list[tuple[Trial, Transport]]:
    possible: list[tuple[Trial, Transport]] = [
        (trial, each) for each in transports for trial in for_transport(trials, each)
    ]
    for name in names:
        if not any(fnmatch.fnmatchcase(trial.name, name) for trial, _ in possible):
            over = " and ".join(transports)
            raise click.UsageError(f"--only {name!r}: no such trial over {over}; see --list")
    return [
        pair
        for pair in possible
        if not names or any(fnmatch.fnmatchcase(pair[0].name, name) for name in names)
    ]


def _list(console: Console, chosen: Sequence[tuple[Trial, Transport]], as_json: bool) -> None:
    trials = list(dict.fromkeys(trial for trial, _ in chosen))
    if as_json:
        click.echo(json.dumps([trial_data(trial) for trial in trials], indent=2))
    else:
        print_catalogue(console, trials)


def _check(command: Sequence[str], html_file: Path | None) -> None:
    """What would make every trial fail, or waste them all, is better told at once."""
    if not command:
        raise click.UsageError("COMMAND is missing: the client program, after --")
    if not any("{url}" in word for word in command):
        raise click.UsageError(
            "COMMAND must have {url} where the URL belongs; "
            "for a client that reads it from the environment: env NAME={url} COMMAND"
        )
    if shutil.which(command[0]) is None:
        raise click.UsageError(f"COMMAND: there is no program {command[0]!r}")
    if html_file is not None and not html_file.parent.is_dir():
        raise click.UsageError(f"--html: there is no directory {str(html_file.parent)!r}")


async def _play(
    console: Console,
    stop: Stop,
    chosen: Sequence[tuple[Trial, Transport]],
    command: Sequence[str],
    jobs: int,
    seed: int,
    *,
    quiet: bool,
) -> tuple[Score, ...]:
    display = LiveDisplay(console, len(chosen))

    def on_score(score: Score) -> None:
        display.finish(score)
        if not quiet and not console.is_terminal:
            click.echo(result_line(score).plain)

    scores: tuple[Score, ...] = ()
    async with AsyncExitStack() as stack:
        if not quiet and console.is_terminal:
            await stack.enter_async_context(display.showing())
        with stop.scope:
            scores = await run_gauntlet(
                chosen, command, jobs=jobs, seed=seed, on_start=display.start, on_score=on_score
            )
    return scores


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as exc:
        raise CommandFailed(f"--html: cannot write {file}: {exc.strerror}") from exc
