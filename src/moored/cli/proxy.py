"""``moored proxy``: the fault proxy, as a program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TextIO

import attrs
import click
import trio

from moored.cli.fault_option import fault_from_text, kinds_help
from moored.cli.running import CommandFailed, Stop, run
from moored.cli.serving import Reporter, announce, enter_listening
from moored.cli.wording import injected_words
from moored.faults import (
    ConnectionRecord,
    Fault,
    Proxy,
    ScheduleError,
    ScheduleFileError,
    fault_to_dict,
    load_schedule,
    open_proxy,
    random_schedule,
    recording_of,
)
from moored.faults.schedule import KINDS

__all__ = ["proxy"]


@click.command(
    short_help="Run a fault proxy before a server.",
    epilog=f"The kinds of faults, and what each has beside its aim:\n\n{kinds_help()}",
)
@click.option("--upstream", required=True, metavar="URL", help="The server: http(s) or ws(s).")
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
    help="Write what was injected, at the end, as JSON for --schedule.",
)
@click.option("--json", "as_json", is_flag=True, help="Report as JSON, one object a line.")
def proxy(
    *,
    upstream: str,
    host: str,
    port: int,
    specs: Sequence[str],
    file: Path | None,
    at_random: bool,
    rates: Sequence[str],
    seed: int,
    record: Path | None,
    as_json: bool,
) -> int:
    """Run a fault proxy before a server, and break connections on purpose.

    Its URL is the first line of standard output; connections and injected faults are told on
    standard error.  SIGINT and SIGTERM stop it, with exit status 0.

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
    schedule = _schedule(file, specs)
    if at_random:
        schedule += random_schedule(seed)
    elif rates:
        schedule += _random(seed, _rates(rates))

    async def command(stop: Stop) -> int:
        async with AsyncExitStack() as stack:
            output = None if record is None else stack.enter_context(_opened(record))
            opening = open_proxy(upstream, schedule=schedule, seed=seed, host=host, port=port)
            running = await enter_listening(stack, opening, host, port)
            if output is not None:
                stack.callback(_write, running, output)
            announce(running.url)
            reporter = Reporter(as_json=as_json)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_report_faults, running, reporter)
                nursery.start_soon(_report_connections, running, reporter)
                await stop.wait()
                nursery.cancel_scope.cancel()
        return 0

    return run(command)


def _opened(file: Path) -> TextIO:
    # Before the proxy runs, so that a place that cannot be written to is told at once.
    try:
        return file.open("w", encoding="utf-8")
    except OSError as exc:
        raise CommandFailed(f"--record: cannot write {file}: {exc.strerror}") from exc


def _write(proxy: Proxy, output: TextIO) -> None:
    json.dump(recording_of(proxy), output, indent=1)
    output.write("\n")


def _random(seed: int, rates: Mapping[str | Fault, float]) -> tuple[Fault, ...]:
    try:
        return random_schedule(seed, rates=rates)
    except ScheduleError as exc:
        raise click.UsageError(f"--rate: {exc}") from exc


def _rates(texts: Sequence[str]) -> dict[str | Fault, float]:
    rates: dict[str | Fault, float] = {}
    for text in texts:
        fault, _, share = text.rpartition("=")
        try:
            key = fault if fault in KINDS else fault_from_text(fault)
            rates[key] = float(share)
        except ScheduleError as exc:
            raise click.UsageError(f"--rate {text!r}: {exc}") from exc
        except ValueError:
            raise click.UsageError(f"--rate {text!r}: SHARE must be a number") from None
    return rates


def _schedule(file: Path | None, specs: Sequence[str]) -> tuple[Fault, ...]:
    faults: tuple[Fault, ...] = ()
    if file is not None:
        try:
            faults = load_schedule(file)
        except OSError as exc:
            raise click.UsageError(f"--schedule: cannot read {file}: {exc.strerror}") from exc
        except ScheduleFileError as exc:
            raise click.UsageError(f"--schedule {exc}") from exc
    for spec in specs:
        try:
            faults += (fault_from_text(spec),)
        except ScheduleError as exc:
            raise click.UsageError(f"--fault {spec!r}: {exc}") from exc
    return faults


async def _report_faults(proxy: Proxy, reporter: Reporter) -> None:
    told = 0

    def due() -> int:
        return sum(proxy.injected_counts.values()) - told

    while True:
        await proxy.wait_until(lambda: due() > 0)
        for injected in proxy.injected[-due() :]:
            on_websocket = any(
                each.number == injected.connection and each.transport == "websocket"
                for each in proxy.connections
            )
            words = injected_words(injected, pings=on_websocket)
            reporter.tell(
                "injected",
                f"connection {injected.connection} {injected.path}: injected {words}",
                connection=injected.connection,
                path=injected.path,
                time=injected.time,
                detail=injected.detail,
                fault=fault_to_dict(injected.fault),
            )
        told = sum(proxy.injected_counts.values())


async def _report_connections(proxy: Proxy, reporter: Reporter) -> None:
    told = 0  # all connections up to this number
    later: set[int] = set()  # and these after it

    def ended() -> list[ConnectionRecord]:
        found = []
        for connection in reversed(proxy.connections):
            if connection.number <= told:
                break
            if connection.ended is not None and connection.number not in later:
                found.append(connection)
        return found[::-1]

    while True:
        await proxy.wait_until(lambda: bool(ended()))
        for connection in ended():
            reporter.tell("connection", _words(connection), **attrs.asdict(connection))
            later.add(connection.number)
        while told + 1 in later:
            told += 1
            later.remove(told)


def _words(connection: ConnectionRecord) -> str:
    seconds = (connection.ended or connection.accepted) - connection.accepted
    status = "" if connection.status is None else f", status {connection.status}"
    return (
        f"connection {connection.number} {connection.path}: {connection.outcome} "
        f"({connection.transport or 'no request'}{status}, {connection.messages} messages, "
        f"{connection.bytes} bytes, {seconds:.2f} s)"
    )
