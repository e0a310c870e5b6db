"""``moored demo``."""

from __future__ import annotations

import json

import click
from rich.console import Console

from moored.cli.demo.live import LiveDisplay
from moored.cli.demo.report import print_verdict
from moored.cli.demo.scenario import scenario
from moored.cli.demo.stage import Stage
from moored.cli.demo.track import Happening
from moored.cli.demo.verdict import Verdict
from moored.cli.running import Stop, run

__all__ = ["demo"]


@click.command(short_help="Watch streams live through faults.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON, nothing else.")
@click.option("--seed", type=int, default=1, show_default=True, help="Decides all jitter.")
@click.option(
    "--no-recovery", is_flag=True, help="The same without reconnecting: shows what is lost then."
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0.5, max=5),
    default=1.0,
    show_default=True,
    help="Play faster or slower; Retry-After stays one second.",
)
def demo(*, as_json: bool, seed: int, no_recovery: bool, speed: float) -> int:
    """Watch streams live through faults, over real sockets, in about ten seconds.

    A server, a fault proxy before it for each stream, and five streams run in this process: SSE
    feeds, WebSocket feeds, and a chat over SSE by POST.  The proxies cut connections (FIN, RST),
    stall them (with pings answered, and swallowed) and refuse them with 429 and Retry-After.

    In the end, what came is compared with what should have come.  The time to recover runs from
    the fault to the first message after it.  The exit status is 0 only if nothing was lost, nothing
    came twice or out of order, every planned fault took effect, and each was recovered from.
    """
    console = Console(highlight=False)

    async def command(stop: Stop) -> int:
        verdict = await _play(console, stop, as_json, seed, not no_recovery, speed)
        if stop.signal is not None:
            return stop.status()
        if as_json:
            click.echo(json.dumps(verdict.to_data(), indent=2))
        else:
            print_verdict(console, verdict)
        return 0 if verdict.ok else 1

    return run(command)


async def _play(
    console: Console, stop: Stop, as_json: bool, seed: int, recovery: bool, speed: float
) -> Verdict:
    parts = scenario(speed=speed, recovery=recovery)
    if as_json:
        return await Stage(parts, seed=seed, recovery=recovery, listener=_ignore).run(stop)
    if not console.is_terminal:
        return await Stage(parts, seed=seed, recovery=recovery, listener=_print_line).run(stop)
    display = LiveDisplay(console)
    stage = Stage(parts, seed=seed, recovery=recovery, listener=display.note)
    async with display.showing(stage):
        return await stage.run(stop)


def _ignore(happening: Happening) -> None:
    pass


def _print_line(happening: Happening) -> None:
    click.echo(f"{happening.time:6.2f} s  {happening.stream:<8}{happening.text}")
