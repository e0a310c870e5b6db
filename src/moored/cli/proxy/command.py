"""``moored proxy``: the fault proxy, as a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TextIO

import click
import trio
from rich.console import Console

from moored.cli.fault_option import kinds_help
from moored.cli.proxy.live import LiveDisplay
from moored.cli.proxy.report import report
from moored.cli.proxy.schedule import schedule_from_options
from moored.cli.running import CommandFailed, Stop, run
from moored.cli.serving import Reporter, announce, enter_listening
from moored.faults import Proxy, ScheduleFileError, recording_of
from moored.faults.control import open_control
from moored.faults.listening import background
from moored.faults.proxies import FaultProxies, NamedProxy, ProxySettings, load_proxies
from moored.faults.tcp.address import split

__all__ = ["proxy"]

_NAME = "proxy"
"""The name of one that is made by options."""


@click.command(
    short_help="Run a fault proxy before a server.",
    epilog=f"The kinds of faults, and what each has beside its aim:\n\n{kinds_help()}",
)
@click.option("--upstream", metavar="URL", help="The server: http(s) or ws(s).")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Instead of --upstream: a list of proxies, as JSON or YAML, each with name, upstream, and "
    "port or listen, schedule, seed.  The options for these, and --record, are refused then.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="0, the default: one that is free."
)
@click.option(
    "--fault", "specs", multiple=True, metavar="SPEC", help="A fault, see above.  Repeatable."
)
@click.option(
    "--schedule",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A list of faults, as JSON or YAML, or a recording.",
)
@click.option("--random", "at_random", is_flag=True, help="20 connections with random faults.")
@click.option(
    "--rate",
    "rates",
    multiple=True,
    metavar="FAULT=SHARE",
    help="Instead of --random: the share of 20 connections with this fault, such as cut=0.3 or "
    "refuse:status=500=0.1.  Repeatable.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides all that is random.")
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write what was injected, at the end, as JSON for --schedule.  Not with --config: there, "
    "the dashboard and the API of --control save the recording of each proxy.",
)
@click.option(
    "--control",
    metavar="[HOST:]PORT",
    help="Serve a dashboard and an HTTP API there; its URL is the last line of standard output.",
)
@click.option(
    "--token",
    envvar="MOORED_TOKEN",
    metavar="TEXT",
    help="What control requests have to bear; required unless that HOST is loopback.  "
    "[env: MOORED_TOKEN]",
)
@click.option("--json", "as_json", is_flag=True, help="Report as JSON, one object a line.")
def proxy(
    *,
    upstream: str | None,
    config: Path | None,
    host: str,
    port: int,
    specs: Sequence[str],
    file: Path | None,
    at_random: bool,
    rates: Sequence[str],
    seed: int,
    record: Path | None,
    control: str | None,
    token: str | None,
    as_json: bool,
) -> int:
    """Run a fault proxy before a server, and break connections on purpose.

    Its URL is the first line of standard output; with --config there is a line for each proxy, with
    its name before the URL.  Connections and injected faults are told on standard error; on a
    terminal there is a live view.  SIGINT and SIGTERM stop it, with exit status 0.

    A fault is KIND:FIELD=VALUE,... or a JSON object:

    \b
    cut:after_messages=3,how=rst,connection=1
    stall:after_seconds=2,pings=swallowed,path=/feed
    refuse:status=429,retry_after=1,times=2
    '{"fault": "refuse", "status": 503, "body": "a, b"}'

    \b
    every fault    connection=1 | 1+3 | 2-5 | 2-   (from 1, as accepted)
                   attempt=1   (the k-th request for its path; as connection)
                   times, path, probability
    with a moment  one of after_messages, after_bytes, after_seconds, at=PLACE
    with messages  message=2   (from 1, as sent; as connection)
    places         after_request, before_head, inside_head, after_head,
                   inside_chunk, inside_message, inside_character,
                   between_fragments, before_done, after_done

    Faults of --schedule come first, then those of --fault, then --random.
    """
    if (upstream is None) == (config is None):
        raise click.UsageError("give --upstream or --config, one of them")
    given = schedule_from_options(file, specs, at_random=at_random, rates=rates, seed=seed)
    proxies: tuple[ProxySettings, ...]
    if upstream is not None:
        proxies = (ProxySettings(_NAME, upstream, host, port, given, seed),)
    else:
        _refuse_options_of_one()
        assert config is not None
        proxies = _from_file(config)
    place = None if control is None else _place(control)

    async def command(stop: Stop) -> int:
        async with AsyncExitStack() as stack:
            output = None if record is None else stack.enter_context(_opened(record))
            running, dashboard = await _start(stack, place, token)
            # Nothing is announced unless all can listen.
            for named in [await _open(running, settings) for settings in proxies]:
                if output is not None:
                    stack.callback(_write, named.proxy, output)
                announce(named.proxy.url if config is None else f"{named.name} {named.proxy.url}")
            if dashboard:
                announce(dashboard)
            names = config is not None or place is not None
            await _show(running, stop, as_json=as_json, names=names, note=dashboard)
        return 0

    return run(command)


def _refuse_options_of_one() -> None:
    context = click.get_current_context()
    for name in ("host", "port", "specs", "file", "at_random", "rates", "seed", "record"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = next(each for each in context.command.params if each.name == name)
            raise click.UsageError(f"{option.opts[0]} goes with --upstream, not with --config")


def _from_file(file: Path) -> tuple[ProxySettings, ...]:
    try:
        return load_proxies(file)
    except OSError as exc:
        raise click.UsageError(f"--config: cannot read {exc.filename}: {exc.strerror}") from exc
    except ScheduleFileError as exc:
        raise click.UsageError(f"--config {exc}") from exc


def _place(control: str) -> tuple[str, int]:
    try:
        host, port = split(control if ":" in control else f"127.0.0.1:{control}")
    except ValueError as exc:
        raise click.UsageError(f"--control {control!r}: it must be [HOST:]PORT") from exc
    return host or "0.0.0.0", port


async def _start(
    stack: AsyncExitStack, place: tuple[str, int] | None, token: str | None
) -> tuple[FaultProxies, str]:
    """Where the proxies are to be, and the URL of the dashboard."""
    if place is None:
        return FaultProxies(await stack.enter_async_context(background())), ""
    control = await enter_listening(stack, open_control(*place, token=token), *place)
    return control.fault_proxies, control.dashboard_url


async def _open(proxies: FaultProxies, settings: ProxySettings) -> NamedProxy:
    try:
        return await proxies.open(settings)
    except OSError as exc:
        where = f"{settings.host}:{settings.port}"
        raise CommandFailed(f"cannot listen on {where}: {exc.strerror or exc}") from exc
    except ValueError as exc:
        raise CommandFailed(str(exc), 2) from exc


async def _show(
    proxies: FaultProxies, stop: Stop, *, as_json: bool, names: bool, note: str
) -> None:
    """Show what goes on until it is time to stop."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal and sys.stdout.isatty() and not as_json:
        async with LiveDisplay(console, proxies, note).showing():
            await stop.wait()
        return
    reporting = partial(report, proxies, Reporter(as_json=as_json), names=names)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reporting)
        await stop.wait()
        nursery.cancel_scope.cancel()


def _opened(file: Path) -> TextIO:
    # Before the proxy runs, so that a place that cannot be written to is told at once.
    try:
        return file.open("w", encoding="utf-8")
    except OSError as exc:
        raise CommandFailed(f"--record: cannot write {file}: {exc.strerror}") from exc


def _write(proxy: Proxy, output: TextIO) -> None:
    json.dump(recording_of(proxy), output, indent=1)
    output.write("\n")
